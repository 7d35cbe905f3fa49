# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's UEFI variables and TPM state on a host, and what a backup saved of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedFile, SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import content_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware import FileRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskRestore,
    GuestNow,
    GuestRestore,
)


class Host:
    """A guest's files on a host: what it has now, and what a backup saved."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.saved, self.kept = root / "saved", root / "restores" / "r1.files"
        self.nvram, self.tpm = root / "nvram" / "web1.fd", root / "swtpm" / samples.WEB
        for directory in (self.saved, self.nvram.parent, self.tpm / "tpm2"):
            directory.mkdir(parents=True)
        self.write("then")
        (self.tpm / "tpm2" / "only-then").write_text("x")
        self.files = (self._save("nvram", self.nvram), self._save("tpm", self.tpm))
        (self.tpm / "tpm2" / "only-then").unlink()
        self.write("now")
        self.tpm.chmod(0o711)
        self.nvram.chmod(0o640)

    def write(self, content: str) -> None:
        self.nvram.write_text(content)
        (self.tpm / "tpm2" / "permall").write_text(content)

    def _save(self, kind: str, path: Path) -> SavedFile:
        content = content_of(path)
        (self.saved / f"w.{kind}").write_bytes(content)
        return SavedFile(kind, str(path), f"w.{kind}", hashlib.sha256(content).hexdigest())

    def restores(self) -> tuple[FileRestore, ...]:
        places = {"nvram": str(self.nvram), "tpm": str(self.tpm)}
        return tuple(
            FileRestore(each.kind, places[each.kind], str(self.saved / each.stored_as), each.sha256)
            for each in self.files
        )

    def world(self) -> dict[str, tuple[int, str]]:
        """Path -> mode and content of all that the guest has beside its disks."""
        paths = [*self.nvram.parent.rglob("*"), *self.tpm.parent.rglob("*")]
        return {
            str(path.relative_to(self.root)): (
                path.lstat().st_mode & 0o7777,
                path.read_text() if path.is_file() else "",
            )
            for path in sorted(paths)
        }


def saved_guest(*files: SavedFile) -> SavedGuest:
    return replace(SavedGuest.from_record(samples.guest()), files=files)


def now(host: Host) -> GuestNow:
    return GuestNow("web1", samples.WEB, "shutoff", False, True, (), nvram=str(host.nvram), tpm=True)


def part(*files: FileRestore) -> GuestRestore:
    place = Storage.from_record(samples.storage())
    disk = DiskRestore("vda", "raw", place, "/mnt/vol1/web1.img", "/mnt/vol1", samples.BACKUP, "vol1-snap", 4096)
    return GuestRestore("web1", samples.WEB, "shutoff", "shutoff", (disk,), files=files)
