# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long guests stand still during a backup, beside what a user would write with other collections.

Four volumes whose snapshots take 200 ms. How long a guest was suspended is told by libvirt's events, for all modes
alike; runs are those of ansible-playbook.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Optional

from kvmground import VOLUMES, Ground
from kvmground.playbooks import Playbooks
from kvmlab.progress import say

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import ground as checks

ROOT = Path(__file__).resolve().parents[2]
LATENCY = 0.2
RUN_SECONDS = 900
SNAPSHOTS = r"/snapshots$"

MODES: Mapping[str, Mapping[str, Any]] = {
    "module": {"kvm_backup_mode": "module"},
    "tasks": {"kvm_backup_mode": "tasks"},
    "peer": {},
}
RUNS = {"module": 3, "tasks": 3, "peer": 1}


@dataclass(frozen=True)
class Measured:
    """The middle one of so many ``runs`` by its p95, in seconds; p50, p95 and max are of the guests' holds.

    None: not to be had in this mode.
    """

    mode: str
    guests: int
    volumes: int
    held_by: str
    p50: float
    p95: float
    max: float
    run_seconds: float
    snapshot_call_seconds: Optional[float]
    freeze_seconds: Optional[float]
    thaw_seconds: Optional[float]
    runs: int


class Suspensions:
    """How long each guest was suspended, and off, from libvirt's events; they are stamped when they arrive."""

    def __init__(self, uri: str) -> None:
        import libvirt

        libvirt.virEventRegisterDefaultImpl()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self.held: dict[str, float] = {}
        self.off: dict[str, float] = {}
        self.suspended: list[float] = []
        self.resumed: list[float] = []
        self._connection = libvirt.open(uri)
        event = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        self._connection.domainEventRegisterAny(None, event, self._note, None)
        threading.Thread(target=self._run, daemon=True).start()

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            for known in (self._since, self._ended, self.held, self.off, self.suspended, self.resumed):
                known.clear()

    def _run(self) -> None:
        import libvirt

        while not self._over.is_set():
            libvirt.virEventRunDefaultImpl()

    def _note(self, _connection: Any, domain: Any, event: int, _detail: int, _opaque: Any) -> None:
        import libvirt

        now, name = time.monotonic(), domain.name()
        with self._lock:
            if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED:
                self._since[name] = now
                self.suspended.append(now)
            elif event == libvirt.VIR_DOMAIN_EVENT_RESUMED and name in self._since:
                self.held[name] = now - self._since.pop(name)
                self.resumed.append(now)
            elif event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
                self._ended[name] = now
            elif event == libvirt.VIR_DOMAIN_EVENT_STARTED and name in self._ended:
                self.off[name] = now - self._ended.pop(name)


class Bench:
    """The private host and the ways to back up its guests."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._playbooks = Playbooks(ground)
        self._count = 0

    def run(self, mode: str, guests: Sequence[str], *, method: str) -> tuple[float, list[dict[str, Any]]]:
        """Back up the guests and return the seconds that ansible-playbook took, and what the tasks returned."""
        self._count += 1
        venv = None
        variables: dict[str, Any]
        if mode == "peer":
            venv = checks.ensure_venv("netapp-collection")
            playbook = str(Path(__file__).with_name("peer.yml"))
            name = f"bench-{mode}_{self._count:04d}"
            variables = {"bench_guests": list(guests), "bench_volumes": list(VOLUMES), "bench_name": name}
            variables["ansible_python_interpreter"] = str(venv / "bin" / "python")
        else:
            playbook = "kvmsnap.ontap.backup"
            variables = {"kvm_backup_guests": list(guests), "kvm_backup_quiesce": {"*": method}}
            variables.update(MODES[mode])
        began = time.monotonic()
        played = self._playbooks.run(playbook, variables, venv=venv, within=RUN_SECONDS)
        seconds = time.monotonic() - began
        if played.rc != 0:
            raise SystemExit(f"the run of {mode} failed:\n{played.stdout[-6000:]}")
        return seconds, played.entries


def measure_suspended(bench: Bench, sizes: Sequence[int], modes: Sequence[str]) -> list[Measured]:
    """Return the holds of guests that are suspended, for each number of guests and each mode."""
    guests = [f"g{number:02d}" for number in range(1, max(sizes) + 1)]
    with_disks = [(guest, VOLUMES[number % len(VOLUMES)]) for number, guest in enumerate(guests)]
    events = Suspensions(bench.ground.uri)
    found = []
    running = 0
    for size in sorted(sizes):
        for guest, volume in with_disks[running:size]:
            bench.ground.guests.add_still(guest, volume)
        running = size
        for mode in modes:
            say(f"{mode}: {size} suspended guests")
            found.append(_middle(mode, partial(_suspended, bench, events, mode, guests[:size])))
    bench.ground.guests.in_parallel([partial(bench.ground.guests.remove, guest) for guest in guests])
    return found


def measure_frozen(bench: Bench, sizes: Sequence[int], modes: Sequence[str]) -> list[Measured]:
    """Return the holds of guests that are frozen by their agents; their images show whether they were."""
    guests = bench.ground.guests
    names = [f"a{number}" for number in range(1, max(sizes) + 1)]
    volume_of = {name: VOLUMES[number % len(VOLUMES)] for number, name in enumerate(names)}
    found = []
    running = 0
    for size in sorted(sizes):
        for name in names[running:size]:
            guests.add_linux(name, volume_of[name])
        running = size
        for mode in modes:
            say(f"{mode}: {size} guests with agents")
            places = {name: volume_of[name] for name in names[:size]}
            found.append(_middle(mode, partial(_frozen, bench, mode, places)))
    return found


def _middle(mode: str, run: Callable[[], Measured]) -> Measured:
    """Run several times and return the run whose p95 is the middle one: others may be at work on the machine."""
    found = []
    for _run in range(RUNS[mode]):
        found.append(run())
        say(f"    {_line(found[-1])}")
    return sorted(found, key=lambda each: each.p95)[len(found) // 2]


def _suspended(bench: Bench, events: Suspensions, mode: str, guests: Sequence[str]) -> Measured:
    """Back up guests that are suspended."""
    events.forget()
    seconds, entries = bench.run(mode, guests, method="suspend")
    if len(events.held) != len(guests):
        raise SystemExit(f"libvirt told of {len(events.held)} suspended guests, not of {len(guests)}")
    own = _own_figures(entries) if mode != "peer" else _peer_figures(bench, events)
    return _measured(mode, len(guests), "suspend", list(events.held.values()), seconds, own)


def _frozen(bench: Bench, mode: str, volume_of: Mapping[str, str]) -> Measured:
    """Back up guests that are frozen by their agents, and see that they were."""
    seconds, entries = bench.run(mode, list(volume_of), method="agent")
    snapshot = _backup_id(entries)
    for name, volume in volume_of.items():
        if bench.ground.guests.needs_recovery(name, volume, snapshot=snapshot):
            raise SystemExit(f"{name} was not frozen in {snapshot}")
    holds = [float(row["held_seconds"]) for row in _rows(entries)]
    return _measured(mode, len(volume_of), "agent", holds, seconds, _own_figures(entries))


def _measured(
    mode: str, guests: int, held_by: str, holds: Sequence[float], run: float, own: Mapping[str, Optional[float]]
) -> Measured:
    ordered = sorted(holds)
    return Measured(
        mode=mode,
        guests=guests,
        volumes=min(guests, len(VOLUMES)) if mode != "peer" else len(VOLUMES),
        held_by=held_by,
        p50=round(statistics.median(ordered), 3),
        p95=round(ordered[max(0, -(-len(ordered) * 95 // 100) - 1)], 3),
        max=round(ordered[-1], 3),
        run_seconds=round(run, 1),
        runs=RUNS[mode],
        **{key: None if value is None else round(value, 3) for key, value in own.items()},
    )


def _rows(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the guests as they were after the release."""
    found = [entry["result"]["guests"] for entry in entries if _has_holds(entry)]
    return list(found[-1])


