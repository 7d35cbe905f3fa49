# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every finding of the preflight, judged from given facts."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import yaml

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.names import HostsFile, NameService, Resolution
from ansible_collections.kvmsnap.ontap.plugins.module_utils._preflight import checks as preflight_checks
from ansible_collections.kvmsnap.ontap.plugins.module_utils._preflight.checks import (
    RIGHTS,
    ArrayReport,
    Check,
    Directory,
    Finding,
    Libvirt,
    MultipathDevices,
    NfsServer,
    Software,
    Tool,
    Trial,
    TriedRight,
)
from ansible_collections.kvmsnap.ontap.plugins.modules import kvm_preflight_info

SERVICE = NameService(HostsFile(), ("files", "dns"), "hv1")
KNOWN = Resolution("svm1-nfs", ("198.51.100.21",), "/etc/hosts")
UNKNOWN = Resolution("svm1-nfs", (), "", error="Name or service not known")
ADDRESS = Resolution("198.51.100.21", ("198.51.100.21",), "address", alias="svm1-nfs")
SERVER = NfsServer("svm1-nfs", "198.51.100.21", ("/mnt/a",), ours=True)
PRIVATE = Directory("/var/lib/kvmsnap", True, "/var/lib/kvmsnap", 0o700, True, True, 10**9)
ARRAY = ArrayReport("cluster1", username="kvmsnap", vserver="cluster1", version=(9, 14, 1), skew=0.4)


@pytest.mark.parametrize(
    ("san", "expected"),
    [
        (MultipathDevices(), [("multipath", True, "info")]),
        (MultipathDevices(luns=("/dev/mapper/a",)), [("multipath", True, "info"), ("multipathd", True, "info")]),
        (
            MultipathDevices(luns=("/dev/mapper/a",), error="refused"),
            [("multipath", True, "info"), ("multipathd", False, "error")],
        ),
        (
            MultipathDevices(others=(("/dev/mapper/o", "it is none"),), error=""),
            [("multipath", True, "info"), ("multipath-wwid", False, "info")],
        ),
        (
            MultipathDevices(luns=("/dev/mapper/a",), troubles=(("/dev/mapper/a", "1 of its 2 paths fail"),)),
            [("multipath", True, "info"), ("multipathd", True, "info"), ("multipath-paths", False, "warning")],
        ),
    ],
)
def test_luns_of_the_host(san: MultipathDevices, expected: list[tuple[str, bool, str]]) -> None:
    findings = preflight_checks.check_san(san)
    assert [(finding.check, finding.ok, finding.severity) for finding in findings] == expected
    assert all(bool(finding.remedy) is not finding.ok for finding in findings)


@pytest.mark.parametrize(("outcome", "san", "severity"), [("denied", True, "warning"), ("denied", False, "info")])
def test_rights_for_luns_matter_where_there_are_luns(outcome: Trial, san: bool, severity: str) -> None:
    (right,) = (right for right in RIGHTS if right.api == "/api/storage/luns")
    report = ArrayReport("c1", version=(9, 19, 1), rights=(TriedRight(right, outcome, "no"),), san=san)
    (finding,) = (
        finding for finding in preflight_checks.check_array(report) if finding.object.endswith("/api/storage/luns")
    )
    assert (finding.ok, finding.severity) == (False, severity)


def test_the_right_for_consistency_groups_is_a_note_whatever_the_site_has() -> None:
    (right,) = (right for right in RIGHTS if right.api == "/api/application/consistency-groups")
    report = ArrayReport("c1", version=(9, 19, 1), rights=(TriedRight(right, "denied", "no"),), san=True)
    (finding,) = (finding for finding in preflight_checks.check_array(report) if finding.object.endswith(right.api))
    assert (finding.ok, finding.severity) == (False, "info")


@pytest.mark.parametrize(("seconds", "ok"), [(0, False), (599, False), (600, True), (3600, True)])
def test_agent_timeout(seconds: int, ok: bool) -> None:
    finding = preflight_checks.check_agent_timeout(seconds)
    assert (finding.ok, finding.severity) == (ok, "info" if ok else "error")
    assert ("600 or higher" in finding.remedy) is not ok


@pytest.mark.parametrize(("count", "ok"), [(-1, False), (0, True), (3, True), (10, True), (11, False)])
def test_retry_count(count: int, ok: bool) -> None:
    assert preflight_checks.check_retry_count(count).ok is ok


