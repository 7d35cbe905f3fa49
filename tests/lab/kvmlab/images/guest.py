# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests' kernel and initramfs, plain and as a small disk that the KVM host mounts.

They depend on nothing but QEMU's virtio devices, so the same two files start on any libvirtd or QEMU.
"""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

from ..errors import LabError
from ..process import run
from .apt import Apt

KERNEL = "linux-image-cloud-amd64"
UNUSED = r"perl.*|dpkg|tar|debconf|lsb-base|init-system-helpers|usrmerge"
FILES = Path(__file__).parent.parent / "files" / "guest"
MODULES = (
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
    "virtio_console", "evdev", "button",
)  # fmt: skip
APPLETS = (
    "sh", "mount", "umount", "insmod", "cat", "ls", "ln", "mkdir", "mkfifo", "sleep", "sync", "dd", "tail", "sed",
    "kill", "rm", "grep",
)  # fmt: skip
DIRECTORIES = ("bin", "sbin", "proc", "sys", "dev", "run", "tmp", "data", "data2", "etc", "var", "lib/modules")
SIGNATURE_MAGIC = b"~Module signature appended~\n"


def build(target: Path, apt: Apt) -> None:
    """Make ``vmlinuz``, ``initramfs`` and ``assets.ext4`` (both of them, for the KVM host) in ``target``."""
    unpacked = target / "unpacked"
    apt.unpack(
        [apt.newest_kernel(KERNEL), *apt.closure(["qemu-guest-agent", "busybox-static"], without=UNUSED)], unpacked
    )
    root = target / "root"
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True)
    _add_programs(unpacked, root)
    _add_modules(unpacked, root)
    shutil.copy(FILES / "init", root / "init")
    shutil.copy(FILES / "shutdown", root / "sbin" / "shutdown")
    shutil.copy(FILES / "ticker", root / "sbin" / "ticker")
    for script in (root / "init", root / "sbin" / "shutdown", root / "sbin" / "ticker"):
        script.chmod(0o755)
    assets = target / "assets"
    assets.mkdir()
    names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
    archive = assets / "initramfs"
    run(["busybox", "cpio", "-o", "-H", "newc", "-F", archive], stdin=names + "\n", cwd=root)
    shutil.copy(_one(unpacked / "boot", "vmlinuz-*"), assets / "vmlinuz")
    run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", assets, target / "assets.ext4", "48M"])
    for name in ("vmlinuz", "initramfs"):
        (assets / name).rename(target / name)
    for leftover in (assets, root, unpacked):
        shutil.rmtree(leftover)


def without_signature(module: bytes) -> bytes:
    """Cut off a kernel module's signature, whose check costs an emulated CPU more than the module itself."""
    if not module.endswith(SIGNATURE_MAGIC):
        return module
    header = len(module) - len(SIGNATURE_MAGIC) - 12
    (length,) = struct.unpack(">I", module[header + 8 : header + 12])
    return module[: header - int(length)]


def _add_programs(unpacked: Path, root: Path) -> None:
    shutil.copy(unpacked / "bin" / "busybox", root / "bin" / "busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    shutil.copy(unpacked / "usr" / "sbin" / "qemu-ga", root / "sbin" / "qemu-ga")
    listed = run(["chroot", unpacked, "/lib64/ld-linux-x86-64.so.2", "--list", "/usr/sbin/qemu-ga"]).stdout
    for library in re.findall(r"(/\S+\.so\S*) \(0x", listed):
        place = root / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(unpacked / library.lstrip("/"), place)


def _add_modules(unpacked: Path, root: Path) -> None:
    names = []
    for module in MODULES:
        source = _one(unpacked / "lib" / "modules", f"*/kernel/**/{module}.ko")
        (root / "lib" / "modules" / source.name).write_bytes(without_signature(source.read_bytes()))
        names.append(source.name)
    (root / "etc" / "modules").write_text("".join(f"{name}\n" for name in names))


def _one(directory: Path, pattern: str) -> Path:
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise LabError(f"Failed to find one {pattern} in {directory}: there are {len(found)}")
    return found[0]
