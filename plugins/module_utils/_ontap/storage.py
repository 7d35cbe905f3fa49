# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a disk's bytes lie on the array: a file or a LUN in a volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import relative_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity

Place = tuple[str, str, str]
"""What tells a file or LUN apart from all others: the uuids of its SVM and volume, and its path inside."""


@dataclass(frozen=True)
class Storage:
    """Where one disk's bytes lie on the array; ``path`` is inside the volume, without a leading slash.

    ``kind`` is ``nfs`` (a file) or ``lun``, which has its identity in ``lun``.
    """

    kind: str
    controller: str
    svm: str
    svm_uuid: str
    volume: str
    volume_uuid: str
    path: str
    lun: Optional[LunIdentity] = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Storage:
        """Read the ``storage`` of a disk, from a discovery or from a manifest.

        :raises KeyError, ValueError: a field is missing or not what it must be. :raises InputError: the path is none.
        """
        lun = record.get("lun")
        kind = str(record["kind"])
        if (kind == "lun") != bool(lun):
            raise ValueError(f"a storage of kind {kind!r} {'has' if lun else 'lacks'} the identity of a LUN")
        return cls(
            kind=kind,
            controller=str(record["controller"]),
            svm=str(record["svm"]),
            svm_uuid=str(record["svm_uuid"]),
            volume=str(record["volume"]),
            volume_uuid=str(record["volume_uuid"]),
            path=relative_path(str(record["path"])),
            lun=LunIdentity.from_record(lun) if lun else None,
        )

    @property
    def volume_key(self) -> tuple[str, str]:
        """What identifies the volume."""
        return (self.svm_uuid, self.volume_uuid)

    @property
    def key(self) -> Place:
        """What tells the file or LUN apart from all others."""
        return (self.svm_uuid, self.volume_uuid, self.path)

    @property
    def label(self) -> str:
        """Where the disk lies, in the words of KVM_VM_MAPPING."""
        return f"{self.svm}:/vol/{self.volume}/{self.path}"
