# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A LUN that a host comes to see and forgets again, on a sysfs of the test's own that behaves as the kernel does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import lun_attach
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_attach import San, physical_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_device import DeviceError

WWID = "3600a0980383044317845346b5a396142"
OTHER = "3600a0980383044317845346b5a396143"
SIZE = 8 << 20
PV_UUID = "weZfb7-RIZJ-5nht-dfYE-b998-0Dxp-qYpkoI"


@dataclass(frozen=True)
class Pv:
    """A device that LVM looks at: ``uuid`` is empty without a physical volume; a ``duplicate`` is one not chosen.

    ``foreign`` and ``shared``: it is in another host's volume group, or in one that several hosts share.
    """

    device: str
    number: str
    uuid: str = PV_UUID
    duplicate: bool = False
    foreign: bool = False
    shared: bool = False

    @property
    def fields(self) -> dict[str, str]:
        """What can be asked of it."""
        major, minor = self.number.split(":")
        return {
            "pv_name": self.device,
            "pv_major": major,
            "pv_minor": minor,
            "pv_uuid": self.uuid,
            "pv_duplicate": "duplicate" if self.duplicate else "",
        }

    def shown(self, asked: set[str], options: set[str]) -> bool:
        """Whether LVM 2.03 lists it. Where its label tells all that is asked, duplicates are never listed."""
        if asked <= {"pv_name", "pv_uuid", "pv_major", "pv_minor"}:
            return bool(self.uuid) and not self.duplicate
        if self.duplicate or not self.uuid:
            return "--all" in options
        return (not self.foreign or "--foreign" in options) and (not self.shared or "--shared" in options)


class Kernel:
    """A host with two SAN adapters; a LUN with a number becomes two paths and, where multipathd is about, a map.

    ``waited_for``: somebody has the map open and waits for a path. A multipathd that was not told otherwise lets the
    map queue anew at its next look.
    """

    def __init__(self, directory: Path) -> None:
        self.sysfs, self.dev = directory / "sys", directory / "dev"
        (self.dev / "mapper").mkdir(parents=True)
        (self.sysfs / "block").mkdir(parents=True)
        for host in ("host3", "host4"):
            (self.sysfs / "class" / "iscsi_host" / host).mkdir(parents=True)
            (self.sysfs / "class" / "scsi_host" / host).mkdir(parents=True)
        self.luns: dict[str, str] = {}
        self.commands: list[str] = []
        self.maps = True
        self.busy = 0
        self.lvm: list[Pv] = []
        self.up = {"sda", "sdb"}
        self.waited_for = False
        self.multipathd = True
        self.multipathd_queues = True
        self.on_map: Callable[[], None] = lambda: None
        self.on_flush: Callable[[], None] = lambda: None

    @property
    def san(self) -> San:
        return San(sysfs=self.sysfs, dev=self.dev, run=self.run, write=self.write)

    def write(self, path: Path, word: str) -> None:
        self.commands.append(f"{path.relative_to(self.sysfs)} < {word}")
        if path.name == "scan":
            number = word.rsplit(maxsplit=1)[-1]
            if number in self.luns:
                self._path(path.parent.name, number, self.luns[number])
        elif path.name == "delete":
            if not path.parent.exists():
                raise FileNotFoundError(path)
            shutil.rmtree(self.sysfs / "block" / path.parents[1].name)

    def run(self, arguments: Sequence[str]) -> bytes:
        words = " ".join(arguments)
        self.commands.append(words)
        if words.startswith("multipath -f"):
            self._flush(arguments[-1])
        elif words.startswith("dmsetup remove"):
            for node in list((self.sysfs / "block").glob("dm-*")):
                if (node / "dm" / "name").read_text().strip() == arguments[-1]:
                    self._remove(node.name, arguments[-1])
        elif words.startswith("multipathd add path"):
            self.maps = True
            self._map(WWID)
        elif words == f"multipathd disablequeueing map {WWID}":
            if not self.multipathd:
                raise DeviceError("multipathd does not answer")
            self.multipathd_queues = False
        elif words == f"dmsetup message {WWID} 0 fail_if_no_path":
            lasts = not (self.multipathd and self.multipathd_queues)
            self.waited_for = self.waited_for and not (lasts and not self.up)
        elif words == f"dmsetup status {WWID}":
            return self._status().encode()
        elif arguments[0] == "pvs":
            return self._pvs(arguments[1:]).encode()
        return b""

    def _flush(self, name: str) -> None:
        self.on_flush()
        if self.waited_for:
            raise DeviceError("map in use by who waits for a path")
        if self.busy:
            self.busy -= 1
            raise DeviceError("map in use")
        self._remove("dm-1", name)

    def _status(self) -> str:
        paths = [(f"8:{16 * 'ab'.index(name[2])}", "FA"[name in self.up]) for name in self.san.paths(WWID)]
        groups = " ".join(f"A 0 1 2 {number} {state} 0 0 1" for number, state in paths)
        return f"0 {SIZE // 512} multipath 2 0 0 0 {len(paths)} 1 {groups}\n"

    def _pvs(self, arguments: Sequence[str]) -> str:
        values = {name: arguments[arguments.index(name) + 1] for name in ("--options", "--separator")}
        fields = values["--options"].split(",")
        shown = [each.fields for each in self.lvm if each.shown(set(fields), set(arguments))]
        return "".join(f"  {values['--separator'].join(row[name] for name in fields)}\n" for row in shown)

    def holder(self, name: str, uuid: str) -> None:
        """Let the host build something on the map."""
        node = self._dm("dm-2", name, uuid)
        (node / "slaves").mkdir()
        (self.sysfs / "block" / "dm-1" / "holders" / "dm-2").symlink_to(node)

    def _path(self, host: str, number: str, wwid: str) -> None:
        name = f"sd{'ab'[host == 'host4']}"
        device = self.sysfs / "block" / name / "device"
        device.mkdir(parents=True, exist_ok=True)
        (device / "wwid").write_text(f"naa.{wwid[1:]}\n")
        (self.sysfs / "class" / "scsi_device" / f"{host[4:]}:0:0:{number}").mkdir(parents=True, exist_ok=True)
        if self.maps:
            self._map(wwid)

    def _map(self, wwid: str) -> None:
        node = self.sysfs / "block" / "dm-1"
        if not node.exists():
            self._dm("dm-1", wwid, f"mpath-{wwid}")
            (node / "size").write_text(f"{SIZE // 512}\n")
            (node / "dev").write_text("254:1\n")
            (node / "slaves").mkdir()
            (node / "holders").mkdir()
            (self.dev / "mapper" / wwid).touch()
            self.on_map()
        for path in (self.sysfs / "block").glob("sd*"):
            link = node / "slaves" / path.name
            if not link.exists():
                link.symlink_to(path)

    def _dm(self, kernel: str, name: str, uuid: str) -> Path:
        node = self.sysfs / "block" / kernel
        (node / "dm").mkdir(parents=True)
        (node / "dm" / "name").write_text(f"{name}\n")
        (node / "dm" / "uuid").write_text(f"{uuid}\n")
        return node

    def _remove(self, kernel: str, name: str) -> None:
        shutil.rmtree(self.sysfs / "block" / kernel, ignore_errors=True)
        (self.sysfs / "block" / "dm-1" / "holders" / kernel).unlink(missing_ok=True)
        (self.dev / "mapper" / name).unlink(missing_ok=True)


