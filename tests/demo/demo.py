# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration: three running guests are backed up, two are destroyed and restored, a neighbour is left alone.

One of the two lies on NFS, the other on a multipath LUN; the neighbour shares the NFS volume.

The playbooks do the work as a user would run them. What is shown as proof is measured by others: hashes by the array's
side of the lab, ticks by the guests themselves, writes by the array's journal, states by libvirt.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kvmlab.evidence import unbroken
from kvmlab.guests import DEFAULTS
from kvmlab.lab import Lab, Tick

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
PLAYBOOK_SECONDS = 300
SVM = "svm1"
NEIGHBOUR, NEIGHBOUR_PLACE = "db1", ("kvm_vol1", "db1.img")


@dataclass(frozen=True)
class Victim:
    """A guest to destroy and restore, and where the array keeps its disk."""

    guest: str
    storage: str
    volume: str
    path: str

    def garbage(self, lab: Lab) -> str:
        """Return the command that overwrites the disk on the KVM host."""
        how = "bs=1M count=64 conv=notrunc,fsync oflag=direct status=none"
        if self.storage == "nfs":
            return f"dd if=/dev/urandom of=/mnt/{self.volume}/{self.path} {how}"
        return f"dd if=/dev/urandom of=/dev/mapper/{lab.luns.get(f'/vol/{self.volume}/{self.path}').wwid} {how}"

    def sha256(self, lab: Lab, *, snapshot: str | None = None) -> str:
        """Hash the disk on the array's side, now or in a snapshot."""
        return str(lab.control.sha256(SVM, self.volume, self.path, snapshot=snapshot))


VICTIMS = (Victim("web1", "nfs", "kvm_vol1", "web1.img"), Victim("san1", "lun", "kvm_san1", "san1"))


@dataclass
class Report:
    """What was done and measured; saved as ``build/demo.json``. Durations and holds are in seconds."""

    backup_id: str = ""
    restore_id: str = ""
    guests: list[dict[str, Any]] = field(default_factory=list)
    neighbour: dict[str, Any] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    ok: bool = False

    @contextmanager
    def timed(self, name: str, what: str) -> Iterator[None]:
        """Show what begins, and keep how long it took."""
        print(f"\n==> {what}", flush=True)
        begun = time.monotonic()
        yield
        self.durations[name] = round(time.monotonic() - begun, 1)
        print(f"    {self.durations[name]:.1f} s", flush=True)


def playbook(lab: Lab, name: str, **variables: Any) -> dict[str, Any]:
    """Run one of the demonstration's playbooks with its output shown, and return the fact that its role set."""
    result = BUILD / f"demo-{name}.json"
    result.unlink(missing_ok=True)
    extra = json.dumps({**variables, "demo_result": str(result)})
    command = [
        "ansible-playbook",
        "-i",
        str(lab.write_inventory()),
        str(ROOT / "tests/demo" / f"{name}.yml"),
        "-e",
        extra,
    ]
    subprocess.run(command, check=True, timeout=PLAYBOOK_SECONDS, env=environment(), stdin=subprocess.DEVNULL)
    return dict(json.loads(result.read_text()))


