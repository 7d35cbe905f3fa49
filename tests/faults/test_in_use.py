# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses a disk, times what would overwrite or remove it: refused with every byte as it was; controls are done.

The ground is the private host, where files lie on one file system. Users that come while a restore is under way come
while it stands still: before it renames the first disk ("last gate"), and when the second one has failed ("roll-back").
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
import uuid as uuids
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Optional

import libvirt
import pytest
from image_users import looped, make_image, qemu, qemu_nbd, reading

from kvmground import Ground
from kvmground.modules import Outcome, Running
from kvmground.played import Played, Results
from kvmground.scene import Happenings
from kvmlab.process import wait_until

OPERATION = "in-use"
BACKUP = "hv1-daily_20261121020000"
APP, COW = "app", "cow"
ONE, TWO = "kvm_vol1", "kvm_vol2"
COPY, HALF = "app-copy", "app-half"
PATIENCE = 60
REFUSED, DONE, KEPT_OUT = "refused", "done", "kept out"
OTHER_HOST = "hv9"
RENEWED = "a guest of the same name, another uuid, off"
# Before which look at a disk, after the safety snapshot, the restore stands still when the user comes.
LOOKS = {"last gate": 2, "roll-back": 3}


class House:
    """The private host with two guests and a backup; who uses what comes and goes with each cell."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.count = 0
        self.options: dict[str, Any] = {}
        """What a cell adds to the options of a restore."""
        self.renewed = ""
        """The uuid that the guest has while it is defined anew."""
        self._undo = ""
        self._found: list[dict[str, Any]] = []

    def furnish(self) -> None:
        """Make the guests, one on raw images and one on qcow2, and back them up."""
        self.ground.guests.add_still(APP, ONE, TWO)
        self.ground.guests.add_still(COW, ONE, running=False)
        raw = self.image(COW)
        qcow2 = raw.with_name("cow.qcow2")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2], check=True)
        raw.unlink()
        xml = self.ground.guests.domain(COW).XMLDesc(2)
        self.ground.guests.connection.defineXML(
            xml.replace("type='raw'", "type='qcow2'").replace("/cow.img", "/cow.qcow2")
        )
        self.ground.guests.domain(COW).create()
        self.ground.back_up(BACKUP)
        for name in (APP, COW):
            self.ground.guests.domain(name).destroy()

    def image(self, name: str, volume: str = ONE) -> Path:
        """Return an image as anybody on the machine can open it."""
        image = self.ground.guests.image(name, volume)
        return image if image.exists() else image.with_suffix(".qcow2") if name == COW else image

    def place(self, image: Path) -> str:
        """Return where the private host has a file."""
        return "/" + str(image).split("/root/", 1)[1]

    def run(self, module: str, **options: Any) -> Outcome:
        """Run a module."""
        return self.ground.module(module, within=240, **options)

    def restore(self, name: str, **options: Any) -> Outcome:
        """Restore a guest that is off; it stays off."""
        return self.begin(name, **options).wait(240)

    def begin(self, name: str, **options: Any) -> Running:
        """Begin the restore of a guest that is off."""
        self.count += 1
        usual = {"guests": [name], "backup_id": BACKUP, "restore_id": f"cell_{self.count:03d}", "stop": "destroy"}
        return self.ground.begin("kvm_app_restore", **{**usual, **self.options, **options})

    def discovered(self) -> list[dict[str, Any]]:
        """Return the guests as the host tells of them."""
        self._found = self._found or list(self.run("kvm_vm_discover", guests=[APP, COW])["guests"])
        return self._found

    def changed(self, name: str) -> None:
        """Change a guest's disks."""
        volumes = (ONE, TWO) if name == APP else (ONE,)
        for volume in volumes:
            with self.image(name, volume).open("r+b") as stream:
                stream.seek(-4096, 2)
                stream.write(f"changed in cell {self.count} on {volume}".encode())

    def world(self) -> dict[str, Any]:
        """Return every file of the volumes by its content, and every guest with its state."""
        files = {}
        for volume in (ONE, TWO):
            for path in self.ground.seen(self.ground.volume(volume)).iterdir():
                if path.is_file():
                    files[f"{volume}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        guests = {name: self.ground.guests.state(name).state for name in self.ground.guests.names()}
        return {"files": files, "guests": guests}

    def undoable(self) -> str:
        """Return the name of a restore of the guest that can be undone."""
        if not self._undo:
            done = self.restore(APP, restore_id="to_undo")
            assert not done.failed, done.msg
            self._undo = "to_undo"
        return self._undo

    def copy(self) -> Path:
        """Return a file of a copy of the guest, which is made when there is none."""
        made = self.run("kvm_vm_clone", name=COPY, guest=APP, backup_id=BACKUP)
        assert not made.failed, made.msg
        return self.ground.seen(Path(made["clone"]["disks"][0]["path"]))

    def half_removed(self) -> Path:
        """Return the file that is left of a copy whose remover was killed."""
        volume = self.ground.seen(self.ground.volume(TWO))
        there = self.ground.seen(self.ground.catalog) / "clones" / f"{HALF}.json"
        if not there.exists():
            known = set(volume.iterdir())
            made = self.run("kvm_vm_clone", name=HALF, guest=APP, backup_id=BACKUP)
            assert not made.failed, made.msg
            (self._left,) = {path for path in volume.iterdir() if path.is_file()} - known
            match = {"method": "GET", "path": "/files/kvmsnap-clone-", "count": 1}
            self.ground.control.add_fault("delay", match=match, seconds=20)
            running = self.ground.begin("kvm_vm_clone", name=HALF, guest=APP, backup_id=BACKUP, state="absent")
            faults = self.ground.control.faults
            wait_until(lambda: any(each["hits"] for each in faults()), seconds=PATIENCE, what="the look at a file")
            running.kill()
            self.ground.control.clear_faults()
        return self._left

    def another(self, image: Path, *, running: bool, image_format: str = "raw") -> Callable[[], None]:
        """Define another guest that has the image; return what forgets it."""
        name = f"other-{uuids.uuid4().hex[:6]}"
        xml = self.ground.guests.domain(COW).XMLDesc(2)
        head, _cut, rest = xml.partition("<disk ")
        disk = (
            f"<disk type='file' device='disk'><driver name='qemu' type='{image_format}'/>"
            f"<source file='{self.place(image)}'/><target dev='vda' bus='virtio'/></disk>"
        )
        xml = head + disk + rest.partition("</disk>")[2]
        uuid = self.ground.guests.domain(COW).UUIDString()
        xml = xml.replace(uuid, str(uuids.uuid4())).replace(f"<name>{COW}</name>", f"<name>{name}</name>")
        domain = self.ground.guests.connection.defineXML(xml)

        def forget() -> None:
            if domain.isActive():
                domain.destroy()
            domain.undefine()

        try:
            if running:
                domain.create()
        except libvirt.libvirtError:
            forget()
            raise
        return forget


Use = Callable[[House, Path], AbstractContextManager[object]]


def _qemu(house: House, image: Path, **how: Any) -> AbstractContextManager[object]:
    return qemu(image, image_format="qcow2" if image.suffix == ".qcow2" else "raw", **how)


def _nbd(house: House, image: Path, *, readonly: bool = False) -> AbstractContextManager[object]:
    served = house.ground.places.run / "served.img"
    served.unlink(missing_ok=True)
    served.symlink_to(image)
    return qemu_nbd(served, image_format="qcow2" if image.suffix == ".qcow2" else "raw", readonly=readonly)


@contextmanager
def _overlay(house: House, image: Path) -> Iterator[None]:
    """A QEMU has an overlay, which lies elsewhere, over the image."""
    overlay = house.ground.places.run / f"overlay-{uuids.uuid4().hex[:6]}"
    with qemu(make_image(overlay, image_format="qcow2", backing=image), image_format="qcow2"):
        yield
    overlay.unlink()


@contextmanager
def _guest(house: House, image: Path, *, running: bool) -> Iterator[None]:
    forget = house.another(image, running=running, image_format="qcow2" if image.suffix == ".qcow2" else "raw")
    try:
        yield
    finally:
        forget()


@contextmanager
def _guest_on_overlay(house: House, image: Path) -> Iterator[None]:
    """A guest that is off has an overlay over the image; its definition does not say so."""
    overlay = image.with_name(f"overlay-{uuids.uuid4().hex[:6]}.qcow2")
    below = Path(house.place(image)).name
    subprocess.run(
        ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", below, "-F", "raw", overlay, "1M"], check=True
    )
    forget = house.another(overlay, running=False, image_format="qcow2")
    try:
        yield
    finally:
        forget()
        overlay.unlink()


@contextmanager
def _renewed(house: House, _image: Path, *, running: bool) -> Iterator[None]:
    """The guest was undefined and defined anew: the same name, the same disks, another uuid."""
    domain = house.ground.guests.domain(APP)
    old, new, xml = domain.UUIDString(), str(uuids.uuid4()), domain.XMLDesc(2)
    domain.undefine()
    anew = house.ground.guests.connection.defineXML(xml.replace(old, new))
    house.renewed, house.options = new, {"guests": [old], "define_missing": True}
    try:
        if running:
            anew.create()
        yield
    finally:
        house.renewed, house.options = "", {}
        if anew.isActive():
            anew.destroy()
        anew.undefine()
        house.ground.guests.connection.defineXML(xml)


@contextmanager
def _told(house: House, image: Path, *, state: str, below: bool = False) -> Iterator[None]:
    """Another host of the play tells of a guest that has the image as its disk, or below it."""
    (guest,) = (each for each in house.discovered() if each["name"] == image.stem)
    own, *_others = (disk for disk in guest["disks"] if Path(disk["path"]).parent.name == image.parent.name)
    disk = {**own, "backing_storage": []}
    if below:
        elsewhere = {**own["storage"], "path": "overlay-elsewhere.qcow2"}
        disk = {**own, "storage": elsewhere, "backing_storage": [own["storage"]]}
    theirs = {"name": "foreign", "uuid": str(uuids.uuid4()), "state": state, "disks": [disk]}
    house.options = {
        "other_hosts": {OTHER_HOST: [theirs["uuid"]] if state == "running" else []},
        "other_hosts_guests": {OTHER_HOST: [theirs]},
    }
    try:
        yield
    finally:
        house.options = {}


def _second_mount(house: House, image: Path) -> AbstractContextManager[object]:
    where = house.ground.places.run / "second"
    where.mkdir(exist_ok=True)
    mount = 'mount --bind "$1" "$2" && shift 2 && "$@"; true'
    volume = str(Path(house.place(image)).parent)
    start = house.ground.inside(["unshare", "--mount", "sh", "-c", mount, "sh", volume, where])
    return _qemu(house, image, start=start, seen_as=where / image.name)


USERS: dict[str, Use] = {
    "a QEMU": _qemu,
    "a QEMU, read-only": partial(_qemu, readonly=True),
    "a QEMU that shares": partial(_qemu, share=True),
    "a QEMU without locks": partial(_qemu, locking=False),
    "a QEMU on a second mount": _second_mount,
    "a QEMU with an overlay over it": _overlay,
    "qemu-nbd": _nbd,
    "qemu-nbd, read-only": partial(_nbd, readonly=True),
    "a loop device": lambda _house, image: looped(image),
    "a process that reads": lambda _house, image: reading(image),
    "another guest, running": partial(_guest, running=True),
    "another guest, off": partial(_guest, running=False),
    "a guest with an overlay over it, off": _guest_on_overlay,
}
# What only a restore or an undo can meet, in the plan.
PLANNED: dict[str, Use] = {
    "a guest of the same name, another uuid, running": partial(_renewed, running=True),
    RENEWED: partial(_renewed, running=False),
    "a guest of another host, running": partial(_told, state="running"),
    "a guest of another host, off": partial(_told, state="shutoff"),
    "an overlay of another host over it, off": partial(_told, state="shutoff", below=True),
}
# What takes locks cannot begin to use a disk that was restored: the restore holds one until the guest is started.
LOCKED_OUT = (
    "a QEMU",
    "a QEMU, read-only",
    "a QEMU that shares",
    "a QEMU on a second mount",
    "a QEMU with an overlay over it",
    "qemu-nbd",
    "qemu-nbd, read-only",
    "another guest, running",
)


@contextmanager
def _nobody(_house: House, _image: Path) -> Iterator[None]:
    yield


@contextmanager
def _ended(house: House, image: Path) -> Iterator[None]:
    with _qemu(house, image):
        pass
    yield


@contextmanager
def _stale_lock_file(_house: House, image: Path) -> Iterator[None]:
    """What programs leave that lock by files; the kernel knows of no lock."""
    stale = [image.with_name(f"{image.name}{end}") for end in (".lck", ".lock")]
    for path in stale:
        path.write_text("4711\n")
    yield
    for path in stale:
        path.unlink()


@contextmanager
def _deleted_overlay(house: House, image: Path) -> Iterator[None]:
    with _guest_on_overlay(house, image):
        pass
    yield


@contextmanager
def _own_leftover(_house: House, image: Path) -> Iterator[None]:
    """A temporary file that a killed restore left beside the disk."""
    left = image.with_name(".kvmsnap-tmp-0123456789abcdef")
    left.write_bytes(image.read_bytes())
    yield
    left.unlink(missing_ok=True)


@contextmanager
def _detached_loop(_house: House, image: Path) -> Iterator[None]:
    with looped(image):
        pass
    yield


@contextmanager
def _neighbour(house: House, image: Path) -> Iterator[None]:
    """A QEMU has another file of the same directory."""
    with qemu(make_image(image.with_name("neighbour.img")), image_format="raw"):
        yield
    image.with_name("neighbour.img").unlink()


FREE: dict[str, Use] = {
    "nobody": _nobody,
    "a QEMU that has ended": _ended,
    "a stale lock file": _stale_lock_file,
    "an overlay that is gone": _deleted_overlay,
    "a leftover of ours": _own_leftover,
    "a loop device that is gone": _detached_loop,
    "a QEMU on another file": _neighbour,
}

WHO: dict[str, Use] = {**USERS, **PLANNED, **FREE}


@dataclass(frozen=True)
class Cell:
    """One operation while somebody uses a disk; ``part``: it stands for others."""

    step: str
    user: str
    guest: str = APP
    expected: str = REFUSED
    part: bool = False


CELLS = [
    *(Cell("restore", user, part=user in ("a QEMU", "a loop device")) for user in USERS),
    *(
        Cell("restore", user, COW)
        for user in ("a QEMU", "qemu-nbd", "qemu-nbd, read-only", "a QEMU that shares", "another guest, running")
    ),
    *(Cell("undo", user) for user in USERS),
    *(Cell("clone removal", user, part=user == "qemu-nbd") for user in USERS),
    *(Cell("recover", user) for user in USERS),
    *(Cell(step, user) for step in ("restore", "undo") for user in PLANNED),
    *(Cell("last gate", user) for user in (*USERS, RENEWED)),
    *(Cell("roll-back", user, expected=KEPT_OUT if user in LOCKED_OUT else REFUSED) for user in (*USERS, RENEWED)),
    *(
        Cell("restore", user, guest, DONE, part=user == "a stale lock file" and guest == APP)
        for user in FREE
        for guest in ((APP, COW) if user in ("nobody", "a QEMU that has ended") else (APP,))
    ),
    Cell("clone removal", "a QEMU on another file", expected=DONE),
    Cell("clone removal", "a stale lock file", expected=DONE),
    Cell("recover", "a QEMU that has ended", expected=DONE),
    Cell("undo", "a loop device that is gone", expected=DONE),
    Cell("last gate", "a QEMU on another file", expected=DONE),
    Cell("roll-back", "a QEMU on another file", expected=DONE),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each cell, or of those that stand for the others."""
    if "cell" not in metafunc.fixturenames:
        return
    short = metafunc.config.getoption("--representative")
    if metafunc.config.getoption("--operation") not in (None, OPERATION):
        metafunc.parametrize("cell", [])
        return
    wanted = [
        pytest.param(cell, id=f"{cell.step}, {cell.guest}: {cell.user}") for cell in CELLS if cell.part or not short
    ]
    metafunc.parametrize("cell", wanted)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """Return the private host with its guests."""
    with Ground.beside("in-use") as ground:
        found = House(ground)
        found.furnish()
        yield found


def _target(house: House, cell: Cell) -> Path:
    if cell.step == "clone removal":
        return house.copy()
    if cell.step == "recover":
        return house.half_removed()
    if cell.step == "undo":
        house.undoable()
    return house.image(cell.guest)


def _act(house: House, cell: Cell) -> tuple[bool, str]:
    """Do it, and return whether it said that it was done, and what it said."""
    if cell.step == "recover":
        outcome = house.run("kvm_leftovers", owner="hv1", grace_period=0)
        told = [item for item in outcome.result.get("leftovers", []) if item["name"] == HALF]
        done = bool(told) and told[0]["action"] == "taken away" and not told[0]["error"] and not outcome.failed
        return done, str(told)
    if cell.step == "clone removal":
        outcome = house.run("kvm_vm_clone", name=COPY, guest=APP, backup_id=BACKUP, state="absent")
    elif cell.step == "undo":
        outcome = house.restore(cell.guest, restore_id=house.undoable(), state="undone")
    else:
        outcome = house.restore(cell.guest)
    return not outcome.failed, outcome.msg if outcome.failed else "done"


def _played(house: House, cell: Cell) -> tuple[list[str], str]:
    """Play a cell; return what is wrong and what was said."""
    target = _target(house, cell)
    house.changed(cell.guest)
    if cell.step in LOOKS:
        return _met(house, cell, target)
    wrong = []
    with WHO[cell.user](house, target):
        before = house.world()
        done, said = _act(house, cell)
        after = house.world()
        named = _is_named(house, said)
    if cell.expected == REFUSED:
        wrong += ["it was done"] if done else []
        wrong += ["the world is another one"] if after != before else []
        wrong += [] if named else ["the user is not named"]
        return wrong, said
    if not done:
        return ["it was not done"], said
    if cell.step in ("clone removal", "recover"):
        return ["it is there still"] if target.exists() else [], said
    same = _bytes(target) == _bytes(_saved(house, target))
    return [] if same is (cell.step == "restore") else ["its bytes are wrong"], said


def _is_named(house: House, said: str) -> bool:
    if house.renewed:
        return house.renewed in said or "is not defined on this host any more" in said
    return any(word in said for word in ("open", "lock", "lies on", "has it", "is used by"))


def _met(house: House, cell: Cell, target: Path) -> tuple[list[str], str]:
    """Let a user come while a restore stands still; return what is wrong and what was said."""
    images = [house.image(APP, volume) for volume in (ONE, TWO)]
    assert all(each.exists() for each in images), "an earlier cell left the guest half restored"
    before, saved = [*map(_bytes, images)], [_bytes(_saved(house, each)) for each in images]
    inode = target.stat().st_ino
    scene = Happenings(house.ground.control)
    moment = scene.looking(LOOKS[cell.step], seconds=5)
    running = house.begin(APP)
    restore_id = f"cell_{house.count:03d}"
    with ExitStack() as users:
        wait_until(moment, seconds=PATIENCE, what="the look at a disk", pause=0.005)
        os.kill(running.pid, signal.SIGSTOP)
        try:
            here = (target.stat().st_ino != inode, images[1].exists())
            assert here == (cell.step == "roll-back", False), "it does not stand where it should"
            if cell.step == "roll-back":
                (made,) = house.ground.seen(house.ground.volume(TWO)).glob(".kvmsnap-tmp-*")
                made.write_bytes(b"changed since it was compared")
            came = _comes(users, cell, house, target)
        finally:
            os.kill(running.pid, signal.SIGCONT)
        outcome = running.wait(240)
        scene.end()
        said = outcome.msg if outcome.failed else "done"
        wrong = [] if came is (cell.expected != KEPT_OUT) else ["the user came" if came else "the user was kept out"]
        if cell.expected == REFUSED:
            wrong += [] if outcome.failed else ["it was done"]
            wrong += [] if _is_named(house, said) else ["the user is not named"]
        now = [*map(_bytes, images)]
        half = cell.expected == REFUSED and (cell.step == "roll-back" or cell.user == RENEWED)
        if half:
            kept, told = (
                (saved, f"vda as in {BACKUP}") if cell.step == "roll-back" else (before, "its name back failed")
            )
            wrong += [] if now == [kept[0], None] else ["the disks are not as they must be"]
            wrong += [] if told in said else ["which disk holds what is not told"]
            wrong += ["the guest could be started"] if _starts(house) else []
        elif cell.expected == DONE and cell.step == "last gate":
            wrong += [] if now == saved else ["it is not restored"]
        else:
            wrong += [] if now == before else ["the disks are not as before"]
    if half:
        again = house.restore(APP, restore_id=restore_id)
        wrong += [f"it does not go on afterwards: {again.msg}"] if again.failed else []
        wrong += [] if [*map(_bytes, images)] == saved else ["it is not restored afterwards"]
    left = [path.name for each in images for path in each.parent.glob(".kvmsnap-[at]*")]
    return [*wrong, *(f"{name} is left" for name in left)], said


def _comes(users: ExitStack, cell: Cell, house: House, target: Path) -> bool:
    """Let the user come, and return whether it could."""
    try:
        users.enter_context(WHO[cell.user](house, target))
    except (AssertionError, libvirt.libvirtError, subprocess.CalledProcessError):
        return False
    return True


def _starts(house: House) -> bool:
    """Try to start the guest, and return whether it runs then."""
    with suppress(libvirt.libvirtError):
        house.ground.guests.domain(APP).create()
    return house.ground.guests.state(APP).state != "shutoff"


def _saved(house: House, image: Path) -> Path:
    """Return what an image was in the backup."""
    return house.ground.guests.image(image.stem, image.parent.name, snapshot=BACKUP).with_suffix(image.suffix)


def _bytes(path: Path) -> Optional[str]:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def test_cell(house: House, results: Results, cell: Cell) -> None:
    """Play one cell; the table has it in any case."""
    began = time.monotonic()
    fault = f"{cell.user} ({cell.guest})"
    try:
        wrong, said = _played(house, cell)
    except Exception as exc:
        results.add(Played(OPERATION, cell.step, fault, False, repr(exc), round(time.monotonic() - began, 1)))
        raise
    detail = "; ".join(wrong) or said
    results.add(Played(OPERATION, cell.step, fault, not wrong, detail, round(time.monotonic() - began, 1)))
    assert not wrong, f"{detail}\nit said: {said}"
