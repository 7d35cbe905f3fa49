# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owner, mode and SELinux label of a file beside the disks, which the one that takes its place gets as well."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Optional, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import SideFileAttributes

_LABEL = "security.selinux"


def attributes_of(path: str) -> Optional[SideFileAttributes]:
    """Return the attributes of a file, None when it is not there; raises :class:`OSError`."""
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return None
    return SideFileAttributes(state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode), _label_of(path))


def put_label(file: Union[str, Path, int], label: str) -> None:
    """Give a file, by its path or its descriptor, its SELinux label; raises :class:`OSError`."""
    follow = isinstance(file, int)  # A descriptor is no link, and Python wants to hear nothing else.
    os.setxattr(file, _LABEL, label.encode("ascii", "surrogateescape"), follow_symlinks=follow)


def _label_of(path: str) -> Optional[str]:
    try:
        return os.getxattr(path, _LABEL, follow_symlinks=False).decode("ascii", "surrogateescape")
    except OSError:
        return None
