# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest whose disks are neither old nor new must not be started, not by the boot of its host either, nor resumed.

What is changed about the guest for that time is in the journal before it is done, so that whoever goes on brings it
back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Optional, Protocol

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import GuestProgress
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestRestore


class Fenced(Protocol):
    """What the fence does to a guest; every call is bounded and raises :class:`KvmsnapError`."""

    def persistent(self, guest: GuestRestore) -> bool:
        """Tell whether libvirt knows the guest once it is off."""

    def keep_definition(self, guest: GuestRestore) -> None:
        """Let libvirt know a running guest once it is off."""

    def drop_definition(self, guest: GuestRestore) -> None:
        """Let a guest that is active be transient again; one that is off stays."""

    def autostart(self, guest: GuestRestore) -> bool:
        """Tell whether the guest starts with its host."""

    def set_autostart(self, guest: GuestRestore, wanted: bool) -> None:
        """Let the guest start with its host, or not."""

    def saved_image(self, guest: GuestRestore) -> Optional[str]:
        """Return a free place for the guest's managed-save image, None when it has none."""

    def set_aside(self, guest: GuestRestore, place: str) -> None:
        """Move the guest's managed-save image to this place; what a killed call left is finished."""

    def bring_back(self, guest: GuestRestore, place: str) -> None:
        """Move the guest's managed-save image back from this place; the guest is off."""


class Fence:
    """The fence around the guests of one run; ``progress`` reads the journal, ``note`` makes it durable."""

    def __init__(
        self,
        actor: Fenced,
        progress: Callable[[GuestRestore], GuestProgress],
        note: Callable[[GuestRestore, GuestProgress], None],
    ) -> None:
        self._actor = actor
        self._progress = progress
        self._note = note

    def keep(self, guest: GuestRestore) -> None:
        """Keep the definition of a guest that would be gone once it is off, from before it is stopped.

        It is libvirt that keeps it, so that whoever goes on finds the guest like any other.
        """
        if not self._actor.persistent(guest):
            self._note(guest, replace(self._progress(guest), transient=True))
            self._actor.keep_definition(guest)

    def release(self, guest: GuestRestore) -> None:
        """Let a guest be transient again once it runs; one that stays off stays defined."""
        if self._progress(guest).transient:
            self._actor.drop_definition(guest)

    def close(self, guest: GuestRestore) -> None:
        """Keep the guest from being started by its host, and from resuming what was in its memory before.

        The journal says first what is to be brought back.
        """
        self._set_aside(guest)
        if self._actor.autostart(guest):
            self._note(guest, replace(self._progress(guest), autostart=True))
            self._actor.set_autostart(guest, False)

    def open(self, guest: GuestRestore) -> None:
        """Let the guest start with its host again, once the disks are whole: restored, or as before."""
        if self._progress(guest).autostart:
            self._actor.set_autostart(guest, True)
            self._note(guest, replace(self._progress(guest), autostart=False))

    def bring_image(self, guest: GuestRestore) -> None:
        """Bring back the memory that goes with disks which an undo brought back; the guest is off."""
        place = self._progress(guest).image_to_bring
        if place:
            self._actor.bring_back(guest, place)
            self._note(guest, replace(self._progress(guest), image_to_bring=""))

    def undo(self, guest: GuestRestore) -> None:
        """Bring back all that :meth:`close` changed, once the disks are as before."""
        place = self._progress(guest).saved_image
        if place:
            self._actor.bring_back(guest, place)
            self._note(guest, replace(self._progress(guest), saved_image=""))
        self.open(guest)

    def _set_aside(self, guest: GuestRestore) -> None:
        """Move the managed-save image aside.

        An image that an earlier run moved is of no use any more when the guest ran since then on disks that nobody had
        touched.
        """
        progress = self._progress(guest)
        if progress.saved_image and not progress.disks and guest.state_now != "shutoff":
            progress = replace(progress, saved_image="")
            self._note(guest, progress)
        free = self._actor.saved_image(guest)
        if free:
            place = progress.saved_image or free
            self._note(guest, replace(progress, saved_image=place))
            self._actor.set_aside(guest, place)
