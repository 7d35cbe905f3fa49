# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have guests for oneself: their locks, and no hold's record that has one of them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import guests_in_holds
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import BOOT_ID, boot_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import (
    GuestLockedError,
    all_locked,
    busy_guests,
    lock_directory,
    refuse,
)


@contextmanager
def claimed(
    hold_dir: Path, guests: Collection[tuple[str, str]], *, purpose: str, identity: str, boot: str = BOOT_ID
) -> Iterator[None]:
    """Keep every other process from these guests (uuid, name); nobody is waited for.

    Raises :class:`GuestLockedError` when one is at work on a guest, or a hold has it, and :class:`KvmsnapError` when
    that cannot be known.
    """
    with all_locked(lock_directory(hold_dir), guests, purpose=purpose, identity=identity):
        _refuse_held(hold_dir, guests, purpose=purpose, identity=identity, boot=boot)
        yield


def refuse_busy(
    hold_dir: Path, guests: Collection[tuple[str, str]], *, purpose: str, identity: str, boot: str = BOOT_ID
) -> None:
    """Raise what :func:`claimed` would raise now; takes no lock."""
    refuse(busy_guests(lock_directory(hold_dir), guests), purpose=purpose, identity=identity)
    _refuse_held(hold_dir, guests, purpose=purpose, identity=identity, boot=boot)


def _refuse_held(
    hold_dir: Path, guests: Collection[tuple[str, str]], *, purpose: str, identity: str, boot: str
) -> None:
    holds = guests_in_holds(hold_dir, boot_id(boot), now=time.monotonic())
    held = [(name, uuid, holds[uuid.lower()]) for uuid, name in guests if uuid.lower() in holds]
    if held:
        what = "; ".join(f"guest {name} is held by hold {hold_id}" for name, _uuid, hold_id in held)
        raise GuestLockedError(
            f"Failed to begin {purpose} {identity}: {what}. Wait for the end of that backup, or release the hold"
            " (kvm_vm_quiesce state=resumed, or playbooks/recover.yml when its run is dead); nothing was touched",
            busy=[{"uuid": uuid, "name": name, "holder": f"hold {hold_id}"} for name, uuid, hold_id in held],
        )