def test_a_controller_is_found_by_name_or_by_address() -> None:
    assert preflight_checks.check_controller_name(KNOWN, SERVICE).source == "/etc/hosts"
    missing = preflight_checks.check_controller_name(UNKNOWN, SERVICE)
    assert (missing.ok, missing.severity) == (False, "error")
    assert "/etc/hosts does not list it" in missing.message
    assert "'<address> svm1-nfs'" in missing.remedy
    given = preflight_checks.check_controller_name(ADDRESS, SERVICE)
    assert (given.ok, given.source, given.remedy) == (True, "address", "")
    assert "known as svm1-nfs" in given.message
    assert "no name known" in preflight_checks.check_controller_name(replace(ADDRESS, alias=None), SERVICE).message


def test_the_own_name_only_warns() -> None:
    assert preflight_checks.check_own_name(UNKNOWN, SERVICE).severity == "warning"


@pytest.mark.parametrize(
    ("server", "resolution", "ok", "severity"),
    [
        (SERVER, KNOWN, True, "info"),
        (SERVER, UNKNOWN, False, "error"),
        (replace(SERVER, ours=False), UNKNOWN, False, "warning"),
        (replace(SERVER, ours=None), UNKNOWN, False, "warning"),
        (replace(SERVER, address="198.51.100.99"), KNOWN, False, "warning"),
        (replace(SERVER, address=None), KNOWN, True, "info"),
        (replace(SERVER, name="198.51.100.21"), ADDRESS, True, "info"),
        (
            replace(SERVER, address="fd00:0::21"),
            replace(KNOWN, addresses=("fd00::21",)),
            True,
            "info",
        ),
    ],
)
def test_the_server_of_a_mount(server: NfsServer, resolution: Resolution, ok: bool, severity: str) -> None:
    finding = preflight_checks.check_nfs_server(server, resolution, SERVICE)
    assert (finding.ok, finding.severity) == (ok, severity)
    if not ok and resolution is KNOWN:
        assert finding.message == "resolves to 198.51.100.21, yet /mnt/a uses 198.51.100.99"


def test_a_foreign_nfs_server_is_a_note() -> None:
    assert preflight_checks.check_nfs_lif(replace(SERVER, ours=None)) is None
    ours = preflight_checks.check_nfs_lif(SERVER)
    assert ours is not None
    assert ours.ok
    foreign = preflight_checks.check_nfs_lif(replace(SERVER, ours=False))
    assert foreign is not None
    assert (foreign.ok, foreign.severity) == (False, "info")
    assert "kvm_controllers" in foreign.remedy


@pytest.mark.parametrize(
    ("tool", "ok", "message"),
    [
        (Tool("sanlun", None), False, "is not installed; purpose"),
        (Tool("sanlun", "/usr/sbin/sanlun", "8.0.386"), True, "/usr/sbin/sanlun, version 8.0.386"),
        (Tool("sanlun", "/s", error="no answer"), True, "/s, version unknown (no answer)"),
        (Tool("sanlun", "/s"), True, "/s, version unknown (it names none)"),
    ],
)
def test_tools(tool: Tool, ok: bool, message: str) -> None:
    finding = preflight_checks.check_tool(tool, purpose="purpose", remedy="Install it.")
    assert (finding.ok, finding.severity, finding.message) == (ok, "info", message)
    warned = preflight_checks.check_tool(tool, purpose="purpose", remedy="Install it.", severity="warning")
    assert warned.severity == ("info" if ok else "warning")


@pytest.mark.parametrize(
    ("version", "floor", "required", "ok"),
    [
        ("9.19.1.0", "9.17", True, True),
        ("9.17.1", "9.17", True, True),
        ("9.9.1", "9.17", True, False),
        ("3.9.2+local", "3.9", True, True),
        ("9.0.0-4+deb12u2", "", True, True),
        (None, "9.17", True, False),
        (None, "", True, False),
        (None, "", False, True),
        ("unknown", "1.0", True, False),
    ],
)
def test_versions(version: str | None, floor: str, required: bool, ok: bool) -> None:
    finding = preflight_checks.check_software(Software("thing", version, floor, required, "Install it."))
    assert finding.ok is ok
    assert finding.remedy == ("" if ok else "Install it.")


