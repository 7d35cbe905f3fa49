# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an entry of the catalog came from, which decides how far its definitions are trusted.

The origin is kept by whoever writes the catalog, in the file ``origin`` beside the manifest, and never read out of a
manifest. An entry without that file was written by a version that kept none: it counts as the host's own run, since the
catalog belongs to root alone.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import write_private

FILE = "origin"


class Origin(str, Enum):
    """Where a backup's manifest came from."""

    OWN_RUN = "own-run"
    """A run of this host wrote it into this catalog."""
    REBUILT = "rebuilt"
    """It was read out of snapshots."""
    IMPORTED = "imported"
    """It was handed over from the catalog of another host."""
    ADOPTED = "adopted"
    """It was made for snapshots of another product."""

    @property
    def trusted(self) -> bool:
        """Whether its definitions may hold whatever the host's guests hold; those of all others are foreign."""
        return self is Origin.OWN_RUN

    @property
    def owned(self) -> bool:
        """Whether the backup is this catalog's own, which alone deletes it; others are guests in it."""
        return self in (Origin.OWN_RUN, Origin.ADOPTED)


def read_origin(directory: Path) -> Origin:
    """Return the origin of the entry in ``directory``; raises :class:`KvmsnapError` for what is none."""
    path = directory / FILE
    try:
        word = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return Origin.OWN_RUN
    except (OSError, UnicodeDecodeError) as exc:
        raise KvmsnapError(f"Failed to read where backup {directory.name} came from, {path}: {exc}") from exc
    try:
        return Origin(word)
    except ValueError as exc:
        known = ", ".join(each.value for each in Origin)
        raise KvmsnapError(
            f"Failed to read where backup {directory.name} came from: {path} says {word[:40]!r}, and not one of {known}"
        ) from exc


def write_origin(directory: Path, origin: Origin) -> None:
    """Write the origin of the entry in ``directory``; raises :class:`OSError`."""
    write_private(directory / FILE, f"{origin.value}\n".encode("ascii"))
