# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUNs as the host sees them: which device is one, by which WWID, and which of its paths work.

All of it comes from sysfs and from a bounded question to multipathd: a map that queues because no path is left makes
whoever reads it wait for ever, so no device is read before a path is known to work.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import (
    SYSFS,
    BlockDevice,
    block_device,
    holders_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.programs import ProgramError, find_program, output_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import WWID_PREFIX, is_serial, serial_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem

BY_ID = Path("/dev/disk/by-id")
INITIATOR_FILE = Path("/etc/iscsi/initiatorname.iscsi")
TIMEOUT = 10.0

_NETAPP = "NETAPP"
_SEVEN_MODE = "360a98000"
_E_SERIES = "360080e5"
_PATH_FORMAT = "%d|%t|%o|%T"
_MAP_FORMAT = "%d|%Q"
_FAILING = ("faulty", "down", "shaky", "i/o timeout", "removed", "disconnected")


@dataclass(frozen=True)
class LunPlace:
    """A block device of this host that is a LUN, ``block`` to the kernel (``dm-0``, ``sdb``).

    ``device`` is the name to keep: ``/dev/mapper/<name>`` of a map, which some hosts have as a node and not as a link.
    ``serial`` is the one that the WWID tells; without it ``unresolved`` says why, and only sanlun can help.
    ``unit_serials`` are those that the paths tell. ``size`` is in bytes, ``paths`` are the kernel's names.
    """

    block: str
    device: str
    name: str
    wwid: Optional[str]
    serial: Optional[str]
    size: int
    paths: tuple[str, ...]
    unit_serials: tuple[str, ...] = ()
    unresolved: Optional[Problem] = None

    @property
    def is_map(self) -> bool:
        """Whether it is a multipath map, and not a single path."""
        return bool(self.name)


@dataclass(frozen=True)
class PathState:
    """One path as multipathd has it: device-mapper's state, the kernel's and the checker's."""

    device: str
    dm: str
    kernel: str
    checker: str

    @classmethod
    def from_line(cls, line: str) -> PathState:
        """Read ``sdb|active|running|ready``; raises :class:`ValueError`."""
        device, dm, kernel, checker = (part.strip() for part in line.split("|"))
        return cls(device, dm, kernel, checker)

    @property
    def works(self) -> bool:
        """Whether I/O may go through it; what was not checked yet is taken to work."""
        return self.dm == "active" and self.kernel in ("running", "undef") and self.checker not in _FAILING

    def __str__(self) -> str:
        return f"{self.device} ({self.dm} {self.checker} {self.kernel})"


@dataclass(frozen=True)
class Daemon:
    """What multipathd answered; ``error`` says why it did not. ``queueing`` are the maps that queue without a path."""

    error: str = ""
    paths: Mapping[str, PathState] = field(default_factory=dict)
    queueing: frozenset[str] = frozenset()


def ask_multipathd(
    *,
    find: Callable[..., Optional[str]] = find_program,
    run: Callable[..., str] = output_of,
    timeout: float = TIMEOUT,
) -> Daemon:
    """Ask multipathd for its paths and maps; that it does not answer is part of the answer."""
    program = find("multipathd")
    if program is None:
        return Daemon(error="multipathd is not installed")
    try:
        paths = run([program, "show", "paths", "raw", "format", _PATH_FORMAT], seconds=timeout)
        maps = run([program, "show", "maps", "raw", "format", _MAP_FORMAT], seconds=timeout)
    except ProgramError as exc:
        return Daemon(error=exc.message)
    states = [PathState.from_line(line) for line in paths.splitlines() if line.count("|") == _PATH_FORMAT.count("|")]
    rows = [line.partition("|") for line in maps.splitlines() if line.count("|") == 1]
    return Daemon(
        paths={state.device: state for state in states},
        queueing=frozenset(name.strip() for name, _bar, queueing in rows if queueing.strip() not in ("off", "-")),
    )


def lun_place(
    realpath: str,
    device: BlockDevice,
    *,
    multipath_required: bool,
    sysfs: Path = SYSFS,
    by_id: Path = BY_ID,
) -> Union[LunPlace, Problem]:
    """Tell which LUN a multipath map or a disk of a SAN is, or why it is none that can be saved.

    ``multipath_required`` refuses a disk that is reached by a single path only.
    """
    if device.kind == "multipath":
        paths = [block_device(name, sysfs=sysfs) for name in device.paths]
        return _of_map(realpath, device, paths)
    if device.maps:
        names = ", ".join(f"/dev/mapper/{block_device(name, sysfs=sysfs).dm_name}" for name in device.maps)
        return problem_of("single-path-device", f"{realpath} is one path of the multipath device {names}")
    serial = serial_of(device.wwid)
    if serial is None:
        return _no_lun(realpath, "3" + device.wwid[4:] if device.wwid.startswith("naa.") else device.wwid, [device])
    if multipath_required:
        return problem_of("single-path-device", f"{realpath} is a LUN reached by a single path, without multipath")
    link = by_id / f"wwn-0x{device.wwid[4:].lower()}"
    return LunPlace(
        block=device.name,
        device=str(link) if link.exists() else realpath,
        name="",
        wwid="3" + device.wwid[4:].lower(),
        serial=serial,
        size=device.size,
        paths=(device.name,),
        unit_serials=_unit_serials([device]),
    )


def path_findings(place: LunPlace, daemon: Daemon, *, sysfs: Path = SYSFS) -> tuple[Optional[Problem], list[Problem]]:
    """Return why a LUN cannot be used now (no path works, nobody watches them), and notes on paths that do not work."""
    if not place.is_map:
        states = [block_device(name, sysfs=sysfs).state for name in place.paths]
        down = not any(state == "running" for state in states)
        return problem_of("no-working-path", f"its path {', '.join(place.paths)} does not work") if down else None, []
    if daemon.error:
        return problem_of("multipathd-not-running", f"nobody tells which of its paths work: {daemon.error}"), []
    known = [(name, daemon.paths.get(name)) for name in place.paths]
    failed = [str(state or f"{name} (not watched)") for name, state in known if state is None or not state.works]
    if len(failed) == len(known):
        queueing = place.block in daemon.queueing
        more = f": {', '.join(failed)}" if failed else ""
        waits = ", and whoever reads it waits (queue_if_no_path)" if queueing else ""
        return problem_of("no-working-path", f"no path of its multipath device works{more}{waits}"), []
    if failed:
        return None, [problem_of("path-failed", f"{len(failed)} of its {len(known)} paths fail: {', '.join(failed)}")]
    if len(known) == 1:
        return None, [problem_of("path-failed", f"its multipath device has only one path, {known[0][0]}")]
    return None, []


def holder_notes(place: LunPlace, *, sysfs: Path = SYSFS) -> list[Problem]:
    """Return a note on what this host has made out of a LUN that is a guest's."""
    found = holders_of(place.block, sysfs=sysfs)
    if not found:
        return []
    listed = ", ".join(f"{holder.device} ({holder.kind})" for holder in found)
    return [problem_of("lun-activated-on-host", f"this host has activated what is inside of it: {listed}")]


def own_initiators(*, sysfs: Path = SYSFS, initiator_file: Path = INITIATOR_FILE) -> tuple[str, ...]:
    """Return the iSCSI names and the Fibre Channel port names under which this host reaches arrays."""
    found = re.findall(r"^\s*InitiatorName\s*=\s*(\S+)", _content_of(initiator_file), flags=re.MULTILINE)
    for pattern in ("iscsi_session/*/initiatorname", "iscsi_host/*/initiatorname", "fc_host/*/port_name"):
        found += [_content_of(path).strip() for path in sorted((sysfs / "class").glob(pattern))]
    return tuple(dict.fromkeys(name for name in found if name and name != "(null)"))


def _of_map(realpath: str, device: BlockDevice, paths: list[BlockDevice]) -> Union[LunPlace, Problem]:
    serial = serial_of(device.map_wwid)
    serials = {found for path in paths if (found := serial_of(path.wwid))}
    if serial is not None and serials - {serial}:
        reason = f"{realpath} is the map of serial {serial}, its paths lead to {', '.join(sorted(serials))}"
        return problem_of("paths-disagree", reason)
    unresolved = None
    if serial is None:
        refusal = _no_lun(realpath, device.map_wwid, paths)
        if refusal.code != "unresolvable-wwid":
            return refusal
        if len(serials) == 1:
            serial = next(iter(serials))
        else:
            unresolved = refusal
    return LunPlace(
        block=device.name,
        device=f"/dev/mapper/{device.dm_name}",
        name=device.dm_name,
        wwid=device.map_wwid or None,
        serial=serial,
        size=device.size,
        paths=device.paths,
        unit_serials=_unit_serials(paths),
        unresolved=unresolved,
    )


def _no_lun(realpath: str, wwid: str, paths: Iterable[BlockDevice]) -> Problem:
    """Tell why a WWID is none of an ONTAP LUN."""
    kinds = dict.fromkeys(f"{path.vendor} {path.model}".strip() for path in paths)
    what = f"{realpath}, WWID {wwid or 'unknown'} ({', '.join(kind for kind in kinds if kind) or 'of unknown make'})"
    lowered = wwid.lower()
    if lowered.startswith(_SEVEN_MODE):
        return problem_of("seven-mode-lun", f"{what} is a LUN of a system in 7-Mode")
    if lowered.startswith((WWID_PREFIX, _E_SERIES)):
        return problem_of("e-series-device", f"{what} is NetApp's, but not of ONTAP: its WWID holds no serial of a LUN")
    if kinds and all(kind.startswith(_NETAPP) for kind in kinds):
        return problem_of("unresolvable-wwid", f"{what} is NetApp's, but its WWID does not tell which LUN it is")
    return problem_of("not-a-netapp-device", f"{what} is no LUN of ONTAP")


def _unit_serials(paths: Iterable[BlockDevice]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path.unit_serial for path in paths if is_serial(path.unit_serial)))


def _content_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
