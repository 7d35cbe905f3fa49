# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preflight looks at a real host (this one) and at an array that is simulated over real HTTPS."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import names
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import parse_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import Daemon, PathState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.names import HostsFile, NameService, ResolverAnswer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Controller
from ansible_collections.kvmsnap.ontap.plugins.module_utils._preflight import checks, probe
from ansible_collections.kvmsnap.ontap.plugins.module_utils._preflight.probe import PreflightRequest, library_version
from ontapsim import testing

REAL_READ_SAN = probe.read_san
MOUNTINFO = """\
22 1 0:20 / / rw - ext4 /dev/vda rw
30 22 0:40 / /mnt/a rw - nfs4 svm1-nfs:/kvm_vol1 rw,vers=4.1,addr=198.51.100.21
31 22 0:41 / /mnt/b rw - nfs svm1-nfs:/kvm_vol2 rw,vers=3,addr=198.51.100.21
32 22 0:42 / /mnt/c rw - nfs [fd00::22]:/x rw,vers=3,addr=fd00::22
33 22 0:43 / /mnt/d rw - cifs //other/share rw,addr=198.51.100.99
34 22 0:44 / /mnt/e rw - nfs4 office:/home rw,vers=4.2,addr=192.0.2.9
"""
HOSTS = "127.0.0.1 localhost\n198.51.100.21 svm1-nfs\n192.0.2.9 office\n127.0.1.1 hv1\n"


def test_a_volume_s_directory_that_somebody_else_put_there_is_told(tmp_path: Path) -> None:
    for name in ("none", "ours", "open", "linked"):
        (tmp_path / name).mkdir()
    (tmp_path / "ours" / ".kvmsnap").mkdir(mode=0o700)
    (tmp_path / "open" / ".kvmsnap").mkdir()
    (tmp_path / "open" / ".kvmsnap").chmod(0o777)
    (tmp_path / "linked" / ".kvmsnap").symlink_to(tmp_path)
    found = probe.volume_findings(str(tmp_path / name) for name in ("none", "ours", "open", "linked"))
    assert [(Path(each.object).parent.name, each.ok, each.message) for each in found] == [
        ("ours", True, "is ours"),
        ("open", False, "others may write into it (mode 0777)"),
        ("linked", False, "it is a symbolic link"),
    ]
    assert {each.severity for each in found if not each.ok} == {"error"}


@pytest.fixture(name="array", scope="module")
def _array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.Running]:
    config = copy.deepcopy(testing.sample())
    config["roles"].append(
        {
            "name": "blind",
            "privileges": [{"path": "/api/cluster", "access": "readonly"}],
        }
    )
    config["roles"].append({"name": "closed", "privileges": [{"path": "/api/svm/svms", "access": "readonly"}]})
    for role in ("blind", "closed"):
        config["users"].append({"name": role, "password": f"lab-{role.title()}1", "role": role})
    with testing.start(config, tmp_path_factory.mktemp("array")) as running:
        yield running


