# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds left on a host: looked at, assessed (pure), and put right under each hold's own lock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.deadman import watches
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.healing import end_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import (
    briefly_locked,
    longest_release,
    release_all,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldError, HoldSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    HoldRecord,
    HoldRecordError,
    LockHolder,
    Row,
    lock_holder,
    locked,
    read_rows,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import Timer, known_timer, timer_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id, own_process
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import Worker, WorkerPool
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.file_lock import LEAST

Fate = Literal["alive", "release", "forget", "keep"]

SUFFIXES = (".json", ".timer", ".lock")


@dataclass(frozen=True)
class HoldSeen:
    """A hold as its files tell: ``rows`` is None for a record of another boot, ``age`` in seconds since it was written.

    A record that is dated in the future, by a clock that was put back since, has the age 0.

    ``watching``: its dead-man timer waits or is at work. ``error``: why the record cannot be read.
    """

    hold_id: str
    record: bool
    rows: Optional[tuple[Row, ...]] = ()
    age: float = 0.0
    holder: Optional[LockHolder] = None
    timer: Optional[Timer] = None
    watching: bool = False
    error: Optional[str] = None

    @property
    def outstanding(self) -> tuple[Row, ...]:
        """The guests that it has not let go."""
        return tuple(row for row in self.rows or () if row.outstanding)


@dataclass(frozen=True)
class Assessment:
    """What is to become of a hold, and why."""

    fate: Fate
    why: str


def assess(seen: HoldSeen, *, now: float, grace_period: float) -> Assessment:
    """Decide about a hold; pure. ``now`` is monotonic; a hold without guests is left over after ``grace_period`` s."""
    if seen.holder is not None:
        return Assessment("alive", "a process works on it")
    if seen.error is not None:
        return Assessment("keep", f"{seen.error}; nobody can say what it holds: look at the guests, then remove it")
    if seen.rows is None:
        return Assessment("forget", "it is of an earlier boot of this host, and no guest of then runs any more")
    held = ", ".join(row.name for row in seen.outstanding)
    if held:
        remaining = end_of(seen.outstanding, seen.timer) - now
        if remaining > 0:
            return Assessment("alive", f"it holds {held} for {remaining:.0f} s more at most")
        return Assessment("release", f"it outlived its deadline and still holds {held}")
    if seen.record and seen.age < grace_period:
        return Assessment("alive", "it holds nobody, and whoever made it may still ask what became of it")
    return Assessment("forget", "it holds nobody, and whoever made it has not asked what became of it")


def holds_on(settings: HoldSettings, *, wall: float) -> list[HoldSeen]:
    """Return the holds of which the directory has any file, by id; ``wall`` is the time of now, since the epoch.

    Raises :class:`HoldRecordError` when the directory cannot be read.
    """
    try:
        names = [path for path in settings.directory.iterdir() if path.suffix in SUFFIXES]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise HoldRecordError(f"Failed to list the hold records in {settings.directory}: {exc.strerror}") from exc
    return [look_at(hold_id, settings, wall=wall) for hold_id in sorted({path.stem for path in names})]


def look_at(hold_id: str, settings: HoldSettings, *, wall: float) -> HoldSeen:
    """Return what is known of one hold; the lock of the process that asks does not count."""
    path = settings.directory / f"{hold_id}.json"
    timer = known_timer(timer_path(path))
    seen = HoldSeen(hold_id, path.exists(), timer=timer, watching=timer is not None and watches(timer))
    try:
        holder = lock_holder(settings.directory, hold_id)
        rows = read_rows(path, boot_id(settings.boot))
        age = max(0.0, wall - path.stat().st_mtime) if seen.record else 0.0
    except KvmsnapError as exc:
        return replace(seen, error=exc.message)
    except OSError as exc:
        return replace(seen, error=f"Failed to read {path}: {exc.strerror}")
    own = holder is not None and holder.process == own_process()
    return replace(seen, rows=None if rows is None else tuple(rows), age=age, holder=None if own else holder)


def put_right(seen: HoldSeen, settings: HoldSettings, *, now: float, wall: float, grace_period: float) -> None:
    """Release a hold or forget it, as :func:`assess` says, with everything looked at again under its lock.

    Raises :class:`HoldError` when a guest could not be released, or the hold has come to life.
    """
    locks = briefly_locked(settings, seen.outstanding, seen.hold_id)
    longest = longest_release(settings)
    with locks, locked(settings.directory, seen.hold_id, stage="releasing", timeout=LEAST, seconds=longest):
        again = look_at(seen.hold_id, settings, wall=wall)
        if assess(again, now=now, grace_period=grace_period).fate not in ("release", "forget"):
            raise HoldError(f"Failed to release hold {seen.hold_id}: it has begun anew")
        record = HoldRecord(settings.directory, seen.hold_id, boot_id(settings.boot))
        record.read()
        with WorkerPool(settings.connect, size=len(record.rows), most=settings.at_once) as pool:
            release_all(pool, record, settings)


def frozen_guests(settings: HoldSettings, *, known: Collection[str]) -> list[str]:
    """Return the names of running guests whose agent says that they are frozen, but for those with ``known`` uuids.

    Raises ``LibvirtError`` when libvirt cannot be asked; an agent that is silent, or speaks nonsense, says nothing.
    """
    host = settings.connect()
    try:
        uuids = [domain.uuid for domain in host.domains() if domain.uuid not in known]
    finally:
        host.close()

    def ask(worker: Worker, uuid: str) -> Optional[str]:
        name = outcome_of(lambda: _name_if_frozen(worker, uuid, settings), what=f"ask the agent of guest {uuid}")
        return None if isinstance(name, KvmsnapError) else name

    with WorkerPool(settings.connect, size=len(uuids), most=settings.at_once) as pool:
        return sorted(name for name in pool.each(uuids, ask) if name is not None)


def _name_if_frozen(worker: Worker, uuid: str, settings: HoldSettings) -> Optional[str]:
    domain = worker.domain(uuid)
    if domain is None or domain.state().state != "running":
        return None
    if domain.agent.channel(parse_guest(domain.xml())) != "connected":
        return None
    return domain.name if domain.agent.status(settings.ping_timeout) == "frozen" else None
