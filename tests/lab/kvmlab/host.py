# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KVM host: a user-mode kernel on a copy-on-write root, on the lab's two fabrics, reached over SSH."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Optional

from . import kernel, topology
from .errors import LabError
from .images import Images
from .network import inside
from .places import Places
from .process import Sessions, run

MEMORY = "2048M"
BOOT_SECONDS = 180
CAPABILITIES = "/var/cache/libvirt/qemu/capabilities"
SHORTENED = "/run/kvmlab-shortened"
SLOW_FLAG = "cpu-unavailable-features"
SCRIPT = Path(__file__).parent / "files" / "host.sh"


@dataclass(frozen=True)
class Host:
    """The KVM host of one lab."""

    SESSION: ClassVar[str] = "host"

    places: Places
    sessions: Sessions
    images: Images
    name: str = topology.HOST
    port: int = 22

    @property
    def ssh_master(self) -> Path:
        """Return the socket of the shared SSH connection."""
        return self.places.ssh_master if self.port == 22 else self.places.ssh_master.with_name(f"ssh-{self.port}")

    @property
    def _program(self) -> Path:
        return self.places.host / "linux"

    @property
    def runs(self) -> bool:
        """True while the kernel's process runs, whether or not the system in it answers."""
        return self.sessions.alive(self.SESSION)

    def start(self) -> None:
        """Start the kernel on a fresh overlay of the root image; `wait` tells when it can be used."""
        self.stop()
        self.places.host.mkdir(parents=True)
        self._take_keys()
        kernel.install(self.images.host / "linux", self._program)
        self.power_on()

    def power_on(self) -> None:
        """Start the kernel on the root that it has; `wait` tells when it can be used."""
        overlay = self.places.host / "root.cow"
        words = [
            self._program, "umid=host", f"uml_dir={self.places.host}", f"mem={MEMORY}",
            f"ubd0={overlay},{self.images.host / 'root.ext4'}", f"ubd1r={self.images.guest / 'assets.ext4'}",
            "root=/dev/ubda", "rw", "rootfstype=ext4", "con=null", "con0=null,fd:1", "ssl=null", "quiet",
            "systemd.show_status=0", f"hostname={topology.HOST}",
        ]  # fmt: skip
        for number, fabric in enumerate(topology.FABRICS):
            words.append(f"vec{number}:transport=tap,ifname={fabric.tap},gro=1,depth=64,mac={fabric.host_mac}")
        private = ["unshare", "--mount", "--propagation", "private"]
        furnished = ["sh", str(SCRIPT), str(self.places.host / "memory")]
        placed = ["nice", "-n", "-5", "taskset", "--cpu-list", str(_idlest_cpu())]
        self.sessions.start(self.SESSION, inside(self.places.net_namespace, [*private, *furnished, *placed, *words]))

    def power_off(self) -> None:
        """Take the host's power: it ends at once, with its guests, and what it had not written to its root is lost."""
        self.close_ssh()
        self.sessions.stop(self.SESSION)

    def wait(self) -> None:
        """Return when the host answers over SSH; LabError with its last console lines when it does not."""
        self.sessions.wait(self.SESSION, self.answers, seconds=BOOT_SECONDS, pause=0.2)

    def answers(self) -> bool:
        """True when a command runs on the host, and ends in time."""
        try:
            return run(self.ssh_command("true"), timeout=20, check=False).returncode == 0
        except LabError:
            return False

    def stop(self) -> None:
        """End the host at once and throw its root away; its guests end with it."""
        self.power_off()
        if self.places.host.exists():
            shutil.rmtree(self.places.host)

    def close_ssh(self) -> None:
        """End the shared SSH connection, if there is one."""
        if self.ssh_master.exists():
            run(["ssh", "-O", "exit", "-o", f"ControlPath={self.ssh_master}", "root@host"], check=False)
            self.ssh_master.unlink(missing_ok=True)

    @property
    def proxy_command(self) -> str:
        """Return the command that reaches into the lab's network from the machine."""
        return f"ip netns exec {self.places.net_namespace} busybox nc %h %p"

    @property
    def ssh_options(self) -> list[str]:
        """Return the options of every SSH connection to the host, Ansible's included."""
        options = {
            "ProxyCommand": self.proxy_command,
            "UserKnownHostsFile": str(self.places.known_hosts),
            "HostKeyAlias": topology.HOST,
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "ConnectTimeout": "10",
            "ServerAliveInterval": "15",
            "ControlMaster": "auto",
            "ControlPersist": "600",
            "ControlPath": str(self.ssh_master),
        }
        return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]

    def ssh_command(self, command: str = "") -> list[str]:
        """Return the command line that runs ``command`` on the host, or opens a shell there without one."""
        words = ["ssh", "-F", "none", "-q", "-p", str(self.port), "-i", str(self.places.private_key), *self.ssh_options]
        return [*words, f"root@{topology.HOST_ADDRESS}", *([command] if command else [])]

    def ssh(self, command: str, *, timeout: float = 60, stdin: Optional[str] = None) -> str:
        """Run a shell command on the host and return its standard output; LabError when it fails."""
        return run(self.ssh_command(command), timeout=timeout, stdin=stdin, shown=f"{self.name}: {command}").stdout

    def virsh(self, *words: str, timeout: float = 60, stdin: Optional[str] = None) -> str:
        """Run virsh on the host and return what it prints."""
        return self.ssh(shlex.join(["virsh", "--quiet", *words]), timeout=timeout, stdin=stdin)

    def prepare(self) -> None:
        """Install the array's CA, mount the volumes and shorten libvirt's ways; what is there already stays."""
        directories = " ".join(mount.directory for mount in topology.MOUNTS)
        authority = (self.places.tls / "ca.pem").read_text()
        self.ssh(
            f"install -D -m 644 /dev/stdin {topology.CA_ON_HOST}\n"
            f"for place in {directories}; do mountpoint -q $place || mount $place & done; wait\n"
            f"for place in {directories}; do mountpoint $place; done",
            timeout=120,
            stdin=authority,
        )
        self._shorten_guest_start()

    def _shorten_guest_start(self) -> None:
        """Let libvirt ask QEMU for a guest's CPU in one call.

        libvirt 9.0 reads the properties of a new guest's CPU one by one in some 400 calls, which take most of a guest's
        start here, unless QEMU's cached capabilities lack one flag. What they look like is known once libvirtd has
        made them; they are kept with the images for the next time.
        """
        if self.ssh(f"test ! -e {SHORTENED} || echo done"):
            return
        known = self.images.host / "capabilities"
        finish = f"systemctl restart libvirtd && touch {SHORTENED}"
        if known.exists():
            name, _end, text = known.read_text().partition("\n")
            self.ssh(f"mkdir -p {CAPABILITIES} && cat > {CAPABILITIES}/{name} && {finish}", stdin=text)
            return
        learn = f"virsh -q capabilities > /dev/null && sed -i '/{SLOW_FLAG}/d' {CAPABILITIES}/*.xml"
        text = self.ssh(f"{learn} && {finish} && cd {CAPABILITIES} && ls *.xml && cat *.xml")
        draft = known.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(known)

    def _take_keys(self) -> None:
        for name, place in (("id_ed25519", self.places.private_key), ("known_hosts", self.places.known_hosts)):
            shutil.copy2(self.images.host / name, place)


def _idlest_cpu() -> int:
    """Return the CPU that has been idle the longest during a moment; the kernel is faster on one than on several."""
    before = _idle_ticks()
    time.sleep(0.2)
    after = _idle_ticks()
    return max(os.sched_getaffinity(0), key=lambda cpu: (after.get(cpu, 0) - before.get(cpu, 0), cpu))


def _idle_ticks() -> dict[int, int]:
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    fields = [line.split() for line in lines if line.startswith("cpu") and not line.startswith("cpu ")]
    return {int(words[0][3:]): int(words[4]) for words in fields}