@pytest.fixture(name="kernel")
def _kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A host that shows the LUN under the number 7, with programs that are all installed."""
    monkeypatch.setattr(lun_attach, "find_program", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(lun_attach, "MORE_PATHS_TIMEOUT", 0.2)
    kernel = Kernel(tmp_path)
    kernel.luns["7"] = WWID
    return kernel


def attached(kernel: Kernel, *, size: int = SIZE) -> str:
    return kernel.san.attach(wwid=WWID, number=7, size=size, timeout=0.5)


def test_a_lun_comes_and_goes_whole(kernel: Kernel) -> None:
    assert attached(kernel) == f"/dev/mapper/{WWID}"
    assert kernel.san.paths(WWID) == ["sda", "sdb"]
    assert kernel.san.numbers() == {7}
    assert [each for each in kernel.commands if "scan" in each] == [
        "class/scsi_host/host3/scan < - - 7",
        "class/scsi_host/host4/scan < - - 7",
    ]
    kernel.commands.clear()
    kernel.san.detach(wwid=WWID)
    assert kernel.commands == [
        f"dmsetup status {WWID}",
        f"multipath -f {WWID}",
        "block/sda/device/delete < 1",
        "block/sdb/device/delete < 1",
        f"multipath -w {WWID}",
    ]
    assert (kernel.san.map(WWID), kernel.san.paths(WWID)) == (None, [])
    kernel.commands.clear()
    kernel.san.detach(wwid=WWID)
    assert kernel.commands == []


def test_another_lun_s_paths_stay(kernel: Kernel) -> None:
    attached(kernel)
    kernel.san.detach(wwid=OTHER)
    assert kernel.san.paths(WWID) == ["sda", "sdb"]


def test_a_map_that_multipathd_does_not_make_by_itself_is_asked_for(kernel: Kernel) -> None:
    kernel.maps = False
    assert attached(kernel) == f"/dev/mapper/{WWID}"
    assert f"multipath -a {WWID}" in kernel.commands


@pytest.mark.parametrize("uuid", [f"part1-mpath-{WWID}", "LVM-abc"])
def test_what_the_host_builds_on_it_is_taken_down(kernel: Kernel, uuid: str) -> None:
    kernel.on_map = lambda: kernel.holder("guests-root", uuid)
    attached(kernel)
    assert "dmsetup remove --retry guests-root" in kernel.commands
    kernel.holder("guests-root", uuid)
    kernel.commands.clear()
    kernel.san.detach(wwid=WWID)
    assert kernel.commands[:3] == [
        f"dmsetup status {WWID}",
        "dmsetup remove --retry guests-root",
        f"multipath -f {WWID}",
    ]


@pytest.mark.parametrize(
    "copy",
    [
        Pv(f"/dev/mapper/{WWID}", "254:1"),
        Pv(f"/dev/mapper/{WWID}", "254:1", duplicate=True),
        Pv(f"/dev/mapper/{WWID}", "254:1", foreign=True),
        Pv(f"/dev/mapper/{WWID}", "254:1", shared=True),
        Pv(f"/dev/disk/by-id/dm-uuid-mpath-{WWID}", "254:1"),
    ],
)
def test_a_copy_that_the_host_s_lvm_sees_is_refused(kernel: Kernel, copy: Pv) -> None:
    kernel.lvm = [Pv(f"/dev/mapper/{OTHER}", "254:10", duplicate=not copy.duplicate), copy]
    with pytest.raises(DeviceError, match="its LVM has a physical volume there"):
        attached(kernel)


def test_a_copy_without_physical_volumes_that_the_host_s_lvm_sees_will_do(kernel: Kernel) -> None:
    kernel.lvm = [Pv(f"/dev/mapper/{OTHER}", "254:10"), Pv(f"/dev/mapper/{WWID}", "254:1", uuid="")]
    assert attached(kernel) == f"/dev/mapper/{WWID}"


def test_what_pvs_reports() -> None:
    report = f"  7:1:{PV_UUID}:\n  254:12:{PV_UUID}:duplicate\n  7:3::\n  0:0:fVymUo-uz0Q:\n"
    assert physical_volumes(report) == {"7:1", "254:12", "0:0"}
    assert physical_volumes("") == set()
    with pytest.raises(DeviceError, match="pvs says '/dev/sda2'"):
        physical_volumes("  /dev/sda2\n")


def test_a_map_of_another_size_is_refused(kernel: Kernel) -> None:
    with pytest.raises(DeviceError, match=rf"it has {SIZE} bytes here, the LUN has 4096"):
        attached(kernel, size=4096)


def test_a_lun_that_does_not_come_is_an_error_in_its_time(kernel: Kernel) -> None:
    kernel.luns.clear()
    with pytest.raises(DeviceError, match="its paths on this host: none"):
        attached(kernel)


def test_a_host_without_a_san_says_so(kernel: Kernel) -> None:
    shutil.rmtree(kernel.sysfs / "class" / "iscsi_host")
    with pytest.raises(DeviceError, match="no iSCSI session and no FC adapter"):
        attached(kernel)


def test_a_map_that_is_probed_for_a_moment_goes_all_the_same(kernel: Kernel) -> None:
    attached(kernel)
    kernel.busy = 2
    kernel.san.detach(wwid=WWID)
    assert kernel.san.map(WWID) is None


def test_a_map_in_use_stays_and_so_do_its_paths(kernel: Kernel) -> None:
    attached(kernel)
    kernel.busy = 1000
    with pytest.raises(DeviceError, match="map in use"):
        kernel.san.detach(wwid=WWID, timeout=0.3)
    assert kernel.san.paths(WWID) == ["sda", "sdb"]
    assert not [each for each in kernel.commands if "queueing" in each or "fail_if_no_path" in each]


@pytest.mark.parametrize("multipathd", [True, False])
@pytest.mark.parametrize("sooner", [True, False])
def test_who_waits_for_a_path_of_a_map_without_any_keeps_it_no_longer(
    kernel: Kernel, multipathd: bool, sooner: bool
) -> None:
    attached(kernel)
    kernel.waited_for, kernel.multipathd = True, multipathd
    if sooner:
        kernel.up.clear()
    else:
        kernel.on_flush = kernel.up.clear
    kernel.san.detach(wwid=WWID, timeout=2.0)
    assert (kernel.san.map(WWID), kernel.san.paths(WWID)) == (None, [])
