# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses a disk on the lab, times what would overwrite or remove it: NFS clients, a second host, LUNs.

What is refused is refused with every byte on the array, every LUN and every guest as it was, and names the user as the
right look saw it. What is free is restored, or removed.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Union

import pytest

from kvmground.guests import WAITING, still_xml
from kvmground.lab_host import PIDS, LabHost
from kvmground.lab_uses import FileAt, LabUses
from kvmground.modules import Outcome
from kvmground.played import Played, Results
from kvmlab.domain import DiskSpec
from kvmlab.exports import NOBODY, SQUASHING
from kvmlab.guests import DEFAULTS
from kvmlab.lab import Lab
from kvmlab.luns import Lun
from kvmlab.process import wait_until
from kvmlab.second import SecondHost

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

OPERATION = "in-use"
REFUSED, DONE = "refused", "done"
SIZE_MIB = 8
SQUASHED = "kvm_squash"
RAW, COW, SQUASH, SAN = "use-raw", "use-cow", "use-squash", "use-san"
FILES = {
    RAW: FileAt("kvm_vol1", "use-raw.img"),
    COW: FileAt("kvm_vol2", "use-cow.qcow2", image_format="qcow2", version="3"),
    SQUASH: FileAt(SQUASHED, "images/use-squash.img"),
}
LUNS = ("/vol/kvm_san1/use-san-1", "/vol/kvm_san1/use-san-2")
GROUNDS = {RAW: "lab, NFS 4.1", COW: "lab, NFS 3", SQUASH: "lab, squashed", SAN: "lab, LUN"}
COPIES = {RAW: "use-raw-copy", SAN: "use-san-copy"}
HALF = "use-raw-half"
PATCH = {"method": "PATCH", "path": "/storage/luns/"}
# How a look words what it found: a pattern.
LOCK, OPEN, LOOP = "holds its lock on", "open on this host", "loop device"
GUEST, BELOW = r"used by guest other-\w+ \(vda\)", r"used by guest other-\w+ \(below vda\)"
ELSEWHERE, BUILT, OPEN_MAP = "of host hv2", "this host has activated what is inside", r"open \(\d+ times\)"

Target = Union[FileAt, Lun]
Use = Callable[["Stage", Any], AbstractContextManager[Any]]


