# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each guest is held, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from holding import seen

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.decide import decide, phases
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldStep,
    Observation,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    Row,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    DomainState,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem


@pytest.mark.parametrize(
    ("asked", "guest", "step"),
    [
        ("auto", seen(agent="connected", status="thawed"), HoldStep("agent", "filesystem-consistent")),
        ("agent", seen(agent="connected", status="thawed"), HoldStep("agent", "filesystem-consistent")),
        ("agent", seen(os="windows", agent="connected", status="thawed"), HoldStep("agent", "application-consistent")),
        ("auto", seen(), HoldStep("suspend", "crash-consistent", "suspended: it has no guest agent")),
        (
            "auto",
            seen(agent="disconnected"),
            HoldStep("suspend", "crash-consistent", "suspended: no agent is connected to its agent channel"),
        ),
        ("suspend", seen(agent="connected"), HoldStep("suspend", "crash-consistent", "suspended as asked")),
        ("none", seen(agent="connected"), HoldStep("none", "crash-consistent", "not to be held")),
        (
            "agent",
            seen(),
            HoldStep(
                "none", "crash-consistent", "it has no guest agent", "it has no guest agent, so it cannot be frozen"
            ),
        ),
        (
            "auto",
            seen(agent="connected", agent_error="silence"),
            HoldStep("none", "crash-consistent", "silence", "silence"),
        ),
        (
            "auto",
            seen(agent="connected", status="frozen"),
            HoldStep("none", "crash-consistent", "someone else froze it before; it is left as it is"),
        ),
        (
            "agent",
            seen(agent="connected", status="frozen"),
            HoldStep(
                "none",
                "crash-consistent",
                "someone else froze it before; it is left as it is",
                "someone else froze it before; it is left as it is",
            ),
        ),
        (
            "auto",
            seen(DomainState("paused", "user", 3), agent="connected"),
            HoldStep("none", "crash-consistent", "it was paused (user) before and is left as it is"),
        ),
        (
            "suspend",
            seen(DomainState("paused", "user", 3)),
            HoldStep("none", "crash-consistent", "it was paused (user) before and is left as it is"),
        ),
        (
            "agent",
            seen(DomainState("paused", "I/O error", 3)),
            HoldStep(
                "none",
                "crash-consistent",
                "it was paused (I/O error) before and is left as it is",
                "it was paused (I/O error) before and is left as it is, so it cannot be frozen",
            ),
        ),
        (
            "auto",
            seen(DomainState("pmsuspended", "unknown", 3)),
            HoldStep("none", "crash-consistent", "it was pmsuspended (unknown) before and is left as it is"),
        ),
        ("agent", seen(DomainState("shutoff", "shutdown", None)), HoldStep("none", "offline", "shut off")),
        (
            "agent",
            seen(DomainState("shutoff", "destroyed", None)),
            HoldStep("none", "crash-consistent", "off, but not known to be cleanly shut down (destroyed)"),
        ),
        (
            "auto",
            seen(DomainState("shutoff", "unknown", None)),
            HoldStep(
                "none",
                "crash-consistent",
                "off, but not known to be cleanly shut down (libvirt does not know how)",
            ),
        ),
        (
            "auto",
            seen(cache="unsafe", agent="connected", status="thawed"),
            HoldStep("agent", "inconsistent", "disk vda has cache='unsafe', which ignores the guest's flushes"),
        ),
        (
            "suspend",
            seen(cache="unsafe"),
            HoldStep(
                "suspend",
                "inconsistent",
                "suspended as asked; disk vda has cache='unsafe', which ignores the guest's flushes",
            ),
        ),
    ],
)
def test_decide(asked: Any, guest: Observation, step: HoldStep) -> None:
    assert decide(asked, guest) == step


ROOT = FileSystem("/", "vda1", "ext4", ("vda",))
DATA = FileSystem("/srv", "vdb1", "xfs", ("vdb",))
ZFS = FileSystem("/tank", "tank", "zfs", ("vdb",))


@pytest.mark.parametrize(
    ("asked", "mounts", "filesystems", "step"),
    [
        ("auto", (ROOT, DATA), None, HoldStep("agent", "filesystem-consistent", expected=2)),
        ("agent+suspend", (ROOT, DATA), None, HoldStep("agent+suspend", "filesystem-consistent", expected=2)),
        ("auto", (ROOT, ZFS), None, HoldStep("agent", "crash-consistent", "/tank (zfs) is not frozen", expected=1)),
        (
            "agent+suspend",
            (ROOT, ZFS),
            None,
            HoldStep("agent+suspend", "crash-consistent", "/tank (zfs) is not frozen", expected=1),
        ),
        ("auto", (ROOT, DATA), ("/srv",), HoldStep("agent", "crash-consistent", "/ (ext4) is not frozen", expected=1)),
        (
            "auto",
            (ROOT,),
            ("/data",),
            HoldStep(
                "none",
                "crash-consistent",
                "nothing is mounted at /data, which was to be frozen",
                "nothing is mounted at /data, which was to be frozen",
            ),
        ),
    ],
)
def test_what_a_freeze_covers_decides_the_level(asked: Any, mounts: Any, filesystems: Any, step: HoldStep) -> None:
    guest = seen(agent="connected", status="thawed", mounts=mounts)
    assert decide(asked, guest, None, filesystems) == step


def test_a_guest_with_devices_passed_through_is_suspended_only_when_asked() -> None:
    guest = seen()
    guest = replace(guest, definition=replace(guest.definition, passthrough=("pci 0000:3b:00.0",)))
    step = decide("auto", guest)
    assert (step.method, step.error) == ("none", None)
    assert "pci 0000:3b:00.0" in step.reason
    assert decide("suspend", guest).method == "suspend"


def test_phases() -> None:
    def row(name: str, method: str, **more: Any) -> Row:
        return Row(name, name, "auto", method=method, **more)

    rows = [
        row("quick", "suspend"),
        row("linux", "agent"),
        row("win", "agent", limit=8.0),
        row("later", "agent", order=1),
        row("both", "agent+suspend"),
    ]
    found = [[each.name for each in phase] for phase in phases(rows)]
    assert found == [["linux", "both"], ["win", "quick"], ["later"]]


def test_the_cache_of_a_disk_outside_the_backup_does_not_count() -> None:
    guest = seen(cache="unsafe", agent="connected", status="thawed")
    assert decide("auto", guest, ["vdb"]) == HoldStep("agent", "filesystem-consistent")
    assert decide("auto", guest, ["vda"]).consistency == "inconsistent"
    readonly = replace(guest.definition, disks=tuple(replace(disk, readonly=True) for disk in guest.definition.disks))
    assert decide("auto", replace(guest, definition=readonly)) == HoldStep("agent", "filesystem-consistent")


def test_a_guest_of_another_hold_is_left_and_named() -> None:
    guest = seen(agent="connected", holder="h9")
    assert "h9" in str(decide("auto", guest).error)
    assert decide("none", guest).error is None
