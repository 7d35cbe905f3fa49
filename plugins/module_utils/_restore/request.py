# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore is asked for, read once at the door. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.imported_backup import BackupFrom
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import Trust
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import UNDO
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.discovery import DiscoveryRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import Policy
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.health import Condition, condition_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import listed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import LONGEST, directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.foreign_definition import Allowed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.other_hosts import OtherHosts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.redefine import KEEP, Redefinition

OLD_PLACE = "old_place"
MAX_RESTORE_ID = 100
_SECONDS = ("stop_timeout", "start_timeout", "unknown_wait")
_NO_DISK_ALONE = "disks: {} is for all disks of a guest, not for some; leave disks empty. Nothing was touched"


@dataclass(frozen=True)
class RestoreRequest:
    """What ``kvm_app_restore`` is asked for; times are in seconds.

    ``definition`` is None where nobody said what becomes of the guests' definitions. ``guests`` and ``disks`` are
    names, uuids and targets as they were typed.
    """

    array: ArrayAccess
    guests: tuple[str, ...]
    catalog_dir: Path
    hold_dir: Path
    config_dir: Path
    uri: str
    trust: Trust
    condition: Condition
    others: OtherHosts
    restore_id: str
    disks: tuple[str, ...]
    backup_id: str
    backup_from: Optional[BackupFrom]
    into_uuid: Optional[str]
    undo: bool
    definition: Optional[Policy]
    moved_disks: str
    define_missing: bool
    allowed: Allowed
    method: str
    verify: str
    power: str
    stop: str
    on_failure: str
    stop_timeout: int
    start_timeout: int
    unknown_wait: int
    accept_unknown: str
    safety_snapshot: bool
    multipath_required: bool
    unmanaged_guests: tuple[str, ...]

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> RestoreRequest:
        """Read the options of ``kvm_app_restore``; raises :class:`InputError` for what cannot be, or not together."""
        for name in _SECONDS:
            if not 0 <= options[name] <= LONGEST:
                wanted = f"give a number of seconds from 0 to {LONGEST}"
                raise InputError(f"{name} is {options[name]}; {wanted}. Nothing was touched", option=name)
        return cls(
            array=ArrayAccess.from_options(options),
            guests=tuple(listed(options["guests"])),
            catalog_dir=directory(options, "catalog_dir"),
            hold_dir=directory(options, "hold_dir"),
            config_dir=directory(options, "config_dir"),
            uri=options["uri"],
            trust=Trust.from_options(options),
            condition=condition_of(options["health"]),
            others=OtherHosts.from_options(options),
            restore_id=options["restore_id"] or "",
            disks=tuple(listed(options["disks"])),
            backup_id=options["backup_id"],
            backup_from=BackupFrom.from_option(options["backup_from"]),
            into_uuid=options["into_uuid"],
            undo=options["state"] == "undone",
            definition=options["definition"],
            moved_disks=options["moved_disks"],
            define_missing=options["define_missing"],
            allowed=Allowed.from_options(options),
            method=options["method"],
            verify=options["verify"],
            power=options["power"],
            stop=options["stop"],
            on_failure=options["on_failure"],
            stop_timeout=options["stop_timeout"],
            start_timeout=options["start_timeout"],
            unknown_wait=options["unknown_wait"],
            accept_unknown=options["accept_unknown"] or "",
            safety_snapshot=options["safety_snapshot"],
            multipath_required=options["multipath_required"],
            unmanaged_guests=tuple(listed(options["unmanaged_guests"])),
        ).checked()

    def checked(self) -> RestoreRequest:
        """Return the request when what it asks for goes together; raises :class:`InputError`."""
        if self.undo:
            self._check_undo()
        else:
            self._check_restore()
        return self

    def reach(self) -> Host:
        """Open a connection to libvirt; raises ``LibvirtError``."""
        return connect(self.uri, retry_count=self.array.retry_count)

    @property
    def redefinition(self) -> Redefinition:
        """What becomes of the definitions."""
        return Redefinition(self.definition or KEEP, self.define_missing, self.moved_disks == OLD_PLACE)

    @property
    def discovery(self) -> DiscoveryRequest:
        """What this host's guests are looked at with, whatever a playbook found earlier."""
        return DiscoveryRequest(
            array=self.array,
            uri=self.uri,
            config_dir=self.config_dir,
            known_initiators=self.others.known_initiators,
            multipath_required=self.multipath_required,
        )

    def _check_undo(self) -> None:
        if self.disks:
            raise InputError(
                "An undo brings back the disks that the restore overwrote; leave disks empty. Nothing was touched",
                option="disks",
            )

    def _check_restore(self) -> None:
        if not self.guests:
            raise InputError("The list of guests to restore is empty; nothing was touched", option="guests")
        if self.disks and self.definition not in (None, KEEP):
            raise InputError(_NO_DISK_ALONE.format(f"definition={self.definition}"), option="disks")
        if self.disks and self.define_missing:
            raise InputError(_NO_DISK_ALONE.format("define_missing"), option="disks")
        _check_name(self.restore_id)


def _check_name(restore_id: str) -> None:
    """Refuse a name that its undo or the comment of its safety snapshots have no room for, and that of an undo.

    An undo goes on as one only, and a restore must not pass for it.
    """
    if restore_id:
        checked_id(restore_id, what="restore_id", longest=MAX_RESTORE_ID)
    undone = restore_id[: -len(UNDO)] if restore_id.endswith(UNDO) else ""
    if undone:
        raise InputError(
            f"restore_id {restore_id} is the name of an undo. To go on with the undo of restore {undone}, give"
            f" restore_id {undone} and state=undone; for another restore give another name. Nothing was touched",
            option="restore_id",
        )
