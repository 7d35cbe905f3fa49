# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which device is which LUN and how it is reached, by tables over sysfs trees and answers of multipathd."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import pytest
from sysfs import NAA, SERIAL, WWID, Sysfs

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import block_device
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import (
    Daemon,
    LunPlace,
    PathState,
    ask_multipathd,
    holder_notes,
    lun_place,
    own_initiators,
    path_findings,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.programs import ProgramError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem

OTHER_NAA = "naa.600a0980774f6a374e24515074354f4f"
MAP = LunPlace("dm-0", "/dev/mapper/mpatha", "mpatha", WWID, SERIAL, 4096, ("sdb", "sdc"), (SERIAL,))


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


@pytest.mark.parametrize("alias", [WWID, "mpatha", "web1 data"])
def test_a_map_with_two_paths(sysfs: Sysfs, alias: str) -> None:
    found = sysfs.path("sdb").path("sdc").map(WWID, alias=alias).place("dm-0")
    assert found == LunPlace("dm-0", f"/dev/mapper/{alias}", alias, WWID, SERIAL, 4096, ("sdb", "sdc"), (SERIAL,))


@pytest.mark.parametrize(
    ("wwid", "paths", "code"),
    [
        (WWID, {"wwid": OTHER_NAA}, "paths-disagree"),
        ("360a98000486e2f65576f2f7a5a4f6a31", {"wwid": "naa.60a98000486e2f65576f2f7a5a4f6a31"}, "seven-mode-lun"),
        ("3600a098000a0b1c2000004d35cb3a7f2", {"wwid": ""}, "e-series-device"),
        ("360080e50001b0bf60000a5b14ff8a1b2", {"wwid": "", "vendor": "LSI"}, "e-series-device"),
        ("36001405deadbeef", {"vendor": "LIO-ORG", "wwid": "naa.6001405deadbeef"}, "not-a-netapp-device"),
        ("eui.00a0980000000001", {"vendor": "", "wwid": ""}, "not-a-netapp-device"),
    ],
)
def test_maps_that_are_refused(sysfs: Sysfs, wwid: str, paths: dict[str, str], code: str) -> None:
    found = sysfs.path("sdb", **paths).path("sdc", **paths).map(wwid).place("dm-0")
    assert isinstance(found, Problem)
    assert found.code == code
    assert "/dev/dm-0" in found.message


def test_a_map_whose_uuid_is_no_wwid_is_told_by_its_paths(sysfs: Sysfs) -> None:
    found = sysfs.path("sdb").path("sdc").map("odd").place("dm-0")
    assert (found.wwid, found.serial, found.unresolved) == ("odd", SERIAL, None)


@pytest.mark.parametrize("second", ["", OTHER_NAA])
def test_a_map_that_nothing_tells_waits_for_sanlun(sysfs: Sysfs, second: str) -> None:
    first = NAA if second else ""
    found = sysfs.path("sdb", first).path("sdc", second).map("odd").place("dm-0")
    assert (found.serial, found.unit_serials) == (None, (SERIAL,))
    assert found.unresolved.code == "unresolvable-wwid"


def test_single_paths(sysfs: Sysfs) -> None:
    sysfs.path("sdb").path("sdc", "naa.6001405deadbeef", "LIO-ORG").path("sdd").map(WWID, over=["sdd"])
    codes = {name: sysfs.place(name) for name in ("sdb", "sdc", "sdd")}
    assert {name: found.code for name, found in codes.items()} == {
        "sdb": "single-path-device",
        "sdc": "not-a-netapp-device",
        "sdd": "single-path-device",
    }
    assert "/dev/mapper/mpatha" in codes["sdd"].message
    allowed = sysfs.place("sdb", multipath_required=False)
    assert (allowed.device, allowed.name, allowed.wwid, allowed.serial) == ("/dev/sdb", "", WWID, SERIAL)
    link = sysfs.root / f"wwn-0x{NAA[4:]}"
    link.touch()
    assert sysfs.place("sdb", multipath_required=False).device == str(link)
    assert sysfs.place("sdd", multipath_required=False).code == "single-path-device"


# Paths


def states(**lines: str) -> Daemon:
    return Daemon(paths={name: PathState.from_line(f"{name}|{line}") for name, line in lines.items()})


READY, GHOST = "active|running|ready", "active|running|ghost"


@pytest.mark.parametrize(
    ("daemon", "refusal", "notes", "said"),
    [
        (states(sdb=READY, sdc=READY), None, [], ""),
        (states(sdb=READY, sdc=GHOST), None, [], ""),
        (states(sdb=READY, sdc="active|running|undef"), None, [], ""),
        (states(sdb=READY, sdc="failed|running|faulty"), None, ["path-failed"], "sdc (failed faulty running)"),
        (states(sdb=READY, sdc="active|transport-offline|faulty"), None, ["path-failed"], "1 of its 2"),
        (states(sdb=READY), None, ["path-failed"], "sdc (not watched)"),
        (states(sdb="failed|offline|faulty", sdc="failed|running|i/o timeout"), "no-working-path", [], "sdb (failed"),
        (states(), "no-working-path", [], "not watched"),
        (Daemon(error="Failed to run multipathd: refused"), "multipathd-not-running", [], "refused"),
    ],
)
def test_what_the_paths_allow(daemon: Daemon, refusal: Optional[str], notes: list[str], said: str) -> None:
    refused, noted = path_findings(MAP, daemon)
    assert (refused.code if refused else None, [note.code for note in noted]) == (refusal, notes)
    assert said in " ".join(each.message for each in (*([refused] if refused else []), *noted))


def test_a_map_that_queues_says_so() -> None:
    refused, _notes = path_findings(MAP, Daemon(queueing=frozenset({"dm-0"})))
    assert refused is not None
    assert "queue_if_no_path" in refused.message


def test_a_map_with_one_path_is_remarked_on() -> None:
    place = LunPlace("dm-0", "/dev/mapper/a", "a", WWID, SERIAL, 1, ("sdb",))
    refused, notes = path_findings(place, states(sdb=READY))
    assert (refused, [note.code for note in notes]) == (None, ["path-failed"])


@pytest.mark.parametrize(("state", "refusal"), [("running", None), ("offline", "no-working-path")])
def test_a_single_path_is_asked_of_the_kernel(sysfs: Sysfs, state: str, refusal: Optional[str]) -> None:
    place = sysfs.path("sdb", state=state).place("sdb", multipath_required=False)
    refused, notes = path_findings(place, Daemon(error="not asked"), sysfs=sysfs.root)
    assert (refused.code if refused else None, notes) == (refusal, [])


def test_what_the_host_has_activated_is_noted(sysfs: Sysfs) -> None:
    place = sysfs.path("sdb").path("sdc").map(WWID).place("dm-0")
    assert holder_notes(place, sysfs=sysfs.root) == []
    sysfs.holder("dm-1", f"part1-mpath-{WWID}").holder("dm-2", "LVM-abc")
    (note,) = holder_notes(place, sysfs=sysfs.root)
    assert note.code == "lun-activated-on-host"
    assert "/dev/mapper/n-dm-1 (partition), /dev/mapper/n-dm-2 (logical volume)" in note.message


def test_a_map_that_has_a_node_of_its_own_is_known_by_the_kernel_s_name(sysfs: Sysfs) -> None:
    sysfs.path("sdb").path("sdc").map(WWID).holder("dm-1", f"part1-mpath-{WWID}")
    device = block_device("dm-0", sysfs=sysfs.root)
    place = lun_place("/dev/mapper/mpatha", device, multipath_required=True, sysfs=sysfs.root)
    assert isinstance(place, LunPlace)
    assert [note.code for note in holder_notes(place, sysfs=sysfs.root)] == ["lun-activated-on-host"]
    refused, _notes = path_findings(place, Daemon(queueing=frozenset({"dm-0"})))
    assert refused is not None
    assert "queue_if_no_path" in refused.message


def test_multipathd_is_asked_twice() -> None:
    asked: list[list[str]] = []

    def run(command: list[str], *, seconds: float) -> str:
        assert seconds > 0
        asked.append(command[1:])
        if command[2] == "paths":
            return "sdb|active|running|ready\nsdc|failed|offline|faulty\nodd line\n"
        return "dm-0|on\ndm-1|off\ndm-2|-\ndm-3|5 chk\n"

    found = ask_multipathd(find=lambda *_args: "/usr/sbin/multipathd", run=run)
    assert {name: state.works for name, state in found.paths.items()} == {"sdb": True, "sdc": False}
    assert (set(found.queueing), found.error) == ({"dm-0", "dm-3"}, "")
    assert asked == [
        ["show", "paths", "raw", "format", "%d|%t|%o|%T"],
        ["show", "maps", "raw", "format", "%d|%Q"],
    ]


def test_multipathd_that_does_not_answer() -> None:
    def fails(*_args: Any, **_how: Any) -> str:
        raise ProgramError("Failed to run multipathd: refused")

    assert ask_multipathd(find=lambda *_args: "/m", run=fails).error == "Failed to run multipathd: refused"
    assert ask_multipathd(find=lambda *_args: None, run=fails).error == "multipathd is not installed"


def test_the_initiators_of_this_host(sysfs: Sysfs, tmp_path: Path) -> None:
    file = tmp_path / "initiatorname.iscsi"
    assert own_initiators(sysfs=tmp_path, initiator_file=file) == ()
    file.write_text("# comment\nInitiatorName=iqn.2026-01.org.example:hv1\n", encoding="ascii")
    for where, name in (
        ("iscsi_session/session1/initiatorname", "iqn.2026-01.org.example:hv1"),
        ("iscsi_session/session2/initiatorname", "(null)"),
        ("iscsi_host/host3/initiatorname", "iqn.of.an.offload.card"),
        ("fc_host/host7/port_name", "0x500a098000000001"),
    ):
        (tmp_path / "class" / where).parent.mkdir(parents=True)
        (tmp_path / "class" / where).write_text(f"{name}\n", encoding="ascii")
    assert own_initiators(sysfs=tmp_path, initiator_file=file) == (
        "iqn.2026-01.org.example:hv1",
        "iqn.of.an.offload.card",
        "0x500a098000000001",
    )
