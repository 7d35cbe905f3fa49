# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owner, mode and SELinux label of an image, which an overwrite out of a snapshot may have taken back in time."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Look

_LABEL = "security.selinux"


def look_of(path: str) -> Optional[Look]:
    """Return the look of a file, None when it is not there; raises :class:`OSError`."""
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return None
    return Look(state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode), _label_of(path))


def put_look(path: str, wanted: Look) -> Optional[str]:
    """Give a file the look that it had; return what could not be given back (a server that squashes root)."""
    now = look_of(path)
    if now is None or now == wanted:
        return None
    try:
        if (now.uid, now.gid) != (wanted.uid, wanted.gid):
            os.chown(path, wanted.uid, wanted.gid, follow_symlinks=False)
        if stat.S_IMODE(os.lstat(path).st_mode) != wanted.mode:
            os.chmod(path, wanted.mode)
        if wanted.label is not None and now.label != wanted.label:
            put_label(path, wanted.label)
    except OSError as exc:
        return (
            f"{path} was of {wanted.uid}:{wanted.gid} with mode {wanted.mode:o} and label {wanted.label or 'none'},"
            f" which could not be given back ({exc.strerror})"
        )
    return None


def put_label(path: Union[str, Path], label: str) -> None:
    """Give a file its SELinux label; raises :class:`OSError`."""
    os.setxattr(path, _LABEL, label.encode("ascii", "surrogateescape"), follow_symlinks=False)


def _label_of(path: str) -> Optional[str]:
    try:
        return os.getxattr(path, _LABEL, follow_symlinks=False).decode("ascii", "surrogateescape")
    except OSError:
        return None
