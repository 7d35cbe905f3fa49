# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of late requests: what it complains of, and what it lets pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kvmground.late_watch import PowerWatch, complaints, target_of

CLONE = "/api/storage/file/clone"
CLI = "/api/private/cli/volume/snapshot/restore-file"
SFSR = "restore_to.snapshot.name=s&restore_to.path=%2Fapp.img"


def request(method: str, path: str, *, query: str = "", body: Any = None) -> dict[str, Any]:
    """Return a request as the array logs it."""
    return {"id": "r1", "method": method, "path": path, "query": query, "body": json.dumps(body) if body else ""}


def change(op: str, at: float, *, path: str = "app.img", lun: str = "") -> dict[str, Any]:
    """Return an entry of the array's journal."""
    return {"op": op, "time": at, "path": path, "detail": {"lun": lun} if lun else {}}


def told(
    sent: dict[str, Any], *, active: list[float], status: int, changes: list[dict[str, Any]], target: str
) -> list[str]:
    """Judge one request that came at 10 and ended at 20."""
    watch = PowerWatch(lambda: None)
    watch.seen = active
    effect = {"request": "r1", "arrived": 10.0, "due": 20.0, "ended": 20.0, "status": status}
    return list(complaints(watch, target=target, effects=[effect], requests=[sent], changes=changes))


@pytest.mark.parametrize(
    ("sent", "target"),
    [
        (request("POST", CLONE, body={"source_path": ".snapshot/s/app.img", "destination_path": "app.img"}), "app.img"),
        (request("POST", CLONE, body={"destination_path": "/.kvmsnap-tmp-1"}), ".kvmsnap-tmp-1"),
        (request("POST", CLI, body={"path": "/app.img"}), "app.img"),
        (request("POST", CLI, body={"path": "/app.img", "restore-path": "/new.img"}), "new.img"),
        (request("PATCH", "/api/storage/volumes/v1", query=SFSR), "app.img"),
        (request("PATCH", "/api/storage/volumes/v1", query=f"{SFSR}&restore_to.restore_path=%2Fnew.img"), "new.img"),
        (request("PATCH", "/api/storage/luns/u1", body={"clone": {"source": {"uuid": "t1"}}}), "u1"),
        (request("DELETE", "/api/storage/luns/u1"), ""),
        (request("POST", "/api/storage/volumes/v1/snapshots", body={"name": "s"}), ""),
    ],
)
def test_what_a_request_would_overwrite(sent: dict[str, Any], target: str) -> None:
    assert target_of(sent) == target


@pytest.mark.parametrize(
    ("name", "active", "complains"),
    [
        ("app.img", [9.0, 21.0], False),
        ("app.img", [9.0, 15.0], True),
        (".kvmsnap-tmp-1", [15.0], False),
    ],
)
def test_a_guest_that_is_active_during_a_request_for_its_file(name: str, active: list[float], complains: bool) -> None:
    sent = request("POST", CLONE, body={"destination_path": name})
    assert bool(told(sent, active=active, status=202, changes=[], target="app.img")) is complains


@pytest.mark.parametrize(
    ("gone_at", "status", "active", "complains"),
    [
        (None, 400, 15.0, True),
        (14.0, 400, 15.0, False),
        (14.0, 400, 13.0, True),
        (14.0, 200, 15.0, True),
        (16.0, 400, 15.0, True),
    ],
)
def test_an_overwrite_of_a_lun_is_powerless_once_its_source_is_gone_and_it_failed(
    gone_at: float | None, status: int, active: float, complains: bool
) -> None:
    sent = request("PATCH", "/api/storage/luns/u1", body={"clone": {"source": {"uuid": "t1"}}})
    changes = [] if gone_at is None else [change("lun_delete", gone_at, path="tmp", lun="t1")]
    assert bool(told(sent, active=[active], status=status, changes=changes, target="u1")) is complains


@pytest.mark.parametrize(
    ("entry", "target", "complains"),
    [
        (change("file_clone", 30.0), "app.img", True),
        (change("file_clone", 40.0), "app.img", False),
        (change("file_clone", 30.0, path="other.img"), "app.img", False),
        (change("file_delete", 30.0), "app.img", False),
        (change("lun_overwrite", 30.0, path="l", lun="u1"), "u1", True),
    ],
)
def test_a_disk_that_changes_while_its_guest_is_active(entry: dict[str, Any], target: str, complains: bool) -> None:
    sent = request("DELETE", "/api/storage/luns/x")
    assert bool(told(sent, active=[29.95, 30.05], status=200, changes=[entry], target=target)) is complains
