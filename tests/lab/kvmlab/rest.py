# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The array's REST API as its administrator uses it, reached from the machine into the array's namespace."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote, urlencode

from . import topology
from .errors import LabError
from .network import connect
from .places import Places

SECONDS = 30


class _Connection(http.client.HTTPSConnection):
    """A TLS connection that is made inside a network namespace."""

    def __init__(self, namespace: str, host: str, authority: Path) -> None:
        self._tls = ssl.create_default_context(cafile=str(authority))
        super().__init__(host, topology.REST_PORT, timeout=SECONDS, context=self._tls)
        self._namespace = namespace

    def connect(self) -> None:
        raw = connect(self._namespace, (self.host, self.port), timeout=SECONDS)
        self.sock = self._tls.wrap_socket(raw, server_hostname=self.host)


@dataclass(frozen=True)
class ArrayApi:
    """The API of one lab's array. Every method raises LabError, with ONTAP's code, when it is refused."""

    places: Places
    user: str = topology.ADMIN_USER
    password: str = topology.ADMIN_PASSWORD

    def request(self, method: str, path: str, body: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """Send one request (``path`` is what follows ``/api``), wait for its job, and return the answer's body."""
        answer = self._send(method, path, body)
        job = answer.get("job", {}).get("uuid")
        deadline = time.monotonic() + SECONDS
        while job:
            state = self._send("GET", f"/cluster/jobs/{job}?fields=state,error")
            if state["state"] == "success":
                break
            if state["state"] in ("failure", "error") or time.monotonic() > deadline:
                raise LabError(f"Failed to {method} {path}: its job ended in {state['state']}: {state.get('error')}")
            time.sleep(0.05)
        return answer

    def records(self, path: str, **query: object) -> list[dict[str, Any]]:
        """Return the records of a collection; ``query`` are its fields, with two underscores for each dot."""
        words = {name.replace("__", "."): str(value) for name, value in query.items()}
        tail = f"?{urlencode(words, quote_via=quote)}" if words else ""
        found: list[dict[str, Any]] = self.request("GET", f"{path}{tail}")["records"]
        return found

    def _send(self, method: str, path: str, body: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Accept": "application/hal+json"}
        content = None
        if body is not None:
            content, headers["Content-Type"] = json.dumps(body), "application/json"
        address = topology.NAMES["cluster1"]
        connection = _Connection(self.places.nas_namespace, address, self.places.tls / "ca.pem")
        try:
            connection.request(method, f"/api{path}", content, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise LabError(f"Failed to {method} {path} on the array: {exc}") from exc
        finally:
            connection.close()
        is_json = "json" in (response.getheader("Content-Type") or "")
        answer: dict[str, Any] = json.loads(text) if is_json and text.strip() else {}
        if response.status >= 400:
            error = answer.get("error", {})
            said = f"{response.status}, code {error.get('code')}: {error.get('message', response.reason)}"
            raise LabError(f"Failed to {method} {path}: {said}")
        return answer
