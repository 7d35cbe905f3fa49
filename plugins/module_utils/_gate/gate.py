# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last gate: who uses this very object is asked anew, directly before anything overwrites or removes it.

Nothing else in the collection calls what overwrites a disk: ``tests/tools/check_structure.py`` proves it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer, InUseError, User, first_user
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.array_users import array_answers
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.device_users import device_answers
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.file_users import file_answers
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.guest_users import guests_answer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.processes import PROC
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget, LunTarget, Target
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import copy_over, directory_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import SYSFS
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import files, lun_clone, lun_restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import LunNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

PATIENCE = 15.0
"""Seconds for which a process that has the object open may go away by itself: hosts look into what changes."""
SECONDS_ON_ARRAY = 60.0
_PAUSE = 0.25

Way = Literal["file_clone", "sfsr_cli", "sfsr"]
Runner = Callable[[Callable[[], None]], None]


def _directly(act: Callable[[], None]) -> None:
    act()


@dataclass(frozen=True)
class FromSnapshot:
    """What a file is overwritten with on the array: the same path as it was in a snapshot of its volume."""

    client: Client
    volume: Volume
    snapshot: str
    path: str


@dataclass(frozen=True)
class LunFromSnapshot:
    """What a LUN is overwritten with. ``look`` is called with the temporary clone, before the LUN is touched.

    ``sending`` is called directly before the overwrite is sent. ``unknown_wait`` and ``settle`` are those of
    ``lun_restore.clone_over``, in seconds.
    """

    client: Client
    volume: Volume
    path: str
    identity: LunIdentity
    snapshot: str
    snapshot_uuid: str
    restore_id: str
    look: Callable[[LunNow], None]
    sending: Callable[[LunNow], None]
    unknown_wait: float = lun_restore.UNKNOWN_WAIT
    settle: float = lun_restore.SETTLE


