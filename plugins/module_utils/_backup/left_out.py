# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that a backup leaves out, since somebody works on them or a restore of them broke off; the others are saved.

They are told as not protected, with the code of the problem.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_survey import survey
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import Busy, busy_guests, lock_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem

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
    found, problems = survey(root), {}
    for uuid, name in guests:
        half = found.half_restored(uuid)
        if half is not None:
            what = f"guest {name}: restore {half.restore_id} from backup {half.backup_id} broke off amid its disks"
            problems[uuid] = problem_of("guest-half-restored", what, guest=name)
    return problems


def without(options: Mapping[str, Any], left_out: LeftOut) -> dict[str, Any]:
    """Return the options of a backup with these guests as not protected; what is said of them elsewhere goes."""
    if not left_out:
        return dict(options)
    guests = [
        {**guest, "protected": False} if str(guest["uuid"]).lower() in left_out else guest
        for guest in options["guests"]
    ]
    known = {str(guest[key]) for guest in guests if guest.get("protected") for key in ("name", "uuid")}
    return {
        **options,
        "guests": guests,
        "problems": [*options["problems"], *(each.as_dict() for each in left_out.values())],
        "quiesce": _of_known(options["quiesce"], known | {"*"}),
        "filesystems": _of_known(options["filesystems"], known),
        "order": [[word for word in group if word in known] for group in options["order"]],
    }


def named(guests: Sequence[Mapping[str, Any]], *, all_of_them: bool = False) -> list[tuple[str, str]]:
    """Return uuid and name of the guests of a discovery that would be saved, or of all of them."""
    return [(str(guest["uuid"]), str(guest["name"])) for guest in guests if all_of_them or guest.get("protected")]


def _of_known(given: Optional[Mapping[str, Any]], known: set[str]) -> dict[str, Any]:
    return {word: value for word, value in (given or {}).items() if word in known}