def test_libvirt() -> None:
    assert preflight_checks.check_libvirt(Libvirt("qemu:///system")).ok
    silent = preflight_checks.check_libvirt(Libvirt("qemu:///system", error="no socket"))
    assert (silent.ok, silent.severity) == (False, "error")
    assert "no socket" in silent.message


@pytest.mark.parametrize(("exists", "readable", "ok"), [(True, True, True), (True, False, False), (False, True, False)])
def test_config_dir(exists: bool, readable: bool, ok: bool) -> None:
    finding = preflight_checks.check_config_dir(replace(PRIVATE, exists=exists, readable=readable))
    assert (finding.ok, finding.severity) == (ok, "info" if ok else "warning")


@pytest.mark.parametrize(
    ("directory", "failed"),
    [
        (PRIVATE, []),
        (replace(PRIVATE, exists=False, nearest="/var/lib"), []),
        (replace(PRIVATE, writable=False), ["catalog-dir"]),
        (replace(PRIVATE, free=2**20), ["catalog-space"]),
        (replace(PRIVATE, mode=0o770), ["directory-mode"]),
        (replace(PRIVATE, mode=0o702), ["directory-mode"]),
        (replace(PRIVATE, foreign_owner=1000), ["directory-mode"]),
        (replace(PRIVATE, exists=False, nearest="/tmp", mode=0o1777, writable=False), ["catalog-dir"]),
    ],
)
def test_catalog_dir(directory: Directory, failed: list[str]) -> None:
    findings = preflight_checks.check_catalog_dir(directory)
    assert [finding.check for finding in findings if not finding.ok] == failed
    if not directory.exists:
        assert f"it is made under {directory.nearest}" in findings[0].message


def test_hold_dir() -> None:
    missing = Directory("/run/kvmsnap/holds", False, "/run", 0o755, True, True, 10**9)
    assert [(finding.object, finding.ok) for finding in preflight_checks.check_hold_dir(missing)] == [
        ("/run/kvmsnap/holds", True),
        ("/run", True),
    ]
    assert [finding.ok for finding in preflight_checks.check_hold_dir(replace(missing, mode=0o1777))] == [True, False]
    assert [finding.ok for finding in preflight_checks.check_hold_dir(replace(missing, writable=False))] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("failure", "check"),
    [
        ("name", "controller-connection"),
        ("reach", "controller-connection"),
        ("tls", "controller-tls"),
        ("login", "controller-login"),
        ("version", "ontap-version"),
        ("other", "controller-connection"),
    ],
)
def test_a_controller_that_cannot_be_used(failure: preflight_checks.Failure, check: str) -> None:
    findings = preflight_checks.check_array(replace(ARRAY, failure=failure, message="Failed to log in"))
    assert [(finding.check, finding.severity, finding.message) for finding in findings if not finding.ok] == [
        (check, "error", "Failed to log in")
    ]
    assert findings[-1].remedy
    passed = {"login": ["controller-tls"], "version": ["controller-tls", "controller-login"]}.get(failure, [])
    assert [finding.check for finding in findings if finding.ok] == passed


def test_a_controller_that_is_fine() -> None:
    findings = preflight_checks.check_array(
        replace(ARRAY, rights=tuple(TriedRight(right, "granted") for right in RIGHTS))
    )
    assert all(finding.ok for finding in findings)
    assert [finding.check for finding in findings[:4]] == [
        "controller-tls",
        "controller-login",
        "ontap-version",
        "clock-skew",
    ]
    untried = findings[-1]
    assert untried.source == "not tried"
    assert "create, label and delete snapshots" in untried.message
    assert '-api "/api/storage/volumes/*/snapshots" -access all' in untried.remedy
    assert preflight_checks.as_table([untried])[1:] == []


@pytest.mark.parametrize(("skew", "ok"), [(60.0, True), (-60.0, True), (61.0, False), (-3600.0, False)])
def test_clock_skew(skew: float, ok: bool) -> None:
    [finding] = [each for each in preflight_checks.check_array(replace(ARRAY, skew=skew)) if each.check == "clock-skew"]
    assert (finding.ok, finding.severity) == (ok, "info" if ok else "warning")
    assert ("behind" in finding.message) is (skew < 0)


