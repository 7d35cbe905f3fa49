# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore does to guests: power and definitions by libvirt, and the files that they have beside their disks."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Aside, SideFileAttributes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import autostart, managed_save
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain, Host, State
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import dropped_when_missing
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.power import power_off, power_on
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import definition_actor, firmware_files
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import ABSENT, DiskRestore, GuestRestore


@dataclass
class GuestActor:
    """Carries out the steps that are about guests; times are in seconds.

    ``connect`` opens a connection to libvirt: at first, and again when libvirtd was restarted meanwhile. ``images`` is
    the directory for managed-save images, ``kept`` that for what else is set aside.
    """

    connect: Callable[[], Host]
    graceful: bool
    stop_timeout: float
    start_timeout: float
    images: Path
    kept: Path
    opened: list[Host] = field(default_factory=list)

    @property
    def host(self) -> Host:
        """The connection to libvirt, which stands."""
        if not self.opened or not self.opened[-1].alive:
            self.opened.append(self.connect())
        return self.opened[-1]

    def close(self) -> None:
        """End all connections."""
        for host in self.opened:
            host.close()

    def stop(self, guest: GuestRestore) -> None:
        """Bring the guest to ``shutoff``: asked to, or by force when it is to be or does not obey in time."""
        power_off(self._domain(guest), graceful=self.graceful, timeout=self.stop_timeout)

    def start(self, guest: GuestRestore, state: str) -> None:
        """Start the guest, paused when that is wanted."""
        wanted: State = "paused" if state == "paused" else "running"
        power_on(self._domain(guest), state=wanted, timeout=self.start_timeout)

    def state(self, guest: GuestRestore) -> str:
        """Ask libvirt what the guest is doing."""
        domain = self._known(guest)
        return domain.state().state if domain else ABSENT

    def persistent(self, guest: GuestRestore) -> bool:
        """Ask libvirt whether it knows the guest once it is off."""
        return self._domain(guest).persistent()

    def keep_definition(self, guest: GuestRestore) -> None:
        """Let libvirt know the guest once it is off."""
        self._domain(guest).keep_definition()

    def drop_definition(self, guest: GuestRestore) -> None:
        """Let the guest be transient again, unless it is off or is so already."""
        domain = self._known(guest)
        if domain and domain.state().active and domain.persistent():
            domain.drop_definition()

    def autostart(self, guest: GuestRestore) -> bool:
        """Ask libvirt whether the guest starts with this host."""
        domain = self._known(guest)
        return domain.autostart() if domain else False

    def set_autostart(self, guest: GuestRestore, wanted: bool) -> None:
        """Let the guest start with this host, or not, after a loss of power too; one that is not defined never does."""
        domain = self._known(guest)
        if domain:
            domain.set_autostart(wanted)
            autostart.make_durable(self.host.uri)

    def saved_image(self, guest: GuestRestore) -> Optional[str]:
        """Return a free place for the guest's managed-save image, None when it has none."""
        domain = self._known(guest)
        if domain is None or not managed_save.is_there(domain, managed_save.image_of(self.host.uri, domain.name)):
            return None
        places = (self.images / f"{guest.uuid}.{number}.save" for number in itertools.count(1))
        return str(next(place for place in places if not os.path.lexists(place)))

    def set_aside(self, guest: GuestRestore, place: str) -> None:
        """Move the guest's managed-save image to this place."""
        domain = self._domain(guest)
        managed_save.set_aside(domain, self._image(domain), Path(place))

    def bring_back(self, guest: GuestRestore, place: str) -> None:
        """Move the guest's managed-save image back from this place."""
        domain = self._domain(guest)
        managed_save.bring_back(domain, self._image(domain), Path(place))

    def can_fence(self, guest: GuestRestore, disk: DiskRestore) -> bool:
        """Tell whether the guest cannot be started without this disk's file: an optional disk would be left out."""
        domain = self._known(guest)
        if domain is None:
            return False
        return disk.target not in dropped_when_missing(domain.xml(inactive=True))

    def keep_file(self, guest: GuestRestore, file: FileRestore) -> Aside:
        """Set aside what is at the file's place."""
        return firmware_files.keep(self.kept, guest.uuid, file)

    def put_file(self, file: FileRestore, attributes: Optional[SideFileAttributes]) -> None:
        """Replace what is at the file's place."""
        firmware_files.put(file, attributes)

    def put_file_back(self, aside: Aside) -> None:
        """Bring back what was set aside."""
        firmware_files.put_back(self.kept, aside)

    def set_definition_aside(self, guest: GuestRestore) -> Aside:
        """Keep the guest's definition."""
        return definition_actor.keep(self.host, self.kept, guest)

    def define(self, guest: GuestRestore) -> None:
        """Give the guest its new definition, or forget it."""
        definition_actor.define(self.host, guest)

    def bring_definition_back(self, guest: GuestRestore, aside: Aside) -> None:
        """Define the guest as it was; one that was not defined is forgotten."""
        definition_actor.bring_back(self.host, self.kept, guest.uuid, aside)

    def _image(self, domain: Domain) -> Path:
        image = managed_save.image_of(self.host.uri, domain.name)
        if image is None:
            raise KvmsnapError(
                f"Failed to find the managed-save image of guest {domain.name}: {self.host.uri} keeps it elsewhere",
                guest=domain.name,
            )
        return image

    def _known(self, guest: GuestRestore) -> Optional[Domain]:
        """Return the guest, None when libvirt need not know it and does not."""
        return self.host.domain(uuid=guest.uuid) if guest.may_be_absent else self._domain(guest)

    def _domain(self, guest: GuestRestore) -> Domain:
        domain = self.host.domain(uuid=guest.uuid)
        if domain is None:
            raise KvmsnapError(
                f"Guest {guest.name} ({guest.uuid}) is not defined on this host any more", guest=guest.name
            )
        return domain
