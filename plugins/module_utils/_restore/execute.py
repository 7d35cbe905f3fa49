# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carry out a restore plan, step by step, each step written down before the next begins.

Each file is made under a temporary name and proved there while the guest still runs; once it is off the host gives it
the name of the disk. Killed anywhere, the guest is off or as it was, and the same restore id goes on. Until all disks
of a guest are written and compared, they are written again; from then on only its power state is brought about.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Optional, cast

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import DEFINITION, WHAT
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    MOVE,
    GuestProgress,
    Journal,
    MovedAside,
    Pending,
    Safety,
    TemporaryFile,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import InUseError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.replacement import aside_name
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import unexpected
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import (
    Actor,
    DiskSteps,
    FateUnknownError,
    GuestSteps,
    Made,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.fence import Fence
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    ABSENT,
    DiskRestore,
    GuestRestore,
    RestorePlan,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.shared_disks import units

OFF = ("shutoff", ABSENT)
AUTOSTART_OFF = "Its autostart stays off until it is brought back"
TOGETHER = 2
"""So many disks and files make a guest that can be half restored; one disk alone gets its name at once."""
UNTOUCHED = "Nothing of the guest was overwritten"
SHARES_HALF = "It is left as it is, since a guest that shares a disk with it is half restored"
STAYS_OFF = "The guest stays off, and nothing is put back, until that is known"


@dataclass(frozen=True)
class DiskResult:
    """One disk that was overwritten; ``seconds`` is the time the overwrite took, ``notes`` name what it left behind."""

    target: str
    path: str
    method: str
    verified: str
    seconds: float
    notes: tuple[str, ...] = ()
    sha256: Optional[str] = None


@dataclass(frozen=True)
class GuestResult:
    """What became of one guest; ``error`` is None when it was brought back.

    ``safety`` is the snapshot that holds it as it was before. ``autostart_off``: the guest starts with its host, and is
    kept from it until it is brought back. ``files`` are those that were replaced beside the disks. ``healthy`` is None
    for a guest whose health was not looked at (it is off); ``health`` says what was wanted and seen.
    """

    name: str
    uuid: str
    restored: bool
    state_before: str
    state_after: str
    disks: tuple[DiskResult, ...]
    seconds: float
    error: Optional[str] = None
    safety: Optional[str] = None
    autostart_off: bool = False
    files: tuple[str, ...] = ()
    healthy: Optional[bool] = None
    health: Optional[dict[str, Any]] = None


def run(
    plan: RestorePlan,
    *,
    actor: Actor,
    journal: Journal,
    save: Callable[[Journal], None],
    safety: Optional[str] = None,
    stop_at_failure: bool = False,
    accept_unknown: bool = False,
) -> tuple[list[GuestResult], Journal]:
    """Restore every guest of the plan that the journal does not show as done; return each one's fate.

    The files of all guests are made and proved first, while the guests run; one that fails then is left as it is. Then
    all guests are stopped, and ``safety`` (a name, None for none) is created on their volumes, before any disk is
    overwritten. Guests stand alone: one that fails does not stop the next, and its disks are put back as they were;
    only those that share a disk come back together, or none of them. With ``stop_at_failure`` those after it are not
    begun, and get their power back. From the first stop on, an array that is away is waited for. ``accept_unknown``: a
    person says that no overwrite of an earlier run is under way any more. ``save`` makes the journal durable.
    """
    work = _Work(_Named(actor), journal, save, accept_unknown)
    todo = [guest for guest in plan.guests if not journal.done(guest.uuid)]
    for unit in units(todo):
        work.join(unit)
    for guest in todo:
        work.make(guest)
    for unit in units(todo):
        work.hold_together(unit)
    results: list[GuestResult] = []
    with actor.patience():
        for guest in todo:
            if not (stop_at_failure and work.errors):
                work.stop(guest)
        for unit in units(todo):
            work.hold_together(unit)
        if safety:
            work.secure([guest for guest in todo if guest.uuid not in work.errors], safety)
        for guest in plan.guests:
            failed = next((each.name for each in results if each.error), None) if stop_at_failure else None
            if failed and guest in todo:
                work.leave(guest, f"Guest {guest.name} was not begun, since {failed} failed")
            else:
                work.write_together(guest)
            results.append(work.restore(guest))
    return results, work.journal


class _Named:
    """An actor whose steps end in a named error whatever goes wrong: no guest stays off for want of a handler."""

    def __init__(self, actor: Actor) -> None:
        self.guests = cast(GuestSteps, _NamedSteps(actor.guests))
        self.disks = cast(DiskSteps, _NamedSteps(actor.disks))
        self.secure = cast(Actor, _NamedSteps(actor)).secure
        self.patience = actor.patience


class _NamedSteps:
    """The steps of an actor, or of one of its parts.

    What nobody provided for in the middle of an overwrite says nothing about the end of that.
    """

    def __init__(self, steps: object) -> None:
        self._steps = steps

    def __getattr__(self, name: str) -> Callable[..., Any]:
        step = getattr(self._steps, name)

        def named(*subjects: Any) -> Any:
            try:
                return step(*subjects)
            except KvmsnapError:
                raise
            except Exception as exc:
                found = unexpected(exc, f"{name.replace('_', ' ')} {_subject(subjects[0])}".rstrip())
                raise (FateUnknownError(found.message) if name == "overwrite" else found) from exc

        return named


def _subject(subject: object) -> str:
    """Return how to call a guest, a disk or a file."""
    known = (getattr(subject, key, None) for key in ("label", "name", "place", "path"))
    return next((str(each) for each in known if each), "")


class _Work:
    """One run: the journal as it grows, and which guests failed already."""

    def __init__(
        self, actor: Actor, journal: Journal, save: Callable[[Journal], None], accept_unknown: bool = False
    ) -> None:
        self.journal = journal
        self._kept = journal
        self.errors: dict[str, str] = {}
        self._secure = actor.secure
        self._guests = actor.guests
        self._disks = actor.disks
        self._save = save
        self._accept_unknown = accept_unknown
        self._made: dict[tuple[str, str], Made] = {}
        self._stopped: set[str] = set()
        self._begun: dict[str, float] = {}
        self._written: dict[str, list[DiskResult]] = {}
        self._together: dict[str, tuple[GuestRestore, ...]] = {}
        self._withheld: dict[str, str] = {}
        self._tried: set[str] = set()
        self._fence = Fence(actor.guests, self._progress, self._note)

    def make(self, guest: GuestRestore) -> None:
        """Make and prove the files that are to take the places of the guest's, while it goes on as it is.

        What an earlier run asked for in vain is removed first. When this fails the guest is left as it is.
        """
        self._begun[guest.uuid] = time.monotonic()
        progress = self.journal.begun(guest.uuid, guest.state_now)
        self._note(guest, progress)
        try:
            self._settle(guest)
            if progress.written:
                return
            for temporary in progress.temporaries:
                self._disks.drop(temporary)
            for disk in guest.disks:
                self._make(guest, disk)
        except KvmsnapError as exc:
            self._drop_all(guest)
            self._leave_as_it_is(guest, exc.message)

    def _make(self, guest: GuestRestore, disk: DiskRestore) -> Optional[Made]:
        """Make the file for a disk, or return what was made for it already."""
        key = (disk.label, disk.snapshot_uuid)
        if key not in self._made and not disk.remove:
            made = self._disks.make(disk, _Notes(self, guest))
            if made is not None:
                self._made[key] = made
        return self._made.get(key)

    def _drop_all(self, guest: GuestRestore) -> None:
        """Remove the files that were made for a guest and are not used; one that stays is in the journal."""
        for disk in guest.disks:
            for key in [key for key in self._made if key[0] == disk.label]:
                made = self._made.pop(key)
                try:
                    self._disks.drop(made.temporary)
                except KvmsnapError:
                    continue

    def _settle(self, guest: GuestRestore) -> None:
        """Find out what became of the overwrites that an earlier run had under way; raises unless that is known."""
        disks = {disk.label: disk for disk in guest.disks}
        for request in self._progress(guest).pending:
            if self._accept_unknown:
                progress = self._progress(guest)
                self._note(guest, replace(progress, accepted=(*progress.accepted, request)))
            elif request.disk in disks:
                self._disks.settle(disks[request.disk], request)
            self._note(guest, self._progress(guest).with_pending(request.disk, None))
        aside = self._progress(guest).moved_aside
        if aside is not None and aside.disk in disks and not self._disks.was_moved(disks[aside.disk], aside.place):
            begun = tuple(each for each in self._progress(guest).disks if each != aside.disk)
            self._note(guest, replace(self._progress(guest), moved_aside=None, disks=begun))

    def stop(self, guest: GuestRestore) -> None:
        """Stop a guest whose disks are to be written."""
        if guest.uuid in self.errors or self._progress(guest).written or guest.state_now in OFF:
            return
        self._stopped.add(guest.uuid)
        try:
            self._fence.keep(guest)
            self._guests.stop(guest)
        except KvmsnapError as exc:
            self.errors[guest.uuid] = exc.message
            with suppress(KvmsnapError):
                if self._guests.state(guest) == "shutoff":
                    self._leave_as_it_is(guest, exc.message)

    def _leave_as_it_is(self, guest: GuestRestore, why: str) -> None:
        """Give up a guest before this run has overwritten anything of it.

        It stays off when an earlier run half restored it, or one that shares a disk with it.
        """
        self.errors[guest.uuid] = why
        if not any(map(self._is_half, self._unit(guest))):
            self.errors[guest.uuid] += f". {UNTOUCHED}{self._power_back(guest)}"
        elif not self._is_half(guest):
            self._withheld[guest.uuid] = why
            self.errors[guest.uuid] += f". {SHARES_HALF}"

    def _unit(self, guest: GuestRestore) -> tuple[GuestRestore, ...]:
        return self._together.get(guest.uuid, (guest,))

    def _is_half(self, guest: GuestRestore) -> bool:
        """Tell whether a disk of a guest was begun, or all are restored and it is not done."""
        progress = self.journal.guests.get(guest.uuid)
        return progress is not None and bool(progress.disks or progress.written)

    def secure(self, guests: Sequence[GuestRestore], name: str) -> None:
        """Keep what the guests hold now; when that fails none is written, and all are as they were."""
        fresh = [guest for guest in guests if self._is_as_before(guest)]
        if not fresh:
            return
        try:
            self._keep(self.journal.with_safety(Safety(name, (), ())))
            taken = self._secure([disk for guest in fresh for disk in guest.disks], name)
            self._keep(self.journal.with_safety(Safety(name, tuple(guest.uuid for guest in fresh), taken)))
        except KvmsnapError as exc:
            for guest in fresh:
                self.errors[guest.uuid] = f"{exc.message}. Nothing was overwritten{self._power_back(guest)}"

    def leave(self, guest: GuestRestore, why: str) -> None:
        """Do not begin a guest; one that an earlier run half restored is left for the next run.

        So is one that shares a disk with such a guest.
        """
        if guest.uuid in self.errors or self._progress(guest).written:
            return
        half = any(self._progress(each).disks for each in self._unit(guest))
        self.errors[guest.uuid] = f"{why}{'' if half else self._power_back(guest)}"

    def _is_as_before(self, guest: GuestRestore) -> bool:
        """Tell whether what the guest holds is to be kept: nothing was written yet, and no snapshot holds its state.

        A guest that somebody started after an earlier run had taken one has written since.
        """
        progress = self._progress(guest)
        untouched = not progress.disks and not progress.written
        return untouched and (self._known_safety(guest) is None or guest.state_now not in OFF)

    def join(self, unit: tuple[GuestRestore, ...]) -> None:
        """Remember which guests share a disk."""
        self._together.update((guest.uuid, unit) for guest in unit)

    def hold_together(self, unit: tuple[GuestRestore, ...]) -> None:
        """When one of those that share a disk failed already, touch none."""
        self._give_up_with(unit)

    def write_together(self, guest: GuestRestore) -> None:
        """Overwrite the disks of those that share one with this guest: all, or none, before any of them is brought up.

        The first of them that comes along does it for all; the journal and the errors tell :meth:`restore` how that
        ended.
        """
        unit = self._together.get(guest.uuid, ())
        if self._tried.isdisjoint(each.uuid for each in unit) and unit and not self._give_up_with(unit):
            failed, why = self._write_unit(unit)
            if failed is not None:
                self._give_up(unit, failed, why)
        self._tried.update(each.uuid for each in unit)

    def _give_up_with(self, unit: Sequence[GuestRestore]) -> bool:
        """Give up the others when one of them failed already, and tell whether one has.

        They stay as they are when it is half restored itself: what they share may be neither old nor new.
        """
        given_up = [guest for guest in unit if guest.uuid in self.errors]
        others = [guest for guest in unit if guest.uuid not in self.errors]
        half = next(filter(self._is_half, given_up), None)
        if half is not None:
            for guest in others:
                self.errors[guest.uuid] = f"Guest {half.name} failed again. {SHARES_HALF}"
        elif others and given_up:
            self._give_up(others, given_up[0], "")
        return bool(given_up)

    def _write_unit(self, unit: Sequence[GuestRestore]) -> tuple[Optional[GuestRestore], str]:
        """Keep all from being started, then write all; return the guest that failed, if any, and why.

        What an earlier run wrote is written anew when one ran since: it may have written to what they share.
        """
        todo = [guest for guest in unit if not self._progress(guest).written]
        if any(guest.state_now not in OFF for guest in todo):
            todo = list(unit)
        for write in (False, True):
            for guest in todo:
                try:
                    if write:
                        self._write_all(guest, self._written.setdefault(guest.uuid, []))
                    else:
                        self._note(guest, replace(self._progress(guest), written=False))
                        self._fence.close(guest)
                except FateUnknownError as exc:
                    self._stay_off(unit, guest, exc)
                    return None, ""
                except KvmsnapError as exc:
                    return guest, exc.message
        return None, ""

    def _stay_off(self, unit: Sequence[GuestRestore], failed: GuestRestore, exc: FateUnknownError) -> None:
        """Leave all that share a disk off while it is not known whether one of them is being overwritten."""
        for guest in unit:
            reason = exc.message if guest is failed else f"Guest {failed.name} shares a disk with it: {exc.message}"
            self.errors[guest.uuid] = f"{reason}. {STAYS_OFF}"

    def _give_up(self, unit: Sequence[GuestRestore], failed: GuestRestore, why: str) -> None:
        """Put back the disks of all guests, and only then their power."""
        outcomes = [self._disks_back(guest) for guest in unit]
        whole = all(back for _text, back in outcomes)
        for guest, (text, _back) in zip(unit, outcomes):
            reason = why if guest is failed else f"Guest {failed.name}, which shares a disk with it, was not restored"
            power = self._power_back(guest) if whole else ""
            self.errors[guest.uuid] = f"{reason}{text}{power}"
        for guest in self._unit(failed) if whole else ():
            if guest.uuid in self._withheld:
                why = self._withheld.pop(guest.uuid)
                self.errors[guest.uuid] = f"{why}. {UNTOUCHED}{self._power_back(guest)}"

    def restore(self, guest: GuestRestore) -> GuestResult:
        """Bring one guest back, or its disks as they were before."""
        guest = self._seen(guest)
        if self.journal.done(guest.uuid):
            before = self._progress(guest).state_before
            return GuestResult(guest.name, guest.uuid, False, before, guest.state_now, (), 0.0)
        disks = self._written.setdefault(guest.uuid, [])
        error = self.errors.get(guest.uuid)
        if error is None:
            try:
                if not self._progress(guest).written:
                    self._write(guest, disks)
                self._bring_up(guest)
            except KvmsnapError as exc:
                error = exc.message
        return self._result(guest, disks, error)

    def _write(self, guest: GuestRestore, disks: list[DiskResult]) -> None:
        """Overwrite and compare all disks; when one fails, put back those that were touched."""
        try:
            self._write_all(guest, disks)
        except FateUnknownError as exc:
            raise FateUnknownError(f"{exc.message}. {STAYS_OFF}", **exc.fields) from exc
        except KvmsnapError as exc:
            text, whole = self._disks_back(guest)
            raise KvmsnapError(f"{exc.message}{text}{self._power_back(guest) if whole else ''}") from exc

    def _write_all(self, guest: GuestRestore, disks: list[DiskResult]) -> None:
        """Bring all that belongs to a guest; the disk that was moved aside gets its name back last of all files."""
        self._fence.close(guest)
        last = self._move_aside(guest)
        for disk in guest.disks:
            if disk is not last:
                disks.append(self._brought(guest, disk))
        if guest.forget:
            self._define(guest)
        for file in guest.files:
            self._refuse_active(guest, WHAT[file.kind])
            self._put_file(guest, file)
        if last is not None:
            disks.append(self._brought(guest, last))
        if guest.definition is not None:
            self._define(guest)
        self._note(guest, replace(self._progress(guest), written=True))

    def _move_aside(self, guest: GuestRestore) -> Optional[DiskRestore]:
        """Move the file of one disk aside where the guest has more to be changed: nobody can start it without.

        Not here, not on another host, not after a reboot, until the file of the backup gets that name. Returns the
        disk, None where there is none that can be moved.
        """
        known = self._progress(guest).moved_aside
        if known is not None:
            return next((disk for disk in guest.disks if disk.label == known.disk), None)
        if len(guest.disks) + len(guest.files) < TOGETHER or self._seen(guest).may_be_absent:
            return None
        able = [
            disk
            for disk in guest.disks
            if (disk.label, disk.snapshot_uuid) in self._made
            and not disk.missing
            and disk.label not in self._progress(guest).disks
            and self._guests.can_fence(guest, disk)
        ]
        if not able:
            return None
        disk = able[-1]
        place = posixpath.join(posixpath.dirname(disk.host_path), aside_name())
        self._refuse_active(guest, f"disk {disk.target}")
        self._disks.prepare(disk, None)
        progress = self._progress(guest)
        aside = MovedAside(disk.label, disk.host_path, place)
        self._note(guest, replace(progress, moved_aside=aside, disks=(*progress.disks, disk.label)))
        try:
            self._disks.move_aside(disk, place)
        except FateUnknownError:
            since = datetime.now(timezone.utc).isoformat(timespec="seconds")
            with suppress(KvmsnapError):
                _Notes(self, guest).pending(disk.label, Pending(disk.label, MOVE, since, source=place))
            raise
        return disk

    def _forget_aside(self, guest: GuestRestore) -> None:
        """Remove what was moved aside, once the guest's disks are whole; where that fails, ``recover`` does it."""
        aside = self._progress(guest).moved_aside
        if aside is None:
            return
        disk = next(disk for disk in guest.disks if disk.label == aside.disk)
        path = posixpath.join(posixpath.dirname(disk.storage.path), posixpath.basename(aside.place))
        file = TemporaryFile(aside.disk, aside.place, path)
        self._note(guest, replace(self._progress(guest).with_temporary(file), moved_aside=None))
        with suppress(KvmsnapError):
            self._disks.drop(file)
            _Notes(self, guest).no_temporary(file)

    def _bring_aside_back(self, guest: GuestRestore) -> None:
        """Give the disk that was moved aside its name back: it is as it was before."""
        aside = self._progress(guest).moved_aside
        if aside is None:
            return
        disk = next(disk for disk in guest.disks if disk.label == aside.disk)
        self._refuse_active(guest, f"disk {disk.target}")
        self._disks.bring_aside_back(disk, aside.place)
        self._note(guest, replace(self._progress(guest), moved_aside=None))

    def _begin(self, guest: GuestRestore, disk: DiskRestore) -> None:
        """Note that a disk is about to be written, and whether there was none before."""
        progress = self._progress(guest)
        if disk.label in progress.disks:
            return
        created = (*progress.created, disk.label) if disk.missing else progress.created
        self._note(guest, replace(progress, disks=(*progress.disks, disk.label), created=created))

    def _define(self, guest: GuestRestore) -> None:
        """Change the guest's definition; the one from before the first attempt is what is kept."""
        self._refuse_active(guest, WHAT[DEFINITION])
        progress = self._progress(guest)
        if progress.definition is None:
            self._note(guest, replace(progress, definition=self._guests.set_definition_aside(guest)))
        self._guests.define(guest)

    def _put_file(self, guest: GuestRestore, file: FileRestore) -> None:
        """Replace a file beside the disks; what was there before the first attempt is what is kept."""
        progress = self._progress(guest)
        aside = next((each for each in progress.files if each.path == file.path), None)
        if aside is None:
            aside = self._guests.keep_file(guest, file)
            self._note(guest, replace(progress, files=(*progress.files, aside)))
        self._guests.put_file(file, aside.attributes)

    def _brought(self, guest: GuestRestore, disk: DiskRestore) -> DiskResult:
        """Bring a disk out of its snapshot: by the name of a file that is made and proved, or in place.

        One that the gate refuses, because somebody uses it, was not touched, and is not to be put back.
        """
        made = self._make(guest, disk)
        aside = self._progress(guest).moved_aside
        self._refuse_active(guest, f"disk {disk.target}")
        self._disks.prepare(disk, aside.place if aside and aside.disk == disk.label else None)
        before = self._progress(guest)
        self._begin(guest, disk)
        try:
            return self._put_or_overwritten(guest, disk, made)
        except InUseError:
            self.note(guest, lambda progress: replace(progress, disks=before.disks, created=before.created))
            raise

    def _put_or_overwritten(self, guest: GuestRestore, disk: DiskRestore, made: Optional[Made]) -> DiskResult:
        notes = _Notes(self, guest)
        if made is not None:
            said = self._disks.put(disk, made)
            del self._made[(disk.label, disk.snapshot_uuid)]
            notes.no_temporary(made.temporary)
            done, found, seconds = made.overwritten, made.verified, made.seconds
            said = (*done.notes, *found.notes, *said)
        else:
            begun = time.monotonic()
            done = self._disks.overwrite(disk, notes)
            seconds = round(time.monotonic() - begun, 3)
            found = self._disks.verify(disk)
            said = (*done.notes, *found.notes)
        self.note(guest, lambda progress: replace(progress, holds={**progress.holds, disk.label: disk.snapshot}))
        return DiskResult(disk.target, disk.label, done.method, found.what, seconds, said, found.sha256)

    def _disks_back(self, guest: GuestRestore) -> tuple[str, bool]:
        """Bring the touched disks back from the safety snapshot; return how that ended, and whether all is as before.

        What cannot be written down is not done, and then the guest stays off.
        """
        try:
            return self._put_back(guest)
        except KvmsnapError as exc:
            return f". The guest stays off: {exc.message}", False

    def _put_back(self, guest: GuestRestore) -> tuple[str, bool]:
        """Do what :meth:`_disks_back` says.

        The journal forgets first that all was written: a run that goes on from here writes anew.
        """
        self._drop_all(guest)
        progress = replace(self._progress(guest), written=False)
        aside = progress.moved_aside.disk if progress.moved_aside else None
        touched = [disk for disk in guest.disks if disk.label in progress.disks and disk.label != aside]
        self._note(guest, progress)
        if not touched and not progress.files and progress.definition is None:
            try:
                self._bring_aside_back(guest)
            except KvmsnapError as exc:
                return f". Giving disk {aside} its name back failed, too: {exc.message}", False
            self._note(guest, replace(self._progress(guest), disks=()))
            return f". {UNTOUCHED}", True
        safety = self._known_safety(guest)
        if safety is None:
            side_files = [*progress.files, *([progress.definition] if progress.definition else [])]
            names = [*(disk.target for disk in touched), *(WHAT[each.kind] for each in side_files)]
            return f". {', '.join(names)} may have been overwritten", False
        try:
            for disk in touched:
                key = disk.storage.volume_key
                old = replace(
                    disk,
                    snapshot=safety.name,
                    snapshot_uuid=safety.uuid_on(*key) or "",
                    missing=False,
                    remove=disk.label in progress.created,
                    verify="sampled",
                    check_image=False,
                )
                self._brought(guest, old)
            self._put_definition_back(guest)
            for kept in progress.files:
                self._refuse_active(guest, WHAT[kept.kind])
                self._guests.put_file_back(kept)
            self._bring_aside_back(guest)
        except FateUnknownError as exc:
            return f". {exc.message}. {STAYS_OFF}", False
        except KvmsnapError as exc:
            failed = f"Putting {_in_words(touched)} back from safety snapshot {safety.name} failed, too: {exc.message}"
            return f". {failed}{self._holding(guest)}", False
        self._note(guest, replace(self._progress(guest), disks=(), files=(), created=(), definition=None))
        return f". {_in_words(touched)} was put back from safety snapshot {safety.name}", True

    def _holding(self, guest: GuestRestore) -> str:
        """Say which of the guest's disks holds what, when they are of several times."""
        holds = self._progress(guest).holds
        contents = [f"{disk.target} as in {holds[disk.label]}" for disk in guest.disks if disk.label in holds]
        return f" (now: {', '.join(contents)}, the others as before)" if contents else ""

    def _put_definition_back(self, guest: GuestRestore) -> None:
        kept = self._progress(guest).definition
        if kept is not None:
            self._refuse_active(guest, WHAT[DEFINITION])
            self._guests.bring_definition_back(guest, kept)

    def _power_back(self, guest: GuestRestore) -> str:
        """Bring a guest whose disks are as they were back to its state from before; return how that ended."""
        guest, before = self._seen(guest), self._progress(guest).state_before
        try:
            self._forget_safety(guest)
            self._fence.undo(guest)
            if before in ("running", "paused") and self._guests.state(guest) == "shutoff":
                self._start(guest, before)
        except KvmsnapError as exc:
            return f", but the guest is off: {exc.message}"
        try:
            self._fence.release(guest)
        except KvmsnapError as exc:
            return f", but the guest is not transient again: {exc.message}"
        with suppress(KvmsnapError):
            self._note(guest, replace(self._progress(guest), as_before=True))
        if before not in ("running", "paused"):
            return ""
        again = guest.uuid in self._stopped or guest.state_now in OFF
        return f", and the guest is {before} again" if again else ", and the guest was not stopped"

    def _forget_safety(self, guest: GuestRestore) -> None:
        """Let the next run take a new snapshot, since the guest will write again.

        Raises only when the journal on disk names the old one: it would pass for what the guest held then.
        """
        try:
            self._keep(self.journal.without_safety_of(guest.uuid))
        except KvmsnapError:
            if self._kept.safety_of(guest.uuid) is not None:
                raise

    def _bring_up(self, guest: GuestRestore) -> None:
        self._forget_aside(guest)
        if self._guests.state(guest) == "shutoff" and not guest.forget:
            self._fence.bring_image(guest)
            if guest.state_after != "shutoff":
                self._start(guest, guest.state_after)
        self._fence.open(guest)
        self._fence.release(guest)
        self._note(guest, replace(self._progress(guest), done=True))

    def _start(self, guest: GuestRestore, state: str) -> None:
        """Start a guest, whose QEMU takes the locks of its disks itself; its disks are whole, those it shares too."""
        for each in self._unit(guest):
            self._disks.unlock(each)
        self._guests.start(guest, state)

    def _refuse_active(self, guest: GuestRestore, what: str) -> None:
        """Raise unless the guest is off, and all that share a disk with it, with no memory to be resumed."""
        for each in map(self._seen, self._unit(guest)):
            state = self._guests.state(each)
            saved = state == "shutoff" and self._guests.saved_image(each)
            if state not in OFF or saved:
                who = "the guest" if each.uuid == guest.uuid else f"guest {each.name}, which shares a disk with it,"
                found = "saved; somebody started and saved it" if saved else f"{state}; somebody started it"
                raise KvmsnapError(
                    f"Failed to restore {what} of guest {guest.name}: {who} is {found}", guest=guest.name
                )

    def _sweep(self, guest: GuestRestore) -> None:
        """Remove what the array made meanwhile for a request that was given up; ``recover`` finds what comes later."""
        for file in self._progress(guest).temporaries:
            with suppress(KvmsnapError):
                self._disks.drop(file)

    def _result(self, guest: GuestRestore, disks: Sequence[DiskResult], error: Optional[str]) -> GuestResult:
        self._sweep(guest)
        seconds = round(time.monotonic() - self._begun[guest.uuid], 3)
        safety = self._known_safety(guest)
        kept_off = self._progress(guest).autostart
        try:
            state = self._guests.state(guest)
        except KvmsnapError:
            state = "unknown"
        return GuestResult(
            name=guest.name,
            uuid=guest.uuid,
            restored=error is None,
            state_before=self._progress(guest).state_before,
            state_after=state,
            disks=tuple(disks),
            seconds=seconds,
            error=f"{error}. {AUTOSTART_OFF}" if error and kept_off else error,
            safety=safety.name if safety else None,
            autostart_off=kept_off,
            files=tuple(each.path for each in self._progress(guest).files),
        )

    def _seen(self, guest: GuestRestore) -> GuestRestore:
        """Return the guest as one that need not be defined, when it was not before the restore."""
        return replace(guest, state_now=ABSENT) if self._progress(guest).state_before == ABSENT else guest

    def _progress(self, guest: GuestRestore) -> GuestProgress:
        return self.journal.guests[guest.uuid]

    def _known_safety(self, guest: GuestRestore) -> Optional[Safety]:
        return self.journal.safety_of(guest.uuid)

    def _note(self, guest: GuestRestore, progress: GuestProgress) -> None:
        self._keep(self.journal.with_guest(guest.uuid, progress))

    def note(self, guest: GuestRestore, change: Callable[[GuestProgress], GuestProgress]) -> None:
        """Write down a change of a guest's progress."""
        self._note(guest, change(self._progress(guest)))

    def _keep(self, journal: Journal) -> None:
        self.journal = journal
        self._save(journal)
        self._kept = journal


class _Notes:
    """The notes of one guest."""

    def __init__(self, work: _Work, guest: GuestRestore) -> None:
        self._work = work
        self._guest = guest

    def temporary(self, file: TemporaryFile) -> None:
        self._work.note(self._guest, lambda progress: progress.with_temporary(file))

    def no_temporary(self, file: TemporaryFile) -> None:
        self._work.note(self._guest, lambda progress: progress.without_temporary(file))

    def pending(self, disk: str, request: Optional[Pending]) -> None:
        self._work.note(self._guest, lambda progress: progress.with_pending(disk, request))


def _in_words(disks: Sequence[DiskRestore]) -> str:
    return ", ".join(disk.target for disk in disks) or "what lies beside its disks"
