# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KVM host: Debian with libvirt, QEMU, NFS, iSCSI and multipath, and the user-mode kernel that runs it."""

from __future__ import annotations

import shutil
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import topology
from ..errors import LabError
from ..process import run
from .apt import RELEASE, Apt, contained

KERNEL = "user-mode-linux"
MACHINE_ID = uuid.uuid5(uuid.NAMESPACE_DNS, topology.HOST).hex
PYTHON = "3.11"
CLIENT = "netapp-ontap~=9.19.0"
PACKAGES = (
    "systemd-sysv", "udev", "dbus", "kmod", "iproute2", "iputils-ping", "procps", "less", "ethtool", "strace", "jq",
    "openssh-server", "sudo", "python3", "python3-libvirt", "python3-lxml", "e2fsprogs", "util-linux",
    "libvirt-daemon-system", "libvirt-clients", "libvirt-daemon-driver-qemu", "qemu-system-x86", "qemu-utils",
    "nfs-common", "open-iscsi", "multipath-tools", "kpartx", "lvm2", "sg3-utils", "lsscsi", "fdisk",
)  # fmt: skip
ENABLED = ("systemd-networkd.service", "ssh.service", "libvirtd.socket")
DISABLED = ("libvirtd.service", "iscsid.service", "open-iscsi.service", "multipathd.service", "multipathd.socket")
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "blk-availability.service", "dev-hugepages.mount",
    "dev-mqueue.mount", "dm-event.socket", "dpkg-db-backup.timer",
    "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service", "getty-static.service",
    "kmod-static-nodes.service", "libvirt-guests.service", "logrotate.timer", "lvm2-lvmpolld.socket",
    "lvm2-monitor.service", "modprobe@configfs.service",
    "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service", "modprobe@loop.service",
    "proc-sys-fs-binfmt_misc.automount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount",
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path", "systemd-binfmt.service", "systemd-firstboot.service", "systemd-logind.service",
    "systemd-networkd-wait-online.service", "systemd-network-generator.service", "systemd-pstore.service",
    "systemd-random-seed.service", "systemd-rfkill.service", "systemd-timesyncd.service",
    "systemd-tmpfiles-clean.timer", "systemd-update-utmp-runlevel.service", "systemd-update-utmp.service",
)  # fmt: skip
LEFT_OUT = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/info/*")
FILES = Path(__file__).parent.parent / "files" / "host"
SIZE = "3G"


def build(target: Path, apt: Apt) -> None:
    """Make ``root.ext4``, ``linux`` (the kernel's program), ``id_ed25519`` and ``known_hosts`` in ``target``."""
    root, kernel, client = target / "root", target / "kernel", target / "client"
    with ThreadPoolExecutor() as pool:
        works = [pool.submit(_debian, root, apt), pool.submit(_client, client)]
        apt.unpack([KERNEL], kernel)
        for work in works:
            work.result()
    _configure(root)
    _add_kernel_modules(kernel, root)
    _add_client(client, root)
    _add_keys(target, root)
    for stamp in (root / "etc" / ".updated", root / "var" / ".updated"):
        stamp.touch()
    run(["mke2fs", "-q", "-t", "ext4", "-J", "size=16", "-E", "lazy_itable_init=1", "-m", "0",
         "-d", root, target / "root.ext4", SIZE], timeout=300)  # fmt: skip
    (kernel / "usr" / "bin" / "linux.uml").rename(target / "linux")
    for leftover in (root, kernel, client):
        shutil.rmtree(leftover)


def _debian(root: Path, apt: Apt) -> None:
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    run(contained([
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(PACKAGES)}",
        "--aptopt=APT::Install-Recommends false", "--dpkgopt=force-unsafe-io", *options,
        f'--setup-hook=mkdir -p "$1/var/lib/apt/lists/partial" && cp {apt.lists}/*_* "$1/var/lib/apt/lists/"',
        "--skip=update", RELEASE, root, *apt.sources,
    ]), timeout=900)  # fmt: skip


def _client(directory: Path) -> None:
    tools = directory.with_name("tools")
    run([sys.executable, "-m", "venv", tools], timeout=120)
    run(contained([
        tools / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
        "--target", directory, "--implementation", "cp", "--python-version", PYTHON, "--only-binary=:all:",
        "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64", CLIENT,
    ]), timeout=300)  # fmt: skip
    shutil.rmtree(tools)


def _configure(root: Path) -> None:
    shutil.copytree(FILES, root, dirs_exist_ok=True)
    run(["chroot", root, "systemctl", "--quiet", "mask", *MASKED])
    run(["chroot", root, "systemctl", "--quiet", "disable", *DISABLED])
    run(["chroot", root, "systemctl", "--quiet", "enable", *ENABLED])
    run(["chroot", root, "passwd", "--quiet", "--delete", "root"])
    run(["chroot", root, "systemctl", "--quiet", "set-default", "multi-user.target"])
    (root / "etc" / "machine-id").write_text(f"{MACHINE_ID}\n")
    (root / "etc" / "hostname").write_text(f"{topology.HOST}\n")
    (root / "etc" / "hosts").write_text(
        "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in topology.NAMES.items())
    )
    (root / "etc" / "resolv.conf").write_text("")
    (root / "etc" / "iscsi" / "initiatorname.iscsi").write_text(f"InitiatorName={topology.INITIATOR}\n")
    for number, fabric in enumerate(topology.FABRICS):
        (root / "etc" / "systemd" / "network" / f"{number + 10}-fabric-{fabric.name}.network").write_text(
            f"[Match]\nMACAddress={fabric.host_mac}\n\n"
            f"[Network]\nAddress={fabric.host}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        )
    lines = ["/dev/ubda / ext4 noatime 0 0", f"/dev/ubdb {topology.GUEST_ASSETS_ON_HOST} ext4 ro 0 0"]
    for mount in topology.MOUNTS:
        lines.append(f"{mount.server}:{mount.export} {mount.directory} nfs vers={mount.version},hard,noauto 0 0")
        (root / mount.directory.lstrip("/")).mkdir(parents=True)
    (root / "etc" / "fstab").write_text("\n".join(lines) + "\n")
    (root / topology.GUEST_ASSETS_ON_HOST.lstrip("/")).mkdir(parents=True)
    (root / "usr" / "bin" / "qemu-system-i386").unlink(missing_ok=True)


def _add_kernel_modules(kernel: Path, root: Path) -> None:
    (modules,) = (kernel / "usr" / "lib" / "uml" / "modules").iterdir()
    place = root / "usr" / "lib" / "modules" / modules.name
    place.parent.mkdir(exist_ok=True)
    shutil.move(str(modules), place)
    run(["chroot", root, "depmod", modules.name])


def _add_client(client: Path, root: Path) -> None:
    for documentation in client.glob("netapp_ontap/**/*.html"):
        documentation.unlink()
    home = Path(topology.PYTHON_ON_HOST).parent.parent
    run(["chroot", root, "python3", "-m", "venv", "--system-site-packages", "--without-pip", home])
    packages = root / str(home).lstrip("/") / "lib" / f"python{PYTHON}" / "site-packages"
    if not packages.is_dir():
        raise LabError(f"Failed to add the ONTAP client: the KVM host has no Python {PYTHON}")
    shutil.copytree(client, packages, dirs_exist_ok=True)
    run(["chroot", root, "python3", "-m", "compileall", "-q", "-j", "2", f"{home}/lib"], timeout=180)


def _add_keys(target: Path, root: Path) -> None:
    key = target / "id_ed25519"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kvmlab", "-f", key])
    (root / "root" / ".ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(f"{key}.pub", root / "root" / ".ssh" / "authorized_keys")
    host_key = (root / "etc" / "ssh" / "ssh_host_ed25519_key.pub").read_text().split()
    (target / "known_hosts").write_text(f"{topology.HOST} {host_key[0]} {host_key[1]}\n")
