# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of the control port, for tests and the lab. Needs nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

_SECONDS = 60


class ControlError(RuntimeError):
    """The control port refused; the message is its own."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)


class ControlClient:
    """Speaks to the control socket at ``socket_path``; every method raises ``ControlError`` when refused."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path

    def request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send one request and return the JSON answer."""
        connection = _Connection(self.socket_path)
        try:
            connection.request(
                method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            data: dict[str, Any] = json.loads(response.read() or b"{}")
        finally:
            connection.close()
        if response.status >= 400:
            raise ControlError(f"{method} {path}: {data.get('error', response.status)}")
        return data

    def health(self) -> dict[str, Any]:
        """Return ok, version, reflink, seals, running_jobs, pid, ports by address, and san (None: no trouble)."""
        return self.request("GET", "/health")

    def settle(self, seconds: float = 10) -> None:
        """Wait until jobs and background work have ended, but for jobs that hang for ever; raises ``TimeoutError``."""
        going = self.request("POST", "/settle", {"seconds": seconds})["going"]
        if going:
            raise TimeoutError(f"{going} pieces of the array's work are still going on after {seconds} s")

    def journal(self, after: int = 0) -> list[dict[str, Any]]:
        """Return the byte-changing operations with a ``seq`` above ``after``."""
        entries: list[dict[str, Any]] = self.request("GET", f"/journal?after={after}")["entries"]
        return entries

    def requests(self) -> list[dict[str, Any]]:
        """Return the answered requests: id, time, method, path, query, body, status (0: dropped), user, seconds."""
        entries: list[dict[str, Any]] = self.request("GET", "/requests")["entries"]
        return entries

    def clear_requests(self) -> None:
        """Forget the request log."""
        self.request("DELETE", "/requests")

    def add_fault(self, kind: str, *, match: dict[str, Any] | None = None, **options: Any) -> int:
        """Set a fault and return its number; ``match`` has method, path (regex), user, count, after."""
        answer = self.request("POST", "/faults", {"match": match or {}, "action": {"type": kind, **options}})
        return int(answer["id"])

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults with how often each was seen and hit."""
        found: list[dict[str, Any]] = self.request("GET", "/faults")["faults"]
        return found

    def clear_faults(self) -> None:
        """Remove all faults."""
        self.request("DELETE", "/faults")

    def late(self) -> list[dict[str, Any]]:
        """Return the late effects: request, method, path, arrived, due, ended (None: to come) and status."""
        effects: list[dict[str, Any]] = self.request("GET", "/late")["effects"]
        return effects

    def hasten(self) -> None:
        """Let the late effects that are to come come now."""
        self.request("POST", "/late")

    def sha256(self, svm: str, volume: str, path: str, snapshot: str | None = None) -> str:
        """Return the SHA-256 of a file, live or in a snapshot, as the storage has it."""
        query = {"svm": svm, "volume": volume, "path": path, **({"snapshot": snapshot} if snapshot else {})}
        return str(self.request("GET", f"/sha256?{urlencode(query)}")["sha256"])

    def switches(self) -> dict[str, Any]:
        """Return all switches."""
        return self.request("GET", "/switches")

    def set_switches(self, **values: Any) -> dict[str, Any]:
        """Set switches (see `switches`) and return all."""
        return self.request("POST", "/switches", values)

    def reset_switches(self) -> dict[str, Any]:
        """Set all switches back."""
        return self.request("DELETE", "/switches")

    def set_version(self, version: str) -> None:
        """Let the array be of another version."""
        self.request("POST", "/version", {"version": version})

    def volumes(self) -> list[dict[str, Any]]:
        """Return all volumes: svm, name, uuid, junction, state, type, snapshots, root (directory)."""
        found: list[dict[str, Any]] = self.request("GET", "/volumes")["volumes"]
        return found

    def add_volume(self, svm: str, name: str, **values: Any) -> str:
        """Add a volume with the keys of the configuration and return its uuid."""
        return str(self.request("POST", "/volumes", {"svm": svm, "name": name, **values})["uuid"])

    def change_volume(self, svm: str, volume: str, **values: Any) -> None:
        """Set attributes of a volume past all rules: type, state, style, full, ..."""
        self.request("PATCH", "/volumes", {"svm": svm, "volume": volume, **values})

    def add_snapshot(self, svm: str, volume: str, name: str, **values: Any) -> list[str]:
        """Make a foreign snapshot (or ``count`` of them, numbered) with owners, expiry_time, comment, ..."""
        found: list[str] = self.request("POST", "/snapshots", {"svm": svm, "volume": volume, "name": name, **values})[
            "uuids"
        ]
        return found

    def change_snapshot(self, svm: str, volume: str, name: str, **values: Any) -> None:
        """Set attributes of a snapshot past all rules."""
        self.request("PATCH", "/snapshots", {"svm": svm, "volume": volume, "name": name, **values})

    def add_group(self, svm: str, name: str, volumes: Sequence[str]) -> str:
        """Make a consistency group of volumes past all rules, and return its uuid."""
        return str(self.request("POST", "/groups", {"svm": svm, "name": name, "volumes": list(volumes)})["uuid"])

    def remove_groups(self) -> None:
        """Forget all consistency groups with what is known of their snapshots; those of the volumes stay."""
        self.request("DELETE", "/groups")

    def change_lif(self, name: str, **values: Any) -> None:
        """Set attributes of a LIF: enabled, state, services, ipspace, address, svm."""
        self.request("PATCH", "/lifs", {"name": name, **values})

    def serve_luns(self) -> None:
        """Let the iSCSI target serve what is mapped, as after a restart of its own."""
        self.request("POST", "/san")

    def luns(self) -> list[dict[str, Any]]:
        """Return all LUNs: svm, volume, path, name, uuid, serial, size, os_type, enabled, maps (number by igroup)."""
        found: list[dict[str, Any]] = self.request("GET", "/luns")["luns"]
        return found

    def add_lun(self, svm: str, volume: str, path: str, size: int, **values: Any) -> str:
        """Add an empty LUN with the keys of the configuration, directories above it too, and return its uuid."""
        body = {"svm": svm, "volume": volume, "path": path, "size": size, **values}
        return str(self.request("POST", "/luns", body)["uuid"])

    def change_lun(self, svm: str, volume: str, path: str, **values: Any) -> None:
        """Set attributes of a LUN past all rules: serial, os_type, enabled, comment."""
        self.request("PATCH", "/luns", {"svm": svm, "volume": volume, "path": path, **values})

    def replace_lun(self, svm: str, volume: str, path: str) -> dict[str, Any]:
        """Put another LUN with the same bytes and maps at a path; return its new uuid and serial."""
        return self.request("PATCH", "/luns", {"svm": svm, "volume": volume, "path": path, "replace": True})
