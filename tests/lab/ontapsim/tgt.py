# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serving LUNs over iSCSI with tgt: one target per igroup, brought to what the array says by ``tgtadm``."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from .san import SanError, Target, Unit

_SECONDS = 20.0
_ACTIVE = "still active"
_TARGET = re.compile(r"Target (\d+): (\S+)")
_UNIT = re.compile(r" {8}LUN: (\d+)")


@dataclass(frozen=True)
class Portal:
    """Where initiators log in."""

    address: str
    port: int = 3260

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass
class Served:
    """A target that ``tgtadm`` shows: its number, initiators, and the properties of its units by their number."""

    tid: int
    initiators: set[str] = field(default_factory=set)
    units: dict[int, dict[str, str]] = field(default_factory=dict)


class Tgt:
    """Drives one tgtd over its control port.

    ``command`` runs ``tgtadm`` with the control port's number. Unit 0 is always tgt's own controller, so LUNs begin
    at 1. tgtd keeps a LUN's file open and knows its size from then: a file that was replaced or has grown is opened
    again under the same unit, in one command, so that sessions stay.
    """

    first_number = 1

    def __init__(self, command: Sequence[str], portals: Sequence[Portal]) -> None:
        self._command = list(command)
        self._portals = list(portals)
        self._opened: dict[tuple[str, int], tuple[Unit, int, int]] = {}
        self._lock = threading.Lock()

    def reconcile(self, targets: Sequence[Target]) -> None:
        """Serve exactly these targets through all portals; what is right already is left alone."""
        with self._lock:
            listening = set(re.findall(r"Portal: (\S+),\d+", self._run("portal", "show")))
            for portal in map(str, self._portals):
                if portal not in listening:
                    self._run("portal", "new", "--param", f"portal={portal}")
            served = parse_targets(self._run("target", "show"))
            for name in served.keys() - {target.name for target in targets}:
                gone = served.pop(name)
                for number in gone.units:
                    self._withdraw(name, gone.tid, number)
                self._run_when_idle("target", "delete", "--force", "--tid", gone.tid)
            for target in targets:
                self._reconcile_target(target, served)

    def _reconcile_target(self, target: Target, served: dict[str, Served]) -> None:
        current = served.get(target.name)
        if current is None:
            current = served[target.name] = Served(1 + max((item.tid for item in served.values()), default=0))
            self._run("target", "new", "--tid", current.tid, "--targetname", target.name)
        for name in current.initiators - set(target.initiators):
            self._run("target", "unbind", "--tid", current.tid, "--initiator-name", name)
        wanted = {unit.number: unit for unit in target.units}
        for number, shown in current.units.items():
            if number not in wanted or shown["SCSI SN"] != wanted[number].serial:
                self._withdraw(target.name, current.tid, number)
        for number, unit in wanted.items():
            shown = current.units.get(number, {})
            self._expose(target.name, current.tid, unit, there=shown.get("SCSI SN") == unit.serial)
        for name in set(target.initiators) - current.initiators:
            self._run("target", "bind", "--tid", current.tid, "--initiator-name", name)

    def _expose(self, target: str, tid: int, unit: Unit, *, there: bool) -> None:
        info = os.stat(unit.file)
        opened = (unit, info.st_ino, info.st_size)
        if there and self._opened.get((target, unit.number)) == opened:
            return
        place: tuple[object, ...] = ("--tid", tid, "--lun", unit.number)
        if not there:
            self._run("logicalunit", "new", *place, "--backing-store", unit.file)
        identity = (
            f"vendor_id=NETAPP,product_id=LUN C-Mode,product_rev=9191,scsi_sn={unit.serial},scsi_id={unit.wwid},"
            "thin_provisioning=1"
        )
        reopened = f"removable=1,online=0,path={unit.file},removable=0,online={int(unit.online)}"
        self._run("logicalunit", "update", *place, "--params", f"{identity},{reopened}")
        self._opened[target, unit.number] = opened

    def _withdraw(self, target: str, tid: int, number: int) -> None:
        self._run_when_idle("logicalunit", "delete", "--tid", tid, "--lun", number)
        self._opened.pop((target, number), None)

    def _run_when_idle(self, mode: str, operation: str, *options: object) -> None:
        """Take something away, as soon as no command of an initiator is under way on it."""
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                self._run(mode, operation, *options)
                return
            except SanError as exc:
                if _ACTIVE not in str(exc) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _run(self, mode: str, operation: str, *options: object) -> str:
        words = [*self._command, "--lld", "iscsi", "--mode", mode, "--op", operation, *map(str, options)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.SubprocessError) as exc:
            raise SanError(f"{' '.join(words)}: {exc}") from exc
        if done.returncode != 0:
            raise SanError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
        return done.stdout


def parse_targets(text: str) -> dict[str, Served]:
    """Read what ``tgtadm --mode target --op show`` prints; unit 0, tgt's own controller, is left out."""
    targets: dict[str, Served] = {}
    current, unit = Served(0), dict[str, str]()
    in_access_list = False
    for line in text.splitlines():
        target, number = _TARGET.match(line), _UNIT.match(line)
        if target:
            current, unit = targets.setdefault(target[2], Served(int(target[1]))), {}
            in_access_list = False
        elif line.startswith("    ") and not line.startswith("     "):
            in_access_list = line.strip() == "ACL information:"
        elif in_access_list:
            current.initiators.add(line.strip())
        elif number:
            unit = current.units[int(number[1])] = {}
        elif line.startswith(" " * 12):
            name, _colon, value = line.strip().partition(":")
            unit[name] = value.strip()
    for served in targets.values():
        served.units.pop(0, None)
    return targets
