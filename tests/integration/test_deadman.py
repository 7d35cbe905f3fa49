# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds whose maker dies on a real KVM host: the timer lets the guests go in time, and recovery puts the rest right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from world import STAMP

HERE = Path(__file__).parent
HOLD, WAIT = str(HERE / "hold.yml"), str(HERE / "hold_and_wait.yml")
GUESTS = ["web1", "sol1"]
HOLDS = "/run/kvmsnap/holds"
DEADLINE = 20
LATE = 1.0
"""Seconds after the deadline within which the thaw must have been sent."""

BACKUP = f"hv1-deadman_{STAMP}"


@pytest.fixture(autouse=True)
def _let_go(lab: Any) -> Iterator[None]:
    """Leave neither a fault nor a held guest behind, whatever the test finds."""
    yield
    lab.control.clear_faults()
    lab.playbook("recover", extra_vars={"kvm_recover_grace_period": 0, "kvm_recover_discover": False})


def until(found: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Return what is found as soon as it is."""
    end = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < end, f"no {what} within {seconds:g} s"
        time.sleep(0.5)


def on_host(lab: Any, name: str) -> Optional[dict[str, Any]]:
    """A file of the hold records, None when it is not there."""
    text = lab.ssh(f"cat {HOLDS}/{name} 2> /dev/null || true")
    return json.loads(text) if text.strip() else None


def states(lab: Any) -> list[str]:
    answer = lab.virsh("qemu-agent-command", "web1", '{"execute": "guest-fsfreeze-status"}')
    return [json.loads(answer)["return"], lab.virsh("domstate", "sol1").strip()]


def all_in(lab: Any, hold_id: str, phase: str) -> Optional[dict[str, Any]]:
    record = on_host(lab, f"{hold_id}.json")
    reached = record is not None and {row["phase"] for row in record["guests"]} == {phase}
    return record if reached else None


def in_time(record: dict[str, Any]) -> None:
    """Each thaw was sent when the hold was over, and not long after."""
    first = min(row["freeze_sent"] for row in record["guests"])
    for row in record["guests"]:
        lasted = row["thaw_sent"] - first
        assert DEADLINE < lasted <= DEADLINE + LATE, (row["name"], lasted)
        assert row["fired"]


@pytest.fixture
def waiting(lab: Any, runner: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A play that holds two guests and does not come back, and the name of its hold."""
    hold_id = f"lost-{time.monotonic_ns()}"
    variables = {"hold_id": hold_id, "guests": [{"name": name} for name in GUESTS], "hold_deadline": DEADLINE}
    process = runner.begin(WAIT, inventory=lab.inventory_path, extra_vars=variables)
    try:
        until(lambda: all_in(lab, hold_id, "held"), seconds=120, what="hold")
        yield process, hold_id
    finally:
        cut(process, runner)


def cut(process: subprocess.Popen[str], runner: Any) -> None:
    """Kill a play and the SSH connections that it keeps open: the control node is gone."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if runner.control_path.encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
        except OSError:
            continue


def test_the_control_node_vanishes_in_the_hold(lab: Any, runner: Any, waiting: tuple[Any, str]) -> None:
    process, hold_id = waiting
    timer = on_host(lab, f"{hold_id}.timer")
    assert timer is not None
    assert (timer["kind"], timer["remark"]) == ("systemd", None)
    shown = lab.ssh(f"systemctl show {timer['unit']}.timer -p AccuracyUSec -p RemainAfterElapse -p ActiveState")
    assert sorted(shown.split()) == ["AccuracyUSec=100ms", "ActiveState=active", "RemainAfterElapse=no"]
    assert states(lab) == ["frozen", "paused"]

    cut(process, runner)
    record = until(lambda: all_in(lab, hold_id, "released"), seconds=DEADLINE + 60, what="release")
    in_time(record)
    assert states(lab) == ["thawed", "running"]

    told = lab.playbook(HOLD, extra_vars={"state": "resumed", "hold_id": hold_id})
    assert told.rc == 0, told.stdout
    first, again = (entry["result"] for entry in told.results)
    assert (first["fired"], first["changed"]) == (True, False)
    assert first["timer"]["fired_at"] == pytest.approx(first["timer"]["fires_at"], abs=LATE)
    assert [(row["fired"], row["held"]) for row in first["guests"]] == [(True, False)] * 2
    assert all(DEADLINE < row["held_seconds"] < DEADLINE + 30 for row in first["guests"])
    assert (again["fired"], again["guests"]) == (False, [])
    assert lab.ssh("systemctl list-units --all --plain --no-legend 'kvmsnap-hold-lost-*'").strip() == ""
    assert lab.ssh(f"find {HOLDS} -maxdepth 1 -name '{hold_id}*'").strip() == ""


@pytest.mark.long
def test_libvirt_is_restarted_in_the_hold(lab: Any, runner: Any, waiting: tuple[Any, str]) -> None:
    process, hold_id = waiting
    cut(process, runner)
    lab.ssh("systemctl kill --signal=KILL libvirtd; systemctl restart libvirtd", timeout=120)
    record = until(lambda: all_in(lab, hold_id, "released"), seconds=DEADLINE + 90, what="release")
    assert all(row["fired"] for row in record["guests"])
    assert states(lab) == ["thawed", "running"]


def snapshots(lab: Any) -> list[str]:
    """The volumes that have the backup's snapshot."""
    return [volume["name"] for volume in lab.control.volumes() if BACKUP in volume["snapshots"]]


def recover(lab: Any, *, check: bool = False) -> Any:
    play = lab.playbook("recover", extra_vars={"kvm_recover_grace_period": 0}, check=check, diff=True)
    assert play.rc == 0, play.stdout
    return play


def test_a_backup_whose_module_is_killed_in_the_hold(lab: Any) -> None:
    """The guests are let go in time; what is left is shown, taken back, and then nothing is."""
    match = {"method": "POST", "path": "/storage/volumes/[^/]+/snapshots"}
    lab.control.add_fault("delay", match=match, seconds=DEADLINE - 5)
    options = {"kvm_backup_id": BACKUP, "kvm_backup_guests": GUESTS, "kvm_backup_hold_deadline": DEADLINE}
    plays: list[Any] = []
    thread = threading.Thread(target=lambda: plays.append(lab.playbook("backup", extra_vars=options)))
    thread.start()
    try:
        until(lambda: all_in(lab, BACKUP, "held"), seconds=300, what="hold")
        holder = on_host(lab, f"{BACKUP}.lock")
        assert holder is not None
        lab.ssh(f"kill -9 {holder['pid']}")
        record = until(lambda: all_in(lab, BACKUP, "released"), seconds=DEADLINE + 60, what="release")
    finally:
        thread.join(300)
    in_time(record)
    assert states(lab) == ["thawed", "running"]
    assert plays[0].rc != 0
    lab.control.clear_faults()
    made = until(lambda: snapshots(lab), seconds=60, what="snapshot of the request that was under way")

    shown = recover(lab, check=True)
    assert f"backup {BACKUP}: it was started at" in shown.stdout
    assert snapshots(lab) == made
    assert recover(lab).stats["hv1"]["changed"] > 0
    assert snapshots(lab) == []
    again = recover(lab)
    assert again.stats["hv1"]["changed"] == 0, again.stdout
    assert not [each for each in again.facts("hv1")["kvm_recover_result"] if BACKUP in each["name"]]
    assert lab.ssh(f"ls /var/lib/kvmsnap/backups | grep {BACKUP} || true").strip() == ""
