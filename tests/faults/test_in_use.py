# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses a disk, times what would overwrite or remove it: refused with every byte as it was; controls are done.

The ground is the private host, where files lie on one file system: users on other hosts are played on the lab.
"""

from __future__ import annotations

import hashlib
import subprocess
import time
import uuid as uuids
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from image_users import looped, make_image, qemu, qemu_nbd, reading

from kvmground import Ground
from kvmground.modules import Outcome
from kvmground.played import Played, Results
from kvmlab.process import wait_until

OPERATION = "in-use"
BACKUP = "hv1-daily_20261121020000"
APP, COW = "app", "cow"
ONE, TWO = "kvm_vol1", "kvm_vol2"
COPY, HALF = "app-copy", "app-half"
PATIENCE = 60
REFUSED, DONE = "refused", "done"


class House:
    """The private host with two guests and a backup; who uses what comes and goes with each cell."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.count = 0
        self._undo = ""

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
        self.count += 1
        usual = {"backup_id": BACKUP, "restore_id": f"cell_{self.count:03d}", "stop": "destroy"}
        return self.run("kvm_app_restore", guests=[name], **{**usual, **options})

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
        if running:
            domain.create()

        def forget() -> None:
            if domain.isActive():
                domain.destroy()
            domain.undefine()

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
    *(
        Cell("recover", user)
        for user in USERS
        if user not in ("another guest, running", "a QEMU that shares", "a QEMU, read-only")
    ),
    *(
        Cell("restore", user, guest, DONE, part=user == "a stale lock file" and guest == APP)
        for user in FREE
        for guest in ((APP, COW) if user in ("nobody", "a QEMU that has ended") else (APP,))
    ),
    Cell("clone removal", "a QEMU on another file", expected=DONE),
    Cell("clone removal", "a stale lock file", expected=DONE),
    Cell("recover", "a QEMU that has ended", expected=DONE),
    Cell("undo", "a loop device that is gone", expected=DONE),
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
        outcome = house.run("kvm_leftovers", owner="hv1", settle=0)
        told = [item for item in outcome.result.get("leftovers", []) if item["name"] == HALF]
        done = bool(told) and told[0]["remedy"] == "taken away" and not told[0]["error"] and not outcome.failed
        return done, str(told)
    if cell.step == "clone removal":
        outcome = house.run("kvm_vm_clone", name=COPY, guest=APP, backup_id=BACKUP, state="absent")
    elif cell.step == "undo":
        outcome = house.restore(cell.guest, restore_id=house.undoable(), undo=True)
    else:
        outcome = house.restore(cell.guest)
    return not outcome.failed, outcome.msg if outcome.failed else "done"


def _played(house: House, cell: Cell) -> tuple[list[str], str]:
    """Play a cell; return what is wrong and what was said."""
    target = _target(house, cell)
    house.changed(cell.guest)
    users = USERS if cell.expected == REFUSED else FREE
    wrong = []
    with users[cell.user](house, target):
        before = house.world()
        done, said = _act(house, cell)
        after = house.world()
    if cell.expected == REFUSED:
        wrong += ["it was done"] if done else []
        wrong += ["the world is another one"] if after != before else []
        named = ("open", "lock", "lies on", "has it", "is used by")
        wrong += [] if any(word in said for word in named) else ["the user is not named"]
        return wrong, said
    if not done:
        return ["it was not done"], said
    if cell.step in ("clone removal", "recover"):
        return ["it is there still"] if target.exists() else [], said
    snapshot = house.ground.guests.image(target.stem, ONE, snapshot=BACKUP).with_suffix(target.suffix)
    same = target.read_bytes() == snapshot.read_bytes()
    return [] if same is (cell.step == "restore") else ["its bytes are wrong"], said


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
