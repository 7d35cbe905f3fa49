# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that restores of this host left under names of ours, or that the array made late: found and removed.

Both the name and a journal must say that it is ours. The file of a disk that was moved aside is not among them while
its restore has yet to be ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import known_restores, restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import TemporaryFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import is_there
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.replacement import is_ours
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.leftover import Leftover

_SECONDS = 10.0


def leftover_files(root: Path, connect: Callable[[], Host]) -> Iterator[Leftover]:
    """Yield the temporary files that are there; none while a restore of this host is under way.

    ``root`` is that of the catalog. Raises :class:`KvmsnapError` when the lock cannot be looked at.
    """
    if restore_journal.under_way(root):
        return
    for restore_id, file in _known(root):
        what = f"restore {restore_id} left it, or the array made it late"
        try:
            if bounded(partial(_there, file.place), seconds=_SECONDS, what=f"look for {file.place}"):
                yield Leftover("file", file.place, what, "removed", partial(_remove, root, connect, file))
        except OverdueError as exc:
            yield Leftover("file", file.place, f"{what}; {exc.message}")


def _known(root: Path) -> Iterator[tuple[str, TemporaryFile]]:
    """Yield what the journals say may be there, each place once."""
    seen: set[str] = set()
    for each in known_restores.read_restores(root).journals:
        for progress in each.guests.values():
            for file in progress.temporaries:
                if is_ours(os.path.basename(file.place)) and file.place not in seen:
                    seen.add(file.place)
                    yield each.restore_id, file


def _there(place: str) -> bool:
    try:
        return is_there(place)
    except OSError:
        return os.path.lexists(place)


def _remove(root: Path, connect: Callable[[], Host], file: TemporaryFile) -> None:
    """Remove one, looked for again while no restore of this host can begin; nobody may use it."""
    with restore_journal.alone(root):
        if not any(known.place == file.place for _restore, known in _known(root)):
            raise KvmsnapError(f"Failed to remove {file.place}: no restore knows it any more", path=file.place)
        target = FileTarget(file.disk, file.place)
        try:
            Gate(connect).remove_file(target, Claim(frozenset(), verb="remove"))
        except OSError as exc:
            raise KvmsnapError(f"Failed to remove {file.place}: {exc.strerror}", path=file.place) from exc
