# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The array: its disk (XFS with reflinks), the ONTAP simulator, NFS and iSCSI server, all in the array's namespace."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Optional

import trustme

from . import array_setup, topology
from .exports import Export, configuration, nested_mount_points
from .images.cache import fingerprint
from .network import inside
from .places import Places
from .process import Sessions, run, signal_all

SIMULATOR = "simulator"
SERVICES = "nfs-services"
GANESHA = "nfs-server"
TARGET = "iscsi-target"
SOURCES = Path(__file__).parent.parent
INSIDE = "/run/ganesha"
EXPORT_HOOK = (sys.executable, "-m", "kvmlab", "exports")
SCRIPT = Path(__file__).parent / "files" / "array" / "services.sh"
LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
LOADER = "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
CONTROL_PORT = "0"


@dataclass(frozen=True)
class Array:
    """The array of one lab; ``root`` is the tree with its NFS and iSCSI programs."""

    SESSIONS: ClassVar[tuple[str, ...]] = (TARGET, SIMULATOR, SERVICES, GANESHA)

    places: Places
    sessions: Sessions
    root: Path

    def up(self) -> None:
        """Bring up what is not up: disk, certificate, target, simulator, NFS server. The volumes' content stays."""
        self._mount()
        self._certify()
        fresh_target = self._start_target()
        if not self._start_simulator() and fresh_target:
            self._expose_luns()
        self._start_services()
        self._start_ganesha()

    def down(self) -> None:
        """End the daemons and unmount the disk; its content stays in the run directory."""
        for name in reversed(self.SESSIONS):
            self.sessions.stop(name)
        for pidfile in (self.places.ganesha_pidfile, self.places.target_pidfile):
            pidfile.unlink(missing_ok=True)
        self.unmount()

    @property
    def serves_files(self) -> bool:
        """Whether the NFS server runs."""
        return self.sessions.alive(GANESHA)

    @property
    def target_admin(self) -> list[str]:
        """Return the command that speaks to this array's iSCSI server as ``tgtadm``."""
        return [*self.target_program("tgtadm"), "-C", CONTROL_PORT]

    def stop_iscsi(self) -> None:
        """End the iSCSI server at once: all paths of all LUNs are lost."""
        self.sessions.stop(TARGET)
        self.places.target_pidfile.unlink(missing_ok=True)

    def start_iscsi(self) -> None:
        """Start the iSCSI server where it does not run, with all that is mapped."""
        if self._start_target():
            self._expose_luns()

    def restart_iscsi(self) -> None:
        """Restart the iSCSI server as a controller's reboot would; initiators log in again by themselves."""
        self.stop_iscsi()
        self.start_iscsi()

    def restart_nfs(self) -> None:
        """Restart the NFS server as a controller's reboot would; clients find their files and locks again."""
        self.sessions.stop(GANESHA)
        self.places.ganesha_pidfile.unlink(missing_ok=True)
        self._start_ganesha()

    def unmount(self) -> None:
        """Unmount the disk and free its loop device, also one that a killed mount left."""
        if os.path.ismount(self.places.array_data):
            run(["umount", self.places.array_data])
        if self.places.array_disk.exists():
            loops = run(["losetup", "--noheadings", "--output", "NAME", "-j", self.places.array_disk]).stdout
            for loop in loops.split():
                run(["losetup", "--detach", loop])

    def export(self, exports: Sequence[Export]) -> None:
        """Serve exactly these volumes. New ones are added under way, others need a restart of the server."""
        with (self.places.nfs / "exports.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = set(self._exports())
            if set(exports) == before:
                return
            self._configure(exports)
            session = self.sessions.get(GANESHA)
            if session is not None and session.alive and before <= set(exports):
                signal_all([session.pid], signal.SIGHUP)
            elif session is not None:
                self.restart_nfs()

    def _exports(self) -> list[Export]:
        try:
            records = json.loads((self.places.nfs / "exports.json").read_text())
        except FileNotFoundError:
            return array_setup.exports()
        return [Export(**record) for record in records]

    def _configure(self, exports: Sequence[Export]) -> None:
        for place in nested_mount_points(exports):
            (self.places.volumes / place).mkdir(exist_ok=True)
        (self.places.nfs / "ganesha.conf").write_text(configuration(exports))
        draft = self.places.nfs / "exports.draft"
        draft.write_text(json.dumps([asdict(export) for export in exports]))
        draft.replace(self.places.nfs / "exports.json")

    def _mount(self) -> None:
        if os.path.ismount(self.places.array_data):
            return
        self.places.array_data.mkdir(parents=True, exist_ok=True)
        self.unmount()
        disk = self.places.array_disk
        if not disk.exists():
            draft = disk.with_suffix(".draft")
            draft.unlink(missing_ok=True)
            run(["truncate", "--size", array_setup.DISK_SIZE, draft])
            run(["mkfs.xfs", "-q", "-m", "reflink=1", draft])
            draft.replace(disk)
        run(["mount", "-o", "loop,noatime", disk, self.places.array_data])

    def _certify(self) -> None:
        tls = self.places.tls
        if (tls / "ca.pem").exists():
            return
        tls.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA(organization_name="kvmsnap lab")
        names = [*topology.MANAGEMENT, *(topology.NAMES[name] for name in topology.MANAGEMENT)]
        certificate = authority.issue_cert(*names, common_name=names[0])
        certificate.private_key_pem.write_to_path(str(tls / "key.pem"))
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        (tls / "cert.pem").write_bytes(chain)
        draft = tls / "ca.draft"
        authority.cert_pem.write_to_path(str(draft))
        draft.replace(tls / "ca.pem")

    def _start_simulator(self) -> bool:
        """Start the simulator and return True, or False when it runs and is today's."""
        config = self.places.array / "ontapsim.json"
        wanted = json.dumps(array_setup.configuration(self.places, EXPORT_HOOK, self.target_admin), indent=2)
        started_from, today = self.places.array / "simulator.sources", fingerprint([SOURCES / "ontapsim"], [wanted])
        same = started_from.exists() and started_from.read_text() == today
        if same and self.sessions.alive(SIMULATOR) and self._answers():
            return False
        self.sessions.stop(SIMULATOR, grace=2)
        self.places.control_socket.unlink(missing_ok=True)
        config.write_text(wanted)
        started_from.write_text(today)
        self.sessions.start(
            SIMULATOR,
            inside(self.places.nas_namespace, [sys.executable, "-m", "ontapsim", "--config", config]),
            env={
                "PYTHONPATH": str(SOURCES),
                "PYTHONDONTWRITEBYTECODE": "1",
                "KVMSNAP_LAB_DIR": str(self.places.root),
            },
        )
        self.sessions.wait(SIMULATOR, self._answers, seconds=30)
        return True

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(str(self.places.control_socket))
                probe.sendall(b"GET /health HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
                return b" 200 " in probe.recv(64)
            except OSError:
                return False

    def target_program(self, name: str, *, control: Optional[Path] = None) -> list[str]:
        """Return the command that runs a program of the iSCSI server, asked at ``control`` or the array's socket."""
        libraries = ":".join(str(self.root / directory) for directory in LIBRARIES)
        loader = [str(self.root / LOADER), "--library-path", libraries]
        return [
            "env",
            f"TGT_IPC_SOCKET={control or self.places.target_socket}",
            *loader,
            str(self.root / "usr" / "sbin" / name),
        ]

    def _start_target(self) -> bool:
        """Start the iSCSI server and return True, or False when it runs."""
        session = self.sessions.get(TARGET)
        if session is not None and session.alive and self.places.target_pidfile.exists():
            signal_all([session.pid], signal.SIGCONT)
            return False
        self.stop_iscsi()
        portals = ",".join(f"portal={portal}" for portal in topology.PORTALS)
        words = ["tgtd", "-f", "-C", CONTROL_PORT, "--nr_iothreads", "4", "--iscsi", portals]
        server = [*self.target_program(words[0]), *words[1:]]
        session = self.sessions.start(TARGET, inside(self.places.nas_namespace, server))
        self.sessions.wait(TARGET, self._target_answers, seconds=15)
        self.places.target_pidfile.write_text(f"{session.pid}\n")
        return True

    def _expose_luns(self) -> None:
        from ontapsim.control import ControlClient

        ControlClient(str(self.places.control_socket)).serve_luns()

    def _target_answers(self) -> bool:
        return run([*self.target_admin, "--mode", "sys", "--op", "show"], check=False).returncode == 0

    def _start_services(self) -> None:
        if self.sessions.alive(SERVICES) and self._services_ready.exists():
            return
        self.sessions.stop(GANESHA)
        self.sessions.stop(SERVICES)
        (self.places.nfs / "recovery").mkdir(parents=True, exist_ok=True)
        self._services_ready.unlink(missing_ok=True)
        private = ["unshare", "--mount", "--uts", "--propagation", "private"]
        script = ["sh", SCRIPT, self.root, self.places.array_data, self.places.nfs]
        self.sessions.start(SERVICES, inside(self.places.nas_namespace, [*private, *script]))
        self.sessions.wait(SERVICES, self._services_ready.exists, seconds=15)

    @property
    def _services_ready(self) -> Path:
        return self.places.nfs / "services.ready"

    def _start_ganesha(self) -> None:
        session = self.sessions.get(GANESHA)
        if session is not None and session.alive and self.places.ganesha_pidfile.exists():
            signal_all([session.pid], signal.SIGCONT)
            return
        self.sessions.stop(GANESHA)
        self.places.ganesha_pidfile.unlink(missing_ok=True)
        self._configure(self._exports())
        services = self.sessions.get(SERVICES)
        assert services is not None
        beside = ["nsenter", "--target", str(services.pid), "--mount", "--uts", "--net", "chroot", str(self.root)]
        server = ["ganesha.nfsd", "-F", "-L", "STDERR", "-f", f"{INSIDE}/ganesha.conf", "-p", f"{INSIDE}/ganesha.pid"]
        self.sessions.start(GANESHA, [*beside, *server])
        self.sessions.wait(GANESHA, self._serves_nfs, seconds=30)

    def _serves_nfs(self) -> bool:
        if not self.places.ganesha_pidfile.exists():
            return False
        listening = ["ss", "--listening", "--tcp", "--no-header", "--numeric", "sport = :2049"]
        return bool(run(inside(self.places.nas_namespace, listening)).stdout.strip())
