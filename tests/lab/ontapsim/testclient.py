# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plain HTTPS client for tests of the simulator itself: it sends what it is told, right or wrong."""

from __future__ import annotations

from typing import Any, Protocol

import requests

_SECONDS = 60


class Reachable(Protocol):
    """Where a simulator serves and which CA it has."""

    ca_pem: str

    @property
    def url(self) -> str:
        """Return the base address, without ``/api``."""


class Api:
    """A plain HTTPS client of a running simulator."""

    def __init__(self, running: Reachable, user: str = "admin", password: str = "lab-Admin1") -> None:
        self.running = running
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = running.ca_pem
        self.session.auth = (user, password)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send one request; ``path`` is what follows ``/api``."""
        return self.session.request(method, f"{self.running.url}/api{path}", timeout=_SECONDS, **options)

    def ok(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a request that must not be refused and return its body."""
        response = self.request(method, path, json=body)
        assert response.status_code < 300, response.text
        result: dict[str, Any] = response.json() if response.text.strip() else {}
        return result

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Send a request that must be refused and return status and code."""
        response = self.request(method, path, json=body)
        assert response.status_code >= 400, response.text
        return response.status_code, response.json()["error"]["code"]

    def records(self, path: str) -> list[dict[str, Any]]:
        """Return the records of one page."""
        found: list[dict[str, Any]] = self.ok("GET", path)["records"]
        return found

    def volume(self, name: str = "kvm_vol1") -> str:
        """Return the uuid of a volume."""
        return str(self.records(f"/storage/volumes?name={name}")[0]["uuid"])

    def change(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send a change that must succeed, waiting for its job."""
        return self.ok(method, f"{path}{'&' if '?' in path else '?'}return_timeout=20", {} if body is None else body)

    def fails(self, method: str, path: str, body: Any = None) -> str:
        """Send a change that must fail, at once or in its job, and return the code."""
        return self.refused(method, f"{path}{'&' if '?' in path else '?'}return_timeout=20", body)[1]

    def snapshot(self, name: str, volume: str = "kvm_vol1", **values: Any) -> str:
        """Make a snapshot and return its uuid."""
        base = f"/storage/volumes/{self.volume(volume)}/snapshots"
        self.change("POST", base, {"name": name, **values})
        return str(self.records(f"{base}?name={name}")[0]["uuid"])

    def as_user(self, user: str, password: str) -> Api:
        """Return the same client as another user."""
        return Api(self.running, user, password)
