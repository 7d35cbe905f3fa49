# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's managed-save image, moved aside and brought back.

libvirt can make, remove and resume such an image, and neither copy it nor take one in. So it is linked to its other
place on the same file system, which is one step whatever its size and keeps owner, mode and label, and then removed
through libvirt: were it only renamed, the daemon would go on saying that the guest has one. Brought back it is a file
at its place again: the daemon looks for that when the guest starts, and says so once it is restarted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory, sync_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import DEFAULT_URI, Domain

DIRECTORY = Path("/var/lib/libvirt/qemu/save")
"""Where libvirt's QEMU driver of the system keeps the images, each ``<guest>.save``."""


def image_of(uri: str, name: str, directory: Path = DIRECTORY) -> Optional[Path]:
    """Return where a guest's image would be; None where another driver or daemon has its own place for it."""
    return directory / f"{name}.save" if uri == DEFAULT_URI else None


def is_there(domain: Domain, image: Optional[Path]) -> bool:
    """Tell whether the next start would resume an image: libvirt says so, or the file is there."""
    return domain.managed_save() or (image is not None and os.path.lexists(image))


def hindrance(image: Optional[Path], directory: Path) -> Optional[str]:
    """Return why an image cannot be moved aside into a directory (which may not exist), None if it can."""
    if image is None:
        return f"only of {DEFAULT_URI} it is known where the image lies"
    there = next(path for path in (directory, *directory.parents) if path.exists())
    try:
        found = image.lstat()
    except OSError as exc:
        return f"{image}: {exc.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return f"{image} is no file"
    if found.st_dev != there.stat().st_dev:
        return f"{image} and {there} are on different file systems"
    return None


def set_aside(domain: Domain, image: Path, place: Path) -> None:
    """Move the image to ``place``; what a killed call left is finished.

    Raises :class:`LibvirtError`, and :class:`KvmsnapError` when it cannot be, or another image is at ``place``.
    """
    with _telling(f"move the managed-save image of guest {domain.name} from {image} to {place}", domain.name):
        private_directory(place.parent)
        if not os.path.lexists(place):
            os.link(image, place, follow_symlinks=False)
            sync_directory(place.parent)
        elif not _same(image, place):
            raise KvmsnapError(
                f"Guest {domain.name} was saved again: {image} is another image than {place}, which belongs to its"
                " disks as they were before the restore. Start and shut the guest down, or remove the newer image",
                guest=domain.name,
            )
    domain.managed_save_remove()


def bring_back(domain: Domain, image: Path, place: Path) -> None:
    """Move the image from ``place`` to where libvirt looks for it; the guest must be off, and stays off.

    Raises :class:`KvmsnapError` when it is not, when another image is there, or this one is gone.
    """
    action = f"bring the managed-save image of guest {domain.name} back from {place} to {image}"
    if domain.state().active:
        raise KvmsnapError(f"Failed to {action}: the guest is {domain.state().state}", guest=domain.name)
    with _telling(action, domain.name):
        if not place.exists() and image.exists():
            return
        if not (image.exists() and _same(image, place)):
            os.link(place, image, follow_symlinks=False)
            sync_directory(image.parent)
        place.unlink()


def _same(one: Path, other: Path) -> bool:
    return os.path.samestat(one.lstat(), other.lstat())


@contextmanager
def _telling(action: str, guest: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise KvmsnapError(f"Failed to {action}: {exc.strerror or exc}", guest=guest) from exc
