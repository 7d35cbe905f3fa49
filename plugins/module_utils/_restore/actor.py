# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore does to the world, as :mod:`execute` asks for it: the steps, what they return, how they fail."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Optional, Protocol

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    Aside,
    Pending,
    SafetySnapshot,
    SideFileAttributes,
    TemporaryFile,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.replacement import FileId
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.fence import Fenced
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskRestore, GuestRestore


class CheckFailedError(KvmsnapError):
    """A restored disk does not hold what the snapshot holds; the guest was not started."""


class FateUnknownError(KvmsnapError):
    """What overwrites a disk may still be under way, or begin; its guest must stay off, and nothing be put back."""

    @classmethod
    def of(cls, disk: DiskRestore, why: str, looked_for: str, *, restore_id: str) -> FateUnknownError:
        """Return that of a request whose end was looked for in vain."""
        return cls(
            f"Whether the array still overwrites {disk.label} is unknown ({why}); looked for: {looked_for}. Run the"
            f" restore again to look again; once you are sure that nothing overwrites it any more, say so with"
            f" accept_unknown={restore_id}",
            path=disk.label,
            restore_id=restore_id,
        )


@dataclass(frozen=True)
class Overwritten:
    """How a disk was overwritten: the method, and what else there is to say (what was left behind)."""

    method: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verified:
    """What of a disk was compared, the SHA-256 of its content when that was all, and what else there is to say."""

    what: str
    sha256: Optional[str] = None
    notes: tuple[str, ...] = ()

    def enough_for(self, disk: DiskRestore) -> Verified:
        """Return this; raises :class:`CheckFailedError` unless all was compared that was to be."""
        if disk.verify == "full" and not self.sha256:
            raise CheckFailedError(
                f"Failed to check restored disk {disk.label}: all of it was to be compared, and only {self.what} was",
                path=disk.label,
            )
        return self


@dataclass(frozen=True)
class Made:
    """A file that is to take a disk's place: where it lies, which file it is, how it was made and compared.

    ``seconds`` is the time that the array or the copy took for it.
    """

    temporary: TemporaryFile
    file: FileId
    overwritten: Overwritten
    verified: Verified
    seconds: float


class Notes(Protocol):
    """Where an actor writes down what it is about to do to a guest's disks; each call returns once it is durable."""

    def temporary(self, file: TemporaryFile) -> None:
        """A file of this name is asked for."""

    def no_temporary(self, file: TemporaryFile) -> None:
        """Nothing makes a file of this name any more, and none is there."""

    def pending(self, disk: str, request: Optional[Pending]) -> None:
        """Note the request that is about to overwrite a disk; None: its fate is known."""


class GuestSteps(Fenced, Protocol):
    """What is done to guests and to what they have beside their disks.

    Every call is bounded and raises :class:`KvmsnapError`.
    """

    def stop(self, guest: GuestRestore) -> None:
        """Bring the guest to ``shutoff``; it may be there already."""

    def start(self, guest: GuestRestore, state: str) -> None:
        """Bring the guest from ``shutoff`` to ``running`` or ``paused``."""

    def state(self, guest: GuestRestore) -> str:
        """Return the guest's state now, a word of ``kvm_vm_discover``."""

    def can_fence(self, guest: GuestRestore, disk: DiskRestore) -> bool:
        """Tell whether the guest cannot be started without this disk's file."""

    def keep_file(self, guest: GuestRestore, file: FileRestore) -> Aside:
        """Set aside what is at the file's place."""

    def put_file(self, file: FileRestore, attributes: Optional[SideFileAttributes]) -> None:
        """Replace what is at the file's place; ``attributes`` are those of what was set aside."""

    def put_file_back(self, aside: Aside) -> None:
        """Bring back what was set aside."""

    def set_definition_aside(self, guest: GuestRestore) -> Aside:
        """Keep the guest's definition; of a guest that is not defined there is none."""

    def define(self, guest: GuestRestore) -> None:
        """Give the guest its new definition, or forget it."""

    def bring_definition_back(self, guest: GuestRestore, aside: Aside) -> None:
        """Define the guest as it was; one that was not defined is forgotten."""


class DiskSteps(Protocol):
    """What is done to disks; every call is bounded and raises :class:`KvmsnapError`."""

    def make(self, disk: DiskRestore, notes: Notes) -> Optional[Made]:
        """Make and prove the file that is to take the disk's place, in its directory; the guest may run.

        None for a disk that has to be overwritten in place, once it is known that it can be.
        """

    def drop(self, file: TemporaryFile) -> None:
        """Remove a temporary file that is not wanted any more, if it is there; a late request may yet make it."""

    def prepare(self, disk: DiskRestore, old: Optional[str]) -> None:
        """Make sure that the disk may be overwritten now; nothing is changed. ``old``: where its file was moved to."""

    def move_aside(self, disk: DiskRestore, place: str) -> None:
        """Give the prepared disk's file another name in its directory."""

    def was_moved(self, disk: DiskRestore, place: str) -> bool:
        """Tell whether an earlier run moved the disk's file there; nothing moves it any more once this is answered.

        Raises :class:`FateUnknownError` when that is not so.
        """

    def bring_aside_back(self, disk: DiskRestore, place: str) -> None:
        """Give the file that was moved there the disk's name; done already where nothing is at that place."""

    def put(self, disk: DiskRestore, made: Made) -> tuple[str, ...]:
        """Give the made file the name of the prepared disk, keep it locked, and return what there is to say."""

    def overwrite(self, disk: DiskRestore, notes: Notes) -> Overwritten:
        """Overwrite the prepared disk in place from the snapshot and return how it was done.

        Raises :class:`FateUnknownError` when it may still be under way after all the time that it is given.
        """

    def verify(self, disk: DiskRestore) -> Verified:
        """Compare the disk with the snapshot's copy, past the host's caches, as far as the disk says."""

    def settle(self, disk: DiskRestore, request: Pending) -> None:
        """Find out whether a request of an earlier run has ended; raises :class:`FateUnknownError` unless it has."""

    def unlock(self, guest: GuestRestore) -> None:
        """Give up the locks on the guest's disks, so that it can be started."""


class Actor(Protocol):
    """What a restore does to the world; every call is bounded and raises :class:`KvmsnapError`."""

    @property
    def guests(self) -> GuestSteps:
        """The steps that are about guests."""

    @property
    def disks(self) -> DiskSteps:
        """The steps that are about disks."""

    def patience(self) -> AbstractContextManager[None]:
        """Wait for an array that cannot be reached, as long as a disk may take: guests are off meanwhile."""

    def secure(self, disks: Sequence[DiskRestore], name: str) -> tuple[SafetySnapshot, ...]:
        """Create a snapshot on every volume of these disks, all or none; one of the name that is there is kept."""