class Stage:
    """The lab with four guests that are off, and a backup of them; who uses what comes and goes with each cell."""

    def __init__(self, host: LabHost, second: SecondHost) -> None:
        self.host, self.lab = host, host.lab
        self.uses = LabUses(host, second)
        self.stamp = f"{time.time():.0f}"
        self.backup = f"hv1-inuse_{self.stamp}"
        self.luns: list[Lun] = []
        self.count = 0
        self._undoable: dict[str, str] = {}
        self._left: dict[str, FileAt] = {}

    def furnish(self) -> None:
        """Make the guests and back them up."""
        self._squashing_volume()
        for name, file in FILES.items():
            image = self.on_array(file)
            image.write_bytes(WAITING.ljust(SIZE_MIB << 20, b"\0"))
            image.chmod(0o666)
            if file.image_format == "qcow2":
                raw = image.rename(image.with_suffix(".raw"))
                subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
                raw.unlink()
            self._define(name, [DiskSpec(file.path)], file.image_format)
        self.luns = [self.lab.san.provide(name, SIZE_MIB) for name in LUNS]
        for lun in self.luns:
            self.lab.luns.file(lun).write_bytes(WAITING.ljust(SIZE_MIB << 20, b"\0"))
        self._define(SAN, [DiskSpec(lun.device) for lun in self.luns], "raw")
        found = self.host.module("kvm_vm_discover", guests=list(GROUNDS))
        asked = {key: found[key] for key in ("guests", "volumes", "problems")}
        made = self.host.module("kvm_vm_backup", backup_id=self.backup, owner="hv1", policy="inuse", **asked)
        assert not made.failed, made.msg
        self.saved = {name: self.content(name, self.backup) for name in GROUNDS}

    def remove(self) -> None:
        """Take all of it away."""
        for name in COPIES.values():
            self.host.module("kvm_vm_clone", name=name, state="absent")
        for name in GROUNDS:
            self.lab.virsh("undefine", name)
        for lun in self.luns:
            self.lab.san.discard(lun)
        self.lab.ssh(f"umount /mnt/{SQUASHED}; rm -f {FILES[RAW].path} {FILES[COW].path}")
        volumes = [{"svm": "svm1", "volume": name} for name in ("kvm_vol1", "kvm_vol2", "kvm_san1")]
        self.host.module("ontap_snapshot", state="absent", name=self.backup, volumes=volumes, owner="hv1")

    def on_array(self, file: FileAt) -> Path:
        """Return where the array has a file."""
        return self.lab.places.volumes / "svm1" / file.volume / file.inside

    def content(self, guest: str, snapshot: str | None = None) -> list[str]:
        """Return the hashes of a guest's disks where the array keeps them."""
        if guest == SAN:
            places = [(name.split("/")[2], name.rpartition("/")[2]) for name in LUNS]
        else:
            places = [(FILES[guest].volume, FILES[guest].inside)]
        return [self.lab.control.sha256("svm1", *place, snapshot=snapshot) for place in places]

    def world(self) -> dict[str, Any]:
        """Return what must not change: the disks' bytes, the LUNs, and what the guests do."""
        return {
            "disks": {name: self.content(name) for name in GROUNDS},
            "luns": sorted((lun.name, lun.uuid) for lun in self.lab.luns.all()),
            "host": self.lab.ssh(f"virsh -q list --all; ls /mnt/kvm_vol1 /mnt/kvm_vol2 /mnt/{SQUASHED}/images"),
        }

    def changed(self, guest: str) -> None:
        """Let a guest's disks hold something else than the backup."""
        if self.content(guest) != self.saved[guest]:
            return
        devices = [lun.device for lun in self.luns] if guest == SAN else [FILES[guest].path]
        for device in devices:
            data = f"printf 'changed in cell {self.count}'"
            self.lab.ssh(f"{data} | dd of={device} bs=4096 seek=32 conv=notrunc,fsync status=none")
        assert self.content(guest) != self.saved[guest]

    def restore(self, guest: str, **options: Any) -> Outcome:
        """Restore a guest that is off; it stays off."""
        self.count += 1
        usual = {"backup_id": self.backup, "restore_id": f"use_{self.stamp}_{self.count:03d}", "stop": "destroy"}
        asked = {**usual, **self.uses.options, **options}
        return self.host.module("kvm_app_restore", within=400, guests=[guest], **asked)

    def undoable(self, guest: str) -> str:
        """Return the name of a restore of the guest that can be undone."""
        if guest not in self._undoable:
            self.changed(guest)
            name = f"undo_{guest}_{self.stamp}"
            done = self.restore(guest, restore_id=name)
            assert not done.failed, done.msg
            self._undoable[guest] = name
        return self._undoable[guest]

    def clone(self, guest: str, **options: Any) -> Outcome:
        """Make or remove the copy of a guest."""
        asked = {"name": COPIES[guest], "guest": guest, "backup_id": self.backup, **options}
        return self.host.module("kvm_vm_clone", within=400, **asked)

    def copy(self, guest: str) -> Target:
        """Return the first disk of the copy of a guest, which is made when there is none."""
        made = self.clone(guest)
        path = made["clone"]["disks"][0]["path"]
        if guest == SAN:
            return next(lun for lun in self.lab.luns.all() if lun.device == path)
        return FileAt("kvm_vol1", Path(path).name)

    def half_removed(self) -> FileAt:
        """Return the file that is left of a copy whose remover was killed."""
        if HALF not in self._left:
            made = self.host.module("kvm_vm_clone", within=400, name=HALF, guest=RAW, backup_id=self.backup)
            self._left[HALF] = FileAt("kvm_vol1", Path(made["clone"]["disks"][0]["path"]).name)
            match = {"method": "GET", "path": "/files/kvmsnap-clone-", "count": 1}
            self.lab.control.add_fault("delay", match=match, seconds=60)
            running = self.host.begin("kvm_vm_clone", name=HALF, guest=RAW, backup_id=self.backup, state="absent")
            faults = self.lab.control.faults
            wait_until(lambda: any(each["hits"] for each in faults()), seconds=300, what="the look at a file")
            running.kill()
            self.lab.control.clear_faults()
            if not self.on_array(self._left[HALF]).exists():
                self.on_array(self._left[HALF]).write_bytes(b"again")
        return self._left[HALF]

    def _define(self, name: str, disks: list[DiskSpec], image_format: str) -> None:
        xml = still_xml(name, disks).replace("type='raw'", f"type='{image_format}'")
        self.lab.ssh(f"cat > /run/{name}.xml && virsh -q define /run/{name}.xml", stdin=xml)

    def _squashing_volume(self) -> None:
        """Have a volume whose export maps root to nobody, with a directory into which only the true root may write."""
        if not any(each["name"] == SQUASHED for each in self.lab.control.volumes()):
            self.lab.control.add_volume(
                "svm1", SQUASHED, junction=f"/{SQUASHED}", export_policy=SQUASHING, size=1 << 30
            )
        root = self.lab.places.volumes / "svm1" / SQUASHED
        (root / "images").mkdir(exist_ok=True)
        subprocess.run(["chown", f"{NOBODY}:{NOBODY}", root], check=True)
        where = f"/mnt/{SQUASHED}"
        mount = f"mount -t nfs -o vers=4.1 svm1-nfs:/{SQUASHED} {where}"
        self.lab.ssh(f"mkdir -p {where}; mountpoint -q {where} || {mount}")
        assert self.lab.ssh(f"touch {where}/images/new 2> /dev/null || echo refused").strip() == "refused"


