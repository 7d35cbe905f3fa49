# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libvirt notes of a guest's autostart: a link, which it makes and removes without syncing its directory.

After a loss of power the link of a guest that must not start could be there again.
"""

from __future__ import annotations

from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import sync_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import DEFAULT_URI

DIRECTORY = Path("/etc/libvirt/qemu/autostart")
"""Where libvirt's QEMU driver of the system keeps the links; it makes the directory with the first of them."""


def make_durable(uri: str, directory: Path = DIRECTORY) -> None:
    """Let what libvirt noted last outlast a loss of power; raises :class:`KvmsnapError`.

    Of another driver or daemon it is not known where it notes it.
    """
    if uri != DEFAULT_URI:
        return
    try:
        for each in (directory, directory.parent):
            if each.is_dir():
                sync_directory(each)
    except OSError as exc:
        raise KvmsnapError(
            f"Failed to let the autostart of guests outlast a loss of power: {directory}: {exc.strerror}",
            path=str(directory),
        ) from exc
