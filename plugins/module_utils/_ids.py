# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of backups and restores: what they look like, and what may become part of a path or a snapshot's name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError

MAX_ID_LENGTH = 200
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_UNSAFE_RUN = re.compile(r"[^A-Za-z0-9._+-]+")
_BACKUP_ID = re.compile(r"(?P<prefix>.+)-(?P<policy>[A-Za-z0-9_]+)_(?P<stamp>\d{14})")


@dataclass(frozen=True)
class BackupName:
    """The parts of a backup id ``<prefix>-<policy>_<YYYYMMDDHHMMSS>`` (UTC), Snap Creator's convention."""

    prefix: str
    policy: str
    taken: datetime


def checked_id(value: str, *, what: str, longest: int = MAX_ID_LENGTH) -> str:
    """Return ``value`` when it can be a snapshot's name and a file's name, else raise :class:`InputError`.

    ``what`` names the option in the message (``backup_id``, ``restore_id``, ``owner``); ``longest`` is the number of
    characters that it may have.
    """
    if not value:
        example = "; give a name such as hv1-daily_20261121020000" if what == "backup_id" else ""
        raise InputError(f"{what} is empty{example}", option=what)
    if len(value) > longest or not _SAFE.fullmatch(value) or ".." in value:
        raise InputError(
            f"{what} {value!r} cannot be used as a name: it must start with a letter or digit, hold letters, digits"
            f" and . _ + - without '..', and be at most {longest} characters long",
            option=what,
        )
    return value


def safe_part(value: str) -> str:
    """Turn any host or group name into something that :func:`checked_id` accepts as part of an id."""
    return _UNSAFE_RUN.sub("_", value).strip("._+-") or "host"


def backup_id(*, prefix: str, policy: str, taken: datetime) -> str:
    """Return ``<prefix>-<policy>_<YYYYMMDDHHMMSS>`` with ``taken`` (aware) expressed in UTC."""
    stamp = taken.astimezone(timezone.utc).strftime("%Y%m%d%H%M%S")
    return checked_id(f"{prefix}-{policy}_{stamp}", what="backup_id")


def split_backup_id(value: str) -> BackupName | None:
    """Return the parts of ``value``, or None when it does not follow the convention (a free-form id)."""
    match = _BACKUP_ID.fullmatch(value)
    if match is None:
        return None
    try:
        taken = datetime.strptime(match["stamp"], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return BackupName(prefix=match["prefix"], policy=match["policy"], taken=taken)