def _elsewhere_open(stage: Stage, file: FileAt) -> AbstractContextManager[None]:
    return stage.uses.open(file.elsewhere, stage.uses.away(file))


# Who uses a file, and what the refusal says of it.
ON_NFS: dict[str, tuple[Use, str]] = {
    "a QEMU": (lambda stage, file: stage.uses.qemu(file), LOCK),
    "a QEMU, read-only": (lambda stage, file: stage.uses.qemu(file, readonly=True), LOCK),
    "a QEMU that shares": (lambda stage, file: stage.uses.qemu(file, share=True), LOCK),
    "a QEMU through the other version of NFS": (lambda stage, file: stage.uses.qemu(file, version="3"), LOCK),
    "a QEMU with an overlay over it": (lambda stage, file: stage.uses.overlay(file), LOCK),
    "qemu-nbd": (lambda stage, file: stage.uses.nbd(file), LOCK),
    "qemu-nbd, read-only": (lambda stage, file: stage.uses.nbd(file, readonly=True), LOCK),
    "qemu-nbd without locks": (lambda stage, file: stage.uses.nbd(file, locking=False), OPEN),
    "a process that reads": (_elsewhere_open, OPEN),
    "a loop device": (lambda stage, file: stage.uses.loop(file.path), LOOP),
    "another guest, running": (lambda stage, file: stage.uses.guest(file.path, running=True), GUEST),
    "another guest, off": (lambda stage, file: stage.uses.guest(file.path), GUEST),
    "a guest with an overlay over it, off": (
        lambda stage, file: stage.uses.guest_on_overlay(file.path, "/mnt/kvm_vol1/use-overlay.qcow2"),
        BELOW,
    ),
    "a guest of the second host, running": (
        lambda stage, file: stage.uses.guest(file.path, running=True, on=stage.uses.second),
        ELSEWHERE,
    ),
    "a guest of the second host, off": (
        lambda stage, file: stage.uses.guest(file.path, on=stage.uses.second),
        ELSEWHERE,
    ),
    "an overlay of the second host over it, off": (
        lambda stage, file: stage.uses.guest_on_overlay(
            file.path, "/mnt/kvm_vol1/use-overlay.qcow2", on=stage.uses.second
        ),
        ELSEWHERE,
    ),
}
ON_LUN: dict[str, tuple[Use, str]] = {
    "a mount": (lambda stage, lun: stage.uses.mounted(lun.device), f"{OPEN_MAP}|mounted at"),
    "swap": (lambda stage, lun: stage.uses.swap(lun.device), OPEN_MAP),
    "LVM": (lambda stage, lun: stage.uses.volume_group(lun), BUILT),
    "a partition that is mapped": (lambda stage, lun: stage.uses.partition(lun), BUILT),
    "a partition that is mounted": (lambda stage, lun: stage.uses.partition(lun, mounted=True), BUILT),
    "a process": (lambda stage, lun: stage.uses.open(lun.device), f"{OPEN_MAP}|{OPEN}"),
    "a process on one path": (lambda stage, lun: stage.uses.open(stage.uses.path_of(lun)), OPEN),
    "qemu-nbd on a node of its own": (lambda stage, lun: stage.uses.nbd_on_device(lun.device), OPEN_MAP),
    "another guest, off": (
        lambda stage, lun: stage.uses.guest(f"/dev/disk/by-id/wwn-0x{lun.wwid[1:]}"),
        GUEST,
    ),
    "a guest with an overlay over it, off": (
        lambda stage, lun: stage.uses.guest_on_overlay(lun.device, "/mnt/kvm_vol1/use-overlay.qcow2"),
        BELOW,
    ),
    "the map of another host": (lambda stage, lun: stage.uses.mapped(lun), "iqn.2026-01.org.example:elsewhere"),
    "a reservation": (lambda stage, lun: stage.uses.reserved(lun), "a persistent reservation is held on"),
    "a guest of the second host, running": (
        lambda stage, lun: stage.uses.guest(lun.device, running=True, on=stage.uses.second),
        ELSEWHERE,
    ),
    "a guest of the second host, off": (
        lambda stage, lun: stage.uses.guest(lun.device, on=stage.uses.second),
        ELSEWHERE,
    ),
}


