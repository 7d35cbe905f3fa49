# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated array, and beside it something that answers over TLS as no array would."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from ontapsim import testing, tree
from ontapsim.testing import Running

CLUSTER = {"name": "cluster1", "uuid": "c1", "version": {"generation": 9, "major": 19, "minor": 1}}


class Authority:
    """A certificate authority of its own, and certificates from it."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self.path = str(directory / "ca.pem")
        self._ca.cert_pem.write_to_path(self.path)

    def context(self, *names: str, **how: Any) -> ssl.SSLContext:
        """Return a server's context with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, **how).configure_cert(context)
        return context


class Stub:
    """An HTTPS server on 127.0.0.1 that answers what it was told for a target, and 500 for any other.

    An answer is (status, headers, body); a body that is not bytes goes as JSON. ``requests`` holds what came in.
    """

    def __init__(self, context: ssl.SSLContext, address: str = "127.0.0.1") -> None:
        self.answers: dict[str, tuple[int, dict[str, str], Any]] = {
            "/api/cluster?fields=name%2Cuuid%2Cversion": (200, {}, CLUSTER)
        }
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._server = _server(address, self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            """One connection."""

            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                """Answer as scripted."""
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stub.requests.append((self.command, self.path, dict(self.headers)))
                status, headers, body = stub.answers.get(self.path, (500, {}, b"not scripted"))
                payload = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response_only(status)
                for key, value in {"Content-Length": str(len(payload)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(payload)

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self.answer
                raise AttributeError(name)

            def log_message(self, *args: Any) -> None:
                """Stay silent."""

        return Handler


def _server(address: str, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server_class = type("Server", (ThreadingHTTPServer,), {"address_family": family, "handle_error": _no_traceback})
    server: ThreadingHTTPServer = server_class((address, 0), handler)
    return server


def _no_traceback(server: Any, request: Any, client_address: Any) -> None:
    """Let a client that breaks off go without a word."""


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the tests trust."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def another_authority(tmp_path: Path) -> Authority:
    """One that nobody trusts."""
    return Authority(tmp_path)


@pytest.fixture
def start_stub() -> Iterator[Callable[..., Stub]]:
    """Start stubs, and stop them at the end."""
    running: list[Stub] = []

    def start(context: ssl.SSLContext, address: str = "127.0.0.1") -> Stub:
        running.append(Stub(context, address))
        return running[-1]

    yield start
    for stub in running:
        stub.close()


@pytest.fixture(scope="session")
def array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One simulated array like the lab's, for all tests of this room."""
    with testing.start(tmp_path=tmp_path_factory.mktemp("array")) as running:
        yield running
    tree.remove_tree(running.state_dir, sealed=True)