def _backup_id(entries: Iterable[Mapping[str, Any]]) -> str:
    """Return the name of the backup, which is that of its snapshots."""
    found = [entry["result"]["backup"] for entry in entries if entry.get("result", {}).get("backup")]
    return str(found[-1]["backup_id"])


def _has_holds(entry: Mapping[str, Any]) -> bool:
    guests = entry.get("result", {}).get("guests")
    return bool(guests) and all(isinstance(row, dict) and row.get("held_seconds") for row in guests)


def _own_figures(entries: Sequence[Mapping[str, Any]]) -> dict[str, Optional[float]]:
    """Return the slowest single snapshot call, freeze (or suspend) and thaw (or resume) that our modules tell of."""
    rows = _rows(entries)
    snapshots = next(
        entry["result"]["snapshots"]
        for entry in entries
        if any(row.get("confirmed_at") for row in entry.get("result", {}).get("snapshots") or ())
    )
    return {
        "snapshot_call_seconds": max(row["confirmed_at"] - row["requested_at"] for row in snapshots),
        "freeze_seconds": max(row["freeze_answered"] - row["freeze_sent"] for row in rows),
        "thaw_seconds": max(row["thaw_answered"] - row["thaw_sent"] for row in rows),
    }


def _peer_figures(bench: Bench, events: Suspensions) -> dict[str, Optional[float]]:
    """Return what can be told of the other way: from one suspended guest to the next, and the slowest request."""
    asked = [
        row for row in bench.ground.control.requests() if row["method"] == "POST" and row["path"].endswith("snapshots")
    ]
    return {
        "snapshot_call_seconds": max(float(row["seconds"]) for row in asked[-len(VOLUMES) :]),
        "freeze_seconds": _widest(events.suspended),
        "thaw_seconds": _widest(events.resumed),
    }


def _widest(moments: Sequence[float]) -> Optional[float]:
    return max((after - before for before, after in zip(moments, moments[1:])), default=None)


def _line(row: Measured) -> str:
    return f"held {row.p50:.2f} s (p95 {row.p95:.2f}, max {row.max:.2f}), run {row.run_seconds:.1f} s"


def measure(ground: Ground, sizes: Sequence[int], agents: Sequence[int], modes: Sequence[str]) -> list[Measured]:
    """Return the holds of so many suspended guests, and of so many guests with agents, in each mode."""
    bench = Bench(ground)
    ground.control.add_fault("delay", match={"method": "POST", "path": SNAPSHOTS}, seconds=LATENCY, where="job")
    found = measure_suspended(bench, sizes, modes) if sizes else []
    if agents:
        found += measure_frozen(bench, agents, [mode for mode in modes if mode != "peer"])
    ground.control.clear_faults()
    return found