def _nobody(_stage: Stage, _target: Target) -> AbstractContextManager[None]:
    return nullcontext()


@contextmanager
def _ended(use: Use, stage: Stage, target: Target) -> Iterator[None]:
    """Somebody used it, and does not any more."""
    with use(stage, target):
        pass
    yield


@contextmanager
def _stale_lock_file(stage: Stage, file: FileAt) -> Iterator[None]:
    stage.lab.ssh(f"echo 4711 > {file.path}.lck")
    yield
    stage.lab.ssh(f"rm {file.path}.lck")


@contextmanager
def _neighbour(stage: Stage, file: FileAt) -> Iterator[None]:
    beside = FileAt(file.volume, "use-neighbour.img", version=file.version)
    stage.on_array(beside).write_bytes(bytes(SIZE_MIB << 20))
    with stage.uses.qemu(beside):
        yield
    stage.lab.ssh(f"rm {beside.path}")


@contextmanager
def _neighbouring_lun(stage: Stage, lun: Lun) -> Iterator[None]:
    beside = stage.lab.san.provide("/vol/kvm_san1/use-neighbour", SIZE_MIB)
    with stage.uses.mounted(beside.device):
        yield
    stage.lab.san.discard(beside)


FREE: dict[str, Use] = {
    "nobody": _nobody,
    "a QEMU that has ended": partial(_ended, ON_NFS["a QEMU"][0]),
    "an overlay that is gone": partial(_ended, ON_NFS["a guest with an overlay over it, off"][0]),
    "a stale lock file": _stale_lock_file,
    "a QEMU on another file": _neighbour,
    "a mount that is gone": partial(_ended, ON_LUN["a mount"][0]),
    "LVM that is gone": partial(_ended, ON_LUN["LVM"][0]),
    "the map of another host, taken back": partial(_ended, ON_LUN["the map of another host"][0]),
    "a mount of another LUN": _neighbouring_lun,
}


@dataclass(frozen=True)
class Cell:
    """One operation while somebody uses a disk; ``says`` is what the refusal says where another look comes first."""

    step: str
    guest: str
    user: str
    expected: str = REFUSED
    says: str = ""

    def use(self, stage: Stage, target: Target) -> AbstractContextManager[Any]:
        """Let the user use the target."""
        known = FREE[self.user] if self.expected == DONE else self._used[0]
        return known(stage, target)

    def is_named(self, said: str) -> bool:
        """Tell whether a refusal says of the user what the right look sees."""
        return re.search(self.says or self._used[1], said) is not None

    @property
    def _used(self) -> tuple[Use, str]:
        return (ON_LUN if self.guest == SAN else ON_NFS)[self.user]