def environment() -> dict[str, str]:
    """Return the environment of a playbook: this checkout as the collection, nothing of the user's configuration."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(BUILD / "collections"),
        "ANSIBLE_CONFIG": str(ROOT / "tests/demo/ansible.cfg"),
        "ANSIBLE_HOME": str(BUILD / "ansible"),
    }


def went_on(before: list[Tick], after: list[Tick]) -> bool:
    """Whether a guest kept counting: no gap, no step back, no reboot, and more than there was."""
    no_reboot = all(
        earlier.uptime < later.uptime for earlier, later in zip(after[len(before) :], after[len(before) + 1 :])
    )
    return (
        bool(before) and len(after) > len(before) and after[: len(before)] == before and unbroken(after) and no_reboot
    )


@contextmanager
def unfinished(lab: Lab) -> Iterator[None]:
    """Take a lab down that a broken demonstration left half-way, and mark it while this one is under way."""
    mark = lab.places.run / "demo-unfinished"
    if mark.exists():
        print("an earlier demonstration broke off; its lab is taken down first", flush=True)
        lab.down()
    lab.up()
    mark.touch()
    yield
    mark.unlink()


def run(lab: Lab, report: Report) -> None:
    """Back up, destroy, restore, start; measure in between."""
    victims = [victim.guest for victim in VICTIMS]
    neighbour_ticks = lab.ticks(NEIGHBOUR)
    with report.timed("backup", "ansible-playbook kvmsnap.ontap.backup: hold, snapshot, release"):
        backup = playbook(lab, "backup", kvm_backup_guests=[*victims, NEIGHBOUR])
    report.backup_id = backup["backup_id"]
    saved = {victim.guest: victim.sha256(lab, snapshot=report.backup_id) for victim in VICTIMS}
    with report.timed("damage", f"stop {' and '.join(victims)} and overwrite their disks with garbage"):
        for victim in VICTIMS:
            lab.virsh("destroy", victim.guest)
            lab.ssh(victim.garbage(lab))
        damaged = {victim.guest: victim.sha256(lab) for victim in VICTIMS}
    mark = max(entry["seq"] for entry in lab.control.journal())
    with report.timed("restore", f"ansible-playbook kvmsnap.ontap.restore: {' and '.join(victims)}, left off"):
        restore = playbook(
            lab, "restore", kvm_restore_vm_list=victims, kvm_restore_backup_id=report.backup_id, kvm_restore_power="off"
        )
    report.restore_id = restore["restore_id"]
    restored = {victim.guest: victim.sha256(lab) for victim in VICTIMS}
    written = lab.control.journal(after=mark)
    with report.timed("start", f"start {' and '.join(victims)} from their restored disks"):
        for victim in VICTIMS:
            lab.virsh("start", victim.guest)
        lab.guests.wait([spec for spec in DEFAULTS if spec.name in victims])
    report.neighbour = neighbour(written, neighbour_ticks, lab.ticks(NEIGHBOUR))
    storage = {victim.guest: victim.storage for victim in VICTIMS}
    for guest in backup["guests"]:
        name = guest["name"]
        report.guests.append(
            {
                **{key: guest[key] for key in ("name", "held_seconds", "method", "consistency")},
                "storage": storage.get(name, "nfs"),
                "sha256_backup": saved.get(name),
                "sha256_damaged": damaged.get(name),
                "sha256_restored": restored.get(name),
            }
        )
    proved = all(saved[name] == restored[name] != damaged[name] for name in victims)
    report.ok = proved and bool(report.neighbour["untouched"])


def neighbour(written: list[dict[str, Any]], before: list[Tick], after: list[Tick]) -> dict[str, Any]:
    """Return how the neighbour fared: what was ``written`` on the array, its ticks before the backup and at the end."""
    touched = [entry for entry in written if (entry["volume"], entry["path"]) == NEIGHBOUR_PLACE]
    return {
        "name": NEIGHBOUR,
        "untouched": not touched and went_on(before, after),
        "array_writes_to_its_file": len(touched),
        "array_writes": [f"{entry['op']} {entry['volume']}/{entry['path']}" for entry in written],
        "ticks_before": len(before),
        "ticks_after": len(after),
    }


def show(report: Report) -> None:
    """Print the summary: what a person wants to know in ten seconds."""
    victims = [guest for guest in report.guests if guest["sha256_backup"]]
    names = " and ".join(guest["name"] for guest in victims)
    print("\n" + "-" * 100)
    print(f"Backed up    {', '.join(guest['name'] for guest in report.guests)} as {report.backup_id}")
    for guest in report.guests:
        held = f"held {guest['held_seconds']:.2f} s" if guest["held_seconds"] is not None else "not held"
        where = "NFS" if guest["storage"] == "nfs" else "multipath LUN"
        print(f"             {guest['name']} ({where}): {held}, by {guest['method']}, {guest['consistency']}")
    print(f"Destroyed    {names}: stopped, their disks overwritten with garbage")
    print(f"Restored     {names} in {report.durations['restore']:.1f} s, then started")
    for guest in victims:
        print(f"SHA-256      {guest['name']} in the snapshot    {guest['sha256_backup']}")
        print(f"                  after the damage   {guest['sha256_damaged']}")
        print(f"                  after the restore  {guest['sha256_restored']}   (measured on the array's side)")
    other = report.neighbour
    print(
        f"Neighbour    {other['name']}, same volume as web1: {other['array_writes_to_its_file']} writes of ours to its"
        f" file; {other['ticks_before']} ticks before, {other['ticks_after']} after, none missing: {other['untouched']}"
    )
    print(f"Verdict      {'the disks are back byte for byte' if report.ok else 'FAILED'}; saved as build/demo.json")
    print("-" * 100)


def explore(lab: Lab) -> None:
    """Say how to go on."""
    inventory = lab.places.inventory
    print(
        "The lab is up. To explore (in a shell with build/venvs/dev/bin on its PATH):\n"
        "  export ANSIBLE_COLLECTIONS_PATH=build/collections\n"
        f"  ansible-playbook -i {inventory} kvmsnap.ontap.list\n"
        f"  ansible-playbook -i {inventory} kvmsnap.ontap.restore -e kvm_restore_vm_list={NEIGHBOUR} --check --diff\n"
        "  make lab-ssh     a shell on the KVM host (virsh list --all)\n"
        "  make lab-down    end it"
    )


def main() -> int:
    """Run, save, show; the exit code tells whether everything was proved."""
    lab, report = Lab(), Report()
    BUILD.mkdir(exist_ok=True)
    with ExitStack() as stack:
        with report.timed("lab_up", "bring the lab up: a KVM host, an array, guests"):
            stack.enter_context(unfinished(lab))
        run(lab, report)
    (BUILD / "demo.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    show(report)
    explore(lab)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
