# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup and a restore cost beside an older commit, turn by turn on one private host; ``make bench-old``.

In each round both versions back up the same guests and restore them, each from its own backup, and the one that
begins changes from round to round. What is measured goes into build/beside-old.json and, with --document, into
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import report
from holds import LATENCY, ROOT, SNAPSHOTS, Suspensions
from pairs import Compared, compared, table

from kvmground import VOLUMES, Ground
from kvmground.playbooks import COLLECTIONS, Playbooks
from kvmlab.process import wait_until
from kvmlab.progress import say

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import prove_old

RESULTS = ROOT / "build" / "beside-old.json"
TREE = ROOT / "build" / "beside-old" / "ansible_collections" / "kvmsnap" / "ontap"
OLD, NEW = "before", "now"
WITHIN = 300
HOLD, BACKUP, BACKUP_MODULE = "hold p95 of a backup", "run of a backup", "its module"
OFF, RESTORE, RESTORE_MODULE = "time off in a restore, p95", "run of a restore", "the module of a restore"
WANTED = {HOLD: 1.1, BACKUP: 1.1, RESTORE: 1.1}
MODULES = {"kvm_vm_backup": BACKUP_MODULE, "kvm_app_restore": RESTORE_MODULE}
_CHANGED_AT = 4096


@dataclass(frozen=True)
class Side:
    """One version: where its collection lies, and where it keeps its backups."""

    name: str
    collections: Path
    catalog: Path


class Beside:
    """The private host with its guests, and the two versions."""

    def __init__(self, ground: Ground, guests: Sequence[str]) -> None:
        self._ground, self._guests = ground, guests
        self._playbooks = Playbooks(ground)
        self._events = Suspensions(ground.uri)

    def round(self, side: Side, number: int) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Back up and restore all guests with one version; return its measures, and its tasks with their seconds."""
        backup = f"{side.name}_{number:04d}"
        self._events.forget()
        made, tasks = self._run(side, "backup", kvm_backup_id=backup, kvm_backup_quiesce={"*": "suspend"})
        self._told(self._events.held, "held")
        measures = {HOLD: p95(self._events.held.values()), BACKUP: made, **of_modules(tasks)}
        for guest in self._guests:
            self._spoil(guest, backup)
        restore = {"kvm_restore_vm_list": self._guests, "kvm_restore_backup_id": backup, "kvm_restore_stop": "destroy"}
        done, more = self._run(side, "restore", kvm_restore_id=f"restore_{backup}", **restore)
        self._told(self._events.off, "started again")
        for guest in self._guests:
            self._see(guest, backup)
        measures.update({OFF: p95(self._events.off.values()), RESTORE: done, **of_modules(more)})
        return measures, [*tasks, *more]

    def _run(self, side: Side, playbook: str, **variables: Any) -> tuple[float, list[dict[str, Any]]]:
        asked = {"kvm_backup_guests": self._guests, "kvm_catalog_dir": str(side.catalog), **variables}
        began = time.monotonic()
        played = self._playbooks.run(f"kvmsnap.ontap.{playbook}", asked, collections=side.collections, within=WITHIN)
        seconds = time.monotonic() - began
        if played.rc != 0:
            raise SystemExit(f"the {playbook} of {side.name} failed:\n{played.stdout[-6000:]}")
        done = [each for each in played.entries if each.get("status") == "ok"]
        return seconds, [{"task": each["task"], "module": each["module"], "seconds": each["seconds"]} for each in done]

    def _told(self, known: Mapping[str, float], what: str) -> None:
        """Wait for libvirt's last events of the run; those come on another connection than its answers."""
        everyone = len(self._guests)
        wait_until(lambda: len(known) == everyone, seconds=30, what=f"{everyone} guests that were {what}")

    def _spoil(self, guest: str, backup: str) -> None:
        for volume in _volumes(self._guests, guest):
            with self._ground.guests.image(guest, volume).open("r+b") as image:
                image.seek(_CHANGED_AT)
                image.write(f"after {backup}".encode())

    def _see(self, guest: str, backup: str) -> None:
        for volume in _volumes(self._guests, guest):
            images = [self._ground.guests.image(guest, volume, snapshot=name) for name in (None, backup)]
            if images[0].read_bytes() != images[1].read_bytes():
                raise SystemExit(f"{guest} was not restored from {backup}")


def _volumes(guests: Sequence[str], guest: str) -> list[str]:
    return [VOLUMES[guests.index(guest) % len(VOLUMES)]]


