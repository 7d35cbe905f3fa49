# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private host as one thing: its namespaces, its array, its libvirtd; started, looked at, ended."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import trustme

from kvmlab import images, packages, topology
from kvmlab.errors import LabError
from kvmlab.places import LONGEST_ROOT, Places
from kvmlab.process import Sessions, run, signal_all, wait_until
from ontapsim.control import ControlClient, ControlError

from .guests import GroundGuests
from .modules import Modules, Outcome, Running, knows

DEFAULT_ROOT = "/var/lib/kvmsnap-ground"
PACKAGES = (*packages.NEEDED, "libvirt-clients", "libvirt-daemon")
HOUSE, SIMULATOR, LIBVIRTD = "house", "simulator", "libvirtd"
NAMESPACES = Path("/run/netns")
SOURCES = Path(__file__).parent.parent
SCRIPT = Path(__file__).parent / "house.sh"
GIB = 1024**3
DISK_SIZE = "16G"
FILLER = "filler"

VOLUMES = ("kvm_vol1", "kvm_vol2", "kvm_vol3", "kvm_vol4")
SVM = "svm1"
NFS_SERVER = "svm1-nfs"
CONTROLLER = "cluster1"
_ADDRESSES = tuple(topology.NAMES[name] for name in (CONTROLLER, SVM, NFS_SERVER))
_MANAGEMENT = ("management_core", "management_https")
_DATA = ("data_core", "data_nfs")

_LIBVIRTD_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
log_outputs = "2:stderr"
"""
_QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
seccomp_sandbox = 0
"""
# Debian's libvirt will not start without these, whoever QEMU runs as.
_ACCOUNTS = {"passwd": "libvirt-qemu:x:64055:64055::/:/bin/false\n", "group": "libvirt-qemu:x:64055:\n"}