@pytest.mark.parametrize(("version", "ok"), [((9, 11, 0), False), ((9, 11, 1), True), ((9, 19, 1), True)])
def test_ontap_version(version: tuple[int, int, int], ok: bool) -> None:
    [finding] = [f for f in preflight_checks.check_array(replace(ARRAY, version=version)) if f.check == "ontap-version"]
    assert finding.ok is ok


def test_what_was_not_learnt_is_not_told() -> None:
    checks = [
        finding.check for finding in preflight_checks.check_array(replace(ARRAY, version=None, skew=None, username=""))
    ]
    assert checks == ["controller-tls", "controller-login"]


def test_an_unverified_certificate_is_a_warning() -> None:
    finding = preflight_checks.check_array(replace(ARRAY, validate_certs=False))[0]
    assert (finding.check, finding.ok, finding.severity) == ("controller-tls", False, "warning")


@pytest.mark.parametrize("right", [right for right in RIGHTS if right.reads], ids=lambda right: right.api)
def test_a_missing_right_comes_with_its_command(right: preflight_checks.Right) -> None:
    report = replace(ARRAY, rights=(TriedRight(right, "denied", "not authorized"),))
    [finding] = [
        each for each in preflight_checks.check_array(report) if each.check == "controller-right" and not each.ok
    ]
    assert finding.object == f"cluster1 {right.api}"
    assert finding.severity == ("error" if right.required else "info")
    assert (
        f'security login rest-role create -vserver cluster1 -role kvmsnap -api "{right.api}" -access {right.access}'
        in finding.remedy
    )


def test_a_right_that_could_not_be_tried() -> None:
    report = replace(
        ARRAY, rights=(TriedRight(RIGHTS[5], "skipped", "no volume"), TriedRight(RIGHTS[2], "failed", "x"))
    )
    rights = [finding for finding in preflight_checks.check_array(report) if finding.check == "controller-right"]
    assert [(finding.ok, finding.severity, finding.source) for finding in rights[:2]] == [
        (True, "info", "not tried"),
        (False, "warning", "tried"),
    ]


def test_what_only_some_sites_need_is_a_note() -> None:
    optional = next(right for right in RIGHTS if not right.required and not right.changes)
    for outcome in ("denied", "failed"):
        report = replace(ARRAY, rights=(TriedRight(optional, outcome, "x"),))
        assert [(finding.ok, finding.severity) for finding in preflight_checks.check_array(report)][-1] == (
            False,
            "info",
        )


def test_an_unknown_vserver_is_left_to_the_reader() -> None:
    assert "-vserver <vserver> " in preflight_checks.role_command(RIGHTS[0], "")


FINDINGS = [
    Finding("libvirt", "fine", True, "info", "well", source="tried"),
    Finding("host-tool", "note", False, "info", "hm", remedy="Read."),
    Finding("catalog-dir", "bad", False, "error", "no", remedy="Act."),
    Finding("clock-skew", "odd", False, "warning", "so so"),
]


def test_the_worst_comes_first() -> None:
    ordered = preflight_checks.in_order(FINDINGS)
    assert [finding.check for finding in ordered] == ["catalog-dir", "clock-skew", "host-tool", "libvirt"]
    assert not preflight_checks.all_ok(FINDINGS)
    assert preflight_checks.all_ok(finding for finding in FINDINGS if finding.check != "catalog-dir")


def test_the_table_is_made_for_reading() -> None:
    assert preflight_checks.as_table(FINDINGS) == [
        "FAILED   catalog-dir  bad   no",
        "         -> Act.",
        "WARNING  clock-skew   odd   so so",
        "NOTE     host-tool    note  hm",
        "         -> Read.",
        "ok       libvirt      fine  well [tried]",
    ]
    assert preflight_checks.as_table([]) == []


def test_the_documentation_names_every_check() -> None:
    told = yaml.safe_load(kvm_preflight_info.RETURN)["findings"]["contains"]["check"]["description"][1]
    assert told.replace(" and ", ", ") == "One of " + ", ".join(f"V({check})" for check in get_args(Check)) + "."


def test_a_finding_is_plain_data() -> None:
    assert FINDINGS[1].as_dict() == {
        "check": "host-tool",
        "object": "note",
        "ok": False,
        "severity": "info",
        "message": "hm",
        "source": "",
        "remedy": "Read.",
    }