def of_modules(tasks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The seconds of the tasks that do the work, Ansible's own share in starting a module included."""
    named = [(str(each["module"]).rpartition(".")[2], float(each["seconds"])) for each in tasks]
    return {MODULES[name]: seconds for name, seconds in named if name in MODULES}


def p95(values: Any) -> float:
    """The value that 95 % of the values do not exceed."""
    ordered = sorted(values)
    return float(ordered[max(0, -(-len(ordered) * 95 // 100) - 1)])


def slowest_tasks(found: Mapping[str, Sequence[Mapping[str, Any]]], most: int = 12) -> list[dict[str, Any]]:
    """The tasks that take longest, with the median seconds of each version (None: it has no such task)."""
    medians: dict[str, dict[str, float]] = {}
    for side, tasks in found.items():
        by_name: dict[str, list[float]] = {}
        for each in tasks:
            by_name.setdefault(str(each["task"]), []).append(float(each["seconds"]))
        for name, seconds in by_name.items():
            medians.setdefault(name, {})[side] = round(statistics.median(seconds), 3)
    slowest = sorted(medians, key=lambda name: max(medians[name].values()), reverse=True)[:most]
    return [{"task": name, OLD: medians[name].get(OLD), NEW: medians[name].get(NEW)} for name in slowest]


class Measured:
    """What was measured so far: the values of each version by round, their tasks, and the load meanwhile."""

    def __init__(self, guests: int) -> None:
        self._guests = guests
        self._values: dict[str, list[dict[str, float]]] = {OLD: [], NEW: []}
        self._tasks: dict[str, list[dict[str, Any]]] = {OLD: [], NEW: []}
        self._load: list[float] = []

    def add(self, side: Side, measures: dict[str, float], tasks: Sequence[dict[str, Any]]) -> None:
        """Add one turn of a version."""
        self._values[side.name].append(measures)
        self._tasks[side.name] += tasks
        self._load.append(os.getloadavg()[0])

    def record(self) -> dict[str, Any]:
        """Return the record of the rounds that both versions have played."""
        old, new = self._values[OLD], self._values[NEW]
        rounds = min(len(old), len(new))
        rows = [
            compared(name, [each[name] for each in old[:rounds]], [each[name] for each in new[:rounds]])
            for name in new[0]
        ]
        return {
            "commit": prove_old.COMMIT,
            "beside": prove_old.described(),
            "rounds": rounds,
            "guests": self._guests,
            "processors": os.cpu_count(),
            "load": round(statistics.median(self._load), 1),
            "compared": [asdict(row) for row in rows],
            "values": self._values,
            "tasks": slowest_tasks(self._tasks),
        }


def measure(rounds: int, guests: int) -> dict[str, Any]:
    """Play the rounds and return the record, which is written down after each of them."""
    prove_old.make_tree(TREE)
    names = [f"g{number:02d}" for number in range(1, guests + 1)]
    measured = Measured(guests)
    with Ground() as ground:
        for name in names:
            ground.guests.add_still(name, *_volumes(names, name))
        match = {"method": "POST", "path": SNAPSHOTS}
        ground.control.add_fault("delay", match=match, seconds=LATENCY, where="job")
        catalogs = {name: ground.catalog / name for name in (OLD, NEW)}
        for catalog in catalogs.values():
            ground.seen(catalog).mkdir(mode=0o700)
        sides = [Side(OLD, prove_old.collections_of(TREE), catalogs[OLD]), Side(NEW, COLLECTIONS, catalogs[NEW])]
        beside = Beside(ground, names)
        for number in range(rounds):
            for side in sides if number % 2 == 0 else reversed(sides):
                measures, tasks = beside.round(side, number)
                measured.add(side, measures, tasks)
                told = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in measures.items())
                say(f"{number + 1}/{rounds} {side.name}: {told}")
            RESULTS.write_text(json.dumps(measured.record(), indent=1) + "\n", encoding="utf-8")
    return measured.record()


def document(found: Mapping[str, Any]) -> list[str]:
    """The record as lines of the document."""
    rows = [Compared(**row) for row in found["compared"]]
    said = (
        f"{found['rounds']} rounds with {found['guests']} guests on {found['processors']} processors,"
        f" `{found['commit']}` beside `{found['beside']}`; load of one minute {found['load']}, the median of all runs."
    )
    return [said, "", *table(rows, WANTED)]


def main() -> None:
    """Measure."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=30)
    options.add_argument("--guests", type=int, default=4)
    options.add_argument("--document", action="store_true", help="put the table into docs/benchmarks.md")
    given = options.parse_args()
    found = measure(given.rounds, given.guests)
    print("\n".join(document(found)), end="\n\n")
    for row in found["tasks"]:
        print(f"{row['task']}: {row[OLD]} s, now {row[NEW]} s")
    if given.document:
        report.write_block("beside-old", document(found))


if __name__ == "__main__":
    main()
