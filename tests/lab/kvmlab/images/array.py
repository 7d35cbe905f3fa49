# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The array's NFS and iSCSI programs, unpacked into a directory of their own: nothing is installed on the machine."""

from __future__ import annotations

from pathlib import Path

from .apt import Apt

PACKAGES = ("nfs-ganesha", "nfs-ganesha-vfs", "rpcbind", "nfs-common", "netbase", "tgt")
UNUSED = r"(lib)?python3.*|(lib)?perl.*|lib.*-perl|usrmerge|dpkg|tar|debconf|dbus.*|passwd|adduser|ucf|.*semanage.*"
DIRECTORIES = ("proc", "dev", "run", "tmp", "srv/array", "var/lib/nfs", "etc")
HOSTNAME = "svm1-nfs"
USERS = (("root", 0, 0), ("_rpc", 101, 101), ("statd", 102, 65534))
GROUPS = (("root", 0), ("_rpc", 101), ("nogroup", 65534))


def build(target: Path, apt: Apt) -> None:
    """Make ``root``, a tree for chroot with ganesha, rpcbind, rpc.statd and tgtd, in ``target``."""
    root = target / "root"
    apt.unpack(apt.closure(PACKAGES, without=UNUSED), root)
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var" / "run").symlink_to("/run")
    (root / "etc" / "mtab").symlink_to("/proc/self/mounts")
    (root / "etc" / "hosts").write_text(f"127.0.0.1 localhost {HOSTNAME}\n")
    (root / "etc" / "passwd").write_text("".join(f"{name}:x:{uid}:{gid}::/:/bin/false\n" for name, uid, gid in USERS))
    (root / "etc" / "group").write_text("".join(f"{name}:x:{gid}:\n" for name, gid in GROUPS))
