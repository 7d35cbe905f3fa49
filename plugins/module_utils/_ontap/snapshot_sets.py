# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of snapshots of one name over several volumes: read, decide, act in parallel, read again.

All are made or none: a set that fails half-way is taken back. Label and expiry are set after all snapshots exist, since
what has an expiry can no longer be deleted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes, groups
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import (
    OPEN_CONNECTIONS,
    PARALLEL_CALLS,
    Client,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    FencedError,
    JobFailedError,
    OntapError,
    OutcomeUnknownError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.group_plan import GroupUse
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.jobs import FIRST_PAUSE, LONGEST_PAUSE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.parallel import in_parallel, values
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_calls import (
    create_one,
    delete_one,
    modify_one,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import (
    CLONE_OWNERS,
    Known,
    Refusal,
    SnapshotPlan,
    SnapshotRequest,
    Taken,
    VolumeStep,
    as_planned,
    as_result,
    check_name,
    clones_of,
    diff_of,
    names_of,
    plan_absent,
    plan_present,
    read_snapshot,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import Outcome, may_have_begun
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Found, Volume, VolumeRef, find_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

ROLLBACK_SECONDS = 60.0
"""Time for taking back a half-made set, granted even when the caller's own is used up."""
LATE_SECONDS = 10.0
"""For so long a snapshot is looked for whose creation was asked for and never answered: it may come to exist late."""

_LOOK_AGAIN = 0.5
"""Seconds between two looks for a late snapshot: the array is busy, and one more second of it does no harm."""
_MEETING_SECONDS = 1.0
"""Seconds that the first requests wait for each other, so that each opens a connection; they begin within a moment."""
_MAY_COME = (
    "the request for it may still be under way on the array (it was not answered, or its job has not ended); it is not"
    " there now, and may come to be later"
)


class SnapshotMayComeError(OntapError):
    """A snapshot that was asked for is not there, and may come to be later."""


class SnapshotSetError(KvmsnapError):
    """A set failed: ``failures`` tells of each volume, ``removed`` and ``left_behind`` what became of the others.

    ``unanswered`` (as ``Unanswered``) are the volumes on which a snapshot may come to be later.
    """


@dataclass(frozen=True)
class Unanswered:
    """A snapshot that was asked for and may come to be later; ``job`` is its job, ``seen`` whether that was read."""

    ref: VolumeRef
    job: Optional[str] = None
    seen: bool = False

    @classmethod
    def from_option(cls, option: Mapping[str, Any]) -> Unanswered:
        """Read an entry of what ``as_result`` returned."""
        return cls(VolumeRef.from_option(option), option.get("job"), bool(option.get("seen")))

    @classmethod
    def of(cls, volume: Volume, failure: BaseException) -> Unanswered:
        """Return what is known of a creation that failed."""
        fields = failure.fields if isinstance(failure, OntapError) else {}
        seen = bool(fields.get("seen", fields.get("job_state", "unknown") != "unknown"))
        return cls(VolumeRef(volume.svm, volume.name, volume.uuid, volume.controller), fields.get("job"), seen)

    def as_failure(self) -> OntapError:
        """Return the failure that it was."""
        return OntapError("create it", _MAY_COME, outcome=Outcome("lost"), job=self.job, seen=self.seen)

    def as_result(self) -> dict[str, Any]:
        """Return it as the module returns and takes it."""
        ref = self.ref
        place = {"svm": ref.svm, "volume": ref.volume, "volume_uuid": ref.uuid, "controller": ref.controller}
        return {**place, "job": self.job, "seen": self.seen}


@dataclass(frozen=True)
class Ensured:
    """What a call for a set came to: whether it changed anything, the snapshots that are there, before and after."""

    changed: bool
    taken: tuple[Taken, ...]
    diff: dict[str, Any]

    def as_result(self) -> dict[str, Any]:
        """Return it as the module returns it."""
        return {"changed": self.changed, "snapshots": [as_result(each) for each in self.taken], "diff": self.diff}


def ensure_present(
    clients: Sequence[Client],
    refs: Sequence[VolumeRef],
    wanted: SnapshotRequest,
    *,
    check_mode: bool,
    deadline: Deadline,
    take_back: bool = True,
) -> Ensured:
    """Make the snapshots exist on all volumes, or only tell what would be done.

    Without ``take_back`` a set that fails half-way stays as it is.

    :raises InputError: :raises SnapshotRefusedError: :raises SnapshotSetError: :raises OntapError:
    """
    check_name(wanted.name, new=not wanted.allow_foreign)
    found = find_volumes(clients, refs, deadline=deadline)
    by_uuid = {volume.uuid: client for client, volume in found}
    plan = plan_present(wanted, read_known(found, wanted.name, deadline=deadline))
    plan.raise_refusals("create")
    if check_mode:
        taken = as_planned(plan, wanted)
    else:
        taken = create_all(plan, wanted, clients=by_uuid, deadline=deadline, take_back=take_back)
        taken = finish_all(plan, wanted, taken, clients=by_uuid, deadline=deadline)
    return Ensured(plan.changed, tuple(taken), diff_of(plan, wanted))


def ensure_absent(
    clients: Sequence[Client],
    refs: Sequence[VolumeRef],
    wanted: SnapshotRequest,
    *,
    check_mode: bool,
    deadline: Deadline,
    unanswered: Sequence[Unanswered] = (),
) -> Ensured:
    """Remove the snapshots from all volumes, or only tell what would be done; otherwise as ``ensure_present``.

    When one may not be deleted, none is. Those that are ``unanswered`` and have the comment are waited for.
    """
    check_name(wanted.name, new=False)
    found = find_volumes(clients, refs, deadline=deadline)
    by_uuid = {volume.uuid: client for client, volume in found}
    late = CreatedSet(()) if check_mode else _late(clients, unanswered, deadline=deadline)
    came, coming = undo(late, wanted, clients=by_uuid)
    known = read_known(found, wanted.name, deadline=deadline)
    plan = plan_absent(wanted, known, now=lambda volume: by_uuid[volume.uuid].array_time())
    name_clones(plan, clients=by_uuid, deadline=deadline).raise_refusals("delete")
    if not check_mode:
        delete_all(plan, wanted, clients=by_uuid, deadline=deadline)
    if coming:
        raise _set_failed(f"delete snapshot {wanted.name!r}", wanted.name, failures=coming, removed=came)
    return Ensured(plan.changed or bool(came), (), diff_of(plan, wanted))


def _late(clients: Sequence[Client], unanswered: Sequence[Unanswered], *, deadline: Deadline) -> CreatedSet:
    """Return creations that may come to an end yet, to be undone."""
    found = find_volumes(clients, [each.ref for each in unanswered], deadline=deadline) if unanswered else []
    by_uuid = {each.ref.uuid: each for each in unanswered}
    return CreatedSet(
        (),
        failures=tuple((volume, by_uuid[volume.uuid].as_failure()) for _client, volume in found),
        doubtful=tuple(VolumeStep(Known(volume, None), "create", {}) for _client, volume in found),
    )


def read_known(found: Sequence[Found], name: str, *, deadline: Deadline, warm: bool = False) -> list[Known]:
    """Return each volume with its snapshot of that name; one call per volume, in parallel.

    With ``warm`` all calls begin at the same moment, so that as many connections stand open afterwards.
    Source: ``GET /storage/volumes/{uuid}/snapshots?name=``. :raises OntapError:
    """
    size = min(len(found), OPEN_CONNECTIONS) if warm else PARALLEL_CALLS
    start = threading.Barrier(size)

    def one(place: Found) -> Known:
        client, volume = place
        if warm:
            _meet(start)
        asked_at = client.clock.monotonic()
        return Known(volume, read_snapshot(client, volume, name=name, deadline=deadline), asked_at)

    return values(in_parallel(one, found, at_once=size))


def _meet(start: threading.Barrier) -> None:
    """Wait for the others; those of an incomplete last round wait for nobody."""
    with suppress(threading.BrokenBarrierError):
        start.wait(_MEETING_SECONDS)


@dataclass(frozen=True)
class CreatedSet:
    """What came of creating a set: what exists now, what failed, and where something may be or come all the same.

    ``uses`` are the groups that were to make snapshots.
    """

    taken: tuple[Taken, ...]
    failures: tuple[tuple[Volume, BaseException], ...] = ()
    doubtful: tuple[VolumeStep, ...] = ()
    uses: tuple[GroupUse, ...] = ()


@dataclass(frozen=True)
class _Part:
    """Volumes whose snapshots come to be by one request, or by that of a group: all of them or none."""

    steps: tuple[VolumeStep, ...]
    create: Callable[[], list[Taken]]


class Creation:
    """The snapshots of a plan being created, each by a thread of its own, up to ``OPEN_CONNECTIONS`` at once.

    Those of the volumes of a group in ``uses`` are made by the group. Nothing is taken back here, so that who holds
    guests still can let them go first. Each request ends by ``deadline``. ``clients`` are keyed by volume uuid.
    """

    def __init__(
        self,
        plan: SnapshotPlan,
        wanted: SnapshotRequest,
        *,
        clients: Mapping[str, Client],
        deadline: Deadline,
        uses: Sequence[GroupUse] = (),
    ) -> None:
        self._plan, self._wanted, self._uses = plan, wanted, tuple(uses)
        self._parts = list(_parts(plan, wanted, clients=clients, deadline=deadline, uses=uses))
        self._pool = ThreadPoolExecutor(max_workers=max(1, min(len(self._parts), OPEN_CONNECTIONS)))
        self._futures = [self._begun(part) for part in self._parts]

    def _begun(self, part: _Part) -> Future[list[Taken]]:
        """Begin a part. One that no thread could be had for has failed; another's thread may make it all the same."""
        try:
            return self._pool.submit(part.create)
        except RuntimeError as exc:
            reason = f"no thread could be had for its request ({exc}); raise the limit of processes on this host"
            failed: Future[list[Taken]] = Future()
            failed.set_exception(
                OutcomeUnknownError(f"create snapshot {self._wanted.name!r}", reason, outcome=Outcome("lost"))
            )
            return failed

    def done(self, *, within: float) -> bool:
        """Wait at most so many seconds, and say whether all requests have ended."""
        return not wait(self._futures, timeout=max(0.0, within)).not_done

    def failed(self) -> bool:
        """Say whether a request has failed already, so that the set cannot become whole."""
        return any(future.done() and future.exception() for future in self._futures)

    def outcome(self) -> CreatedSet:
        """Return what came of it once all requests have ended."""
        self._pool.shutdown()
        results = [(part, future.exception() or future.result()) for part, future in zip(self._parts, self._futures)]
        existing = [step.known for step in self._plan.steps if step.action != "create"]
        failed = [(part, value) for part, value in results if isinstance(value, BaseException)]
        return CreatedSet(
            taken=(
                *(each for _part, value in results if not isinstance(value, BaseException) for each in value),
                *(Taken(known.volume, known.snapshot) for known in existing if known.snapshot),
            ),
            failures=tuple((step.volume, value) for part, value in failed for step in part.steps),
            doubtful=tuple(step for part, value in failed if _in_doubt(value) for step in part.steps),
            uses=self._uses,
        )


def _parts(
    plan: SnapshotPlan,
    wanted: SnapshotRequest,
    *,
    clients: Mapping[str, Client],
    deadline: Deadline,
    uses: Sequence[GroupUse],
) -> Iterator[_Part]:
    """Yield what is to be made together, and how."""
    steps = {step.volume.uuid: step for step in plan.steps if step.action == "create"}
    for use in uses:
        own = tuple(steps.pop(volume.uuid) for volume in use.own)
        client = clients[own[0].volume.uuid]
        yield _Part(own, partial(groups.create, client, use, own, wanted, deadline=deadline))
    for step in steps.values():
        client = clients[step.volume.uuid]
        yield _Part((step,), partial(_alone, client, step, wanted, deadline=deadline))


def _alone(client: Client, step: VolumeStep, wanted: SnapshotRequest, *, deadline: Deadline) -> list[Taken]:
    return [create_one(client, step, wanted, deadline=deadline)]


def create_all(
    plan: SnapshotPlan,
    wanted: SnapshotRequest,
    *,
    clients: Mapping[str, Client],
    deadline: Deadline,
    take_back: bool = True,
) -> list[Taken]:
    """Create what the plan says, in parallel, with name and comment only: all of them or none.

    ``clients`` are keyed by volume uuid. One that exists already stands in the result as it is.

    :raises SnapshotSetError: one or more failed; what this call created has been removed again, if ``take_back``.
    """
    made = Creation(plan, wanted, clients=clients, deadline=deadline).outcome()
    if made.failures and not take_back:
        raise _set_failed(f"create snapshot {wanted.name!r}", wanted.name, failures=made.failures, kept=True)
    return settle(made, wanted, clients=clients)


def settle(made: CreatedSet, wanted: SnapshotRequest, *, clients: Mapping[str, Client]) -> list[Taken]:
    """Return the snapshots of a set that is whole.

    :raises SnapshotSetError: it is not; what was created of it has been removed again.
    """
    if made.failures:
        raise take_back(f"create snapshot {wanted.name!r}", wanted, made, clients=clients)
    return list(made.taken)


def finish_all(
    plan: SnapshotPlan,
    wanted: SnapshotRequest,
    taken: Sequence[Taken],
    *,
    clients: Mapping[str, Client],
    deadline: Deadline,
) -> list[Taken]:
    """Set label, expiry and comment where the plan says so, property by property over all volumes, and read again.

    :raises SnapshotSetError: one or more failed; snapshots that were created by ``create_all`` have been removed
        again, as far as the array still allows.
    """
    changes = {step.volume.uuid: step.changes for step in plan.steps}
    for key in ("comment", "snapmirror_label", "expiry_time"):
        todo = [each for each in taken if key in changes[each.volume.uuid]]

        def one(each: Taken, key: str = key) -> None:
            value = {key: changes[each.volume.uuid][key]}
            modify_one(clients[each.volume.uuid], each.volume, each.snapshot, value, deadline=deadline)

        results = in_parallel(one, todo)
        failures = [(each.volume, value) for each, value in zip(todo, results) if isinstance(value, BaseException)]
        if failures:
            action = f"set {key} of snapshot {plan.name!r}"
            raise take_back(action, wanted, CreatedSet(tuple(taken), tuple(failures)), clients=clients)
    if not plan.changed:
        return list(taken)

    def again(each: Taken) -> Taken:
        snapshot = read_snapshot(clients[each.volume.uuid], each.volume, name=plan.name, deadline=deadline)
        if snapshot is None or snapshot.uuid != each.snapshot.uuid:
            reason = "it was removed by someone else while it was being worked on"
            message = f"Failed to find snapshot {plan.name!r} of {each.volume.label} again: {reason}"
            raise KvmsnapError(message, **names_of(each.volume, plan.name))
        return replace(each, snapshot=snapshot)

    return values(in_parallel(again, taken))


def delete_all(
    plan: SnapshotPlan, wanted: SnapshotRequest, *, clients: Mapping[str, Client], deadline: Deadline
) -> None:
    """Delete what the plan says, in parallel, each by its uuid; one that has vanished meanwhile is deleted.

    A group's snapshot of which all parts are to go is deleted as one, since its record would stay otherwise.

    :raises SnapshotSetError: one or more could not be deleted; the others are.
    """
    todo = [step for step in plan.steps if step.action == "delete"]
    by_group, failures = _delete_whole(todo, wanted, clients=clients, deadline=deadline)
    steps = [step for step in todo if step.volume.uuid not in by_group]

    def one(step: VolumeStep) -> None:
        client, snapshot = clients[step.volume.uuid], step.known.snapshot
        if snapshot:
            delete_one(client, step.volume, snapshot, wanted, deadline=deadline)

    results = in_parallel(one, steps)
    failures += [(step.volume, value) for step, value in zip(steps, results) if isinstance(value, BaseException)]
    if failures:
        raise _set_failed(f"delete snapshot {plan.name!r}", wanted.name, failures=failures)


def _delete_whole(
    steps: Sequence[VolumeStep], wanted: SnapshotRequest, *, clients: Mapping[str, Client], deadline: Deadline
) -> tuple[set[str], list[tuple[Volume, BaseException]]]:
    """Delete the groups' snapshots whose parts are all in ``steps``; return the volumes of these, and what failed."""
    asked = {step.volume.uuid: step.volume for step in steps}
    done: set[str] = set()
    failures: list[tuple[Volume, BaseException]] = []
    for client in {clients[uuid].name: clients[uuid] for uuid in asked}.values():
        own = [uuid for uuid in asked if clients[uuid] is client]
        for snapshot in groups.whole_snapshots(client, own, wanted, deadline=deadline):
            done |= snapshot.volumes
            try:
                groups.delete(client, snapshot, deadline=deadline)
            except KvmsnapError as exc:
                failures.extend((asked[uuid], exc) for uuid in sorted(snapshot.volumes))
    return done, failures


def name_clones(plan: SnapshotPlan, *, clients: Mapping[str, Client], deadline: Deadline) -> SnapshotPlan:
    """Return the plan with the clone volumes named in the refusals of snapshots that volume clones keep busy.

    When they cannot be looked up, the refusals stay as they are.
    """

    def one(refusal: Refusal) -> Refusal:
        if not CLONE_OWNERS.intersection(refusal.owners):
            return refusal
        try:
            names = clones_of(clients[refusal.volume.uuid], refusal.volume, plan.name, deadline=deadline)
        except OntapError:
            return refusal
        return replace(refusal, reason=f"{refusal.reason}; the clones are {', '.join(names)}") if names else refusal

    return replace(plan, refusals=tuple(values(in_parallel(one, plan.refusals))))


def _in_doubt(result: object) -> bool:
    """Tell whether a failed creation may have left, or may yet lead to, a snapshot.

    A job may fail after its work, and while the array waits for it, its failure looks like any refusal. Where the
    request met a snapshot of the name, that is another run's.
    """
    if not isinstance(result, OntapError):
        return _may_come(result)
    met = result.has_code(*codes.SNAPSHOT_MET)
    return result.outcome.fate in ("answered", "lost") and not met


def _may_come(result: object) -> bool:
    """Tell whether a failed creation may yet lead to a snapshot, some time after it; so may one nobody foresaw."""
    if isinstance(result, JobFailedError):
        return False
    return may_have_begun(result.outcome) if isinstance(result, OntapError) else not isinstance(result, KvmsnapError)


def _over(client: Client, volume: Volume, failure: BaseException, deadline: Deadline) -> bool:
    """Wait, and say whether a creation that failed has come to its end by its job's word; False for one without."""
    known = Unanswered.of(volume, failure)
    uuid, seen, pause = known.job, known.seen, FIRST_PAUSE
    while uuid:
        job = client.job(uuid, deadline=deadline)
        if job is None or job.ended:
            return job is not None or seen
        seen = True
        if pause >= deadline.remaining():
            return False
        client.clock.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
    return False


def take_back(
    action: str, wanted: SnapshotRequest, made: CreatedSet, *, clients: Mapping[str, Client]
) -> SnapshotSetError:
    """Remove what was created of a set, and return the error that tells why ``action`` failed and what is left."""
    removed, remaining = undo(made, wanted, clients=clients)
    return _set_failed(action, wanted.name, failures=made.failures, removed=removed, left_behind=remaining)


def undo(
    made: CreatedSet, wanted: SnapshotRequest, *, clients: Mapping[str, Client]
) -> tuple[list[Volume], list[tuple[Volume, BaseException]]]:
    """Remove what was created, and only that: by its uuid, with our comment looked at once more.

    Returns the volumes from which it was removed, and those on which it may be left, each with the reason.
    """

    gone, remaining = _undo_groups(made, wanted, clients=clients)
    stuck = {volume.uuid for volume, _exc in remaining}
    settled = {volume.uuid for use in made.uses for volume in use.own}
    coming = {volume.uuid: exc for volume, exc in made.failures if _may_come(exc) and volume.uuid not in settled}

    def remove(place: tuple[Volume, Optional[str]]) -> bool:
        volume, uuid = place
        client = clients[volume.uuid]
        deadline = Deadline.after(ROLLBACK_SECONDS, client.clock)
        # A job that does not end leaves time to look for its snapshot, and to remove that.
        job_by = deadline.no_later(deadline.at - 2 * LATE_SECONDS)
        late = uuid is None and volume.uuid in coming and not _over(client, volume, coming[volume.uuid], job_by)
        there = read_snapshot(client, volume, name=wanted.name, deadline=deadline)
        patience = Deadline.after(LATE_SECONDS if late else 0.0, client.clock)
        while there is None and patience.remaining() > 0:
            client.clock.sleep(min(_LOOK_AGAIN, patience.remaining()))
            there = read_snapshot(client, volume, name=wanted.name, deadline=deadline)
        if there is not None and there.comment == wanted.stored_comment and uuid in (None, there.uuid):
            delete_one(client, volume, there, wanted, deadline=deadline)
            return True
        if late and there is None and isinstance(coming[volume.uuid], OntapError):
            raise SnapshotMayComeError(f"look for snapshot {wanted.name!r} of {volume.label}", _MAY_COME)
        return False

    places: list[tuple[Volume, Optional[str]]] = [
        (each.volume, each.snapshot.uuid) for each in made.taken if each.created
    ]
    places.extend((step.volume, None) for step in made.doubtful)
    places = [place for place in places if place[0].uuid not in stuck]
    results = in_parallel(remove, places)
    removed = [volume for (volume, _uuid), value in zip(places, results) if value is True]
    remaining += [
        (volume, value) for (volume, _uuid), value in zip(places, results) if isinstance(value, BaseException)
    ]
    return [*gone, *removed], remaining


def _undo_groups(
    made: CreatedSet, wanted: SnapshotRequest, *, clients: Mapping[str, Client]
) -> tuple[list[Volume], list[tuple[Volume, BaseException]]]:
    """Remove what groups made, other volumes' parts too; returns as ``undo`` does, but for the other volumes.

    A fence that nobody took down is waited for, so that writes flow and the group can be used when this returns.
    """
    fences = {volume.uuid: exc.until for volume, exc in made.failures if isinstance(exc, FencedError)}
    coming = {volume.uuid for volume, exc in made.failures if _may_come(exc)}

    def remove(use: GroupUse) -> bool:
        client = clients[use.own[0].uuid]
        deadline = Deadline.after(ROLLBACK_SECONDS, client.clock)
        client.clock.sleep(max(0.0, fences.get(use.own[0].uuid, 0.0) - client.clock.monotonic()))
        late = coming.intersection(volume.uuid for volume in use.own)
        patience = Deadline.after(LATE_SECONDS if late else 0.0, client.clock)
        there = groups.snapshot_of(client, use.group.uuid, wanted.name, deadline=deadline)
        while there is None and patience.remaining() > 0:
            client.clock.sleep(min(_LOOK_AGAIN, patience.remaining()))
            there = groups.snapshot_of(client, use.group.uuid, wanted.name, deadline=deadline)
        if there is None or there.comment != wanted.stored_comment:
            return False
        groups.delete(client, there, deadline=deadline)
        return True

    results = list(zip(made.uses, in_parallel(remove, made.uses)))
    removed = [volume for use, value in results if value is True for volume in use.own]
    remaining = [(volume, exc) for use, exc in results if isinstance(exc, BaseException) for volume in use.own]
    return removed, remaining


def _set_failed(
    action: str,
    name: str,
    *,
    failures: Sequence[tuple[Volume, BaseException]],
    removed: Sequence[Volume] = (),
    left_behind: Sequence[tuple[Volume, BaseException]] = (),
    kept: bool = False,
) -> SnapshotSetError:
    """Tell one or several failures in one sentence each; the first one's machine fields are the error's."""
    for exc in (exc for _volume, exc in [*failures, *left_behind]):
        if not isinstance(exc, KvmsnapError):
            raise exc
    first = failures[0][1]
    reasons = "; ".join(f"{volume.label}: {_reason(exc)}" for volume, exc in failures)
    sentences = [f"Failed to {action}: {reasons}"]
    if kept:
        sentences.append("What was made of the set is still there (take_back is off); state=absent removes it")
    if removed:
        sentences.append(f"It was removed again from {', '.join(volume.label for volume in removed)}")
    if left_behind:
        rest = "; ".join(f"{volume.label}: {_reason(exc)}" for volume, exc in left_behind)
        sentences.append(f"It could not be removed again, and may be left, on {rest}")
    fields = first.fields if isinstance(first, KvmsnapError) else {}
    return SnapshotSetError(
        ". ".join(sentences),
        **{
            **fields,
            "snapshot": name,
            "failures": [_failure_data(volume, exc) for volume, exc in failures],
            "removed": [volume.label for volume in removed],
            "left_behind": [_failure_data(volume, exc) for volume, exc in left_behind],
            "unanswered": [Unanswered.of(volume, exc).as_result() for volume, exc in failures if _may_come(exc)],
        },
    )


def _reason(exc: BaseException) -> str:
    return exc.reason if isinstance(exc, OntapError) else str(exc)


def _failure_data(volume: Volume, exc: BaseException) -> dict[str, Any]:
    fields = exc.as_result() if isinstance(exc, KvmsnapError) else {"msg": str(exc)}
    return {**fields, "controller": volume.controller, "svm": volume.svm, "volume": volume.name}
