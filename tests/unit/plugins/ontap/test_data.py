# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data that ONTAP sends as a form: every byte arrives, and what is something else is not taken for data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect, only_part
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import NotOntapError, OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import RetryPolicy

KIND = 'multipart/form-data; boundary="b0"'
HEAD = b'--b0\r\nContent-Disposition: form-data; name="data"\r\nContent-Type: application/octet-stream\r\n\r\n'
EVERY_BYTE = bytes(range(256)) + b"\r\n\r\n--b\r\n\n\r"
TARGET = "/api/storage/luns/l1?data.offset=0&data.size=4096"


def form(data: bytes) -> bytes:
    return HEAD + data + b"\r\n--b0--\r\n"


@pytest.mark.parametrize("data", [b"", EVERY_BYTE, b"\0" * 5000, b"\r\n"])
def test_the_part_is_taken_byte_by_byte(data: bytes) -> None:
    assert only_part(form(data), KIND) == data


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", KIND),
        (form(b"x"), "multipart/form-data"),
        (form(b"x"), "multipart/form-data; boundary=other"),
        (form(b"x")[:-10], KIND),
        (HEAD, KIND),
        (HEAD + b"x\r\n" + form(b"y"), KIND),
    ],
)
def test_what_is_no_form_with_one_part_is_not_data(content: bytes, kind: str) -> None:
    assert only_part(content, kind) is None


@pytest.fixture
def stub(authority: Any, start_stub: Callable[..., Any]) -> Any:
    """An array of which a test says what it answers."""
    return start_stub(authority.context("127.0.0.1"))


@pytest.fixture
def client(authority: Any, stub: Any) -> Iterator[Client]:
    """A client of that array, which asks a second time where that may help."""
    option = {"hostname": "127.0.0.1", "port": stub.port, "username": "u", "password": "p", "ca_path": authority.path}
    with connect(Controller.from_option(option), policy=RetryPolicy(retry_count=1, first_delay=0.01)) as logged_in:
        yield logged_in


def read(client: Client) -> bytes:
    return client.get_bytes("/storage/luns/l1", {"data.offset": 0, "data.size": 4096})


def test_data_is_asked_for_as_ontap_wants_it(stub: Any, client: Client) -> None:
    stub.answers[TARGET] = (200, {"Content-Type": KIND}, form(EVERY_BYTE))
    assert read(client) == EVERY_BYTE
    method, target, headers = stub.requests[-1]
    assert (method, target, headers["Accept"]) == ("GET", TARGET, "multipart/form-data")


def test_a_refusal_keeps_its_code(stub: Any, client: Client) -> None:
    error = {"error": {"message": "The specified LUN was not found.", "code": "5374875"}}
    stub.answers[TARGET] = (400, {"Content-Type": "application/json"}, error)
    with pytest.raises(OntapError, match="5374875") as caught:
        read(client)
    assert caught.value.has_code("5374875")


@pytest.mark.parametrize(
    ("kind", "body"), [("application/json", {"uuid": "l1"}), (KIND, b"--b0\r\n"), ("text/html", b"<p>")]
)
def test_something_else_is_not_taken_for_data(stub: Any, client: Client, kind: str, body: Any) -> None:
    stub.answers[TARGET] = (200, {"Content-Type": kind}, body)
    with pytest.raises(NotOntapError):
        read(client)