class Ground:
    """One private host, named by its directory; nothing is started by making this object.

    ``libvirtd_options`` are lines for libvirtd.conf by key (``max_workers`` and the like).
    """

    def __init__(self, root: Optional[Path] = None, *, libvirtd_options: Optional[Mapping[str, int]] = None) -> None:
        if os.geteuid() != 0:
            raise LabError("the private host needs root: it makes namespaces and mounts")
        root = root or Path(os.environ.get("KVMSNAP_GROUND_DIR") or DEFAULT_ROOT).absolute()
        if len(str(root)) > LONGEST_ROOT:
            raise LabError(f"The directory of the private host is longer than {LONGEST_ROOT} characters: {root}")
        self.places = Places(root)
        self.sessions = Sessions(self.places.sessions, self.places.logs)
        self.namespace = "kvmground-" + hashlib.sha256(str(root).encode()).hexdigest()[:6]
        self._libvirtd_options = dict(libvirtd_options or {})

    @classmethod
    def beside(cls, name: str) -> Ground:
        """Return a private host of its own, with a directory beside that of the usual one."""
        usual = Path(os.environ.get("KVMSNAP_GROUND_DIR") or DEFAULT_ROOT).absolute()
        return cls(usual.with_name(f"{usual.name}-{name}"))

    @property
    def host(self) -> Path:
        """What the private host has at /etc/libvirt, /var/lib/libvirt and so on lies below this directory."""
        return self.places.run / "host"

    @property
    def uri(self) -> str:
        """The connection to the private libvirtd from anywhere on the machine."""
        return f"qemu:///system?socket={self.seen(Path('/run/libvirt/libvirt-sock'))}"

    @cached_property
    def control(self) -> ControlClient:
        """The simulator's control port."""
        return ControlClient(str(self.places.control_socket))

    @cached_property
    def guests(self) -> GroundGuests:
        """The guests of the private host."""
        return GroundGuests(self)

    @cached_property
    def guest_image(self) -> Path:
        """The directory with kernel and initramfs of the guests that have an agent; built when the lab has none."""
        return images.ensure_guest(Places.from_environment().cache)

    @property
    def volume_names(self) -> tuple[str, ...]:
        """The names of the volumes, all of one SVM."""
        return VOLUMES

    @property
    def catalog(self) -> Path:
        """The catalog of the modules, as the private host sees it."""
        return self.places.run / "catalog"

    def start(self) -> None:
        """Bring it up afresh; what an earlier one left, however it ended, is removed first."""
        packages.install(PACKAGES)
        self.stop()
        with self._lock():
            self.places.run.mkdir(parents=True)
            self._certify()
            self._start_house()
            self.start_simulator()
            self.start_libvirtd()

    def stop(self) -> None:
        """End every process of the private host and remove what it wrote, but for what libvirt knows of QEMU."""
        guests = self.__dict__.pop("guests", None)
        if guests is not None:
            guests.close()
        with self._lock():
            self._empty_namespace()
            for name in self.sessions.names():
                self.sessions.stop(name)
            if self.places.run.exists():
                self._detach_loops()
                shutil.rmtree(self.places.run)

    def clean(self) -> None:
        """End it and remove its directory."""
        self.stop()
        shutil.rmtree(self.places.root, ignore_errors=True)

    def __enter__(self) -> Ground:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def inside(self, argv: Sequence[object]) -> list[str]:
        """Return the command that runs ``argv`` as a process of the private host."""
        house = self.sessions.get(HOUSE)
        if house is None or not house.alive:
            raise LabError("the private host is not up")
        enter = ["nsenter", "--target", str(house.pid), "--mount", "--uts", "--net"]
        return [*enter, *(str(word) for word in argv)]

    def run(self, argv: Sequence[object], *, timeout: float = 60, check: bool = True) -> str:
        """Run a command on the private host and return what it prints."""
        return run(self.inside(argv), timeout=timeout, check=check).stdout

    def start_simulator(self) -> None:
        """Start the ONTAP simulator; its volumes are as it left them."""
        self.places.control_socket.unlink(missing_ok=True)
        config = self.places.array / "ontapsim.json"
        config.write_text(json.dumps(self._configuration(), indent=2))
        self.sessions.start(
            SIMULATOR,
            self.inside([sys.executable, "-m", "ontapsim", "--config", config]),
            env={"PYTHONPATH": str(SOURCES), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.sessions.wait(SIMULATOR, self._simulator_answers, seconds=30)

    def restart_simulator(self, *, kill: bool = False) -> None:
        """Restart the array's REST server; with ``kill`` it ends at once, whatever it was doing."""
        self.sessions.stop(SIMULATOR, grace=0 if kill else 5)
        self.start_simulator()

    def start_libvirtd(self) -> None:
        """Start libvirtd and wait until it answers; guests that run are known to it again."""
        conf = self.host / "libvirtd.conf"
        options = "".join(f"{key} = {value}\n" for key, value in self._libvirtd_options.items())
        conf.write_text(_LIBVIRTD_CONF + options)
        self.sessions.start(LIBVIRTD, self.inside(["libvirtd", "--config", conf]))
        self.sessions.wait(LIBVIRTD, self._libvirtd_answers, seconds=60)

    def restart_libvirtd(self, *, kill: bool = False) -> None:
        """Restart libvirtd as a package update does; the guests run on. ``kill``: as when it crashes."""
        self.stop_libvirtd(kill=kill)
        self.start_libvirtd()

    def stop_libvirtd(self, *, kill: bool = False) -> None:
        """End libvirtd; the guests run on."""
        self.guests.disconnect()
        self.sessions.stop(LIBVIRTD, grace=0 if kill else 15)

    def mountinfo(self) -> str:
        """Return the mount table that modules are shown: the volumes' directories as NFS 4.1 mounts."""
        lines = ["21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw"]
        address = topology.NAMES[NFS_SERVER]
        for number, volume in enumerate(VOLUMES):
            options = f"rw,vers=4.1,hard,proto=tcp,local_lock=none,addr={address}"
            where = self.volume(volume)
            lines.append(
                f"{40 + number} 21 0:{40 + number} / {where} rw,relatime - nfs4 {NFS_SERVER}:/{volume} {options}"
            )
        return "\n".join(lines) + "\n"

    def volume(self, name: str) -> Path:
        """Return a volume's directory, as the private host sees it (its processes only)."""
        return self.places.volumes / SVM / name

    def seen(self, path: Path) -> Path:
        """Return a path of the private host as anybody on the machine can open it."""
        house = self.sessions.get(HOUSE)
        if house is None:
            raise LabError("the private host is not up")
        return Path(f"/proc/{house.pid}/root{path}")

    def controllers(self, **options: Any) -> list[dict[str, Any]]:
        """Return the ``controllers`` option of the modules."""
        return [
            {
                "hostname": topology.NAMES[CONTROLLER],
                "username": topology.REST_USER,
                "password": topology.REST_PASSWORD,
                "ca_path": str(self.places.tls / "ca.pem"),
                **options,
            }
        ]

    def module(self, module: str, /, *, check: bool = False, within: float = 120, **options: Any) -> Outcome:
        """Run a module of the collection to its end; what it needs to find array and libvirt is added."""
        return self.begin(module, check=check, **options).wait(within)

    def begin(self, module: str, /, *, check: bool = False, **options: Any) -> Running:
        """Start a module of the collection as a process that can be waited for, or killed."""
        return self._modules.begin(module, options, check=check)

    def discovered(self, **options: Any) -> dict[str, Any]:
        """Return what discovery finds, as options of a backup."""
        found = self.module("kvm_vm_discover", **options)
        return {key: found[key] for key in ("guests", "volumes", "problems")}

    def back_up(self, backup_id: str, *guests: str, **options: Any) -> None:
        """Make a backup of all guests, or of those named; raises :class:`LabError` when it fails."""
        asked = self.discovered(guests=list(guests)) if guests else self.discovered()
        outcome = self.module("kvm_vm_backup", backup_id=backup_id, owner="hv1", policy="daily", **asked, **options)
        if outcome.failed:
            raise LabError(f"Failed to make backup {backup_id}: {outcome.msg}")

    def knows(self, module: str, option: str) -> bool:
        """Whether a module has an option."""
        return knows(module, option)

    def snapshots(self) -> dict[str, list[str]]:
        """Return the names of the snapshots by volume, as the array's disk has them; volumes without are left out."""
        found = {f"{row['svm']}:{row['name']}": sorted(row["snapshots"]) for row in self.control.volumes()}
        return {volume: names for volume, names in found.items() if names}

    def fill(self, place: Path) -> None:
        """Leave no room on the file system of a place of the private host (the catalog, or ``/run/kvmsnap``)."""
        with (self.seen(place) / FILLER).open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(64 * 1024))

    def free(self, place: Path) -> None:
        """Give the room back."""
        (self.seen(place) / FILLER).unlink(missing_ok=True)

    def processes(self) -> list[int]:
        """Return the pids of everything that runs on the private host, QEMU and left-over modules included."""
        if not (NAMESPACES / self.namespace).exists():
            return []
        return [int(word) for word in run(["ip", "netns", "pids", self.namespace]).stdout.split()]

    @cached_property
    def _modules(self) -> Modules:
        return Modules(self)

    def _start_house(self) -> None:
        run(["ip", "netns", "add", self.namespace])
        disk = self.places.array_disk
        self.places.array_data.mkdir(parents=True)
        run(["truncate", "--size", DISK_SIZE, disk])
        run(["mkfs.xfs", "-q", "-m", "reflink=1", disk])
        self._furnish()
        ready = self.places.run / "house.ready"
        own = ["nsenter", f"--net={NAMESPACES / self.namespace}", "unshare", "--mount", "--uts", "--propagation"]
        script = ["private", "sh", SCRIPT, disk, self.places.array_data, self.host, self.catalog, ready, *_ADDRESSES]
        self.sessions.start(HOUSE, [str(word) for word in (*own, *script)])
        self.sessions.wait(HOUSE, ready.exists, seconds=30)

    def _furnish(self) -> None:
        """Lay out what libvirt finds; what it learnt of QEMU is kept from one start to the next."""
        kept = self.places.cache / "libvirt"
        kept.mkdir(parents=True, exist_ok=True)
        (self.host / "var" / "cache").mkdir(parents=True)
        (self.host / "var" / "cache" / "libvirt").symlink_to(kept)
        (self.host / "var" / "log" / "libvirt" / "qemu").mkdir(parents=True)
        etc = self.host / "etc" / "libvirt"
        etc.mkdir(parents=True)
        (etc / "qemu.conf").write_text(_QEMU_CONF)
        for file, line in _ACCOUNTS.items():
            (etc.parent / file).write_text(Path("/etc", file).read_text() + line)
        (self.places.run / "mountinfo").write_text(self.mountinfo())

    def _certify(self) -> None:
        tls = self.places.tls
        tls.mkdir(parents=True)
        authority = trustme.CA(organization_name="kvmsnap private host")
        certificate = authority.issue_cert(topology.NAMES[CONTROLLER])
        certificate.private_key_pem.write_to_path(str(tls / "key.pem"))
        (tls / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        authority.cert_pem.write_to_path(str(tls / "ca.pem"))

    def _configuration(self) -> dict[str, Any]:
        """Return the simulator's configuration: one SVM with the volumes, and nothing that serves them."""
        volumes = [{"name": name, "junction": f"/{name}", "size": 4 * GIB, "type": "rw"} for name in VOLUMES]
        lifs = [_lif("svm1_mgmt", SVM, _MANAGEMENT), _lif("svm1_nfs_a", NFS_SERVER, _DATA)]
        user = {"name": topology.REST_USER, "password": topology.REST_PASSWORD, "role": "admin"}
        return {
            "state_dir": str(self.places.array_data),
            "control_socket": str(self.places.control_socket),
            "listeners": [{"address": topology.NAMES[CONTROLLER], "port": topology.REST_PORT}],
            "tls": {"cert": str(self.places.tls / "cert.pem"), "key": str(self.places.tls / "key.pem")},
            "version": topology.ONTAP_VERSION,
            "cluster": {
                "name": CONTROLLER,
                "nodes": ["cluster1-01"],
                "lifs": [_lif("cluster_mgmt", CONTROLLER, _MANAGEMENT)],
            },
            "svms": [{"name": SVM, "lifs": lifs, "volumes": volumes}],
            "users": [user],
            "require_reflink": True,
        }

    def _simulator_answers(self) -> bool:
        try:
            return bool(self.control.health()["ok"])
        except (OSError, ControlError):
            return False

    def _libvirtd_answers(self) -> bool:
        return run(["virsh", "-q", "-c", self.uri, "list"], check=False, timeout=30).returncode == 0

    def _empty_namespace(self) -> None:
        if not (NAMESPACES / self.namespace).exists():
            return

        def emptied() -> bool:
            left = self.processes()
            signal_all(left, signal.SIGKILL)
            return not left

        wait_until(emptied, seconds=10, what=f"{self.namespace} without processes")
        run(["ip", "netns", "delete", self.namespace])

    def _detach_loops(self) -> None:
        """Free the disk's loop device, should the mount have gone without it."""
        loops = run(["losetup", "--noheadings", "--output", "NAME", "-j", self.places.array_disk]).stdout.split()
        for loop in loops:
            run(["losetup", "--detach", loop], check=False)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.places.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.places.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _lif(name: str, host: str, services: Sequence[str]) -> dict[str, Any]:
    return {"name": name, "address": topology.NAMES[host], "netmask": "255.255.255.0", "services": list(services)}
