# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A LUN's map around a restore: what blocks it, what is only worth a note, and that nothing waits for ever."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import lun_device
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_device import DeviceError, MapPath, MapState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import Daemon

WWID, NAA = "3600a0980383143393124515873683561", "naa.600a0980383143393124515873683561"
SHORT, OTHER = WWID[1:], "naa.600a0980" + "41" * 12
DEVICE = f"/dev/mapper/{WWID}"
TABLE = "0 131072 multipath 3 queue_if_no_path pg_init_retries 50 1 alua 1 1 service-time 0 2 2 8:16 1 1 8:32 1 1\n"
FAILING = "0 131072 multipath 2 pg_init_retries 50 1 alua 1 1 service-time 0 2 2 8:16 1 1 8:32 1 1\n"
STATUS = "0 131072 multipath 2 0 0 0 1 1 A 0 2 2 8:16 A 0 0 1 8:32 F 1 0 1 \n"


def state(**changes: Any) -> MapState:
    paths = (MapPath("sda", True), MapPath("sdb", True))
    return replace(MapState(DEVICE, WWID, 1 << 26, True, paths), **changes)


DOWN = (MapPath("sda", False), MapPath("sdb", False))
HALF = (MapPath("sda", True), MapPath("sdb", False))


@pytest.mark.parametrize(
    ("table", "queueing"),
    [
        (TABLE, True),
        (FAILING, False),
        ("0 131072 multipath 0 0 1 1 service-time 0 1 2 8:16 1 1", False),
        ("0 131072 linear 253:0 2048", False),
        ("0 1 multipath 1 queue_if_no_path 0 1 1", True),
        ("", False),
    ],
)
def test_a_table_tells_whether_io_waits(table: str, queueing: bool) -> None:
    assert lun_device.is_queueing(table) is queueing


@pytest.mark.parametrize(
    ("status", "paths"),
    [
        (STATUS, [("8:16", True), ("8:32", False)]),
        ("0 131072 multipath 2 0 0 0 2 1 A 0 1 0 8:16 A 0 E 0 1 0 65:32 A 0", [("8:16", True), ("65:32", True)]),
        ("0 131072 multipath 2 0 0 0 0 0", []),
        ("", []),
    ],
)
def test_a_status_tells_the_paths(status: str, paths: list[tuple[str, bool]]) -> None:
    assert lun_device.paths_of(status) == paths


