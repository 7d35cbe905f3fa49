# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests: a running simulator on a thread of this process, over real HTTPS on the loopback interface."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme

from .config import ConfigError, load
from .control import ControlClient
from .control_server import Control
from .server import Server
from .simulator import Simulator
from .storage import StorageError

ADDRESS = "127.0.0.1"
_SECONDS = 30

KVMSNAP_ROLE: dict[str, Any] = {
    "name": "kvmsnap",
    "privileges": [
        {"path": "/api/cluster", "access": "readonly"},
        {"path": "/api/svm/svms", "access": "readonly"},
        {"path": "/api/network/ip/interfaces", "access": "readonly"},
        {"path": "/api/storage/volumes", "access": "readonly"},
        {"path": "/api/storage/volumes/*/snapshots", "access": "all"},
        {"path": "/api/storage/volumes/*/files", "access": "readonly"},
        {"path": "/api/storage/file/clone", "access": "read_create"},
        {"path": "/api/storage/luns", "access": "all"},
        {"path": "/api/protocols/san/lun-maps", "access": "all"},
        {"path": "/api/protocols/san/igroups", "access": "readonly"},
        {"path": "/api/application/consistency-groups", "access": "all"},
        {"path": "/api/support/ems/application-logs", "access": "read_create"},
    ],
}
"""The least-privilege REST role."""

CLI_ROLE: dict[str, Any] = {
    "name": "kvmsnap_cli",
    "privileges": [
        {"path": command, "access": access}
        for command, access in (
            ("volume snapshot", "all"),
            ("volume show", "readonly"),
            ("volume file clone create", "all"),
            ("volume file", "readonly"),
            ("vserver show", "readonly"),
            ("network interface show", "readonly"),
            ("job show", "readonly"),
            ("version", "readonly"),
            ("event generate-autosupport-log", "all"),
            ("lun", "all"),
        )
    ],
}
"""The traditional role, which allows the CLI pass-through."""


def sample() -> dict[str, Any]:
    """Return a configuration like the lab's: two SVMs, a nested junction, two LUNs in use, and its five users."""
    size = 10 << 30
    return copy.deepcopy(
        {
            "version": "9.19.1",
            "cluster": {"name": "cluster1", "lifs": [{"name": "cluster1-mgmt", "address": "198.51.100.10"}]},
            "svms": [
                {
                    "name": "svm1",
                    "igroups": [
                        {"name": "hv1", "initiators": ["iqn.2026-01.org.example:hv1"]},
                        {"name": "other", "initiators": ["iqn.2026-01.org.example:elsewhere"]},
                    ],
                    "lifs": [
                        {"name": "svm1-mgmt", "address": "198.51.100.11", "services": ["management_https"]},
                        {"name": "svm1-nfs", "address": "198.51.100.21"},
                        {"name": "svm1-nfs-b", "address": "203.0.113.21"},
                        {"name": "svm1-iscsi-a", "address": "198.51.100.31", "services": ["data_core", "data_iscsi"]},
                        {"name": "svm1-iscsi-b", "address": "203.0.113.31", "services": ["data_core", "data_iscsi"]},
                    ],
                    "volumes": [
                        {"name": "kvm_vol1", "junction": "/kvm_vol1", "size": size},
                        {"name": "kvm_vol2", "junction": "/kvm_vol2", "size": size},
                        {"name": "kvm_nested", "junction": "/kvm_vol1/nested", "size": size},
                        {
                            "name": "kvm_san1",
                            "size": size,
                            "luns": [
                                {"path": "luns/a", "size": 8 << 20, "maps": [{"igroup": "hv1", "lun_id": 1}]},
                                {"path": "luns/b", "size": 4 << 20, "maps": [{"igroup": "hv1", "lun_id": 2}]},
                            ],
                        },
                        {"name": "kvm_san2", "size": size},
                    ],
                },
                {
                    "name": "svm2",
                    "lifs": [
                        {"name": "svm2-mgmt", "address": "198.51.100.12", "services": ["management_https"]},
                        {"name": "svm2-nfs", "address": "198.51.100.22"},
                    ],
                    "volumes": [{"name": "kvm_vol3", "junction": "/kvm_vol3", "size": size}],
                },
            ],
            "users": [
                {"name": "admin", "password": "lab-Admin1", "role": "admin"},
                {"name": "kvmsnap", "password": "lab-Kvmsnap1", "role": "kvmsnap"},
                {"name": "vsadmin", "password": "lab-Vsadmin1", "role": "vsadmin", "svm": "svm1"},
                {"name": "readonly", "password": "lab-Readonly1", "role": "readonly"},
                {"name": "kvmsnap_cli", "password": "lab-Cli1", "role": "kvmsnap_cli"},
            ],
            "roles": [KVMSNAP_ROLE, CLI_ROLE],
        }
    )