CELLS = [
    *(Cell("restore", SAN, user) for user in ON_LUN),
    *(Cell("undo", SAN, user) for user in ("a mount", "LVM", "the map of another host")),
    *(Cell("roll-back", SAN, user) for user in ("a mount", "a process")),
    *(Cell("clone removal", SAN, user) for user in ("a mount", "a process", "the map of another host")),
    *(
        Cell("restore", SAN, user, DONE)
        for user in (
            "nobody",
            "a mount that is gone",
            "LVM that is gone",
            "the map of another host, taken back",
            "a mount of another LUN",
        )
    ),
    Cell("clone removal", SAN, "a mount that is gone", DONE),
    *(Cell("restore", RAW, user) for user in ON_NFS),
    *(Cell("restore", COW, user) for user in ("a QEMU", "qemu-nbd, read-only")),
    *(Cell("restore", SQUASH, user) for user in ("a QEMU", "qemu-nbd without locks")),
    *(Cell("undo", RAW, user) for user in ("qemu-nbd, read-only", "a guest of the second host, off")),
    # A copy's own QEMU may have the lock yet.
    Cell("clone removal", RAW, "qemu-nbd, read-only", says=r"process \d+ \(qemu-nbd\) has .* open on this host"),
    Cell("clone removal", RAW, "a process that reads"),
    Cell("recover", RAW, "qemu-nbd"),
    *(
        Cell("restore", RAW, user, DONE)
        for user in (
            "nobody",
            "a QEMU that has ended",
            "an overlay that is gone",
            "a stale lock file",
            "a QEMU on another file",
        )
    ),
    *(Cell("restore", guest, "a QEMU that has ended", DONE) for guest in (COW, SQUASH)),
    Cell("clone removal", RAW, "a QEMU that has ended", DONE),
    Cell("recover", RAW, "a QEMU that has ended", DONE),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each cell."""
    if "cell" in metafunc.fixturenames:
        wanted = CELLS if metafunc.config.getoption("--operation") in (None, OPERATION) else []
        metafunc.parametrize(
            "cell", [pytest.param(each, id=f"{each.step}, {each.guest}: {each.user}") for each in wanted]
        )


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Return the lab, up, with the guests and a second host."""
    lab = Lab()
    lab.up()
    host, second = LabHost(lab), SecondHost(lab)
    # The lab's own guests leave the processor to those of the cells.
    with lab.guests.suspended(DEFAULTS):
        host.prepare()
        second.up()
        found = Stage(host, second)
        found.furnish()
        yield found
        lab.control.clear_faults()
        found.remove()
        second.down()
        host.remove()


def _target(stage: Stage, cell: Cell) -> Target:
    if cell.step == "clone removal":
        return stage.copy(cell.guest)
    if cell.step == "recover":
        return stage.half_removed()
    if cell.step == "undo":
        stage.undoable(cell.guest)
    return stage.luns[0] if cell.guest == SAN else FILES[cell.guest]


def _act(stage: Stage, cell: Cell) -> tuple[bool, str]:
    """Do it, and return whether it said that it was done, and what it said."""
    if cell.step == "recover":
        outcome = stage.host.module("kvm_leftovers", within=400, owner="hv1", grace_period=0)
        told = [item for item in outcome.result.get("leftovers", []) if item["name"] == HALF]
        done = bool(told) and told[0]["action"] == "taken away" and not told[0]["error"] and not outcome.failed
        return done, str(told or outcome.msg)
    if cell.step == "clone removal":
        outcome = stage.clone(cell.guest, state="absent")
    elif cell.step == "undo":
        outcome = stage.restore(cell.guest, restore_id=stage.undoable(cell.guest), state="undone")
    else:
        outcome = stage.restore(cell.guest)
    return not outcome.failed, outcome.msg if outcome.failed else "done"


def _bytes(stage: Stage, cell: Cell, target: Target) -> str:
    """Return the hash of what is used, where the array keeps it; empty when it is not there."""
    volume, inside = (
        (target.name.split("/")[2], target.name.rpartition("/")[2])
        if isinstance(target, Lun)
        else (target.volume, target.inside)
    )
    place = stage.lab.places.volumes / "svm1" / volume / inside
    return stage.lab.control.sha256("svm1", volume, inside) if place.exists() else ""


def _played(stage: Stage, cell: Cell) -> tuple[list[str], str]:
    """Play a cell; return what is wrong and what was said."""
    target = _target(stage, cell)
    stage.changed(cell.guest)
    if cell.step == "roll-back":
        return _rolled_back(stage, cell, target)
    mark = len(stage.lab.control.journal())
    with cell.use(stage, target):
        before = (stage.world(), _bytes(stage, cell, target))
        done, said = _act(stage, cell)
        after = (stage.world(), _bytes(stage, cell, target))
        written = stage.lab.control.journal()[mark:]
    if cell.expected == REFUSED:
        wrong = ["it was done"] if done else []
        wrong += ["the world is another one"] if after != before else []
        wrong += [f"the array did {written[0]}"] if written else []
        return [*wrong, *([] if cell.is_named(said) else ["the user is not named"])], said
    if not done:
        return ["it was not done"], said
    if cell.step == "restore":
        return [] if stage.content(cell.guest) == stage.saved[cell.guest] else ["its bytes are wrong"], said
    return ["it is there still"] if _bytes(stage, cell, target) else [], said


def _rolled_back(stage: Stage, cell: Cell, target: Target) -> tuple[list[str], str]:
    """Let the second LUN's overwrite fail, and a user come to the first one, which was overwritten already."""
    before, control = stage.content(SAN), stage.lab.control
    control.add_fault("delay", match={**PATCH, "after": 1, "count": 1}, seconds=30, where="before")
    refusal = {"status": 400, "code": "5374866", "message": "The LUN's volume is offline."}
    control.add_fault("status", match={**PATCH, "after": 1, "count": 1}, **refusal)
    stage.count += 1
    restore_id = f"back_{stage.stamp}_{stage.count:03d}"
    asked: dict[str, Any] = {"guests": [SAN], "backup_id": stage.backup, "restore_id": restore_id, "stop": "destroy"}
    running = stage.host.begin("kvm_app_restore", controllers=stage.host.controllers(timeout=90), timeout=300, **asked)
    wait_until(lambda: control.faults()[0]["hits"] > 0, seconds=300, what="the second overwrite", pause=0.2)
    stage.lab.ssh(f"kill -STOP $(cat {PIDS}/{running.number})")
    with cell.use(stage, target):
        used = stage.content(SAN)
        stage.lab.ssh(f"kill -CONT $(cat {PIDS}/{running.number})")
        outcome = running.wait(400)
        after = stage.content(SAN)
    control.clear_faults()
    said = outcome.msg
    wrong = [] if outcome.failed else ["it was done"]
    wrong += [] if after == used and used[1] == before[1] else ["the world is another one"]
    wrong += [] if f"vda as in {stage.backup}" in said else ["which disk holds what is not told"]
    wrong += [] if cell.is_named(said) else ["the user is not named"]
    wrong += [] if stage.lab.virsh("domstate", SAN).strip() == "shut off" else ["the guest is not off"]
    again = stage.restore(SAN, restore_id=restore_id)
    wrong += [f"it does not go on afterwards: {again.msg}"] if again.failed else []
    wrong += [] if stage.content(SAN) == stage.saved[SAN] else ["it is not restored afterwards"]
    return wrong, said


def test_cell(stage: Stage, results: Results, cell: Cell) -> None:
    """Play one cell; the table has it in any case."""
    began = time.monotonic()
    ground, fault = GROUNDS[cell.guest], f"{cell.user} ({cell.guest})"
    try:
        wrong, said = _played(stage, cell)
    except Exception as exc:
        seconds = round(time.monotonic() - began, 1)
        results.add(Played(OPERATION, cell.step, fault, False, repr(exc), seconds, ground))
        raise
    detail = "; ".join(wrong) or said
    results.add(Played(OPERATION, cell.step, fault, not wrong, detail, round(time.monotonic() - began, 1), ground))
    assert not wrong, f"{detail}\nit said: {said}"
