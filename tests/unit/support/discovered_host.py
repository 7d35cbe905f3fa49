# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A KVM host in a directory, for whole discoveries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Optional

from asked import discovery_options

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.discovery import (
    DiscoveryRequest,
    HostProbes,
    discover,
)
from ontapsim import testing

ADDRESSES = {"kvm_vol1": "198.51.100.21", "kvm_vol2": "198.51.100.21", "kvm_vol3": "198.51.100.22"}


class World:
    """A KVM host in a directory."""

    def __init__(self, root: Path, array: testing.Running) -> None:
        self.root = root
        self.array = array
        self.domains: list[str] = []
        self.mounts = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw"]
        for number, (volume, address) in enumerate(ADDRESSES.items(), 2):
            (self.mnt(volume)).mkdir(parents=True)
            options = f"rw,vers=4.1,local_lock=none,addr={address}"
            self.mounts.append(f"{number} 1 0:{number} / {self.mnt(volume)} rw - nfs4 nas:/{volume} {options}")

    def mnt(self, volume: str) -> Path:
        """Return where a volume is mounted."""
        return self.root / "mnt" / volume

    def image(self, path: Path, size: int = 1024) -> Path:
        """Make a raw image."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.truncate(size)
        return path

    def guest(self, name: str, *devices: str) -> None:
        """Define a running guest."""
        uuid = f"00000000-0000-4000-8000-{len(self.domains):012}"
        self.domains.append(
            f"<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>1024</memory><os><type>hvm</type></os>"
            f"<devices>{''.join(devices)}</devices></domain>"
        )

    def options(self, **more: Any) -> dict[str, Any]:
        """Return the module's options, with the given ones changed."""
        node = self.root / "node.xml"
        node.write_text(f"<node>{''.join(self.domains)}</node>", encoding="utf-8")
        controller = {
            "hostname": "127.0.0.1",
            "port": self.array.port,
            "username": "kvmsnap",
            "password": "lab-Kvmsnap1",
            "ca_path": self.array.ca_pem,
            "validate_certs": True,
            "timeout": 30,
        }
        return discovery_options(controller, self.root, **{"uri": f"test://{node}", **more})

    def discover(self, **more: Any) -> dict[str, Any]:
        """Run the discovery; its result must be plain data."""
        mountinfo = self.root / "mountinfo"
        mountinfo.write_text("\n".join(self.mounts) + "\n", encoding="utf-8")
        request = DiscoveryRequest.from_options(self.options(**more))
        found = discover(request, HostProbes(str(mountinfo), self.root / "sys")).as_result()
        assert json.loads(json.dumps(found)) == found
        return found


def disk(path: Path, target: str = "vda", *, image_format: str = "raw", device: str = "disk", more: str = "") -> str:
    return (
        f"<disk type='file' device='{device}'><driver name='qemu' type='{image_format}'/><source file='{path}'/>"
        f"<target dev='{target}' bus='virtio'/>{more}</disk>"
    )


def codes(found: dict[str, Any], severity: Optional[str] = None) -> list[tuple[str, Optional[str], Optional[str]]]:
    return [
        (problem["code"], problem["guest"], problem["disk"])
        for problem in found["problems"]
        if problem["code"] != "no-agent" and severity in (None, problem["severity"])
    ]


def given(world: World, mapping: Any, **more: Any) -> dict[str, Any]:
    return world.discover(auto_discovery=False, mapping=mapping, **more)
