# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as one thing: up, down, and the handles that tests and the demo use."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from . import evidence, images, packages
from .array import Array
from .domain import Disk, DiskSpec, GuestSpec, LunSpec
from .errors import LabError
from .evidence import Tick
from .guests import DEFAULTS, ON_REQUEST, Guests
from .host import Host
from .inventory import inventory_text
from .luns import Luns
from .network import Network
from .places import Places
from .process import Sessions, run
from .progress import say, step
from .san import PATHS, San

if TYPE_CHECKING:
    from ontapsim.control import ControlClient

__all__ = ["DiskSpec", "GuestSpec", "Lab", "LabError", "LunSpec", "Tick"]

GUEST_FILE = "/usr/local/lib/kvmlab/guest_file.py"


class Lab:
    """One lab, named by its directory; nothing is started by making this object."""

    def __init__(self, places: Optional[Places] = None) -> None:
        if os.geteuid() != 0:
            raise LabError("the lab needs root: it makes network namespaces and mounts")
        self.places = places or Places.from_environment()
        self.sessions = Sessions(self.places.sessions, self.places.logs)
        self.network = Network(self.places)

    @cached_property
    def images(self) -> images.Images:
        """The images of today's sources; `build` makes them."""
        return images.locate(self.places.cache)

    @cached_property
    def array(self) -> Array:
        """The array and its daemons."""
        return Array(self.places, self.sessions, self.images.array / "root")

    @cached_property
    def host(self) -> Host:
        """The KVM host."""
        return Host(self.places, self.sessions, self.images)

    @cached_property
    def guests(self) -> Guests:
        """The guests on the KVM host."""
        return Guests(self.host, self.places, self.san)

    @cached_property
    def luns(self) -> Luns:
        """The array's LUNs."""
        return Luns(self.places)

    @cached_property
    def san(self) -> San:
        """The SAN as the KVM host has it."""
        return San(self.host, self.luns, self.network)

    @cached_property
    def control(self) -> ControlClient:
        """The simulator's control port."""
        from ontapsim.control import ControlClient

        return ControlClient(str(self.places.control_socket))

    def build(self) -> None:
        """Make the images that the cache does not hold."""
        with self._lock():
            self._build()

    def up(self) -> None:
        """Bring up whatever is not up, from packages to guests; what is up and healthy stays as it is."""
        with self._lock():
            self._build()
            self._forget_outdated()
            fresh_network = not self.network.is_up
            if fresh_network:
                with step("network"):
                    self._stop_daemons()
                    self.network.up()
            self.network.heal()
            served = self.array.serves_files
            with step("array: disk, ONTAP simulator, NFS and iSCSI server"):
                self.array.up()
            if not self._host_is_up():
                with step("KVM host: boot"):
                    if served:
                        # The locks of a host that is lost: the new root does not know whom to tell of it.
                        self.array.restart_nfs()
                    self.host.start()
                    self.guests.make_images(DEFAULTS)
                    self.host.wait()
            with step("KVM host: CA certificate, NFS mounts and iSCSI sessions"):
                self._prepare_host()
            with step(f"guests {', '.join(spec.name for spec in DEFAULTS)}"):
                self.guests.make_images(DEFAULTS)
                self.guests.start(DEFAULTS)
                self.guests.wait(DEFAULTS)
            self.write_inventory()
            say(f"the lab is up; its inventory is {self.places.inventory}")

    def down(self) -> None:
        """End everything that the lab started and remove its run directory; the images stay."""
        if not self.places.run.exists() and not self.network.exists:
            return
        with self._lock(), step("taking the lab down"):
            self._down()

    def clean(self) -> None:
        """Take the lab down and remove its whole directory."""
        self.down()
        if self.places.root.exists():
            with self._lock():
                shutil.rmtree(self.places.cache, ignore_errors=True)
            shutil.rmtree(self.places.root)

    def status(self) -> list[tuple[str, bool, str]]:
        """Return what the lab consists of: name, whether it is up, and a word about it; guests of tests never count."""
        mounted = os.path.ismount(self.places.array_data)
        rows = [
            ("images", images.complete(self.places.cache), str(self.places.cache)),
            ("network", self.network.is_up, " ".join(self.network.namespaces)),
            ("array disk", mounted, str(self.places.array_data)),
        ]
        for name in (*Array.SESSIONS, Host.SESSION):
            session = self.sessions.get(name)
            rows.append((name, session is not None and session.alive, f"pid {session.pid}" if session else ""))
        for spec in DEFAULTS:
            rows += [self._path_row(disk) for disk in spec.luns]
        states = self.guests.states() if self.host.runs else {}
        own = [spec.name for spec in DEFAULTS]
        for name in [*own, *(name for name in states if name not in own)]:
            state = states.get(name, "not defined")
            rows.append((f"guest {name}", name not in own or state == "running", state))
        return rows

    def write_inventory(self) -> Path:
        """Write the Ansible inventory and return its path."""
        self.places.inventory.write_text(inventory_text(self.host))
        return self.places.inventory

    def ssh(self, command: str, *, timeout: float = 60, stdin: Optional[str] = None) -> str:
        """Run a shell command on the KVM host and return its output; LabError when it fails or takes too long."""
        return self.host.ssh(command, timeout=timeout, stdin=stdin)

    def virsh(self, *words: str, timeout: float = 60) -> str:
        """Run virsh on the KVM host and return its output."""
        return self.host.virsh(*words, timeout=timeout)

    def add_guest(self, name: str, disks: Sequence[Disk], **options: Any) -> GuestSpec:
        """Make, define and start a guest and wait until it is ready; ``options`` are those of `GuestSpec`."""
        spec = GuestSpec(name, disks, **options)
        self.guests.add(spec)
        return spec

    def start_guest(self, name: str) -> GuestSpec:
        """Make and start one of the guests that are there on request, or start one of the others again."""
        known = {spec.name: spec for spec in (*DEFAULTS, *ON_REQUEST)}
        if name not in known:
            raise LabError(f"Failed to start {name}: the lab knows {', '.join(known)}")
        self.guests.add(known[name])
        return known[name]

    def remove_guest(self, name: str, *, with_disks: bool = True) -> None:
        """Stop and undefine a guest; its image files and LUNs go too unless told otherwise."""
        self.guests.remove(name, with_disks=with_disks)

    def ticks(self, guest: str, *, directory: str = "/data") -> list[Tick]:
        """Return a running guest's ticks, read through the agent's file calls; a frozen guest refuses them."""
        return evidence.parse_ticks(self.ssh(f"python3 {GUEST_FILE} {guest} {directory}/ticks"))

    def storage_path(self, path: str, *, snapshot: Optional[str] = None) -> Path:
        """Return where the array keeps a file of the KVM host's mounts or a LUN, now or in a snapshot of its volume."""
        image = self.guests.storage_path(path)
        if snapshot is None:
            return image
        svm, volume, *inside = image.relative_to(self.places.volumes).parts
        return self.places.volumes.joinpath(svm, volume, ".snapshot", snapshot, *inside)

    def storage_ticks(self, path: str, *, snapshot: Optional[str] = None, recovered: bool = False) -> list[Tick]:
        """Return the ticks that an image holds on the array; ``recovered`` replays its journal in a copy first."""
        return evidence.storage_ticks(self.storage_path(path, snapshot=snapshot), recovered=recovered)

    def needs_recovery(self, path: str, *, snapshot: Optional[str] = None) -> bool:
        """True when an image on the array was neither unmounted nor frozen when its bytes were written."""
        return evidence.needs_recovery(self.storage_path(path, snapshot=snapshot))

    def _build(self) -> None:
        packages.install()
        images.ensure(self.places.cache)

    def _host_is_up(self) -> bool:
        if not self.host.runs:
            return False
        try:
            self.host.wait()
        except LabError as exc:
            say(f"starting the KVM host anew: {exc}")
            return False
        return True

    def _prepare_host(self) -> None:
        with ThreadPoolExecutor() as pool:
            for work in [pool.submit(self.host.prepare), pool.submit(self.san.login)]:
                work.result()

    def _path_row(self, disk: LunSpec) -> tuple[str, bool, str]:
        working: list[str] = []
        if self.host.runs:
            try:
                wwid = self.luns.get(disk.lun).wwid
                working = [path.disk for path in self.san.paths(wwid) if path.works]
            except LabError as exc:
                return f"paths {disk.lun}", False, str(exc)
        return f"paths {disk.lun}", len(working) == PATHS, " ".join(working)

    def _forget_outdated(self) -> None:
        made_from = self.places.run / "images"
        if made_from.exists() and made_from.read_text() != self.images.key:
            with step("the running lab is older than its sources: taking it down"):
                self._down()
        self.places.run.mkdir(parents=True, exist_ok=True)
        made_from.write_text(self.images.key)
        if not self.sessions.names():
            images.prune(self.places.cache)

    def _stop_daemons(self) -> None:
        self.host.stop()
        self.array.down()
        for name in self.sessions.names():
            self.sessions.stop(name)

    def _down(self) -> None:
        self._stop_daemons()
        self.network.down()
        self._remove_run()

    def _remove_run(self) -> None:
        mounted = run(["findmnt", "--noheadings", "--raw", "--output", "TARGET"]).stdout.split()
        below = [target for target in mounted if Path(target).is_relative_to(self.places.run)]
        if below:
            raise LabError(f"Failed to remove {self.places.run}: still mounted there: {', '.join(below)}")
        if self.places.run.exists():
            shutil.rmtree(self.places.run)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.places.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.places.root / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another command on this lab")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