@pytest.mark.parametrize(
    ("now", "codes", "says"),
    [
        (state(), [], ""),
        (state(opened=2), [], ""),
        (state(paths=HALF), [], ""),
        (state(wwid="3600a0980" + "41" * 12), ["lun-identity"], WWID),
        (state(wwid=SHORT, wwid_of_paths=WWID), [], ""),
        (state(wwid=SHORT, wwid_of_paths="3600a0980" + "41" * 12), ["lun-identity"], WWID),
        (state(wwid=SHORT), ["lun-identity"], WWID),
        (state(paths=DOWN), ["no-working-path"], "none of the 2 paths"),
        (state(paths=DOWN), ["no-working-path"], "queues I/O for ever"),
        (state(paths=()), ["no-working-path"], "none of the 0 paths"),
        (state(holders=("logical volume vg-root",)), ["lun-activated-on-host"], "logical volume vg-root"),
    ],
)
def test_what_blocks_a_restore(now: MapState, codes: list[str], says: str) -> None:
    found = lun_device.hindrances(now, wwid=WWID)
    assert [each.code for each in found] == codes
    assert says in "".join(each.message for each in found)


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A map dm-0 (253:0) over sda and sdb, with a partition of it and a logical volume on that; sdc on its own."""
    numbers = {"/dev/dm-0": "253:0", "/dev/sdc": "8:48", "/dev/vda": "254:0"}
    for name, number in {"dm-0": "253:0", "dm-1": "253:1", "dm-2": "253:2", "sda": "8:16", "sdb": "8:32"}.items():
        block(tmp_path, name, number)
    for name, number in {"sdc": "8:48", "vda": "254:0"}.items():
        block(tmp_path, name, number)
    tell(tmp_path, "dm-0", {"size": "131072", "dm/uuid": f"mpath-{WWID}", "dm/name": "mpatha"})
    tell(tmp_path, "dm-1", {"dm/uuid": f"part1-mpath-{WWID}", "dm/name": "mpatha-part1"})
    tell(tmp_path, "dm-2", {"dm/uuid": "LVM-xyz", "dm/name": "vg-root"})
    tell(tmp_path, "sdc", {"size": "8", "device/wwid": NAA})
    tell(tmp_path, "sdc", {"device/state": "running"})

    monkeypatch.setattr(lun_device, "_number", lambda device: numbers[device])
    return tmp_path


def block(root: Path, name: str, number: str) -> None:
    (root / "block" / name / "holders").mkdir(parents=True)
    (root / "dev" / "block").mkdir(parents=True, exist_ok=True)
    (root / "dev" / "block" / number).symlink_to(root / "block" / name)


def tell(root: Path, name: str, files: dict[str, str]) -> None:
    for file, text in files.items():
        path = root / "block" / name / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n", encoding="ascii")


def hold(root: Path, below: str, above: str) -> None:
    (root / "block" / below / "holders" / above).symlink_to(root / "block" / above)


def scripted(answers: dict[tuple[str, ...], bytes]) -> Callable[[Sequence[str]], bytes]:
    """Answer programs by their first words; anything else is an error of the test."""

    def run(arguments: Sequence[str]) -> bytes:
        for words, answer in answers.items():
            if tuple(arguments[: len(words)]) == words:
                return answer
        raise AssertionError(arguments)

    return run


DMSETUP: dict[tuple[str, ...], bytes] = {
    ("dmsetup", "table"): TABLE.encode(),
    ("dmsetup", "status"): STATUS.encode(),
    ("dmsetup", "info"): b"1\n",
}


def test_a_map_is_what_the_kernel_says(sysfs: Path) -> None:
    hold(sysfs, "dm-0", "dm-1")
    hold(sysfs, "dm-1", "dm-2")
    found = lun_device.map_state("/dev/dm-0", sysfs=sysfs, run=scripted(DMSETUP))
    assert (found.wwid, found.size, found.queueing, found.opened, found.up) == (WWID, 1 << 26, True, 1, 1)
    assert found.paths == (MapPath("sda", True), MapPath("sdb", False))
    assert found.holders == ("/dev/mapper/mpatha-part1 (partition)", "/dev/mapper/vg-root (logical volume)")


@pytest.mark.parametrize(
    ("own", "first", "second", "expected"),
    [
        (SHORT, NAA, NAA, WWID),
        (SHORT, NAA, OTHER, ""),
        (SHORT, NAA, "", ""),
        (SHORT, "", "", ""),
        (WWID, NAA, NAA, ""),
        (WWID, OTHER, OTHER, ""),
    ],
)
def test_the_paths_tell_the_lun_where_the_map_does_not(
    sysfs: Path, own: str, first: str, second: str, expected: str
) -> None:
    tell(sysfs, "dm-0", {"dm/uuid": f"mpath-{own}"})
    for name, wwid in (("sda", first), ("sdb", second)):
        tell(sysfs, name, {"device/wwid": wwid})
        (sysfs / "block/dm-0/slaves").mkdir(exist_ok=True)
        (sysfs / "block/dm-0/slaves" / name).symlink_to(sysfs / "block" / name)
    found = lun_device.map_state("/dev/dm-0", sysfs=sysfs, run=scripted(DMSETUP))
    assert (found.wwid, found.wwid_of_paths) == (own, expected)


def test_a_lun_without_a_map_has_all_disks_of_its_wwid_as_paths(sysfs: Path) -> None:
    block(sysfs, "sdd", "8:64")
    tell(sysfs, "sdd", {"device/wwid": NAA})
    tell(sysfs, "sdd", {"device/state": "offline"})
    hold(sysfs, "sdd", "dm-2")
    found = lun_device.map_state("/dev/sdc", sysfs=sysfs, run=scripted({}))
    assert (found.paths, found.holders) == (
        (MapPath("sdc", True), MapPath("sdd", False)),
        ("/dev/mapper/vg-root (logical volume)",),
    )


def test_a_lun_without_a_map_must_be_free_on_each_path() -> None:
    asked: list[str] = []

    def claim(device: str) -> None:
        asked.append(device)
        if device == "/dev/sdb":
            raise OSError(errno.EBUSY, "Device or resource busy")

    assert lun_device.claim_hindrance(state(is_map=False, paths=HALF), claim=claim) is None
    assert asked == ["/dev/sda"]
    found = lun_device.claim_hindrance(state(is_map=False), claim=claim)
    assert found is not None
    assert (found.code, "busy" in found.message, "lsblk /dev/sdb" in found.remedy) == ("lun-in-use", True, True)


def test_a_lun_without_a_map_is_asked_whether_it_is_free_when_its_guest_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    now = state(is_map=False, paths=(MapPath("no-such-disk", True),))
    monkeypatch.setattr(lun_device, "map_state", lambda _device, **_how: now)
    assert lun_device.obstacles(DEVICE, wwid=WWID, off=False) == []
    (found,) = lun_device.obstacles(DEVICE, wwid=WWID, off=True)
    assert (found.code, "No such file" in found.message) == ("lun-in-use", True)


def test_a_single_path_is_told_by_its_disk(sysfs: Path) -> None:
    found = lun_device.map_state("/dev/sdc", sysfs=sysfs, run=scripted({}))
    assert (found.wwid, found.size, found.paths) == (WWID, 4096, (MapPath("sdc", True),))
    tell(sysfs, "sdc", {"device/state": "transport-offline"})
    assert lun_device.map_state("/dev/sdc", sysfs=sysfs, run=scripted({})).up == 0


def test_a_disk_that_is_no_lun_is_refused(sysfs: Path) -> None:
    with pytest.raises(DeviceError, match="/dev/vda: it is neither"):
        lun_device.map_state("/dev/vda", sysfs=sysfs, run=scripted({}))


def test_what_is_gone_or_no_device_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="/dev/mapper/gone: No such file"):
        lun_device.map_state("/dev/mapper/gone")
    with pytest.raises(DeviceError, match="no block device"):
        lun_device.map_state(str(tmp_path))


def test_a_daemon_that_answers_is_no_hindrance() -> None:
    assert lun_device.multipathd_hindrance(ask=Daemon) is None


def test_a_daemon_that_does_not_answer_is_one() -> None:
    found = lun_device.multipathd_hindrance(ask=lambda: Daemon(error="no answer within 10 s"))
    assert found is not None
    assert (found.code, "no answer within 10 s" in found.message) == ("multipathd-not-running", True)


def test_a_map_that_is_open_for_a_moment_only_is_free() -> None:
    seen = iter([state(opened=1), state(opened=0)])
    assert lun_device.free_hindrance(lambda: next(seen)) is None


def test_a_map_that_stays_open_is_not_free() -> None:
    found = lun_device.free_hindrance(lambda: state(opened=3), timeout=0.0)
    assert found is not None
    assert (found.code, "3 times" in found.message) == ("lun-in-use", True)


def test_the_paths_are_awaited_and_not_for_ever() -> None:
    seen = iter([state(paths=HALF), state()])
    assert lun_device.wait_paths(lambda: next(seen), before=state()).up == 2
    assert lun_device.wait_paths(lambda: state(paths=HALF), before=state(paths=HALF), timeout=0.0).up == 1
    with pytest.raises(DeviceError, match="1 of 2 paths are up, and 2 of 2 were before"):
        lun_device.wait_paths(lambda: state(paths=HALF), before=state(), timeout=0.0)


def test_the_map_and_its_paths_that_are_up_are_flushed() -> None:
    ran: list[Sequence[str]] = []

    def run(arguments: Sequence[str]) -> bytes:
        ran.append(arguments)
        return b""

    lun_device.flush(state(paths=HALF), run=run)
    assert ran == [["blockdev", "--flushbufs", DEVICE], ["blockdev", "--flushbufs", "/dev/sda"]]


def test_a_map_is_resized_only_when_its_size_differs(sysfs: Path) -> None:
    ran: list[Sequence[str]] = []

    def run(arguments: Sequence[str]) -> bytes:
        ran.append(arguments)
        return b"ok\n"

    assert lun_device.follow_size(state, size=1 << 26, sysfs=sysfs, run=run).size == 1 << 26
    assert ran == []
    seen = iter([state(size=4096, paths=HALF), state()])
    tell(sysfs, "sda", {"device/rescan": ""})
    lun_device.follow_size(lambda: next(seen), size=1 << 26, sysfs=sysfs, run=run)
    assert (sysfs / "block/sda/device/rescan").read_text() == "1\n"
    assert ran == [["multipathd", "resize", "map", WWID]]
    with pytest.raises(DeviceError, match="sees 4096 bytes, the LUN has 8192"):
        lun_device.follow_size(lambda: state(size=4096, paths=DOWN), size=8192, sysfs=sysfs, run=run)


def test_blocks_are_read_at_their_place(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"".join(bytes([number]) * 4096 for number in range(8)) + b"z" * 512)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        path = Path("/dev/zero")
        assert lun_device.read_block(str(path), 0, length=4096) == bytes(4096)
        return
    assert lun_device.read_block(str(path), 8192, length=4096) == b"\2" * 4096
    assert lun_device.read_block(str(path), 28672, length=8192) == b"\7" * 4096 + b"z" * 512


def test_a_program_that_is_missing_or_fails_is_told() -> None:
    with pytest.raises(DeviceError, match="no-such-program: it is not installed"):
        lun_device.command(["no-such-program"])
    with pytest.raises(DeviceError, match="No such file"):
        lun_device.command(["dd", "if=/no/such/file", "count=1"])