@pytest.fixture(name="host", autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this host known mounts and names; the resolver is asked no further than the machine itself."""
    service = NameService(HostsFile.from_text(HOSTS), ("files", "dns"), "hv1")
    known = {name: ResolverAnswer(addresses=addresses) for name, addresses in service.hosts.by_name.items()}

    def lookup(name: str) -> ResolverAnswer:
        return known.get(name, ResolverAnswer(error="Name or service not known"))

    monkeypatch.setattr(names, "read_name_service", lambda: service)
    resolve = names.resolve
    monkeypatch.setattr(names, "resolve", lambda wanted, **how: resolve(wanted, lookup=lookup, **how))
    monkeypatch.setattr(probe, "read_mounts", lambda: parse_mounts(MOUNTINFO))
    monkeypatch.setattr(probe, "read_san", checks.MultipathDevices)


def _options(array: testing.Running, directory: Path, user: str = "kvmsnap", **more: Any) -> dict[str, Any]:
    password = {"kvmsnap": "lab-Kvmsnap1", "admin": "lab-Admin1", "blind": "lab-Blind1", "closed": "lab-Closed1"}[user]
    controller = {"hostname": "127.0.0.1", "port": array.port, "username": user, "password": password, "timeout": 5}
    return {
        "controllers": [{**controller, "ca_path": array.ca_pem, **more}],
        "uri": "test:///default",
        "config_dir": str(directory),
        "catalog_dir": str(directory / "catalog"),
        "hold_dir": str(directory / "holds"),
        "sc_agent_timeout": 600,
        "retry_count": 0,
    }


def _examined(options: dict[str, Any]) -> dict[str, Any]:
    """Examine this host as the module would."""
    return probe.examine(PreflightRequest.from_options(options), ansible_version="2.19.0")


def _failed(result: dict[str, Any], *severities: str) -> list[tuple[str, str]]:
    return [
        (finding["check"], finding["object"])
        for finding in result["findings"]
        if not finding["ok"] and finding["severity"] in severities
    ]


def test_a_host_that_is_ready(array: testing.Running, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    result = _examined(_options(array, tmp_path))
    assert result["ok"], result["summary"]
    assert result["changed"] is False
    assert set(_failed(result, "error", "warning")) <= {("host-tool", "qemu-img")}
    by_check = {(finding["check"], finding["object"]): finding for finding in result["findings"]}
    assert by_check["nfs-server-name", "svm1-nfs"]["source"] == "/etc/hosts"
    assert by_check["nfs-server-lif", "198.51.100.21"]["ok"]
    assert not by_check["nfs-server-lif", "192.0.2.9"]["ok"]
    assert by_check["host-name", "hv1"]["message"] == "127.0.1.1"
    assert by_check["ontap-version", f"127.0.0.1:{array.port}"]["message"].startswith("9.19.1 ")
    assert by_check["version", "libvirt"]["ok"]
    assert by_check["version", "hypervisor"]["message"].startswith("TEST ")


def test_nothing_is_changed_or_created(array: testing.Running, tmp_path: Path) -> None:
    before = array.control.journal()
    array.control.clear_requests()
    _examined(_options(array, tmp_path))
    assert array.control.journal() == before
    assert {request["method"] for request in array.control.requests()} == {"GET"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("user", "more", "check"),
    [
        ("kvmsnap", {"password": "wrong"}, "controller-login"),
        ("kvmsnap", {"ca_path": None}, "controller-tls"),
        ("kvmsnap", {"ca_path": "/no/such/ca.pem"}, "controller-tls"),
        ("kvmsnap", {"hostname": "nowhere"}, "controller-connection"),
        ("kvmsnap", {"port": 1}, "controller-connection"),
    ],
)
def test_a_controller_that_cannot_be_used(
    user: str, more: dict[str, Any], check: str, array: testing.Running, tmp_path: Path
) -> None:
    result = _examined(_options(array, tmp_path, user, **more))
    assert not result["ok"]
    failed = dict(_failed(result, "error"))
    assert check in failed
    assert ("controller-name" in failed) is ("hostname" in more)


def test_an_array_that_is_too_old(array: testing.Running, tmp_path: Path) -> None:
    array.control.set_version("9.10.1")
    try:
        result = _examined(_options(array, tmp_path))
    finally:
        array.control.set_version("9.19.1")
    assert [check for check, _thing in _failed(result, "error")] == ["ontap-version"]


def test_missing_rights_come_with_commands(array: testing.Running, tmp_path: Path) -> None:
    result = _examined(_options(array, tmp_path, "blind"))
    name = f"127.0.0.1:{array.port}"
    assert _failed(result, "error") == [
        ("controller-right", f"{name} /api/svm/svms"),
        ("controller-right", f"{name} /api/network/ip/interfaces"),
        ("controller-right", f"{name} /api/storage/volumes"),
    ]
    remedies = [finding["remedy"] for finding in result["findings"] if not finding["ok"]]
    assert 'rest-role create -vserver cluster1 -role kvmsnap -api "/api/svm/svms" -access readonly' in remedies[0]
    untried = [finding for finding in result["findings"] if finding["source"] == "not tried"]
    assert f"{name} /api/storage/volumes/*/snapshots" in [finding["object"] for finding in untried]
    assert not [finding for finding in result["findings"] if finding["check"] == "nfs-server-lif"]


def test_an_account_that_may_not_even_look_at_the_cluster(array: testing.Running, tmp_path: Path) -> None:
    result = _examined(_options(array, tmp_path, "closed"))
    assert _failed(result, "error") == [("controller-right", f"127.0.0.1:{array.port} /api/cluster")]


def test_a_server_of_ours_that_does_not_resolve_is_an_error(
    array: testing.Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = MOUNTINFO.replace("svm1-nfs:", "svm1-gone:").replace("office:", "office-gone:")
    monkeypatch.setattr(probe, "read_mounts", lambda: parse_mounts(lost))
    result = _examined(_options(array, tmp_path))
    assert _failed(result, "error") == [("nfs-server-name", "svm1-gone")]
    assert _failed(result, "warning") == [("nfs-server-name", "office-gone")]


def test_options_that_break_the_rules(array: testing.Running, tmp_path: Path) -> None:
    options = {**_options(array, tmp_path), "sc_agent_timeout": 300, "retry_count": 99, "uri": "nothing:///here"}
    result = probe.examine(PreflightRequest.from_options(options), ansible_version="2.15.9")
    assert {check for check, _thing in _failed(result, "error")} == {
        "sc-agent-timeout",
        "retry-count",
        "libvirt",
        "version",
    }
    assert [line for line in result["summary"] if line.startswith("FAILED")] == result["summary"][0:8:2]


def test_a_controller_whose_options_are_wrong(array: testing.Running, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without https://"):
        _examined(_options(array, tmp_path, hostname="https://cluster1"))


def test_the_vserver_of_an_svm_account_is_the_svm(array: testing.Running) -> None:
    option = {"hostname": "127.0.0.1", "port": array.port, "username": "admin", "password": "lab-Admin1"}
    controller = Controller.from_option({**option, "ca_path": array.ca_pem})
    resolution = names.Resolution("127.0.0.1", ("198.51.100.11",), "address")
    report, lifs = probe.examine_array(controller, resolution, mounted=["198.51.100.21", "192.0.2.9"], retry_count=0)
    assert report.vserver == "svm1"
    assert lifs == {"198.51.100.21"}
    assert report.skew is not None
    assert abs(report.skew) < checks.CLOCK_SKEW_LIMIT


def test_servers_are_told_once() -> None:
    assert probe.servers_of(parse_mounts(MOUNTINFO)) == [
        checks.NfsServer("svm1-nfs", "198.51.100.21", ("/mnt/a", "/mnt/b")),
        checks.NfsServer("fd00::22", "fd00::22", ("/mnt/c",)),
        checks.NfsServer("office", "192.0.2.9", ("/mnt/e",)),
    ]


def _program(directory: Path, script: str) -> None:
    path = directory / "sanlun"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "version", "error"),
    [
        ("echo sanlun version 8.0.386.1644", "8.0.386.1644", None),
        ("echo sanlun version 7.1 >&2; exit 1", "7.1", None),
        ("echo hello", None, None),
        ("exec sleep 60", None, "no answer within 0.3 s"),
    ],
)
def test_a_tool_is_asked_for_its_version(
    script: str, version: str | None, error: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path, script)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(probe, "TOOL_TIMEOUT", 0.3)
    tool = probe.read_tool("sanlun", ["version"], pattern=r"version\s+(\S+)")
    assert tool == checks.Tool("sanlun", str(tmp_path / "sanlun"), version, error)


def test_a_tool_that_is_broken_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert probe.read_tool("no-such-tool", [], pattern="(x)").path is None
    (tmp_path / "sanlun").write_text("#!/no/such/interpreter\n", encoding="utf-8")
    (tmp_path / "sanlun").chmod(0o755)
    assert probe.read_tool("sanlun", [], pattern="(x)").error == "No such file or directory"


def test_directories_are_looked_at(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    there = probe.read_directory(str(tmp_path))
    assert (there.exists, there.nearest, there.mode, there.foreign_owner) == (True, str(tmp_path), 0o750, None)
    assert there.free > 0
    missing = probe.read_directory(str(tmp_path / "a" / "b"))
    assert (missing.exists, missing.nearest) == (False, str(tmp_path))


def test_a_library_that_is_absent() -> None:
    assert library_version("no-such-distribution") is None
    assert library_version("pytest")


WWID = "3600a0980383143393124515873683561"


def _map(sysfs: Path, name: str, wwid: str, alias: str) -> None:
    node = sysfs / "block" / name
    (node / "dm").mkdir(parents=True)
    (node / "dm" / "uuid").write_text(f"mpath-{wwid}\n", encoding="ascii")
    (node / "dm" / "name").write_text(f"{alias}\n", encoding="ascii")
    lower = sysfs / "block" / f"path-of-{name}"
    lower.mkdir()
    (node / "slaves").mkdir()
    (node / "slaves" / lower.name).symlink_to(lower)


def test_the_multipath_devices_of_a_host(tmp_path: Path) -> None:
    _map(tmp_path, "dm-0", WWID, "web1")
    _map(tmp_path, "dm-1", "36001405deadbeef", "other")
    (tmp_path / "block" / "sda").mkdir()
    works = Daemon(paths={"path-of-dm-0": PathState("path-of-dm-0", "active", "running", "ready")})
    found = REAL_READ_SAN(sysfs=tmp_path, ask=lambda: works)
    assert (found.luns, [name for name, _reason in found.others]) == (("/dev/mapper/web1",), ["/dev/mapper/other"])
    assert found.troubles == (("/dev/mapper/web1", "its multipath device has only one path, path-of-dm-0"),)
    assert REAL_READ_SAN(sysfs=tmp_path, ask=lambda: Daemon(error="no")) == replace(found, troubles=(), error="no")


def test_multipathd_is_not_asked_on_a_host_without_luns(tmp_path: Path) -> None:
    def never() -> Daemon:
        raise AssertionError("multipathd was asked")

    assert REAL_READ_SAN(sysfs=tmp_path, ask=never) == checks.MultipathDevices()