@dataclass(frozen=True)
class Gate:
    """Asks and acts. ``connect`` returns a connection to libvirt that stands.

    Each function that acts raises :class:`InUseError` before it has touched anything.
    """

    connect: Callable[[], Host]
    proc: Path = PROC
    sysfs: Path = SYSFS
    patience: float = PATIENCE

    def answers(
        self, target: Target, claim: Claim, *, client: Optional[Client] = None, deadline: Optional[Deadline] = None
    ) -> tuple[Answer, ...]:
        """Ask once who uses an object and return what each look says; nothing is refused.

        The array is asked about a LUN through ``client``, when one is given. Raises ``LibvirtError``.
        """
        if isinstance(target, FileTarget):
            here = file_answers(target, claim, proc=self.proc, sysfs=self.sysfs)
        else:
            here = device_answers(target, claim, proc=self.proc, sysfs=self.sysfs)
        if isinstance(target, FileTarget) or target.device is not None:
            here = (guests_answer(target, claim, self.connect(), proc=self.proc, sysfs=self.sysfs), *here)
        if client is None or isinstance(target, FileTarget):
            return here
        return (*here, *array_answers(target, claim, client, deadline=deadline or Deadline.after(SECONDS_ON_ARRAY)))

    def refuse_used(
        self, target: Target, claim: Claim, *, client: Optional[Client] = None, deadline: Optional[Deadline] = None
    ) -> tuple[Answer, ...]:
        """Raise :class:`InUseError` when somebody uses the object, and return the answers otherwise.

        A process that only passes by has :attr:`patience` seconds to go.
        """
        until = time.monotonic() + self.patience
        while True:
            answers = self.answers(target, claim, client=client, deadline=deadline)
            found = first_user(answers)
            if found is None:
                return answers
            lasting = any(not user.passing for answer in answers for user in answer.users)
            if lasting or time.monotonic() >= until:
                raise _in_use(target, claim, *found)
            time.sleep(_PAUSE)

    def rename_over(
        self,
        target: FileTarget,
        claim: Claim,
        *,
        directory: int,
        temporary: str,
        name: str,
        run: Runner = _directly,
    ) -> None:
        """Rename a temporary file over the target, both in one open directory.

        ``run`` is given the rename to carry it out (in a child that is bounded). Raises :class:`OSError`, too.
        """
        self.refuse_used(target, claim)
        run(lambda: os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory))

    def overwrite_file_on_array(
        self,
        target: Target,
        claim: Claim,
        way: Way,
        source: FromSnapshot,
        *,
        overwrite: bool,
        begun: Callable[[str], None],
        deadline: Deadline,
    ) -> None:
        """Let the array overwrite the target in place: a LUN, or a file that this host may not rename over.

        It is asked for one single time; ``begun`` gets the uuid of its job. ``overwrite``: the target is there.
        Single-file SnapRestore goes on afterwards (``files.wait_restored``). Raises ``OntapError``, too.
        """
        self.refuse_used(target, claim, client=source.client, deadline=deadline)
        if way == "file_clone":
            files.clone_file(
                source.client,
                source.volume,
                snapshot=source.snapshot,
                source=source.path,
                destination=source.path,
                begun=begun,
                overwrite=overwrite,
                deadline=deadline,
            )
            return
        restore = files.restore_file_cli if way == "sfsr_cli" else files.restore_file_rest
        restore(
            source.client,
            source.volume,
            snapshot=source.snapshot,
            path=source.path,
            begun=begun,
            deadline=deadline,
        )

    def copy_over_file(self, target: FileTarget, claim: Claim, source: str) -> None:
        """Copy a file over the target in place; raises :class:`OSError`, too."""
        self.refuse_used(target, claim)
        copy_over(source, target.host_path)

    def overwrite_lun(
        self, target: LunTarget, claim: Claim, source: LunFromSnapshot, *, deadline: Deadline
    ) -> Optional[str]:
        """Overwrite a LUN from its snapshot; return what was left behind. Raises ``OntapError``, too.

        It is asked before anything is made, and again when the temporary clone is there and the LUN comes next.
        """
        self.refuse_used(target, claim, client=source.client, deadline=deadline)

        def look(clone: LunNow) -> None:
            source.look(clone)
            self.refuse_used(target, claim, client=source.client, deadline=deadline)
            source.sending(clone)

        return lun_restore.clone_over(
            source.client,
            source.volume,
            path=source.path,
            identity=source.identity,
            snapshot=source.snapshot,
            snapshot_uuid=source.snapshot_uuid,
            restore_id=source.restore_id,
            look=look,
            deadline=deadline,
            unknown_wait=source.unknown_wait,
            settle=source.settle,
        )

    def remove_file(self, target: FileTarget, claim: Claim) -> None:
        """Remove a file that nobody uses; one that is not there is no error. Raises :class:`OSError`, too."""
        self.refuse_used(target, claim)
        with suppress(FileNotFoundError), directory_of(target.host_path) as directory:
            os.unlink(os.path.basename(target.host_path), dir_fd=directory)

    def remove_lun(self, target: LunTarget, claim: Claim, client: Client, lun: LunNow, *, deadline: Deadline) -> None:
        """Delete the LUN of a copy, which this host gave up already. Raises ``OntapError``, too."""
        self.refuse_used(target, claim, client=client, deadline=deadline)
        lun_clone.remove_clone(client, lun, deadline=deadline)

    def remove_temporary_lun(
        self, target: LunTarget, claim: Claim, client: Client, lun: LunNow, *, deadline: Deadline
    ) -> None:
        """Delete a LUN that a restore made for itself and mapped to nobody. Raises ``OntapError``, too."""
        self.refuse_used(target, claim, client=client, deadline=deadline)
        lun_restore.delete_temporary(client, lun, deadline=deadline)


def _in_use(target: Target, claim: Claim, answer: Answer, user: User) -> InUseError:
    where = target.host_path if isinstance(target, FileTarget) else target.device or target.label
    return InUseError(
        f"Refused to {claim.verb} {target.label}: {user}. {user.remedy}",
        path=where,
        user=str(user),
        look=answer.look,
        remedy=user.remedy,
    )