class Running:
    """A simulator that serves; ``port`` on 127.0.0.1, ``ca_pem`` the path of its CA, ``control`` its handles."""

    def __init__(self, config: Mapping[str, Any], directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.ca_pem = str(directory / "ca.pem")
        self._data = {
            **self._certificates(directory),
            "state_dir": str(directory / "array"),
            "require_reflink": False,
            "seal_snapshots": False,
            "control_socket": str(directory / "control.sock"),
            "listeners": [{"address": ADDRESS, "port": 0}],
            **config,
        }
        self.state_dir = str(self._data["state_dir"])
        self.control = ControlClient(str(self._data["control_socket"]))
        self.port = 0
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        self._failure: Exception | None = None
        self.start()

    @property
    def url(self) -> str:
        """Return the base address, without ``/api``."""
        return f"https://{ADDRESS}:{self.port}"

    def start(self) -> None:
        """Start serving; again after ``stop``, on the same state and port."""
        self._started.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True, name="ontapsim")
        self._thread.start()
        if not self._started.wait(_SECONDS):
            raise RuntimeError("the simulator did not start in time")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop serving; the state stays."""
        if self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_SECONDS)
        self._thread = None

    def volume_root(self, svm: str, volume: str) -> Path:
        """Return the directory of a volume."""
        return Path(self.state_dir) / "vols" / svm / volume

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_unused: object) -> None:
        self.stop()

    @staticmethod
    def _certificates(directory: Path) -> dict[str, Any]:
        authority = trustme.CA()
        certificate = authority.issue_cert(ADDRESS, "localhost")
        authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "server.pem"))
        return {"tls": {"cert": str(directory / "server.pem"), "key": str(directory / "server.pem")}}

    async def _serve(self) -> None:
        try:
            self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
            listeners: list[dict[str, Any]] = [dict(item) for item in self._data["listeners"]]
            if self.port:
                listeners[0]["port"] = self.port
            simulator = Simulator(load({**self._data, "listeners": listeners}))
            server, control = Server(simulator), Control(simulator)
            await server.start()
            await control.start(self.control.socket_path)
            self.port = simulator.ports[ADDRESS]
            await simulator.exports_changed()
            await simulator.san_changed()
        except (ConfigError, StorageError, OSError, ValueError, KeyError, TypeError) as exc:
            self._failure = exc
            self._started.set()
            return
        self._started.set()
        await self._stopping.wait()
        await control.stop()
        await server.stop()
        await simulator.stop()


def start(config: Mapping[str, Any] | None = None, tmp_path: Path | str = ".") -> Running:
    """Start a simulator with ``config`` (default: `sample`) below ``tmp_path``; stop it with ``stop`` or ``with``.

    ``state_dir``, ``tls``, ``listeners`` and ``control_socket`` are filled in where the configuration has none, and
    ``require_reflink`` and ``seal_snapshots`` are off, so that any directory will do and can be removed afterwards.
    """
    return Running(sample() if config is None else config, Path(tmp_path))
