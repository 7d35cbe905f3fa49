# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that a backup leaves out, since somebody works on them or a restore of them broke off; the others are saved.

The result has them as not protected, with the code of the problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BackupScope
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.known_restores import read_restores
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import Busy, busy_guests, lock_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem, errors_of

T = TypeVar("T")

HALF_RESTORED = "guest-half-restored"

LeftOut = Mapping[str, Problem]
"""Why guests are left out, by uuid."""


def locked(busy: Iterable[Busy]) -> dict[str, Problem]:
    """Return why guests are left out that another process works on."""
    return {each.uuid: problem_of("guest-locked", str(each), guest=each.name) for each in busy}


def locked_now(hold_dir: Path, guests: Iterable[tuple[str, str]]) -> dict[str, Problem]:
    """Return the same of those guests (uuid, name) that are locked now; takes no lock."""
    return locked(busy_guests(lock_directory(hold_dir), list(guests)))


def half_restored(root: Path, guests: Iterable[tuple[str, str]]) -> dict[str, Problem]:
    """Return why guests (uuid, name) are left out whose disks are neither old nor new; ``root`` is the catalog."""
    found, problems = read_restores(root), {}
    for uuid, name in guests:
        half = found.half_restored(uuid)
        if half is not None:
            which = f"restore {half.restore_id} from backup {half.backup_id}"
            message = f"guest {name}: {which} failed part-way through its disks"
            problems[uuid] = problem_of("guest-half-restored", message, guest=name)
    return problems


def without(scope: BackupScope, left_out: LeftOut) -> BackupScope:
    """Return what a backup is to hold with these guests as not protected; what is said of them elsewhere goes."""
    if not left_out:
        return scope
    reasons = dict(scope.reasons)
    for problem in errors_of(left_out.values()):
        if problem.guest:
            reasons[problem.guest] = (*reasons.get(problem.guest, ()), problem.code)
    guests = tuple(replace(guest, saved=None) if guest.uuid.lower() in left_out else guest for guest in scope.guests)
    known = {word for guest in guests if guest.saved is not None for word in (guest.name, guest.uuid)}
    return replace(
        scope,
        guests=guests,
        reasons=reasons,
        methods=_of_known(scope.methods, known | {"*"}),
        filesystems=_of_known(scope.filesystems, known),
        order=tuple(tuple(word for word in group if word in known) for group in scope.order),
    )


def _of_known(given: Mapping[str, T], known: set[str]) -> dict[str, T]:
    return {word: value for word, value in given.items() if word in known}
