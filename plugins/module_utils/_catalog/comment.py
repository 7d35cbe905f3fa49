# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comment of a backup's snapshots: whose they are, which run made them, which manifests they must carry. Pure.

``kvmsnap/<owner>: run=<uuid>; index=<sha256>``, where ``run`` is the nonce of the run that made the snapshots and
``index`` the SHA-256 (64 hexadecimal digits) of the index file that lies in each volume (``_catalog/manifest_index``).
Further fields (``; name=value``) may follow and are not looked at. ONTAP stores 255 bytes: 122 are ours and 133 are
left for the owner, of which 30 are kept free for further fields. Versions before wrote ``kvmsnap/<owner>: run <uuid>,
<number> guests``, which names no index.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import MAX_COMMENT

KEPT_FREE = 30
"""Bytes for fields that later versions may add, such as the longest ``; level=application-consistent``."""

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OWNER = r"kvmsnap/(?P<owner>[A-Za-z0-9][A-Za-z0-9_.+-]*): "
_COMMENT = re.compile(
    rf"{_OWNER}run=(?P<run>{_UUID}); index=(?P<index>[0-9a-f]{{64}})(?:; [a-z]+=[A-Za-z0-9_.+-]+)*", re.ASCII
)
_BEFORE = re.compile(rf"{_OWNER}run (?P<run>{_UUID}), [0-9]{{1,9}} guests", re.ASCII)


@dataclass(frozen=True)
class SnapshotComment:
    """What the comment of a backup's snapshot says; ``index`` is None in one of a version that wrote no index."""

    owner: str
    run_id: str
    index: Optional[str]

    @classmethod
    def checked(cls, *, owner: str, run_id: str, index: str) -> SnapshotComment:
        """Return the comment of snapshots that are to be made; raises :class:`InputError` when it is too long."""
        found = cls(owner, run_id, index)
        longest = MAX_COMMENT - KEPT_FREE - len(found.stored) + len(owner)
        if len(owner) > longest:
            raise InputError(
                f"Failed to use owner {owner!r}: it has {len(owner)} characters, and the comment of a snapshot has room"
                f" for {longest}. Nothing was touched; choose a shorter name",
                owner=owner,
            )
        if cls.parse(found.stored) != found:
            raise InputError(f"Failed to use {found.stored!r} as the comment of a snapshot; nothing was touched")
        return found

    @classmethod
    def parse(cls, stored: str) -> Optional[SnapshotComment]:
        """Return what a comment on the array says, None for one that no backup gave."""
        found = _COMMENT.fullmatch(stored)
        if found:
            return cls(found["owner"], found["run"], found["index"])
        before = _BEFORE.fullmatch(stored)
        return cls(before["owner"], before["run"], None) if before else None

    @property
    def text(self) -> str:
        """The comment without the prefix that names its owner."""
        return f"run={self.run_id}; index={self.index}"

    @property
    def stored(self) -> str:
        """The comment as it stands on the array."""
        return f"kvmsnap/{self.owner}: {self.text}"
