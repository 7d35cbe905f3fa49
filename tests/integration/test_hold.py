# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests held and let go on a real KVM host; what they did is read from libvirt, their agents and the array's files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PLAYBOOK = str(Path(__file__).parent / "hold.yml")
GUESTS = [{"name": "web1"}, {"name": "db1"}, {"name": "sol1"}]
FROZEN = ("/mnt/kvm_vol1/web1.img", "/mnt/kvm_vol1/db1.img", "/mnt/kvm_vol2/db1-data.qcow2")
SUSPENDED = "/mnt/kvm_vol2/sol1.img"
RECORD = "/run/kvmsnap/holds/integration.json"


@pytest.fixture(autouse=True)
def _let_go(lab: Any) -> Iterator[None]:
    """Leave no guest held behind, whatever the test finds."""
    yield
    if "absent" not in lab.ssh(f"test -e {RECORD} || echo absent"):
        lab.playbook(PLAYBOOK, extra_vars={"state": "resumed"})


def status(lab: Any, guest: str) -> str:
    answer = lab.virsh("qemu-agent-command", guest, json.dumps({"execute": "guest-fsfreeze-status"}))
    return str(json.loads(answer)["return"])


def sha256(lab: Any, path: str) -> str:
    with lab.storage_path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[attr-defined,no-any-return,unused-ignore]


def test_a_hold_on_real_guests(lab: Any) -> None:
    held = lab.playbook(PLAYBOOK, extra_vars={"state": "quiesced", "guests": GUESTS})
    assert held.rc == 0, held.stdout
    first, again = (entry["result"] for entry in held.results)
    assert (first["changed"], again["changed"]) == (True, False)
    assert again["guests"] == first["guests"]
    rows = {row["name"]: row for row in first["guests"]}
    assert {name: (row["method"], row["consistency"]) for name, row in rows.items()} == {
        "web1": ("agent", "filesystem-consistent"),
        "db1": ("agent", "filesystem-consistent"),
        "sol1": ("suspend", "crash-consistent"),
    }
    assert (rows["web1"]["filesystems"], rows["db1"]["filesystems"]) == (1, 2)

    assert [status(lab, guest) for guest in ("web1", "db1")] == ["frozen", "frozen"]
    assert lab.virsh("domstate", "sol1", "--reason").strip() == "paused (user)"
    assert lab.ssh(f"stat -c '%a %U' {RECORD} /run/kvmsnap/holds").split() == ["600", "root", "700", "root"]
    assert [lab.needs_recovery(path) for path in FROZEN] == [False, False, False]
    assert lab.needs_recovery(SUSPENDED), "a suspend stops the guest in the middle of its work"
    before = [sha256(lab, path) for path in (*FROZEN, SUSPENDED)]
    assert [sha256(lab, path) for path in (*FROZEN, SUSPENDED)] == before

    released = lab.playbook(PLAYBOOK, extra_vars={"state": "resumed"})
    assert released.rc == 0, released.stdout
    first, again = (entry["result"] for entry in released.results)
    assert (first["changed"], again["changed"], again["guests"]) == (True, False, [])
    for row in first["guests"]:
        assert (row["held"], row["error"]) == (True, None)
        assert rows[row["name"]]["freeze_answered"] < row["thaw_sent"] < row["thaw_answered"]
        assert row["held_seconds"] > 0
    assert [status(lab, guest) for guest in ("web1", "db1")] == ["thawed", "thawed"]
    assert lab.virsh("domstate", "sol1").strip() == "running"
    assert lab.ssh(f"test -e {RECORD} || echo absent").strip() == "absent"


def test_what_others_did_to_the_guests_is_left_and_told(lab: Any) -> None:
    lab.virsh("suspend", "sol1")
    lab.virsh("domfsfreeze", "web1")
    try:
        held = lab.playbook(PLAYBOOK, extra_vars={"state": "quiesced", "guests": GUESTS})
        lab.virsh("domfsthaw", "db1")
        released = lab.playbook(PLAYBOOK, extra_vars={"state": "resumed"})
        assert (held.rc, released.rc) == (0, 0), held.stdout + released.stdout
        rows = {row["name"]: row for row in released.results[0]["result"]["guests"]}
        assert {name: (row["held"], row["reason"]) for name, row in rows.items()} == {
            "web1": (False, "someone else froze it before; it is left as it is"),
            "db1": (False, "it was thawed before the hold ended"),
            "sol1": (False, "it was paused (user) before and is left as it is"),
        }
        assert status(lab, "web1") == "frozen"
        assert lab.virsh("domstate", "sol1").strip() == "paused"
    finally:
        lab.virsh("domfsthaw", "web1")
        lab.virsh("resume", "sol1")
