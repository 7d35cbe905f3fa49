# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The KVM host's side of the SAN: sessions, paths and multipath maps, and what tests do to them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Optional

from . import topology
from .domain import DiskSpec, LunSpec
from .errors import LabError
from .host import Host
from .luns import WWID_PREFIX, Lun, Luns
from .network import Network
from .process import wait_until

PATHS = len(topology.PORTALS)
NOTICE_SECONDS = 90
VOLUME_GROUP = "kvmlab"
SANLUN = "/usr/sbin/sanlun"
SANLUN_TABLE = "/etc/kvmlab/sanlun.json"
SANLUN_SOURCE = Path(__file__).parent / "files" / "sanlun.py"
ALIASES = PurePosixPath("/etc/multipath/conf.d")
FORMS: Mapping[str, str] = {
    "mapper": "/dev/mapper/{wwid}",
    "alias": "/dev/mapper/{alias}",
    "dm": "{node}",
    "dm-uuid": "/dev/disk/by-id/dm-uuid-mpath-{wwid}",
    "dm-name": "/dev/disk/by-id/dm-name-{wwid}",
    "wwn": "/dev/disk/by-id/wwn-0x{naa}",
    "scsi": "/dev/disk/by-id/scsi-{wwid}",
}


@dataclass(frozen=True)
class ScsiPath:
    """A path to a LUN as multipathd tells it: the disk's name and its state in the map and in the last check."""

    wwid: str
    disk: str
    map_state: str
    check: str

    @classmethod
    def from_line(cls, line: str) -> ScsiPath:
        """Read a line of ``multipathd show paths raw format '%w %d %t %T'``."""
        wwid, disk, map_state, check = line.split(None, 3)
        return cls(wwid, disk, map_state, check)

    @property
    def works(self) -> bool:
        """True when the map uses it and the last check was good."""
        return (self.map_state, self.check) == ("active", "ready")


def alias_of(name: str) -> str:
    """Return the multipath alias of a LUN in the lab: what its name ends with."""
    return name.rpartition("/")[2]


def login_script(portals: Iterable[object]) -> str:
    """Return the commands that start the host's daemons and log in where there is no session yet.

    Each portal is asked for its targets: it tells of itself alone.
    """
    lines = [
        "systemctl start multipathd.service iscsid.service || exit",
        "sessions=$(iscsiadm -m session 2> /dev/null)",
    ]
    for portal in portals:
        discover = f"iscsiadm -m discovery -t sendtargets -p {portal} > /dev/null"
        login = f"iscsiadm -m node -p {portal} --login > /dev/null"
        lines.append(f'case "$sessions" in *" {portal},"*) ;; *) {discover} && {login} || exit ;; esac')
    return "\n".join(lines)


def forget_script(wwid: str) -> str:
    """Return the commands that flush a map and delete its paths; partitions and logical volumes on it go first.

    Whatever is not there any more is fine; nothing waits for a device that does not answer.
    """
    return f"""
shopt -s nullglob
node= disks=
for entry in /sys/block/dm-*; do [ "$(cat $entry/dm/uuid)" != mpath-{wwid} ] || node=$entry; done
for entry in /sys/block/sd*; do [ "$(cat $entry/device/wwid)" != naa.{wwid[1:]} ] || disks="$disks ${{entry##*/}}"; done
if [ -n "$node" ]; then
    name=$(cat $node/dm/name)
    disks="$disks $(ls $node/slaves)"
    multipathd disablequeueing map $name > /dev/null 2>&1 || dmsetup message $name 0 fail_if_no_path
    for holder in $node/holders/dm-*; do timeout 10 dmsetup remove --retry $(cat $holder/dm/name) || exit; done
    timeout 20 multipath -f $name > /dev/null 2>&1 || timeout 10 dmsetup remove --retry $name || exit
fi
for disk in $(printf '%s\\n' $disks | sort -u); do echo 1 > /sys/block/$disk/device/delete; done
multipath -w {wwid} > /dev/null 2>&1 || :
"""


class San:
    """The SAN as the KVM host has it; ``luns`` is the array's side."""

    def __init__(self, host: Host, luns: Luns, network: Network) -> None:
        self.host = host
        self.luns = luns
        self.network = network

    def login(self) -> None:
        """Log in to all portals and start multipathd; what is there already stays."""
        self.host.ssh(login_script(topology.PORTALS), timeout=90)

    def paths(self, wwid: Optional[str] = None) -> list[ScsiPath]:
        """Return the paths that multipathd knows, of one LUN or of all."""
        said = self.host.ssh("multipathd show paths raw format '%w %d %t %T'")
        found = [ScsiPath.from_line(line) for line in said.splitlines() if line.startswith(WWID_PREFIX)]
        return [path for path in found if wwid in (None, path.wwid)]

    def wait_paths(self, lun: Lun, count: int = PATHS, *, seconds: float = NOTICE_SECONDS) -> None:
        """Return when just so many paths of a LUN work."""

        def reached() -> bool:
            return sum(path.works for path in self.paths(lun.wwid)) == count

        wait_until(reached, seconds=seconds, what=f"{count} working paths of {lun.name}", pause=0.5)

    def attach(self, luns: Sequence[Lun]) -> None:
        """Let the host find LUNs that are mapped to it, and return when each has its map with all paths."""
        wanted = {lun.wwid for lun in luns}

        def complete() -> bool:
            paths = self.paths()
            return all(sum(path.works for path in paths if path.wwid == wwid) == PATHS for wwid in wanted)

        seen = self.host.ssh("cat /sys/block/sd*/device/wwid 2> /dev/null || :").split()
        if any(seen.count(f"naa.{wwid[1:]}") < PATHS for wwid in wanted):
            self.rescan()
        wait_until(complete, seconds=NOTICE_SECONDS, what=f"all paths of {len(luns)} LUNs", pause=0.5)
        links = " ".join(f"/dev/disk/by-id/dm-uuid-mpath-{wwid}" for wwid in sorted(wanted))
        self.host.ssh(f"for link in {links}; do udevadm wait --timeout=60 $link || exit; done", timeout=90)

    def rescan(self) -> None:
        """Let the host look for LUNs, new sizes included."""
        self.host.ssh("iscsiadm -m session --rescan > /dev/null", timeout=90)

    def provide(
        self, name: str, size_mib: int = 64, *, igroup: str = topology.IGROUP, number: Optional[int] = None
    ) -> Lun:
        """Make an empty LUN unless it is there, map it to this host, and return it when the host has its map."""
        lun = self.luns.find(name) or self.luns.create(name, size_mib)
        self.luns.map(lun, igroup, number=number)
        self.attach([lun])
        return lun

    def prepare(self, disks: Iterable[LunSpec]) -> list[Lun]:
        """Make and map the LUNs of guests' disks, each with a file system; the host is not asked yet."""
        found = []
        for disk in disks:
            lun = self.luns.find(disk.lun) or self.luns.create(disk.lun, disk.size_mib)
            if topology.IGROUP not in self.luns.maps(lun):
                self.luns.fill(lun)
                self.luns.map(lun)
            found.append(lun)
        return found

    def named(self, disk: LunSpec) -> DiskSpec:
        """Return the disk under the name that its form says; the host must have its map."""
        lun = self.luns.get(disk.lun)
        if disk.form not in FORMS:
            raise LabError(f"Failed to name {disk.lun}: {disk.form} is none of {', '.join(FORMS)}")
        if disk.form == "alias":
            self.set_alias(lun, alias_of(lun.name))
        node = self.node(lun) if disk.form == "dm" else ""
        path = FORMS[disk.form].format(wwid=lun.wwid, naa=lun.wwid[1:], alias=alias_of(lun.name), node=node)
        return DiskSpec(path, cache=disk.cache)

    def node(self, lun: Lun) -> str:
        """Return the device node behind all names of a LUN's map (``/dev/dm-N``)."""
        return self.host.ssh(f"readlink -f /dev/disk/by-id/dm-uuid-mpath-{lun.wwid}").strip()

    def forget(self, wwid: str) -> None:
        """Flush a LUN's map and delete its paths on the host; a stale one goes as well."""
        self.host.ssh(forget_script(wwid), timeout=90)

    def discard(self, lun: Lun) -> None:
        """Remove a LUN from the host and then from the array."""
        self.forget(lun.wwid)
        self.host.ssh(f"rm -f {ALIASES / lun.wwid}.conf")
        self.luns.delete(lun)

    def topology(self, lun: Optional[Lun] = None) -> str:
        """Return what ``multipath -ll`` says."""
        return self.host.ssh(f"timeout 20 multipath -ll {lun.wwid if lun else ''}")

    def portal_down(self, fabric: str) -> None:
        """Take away a fabric's iSCSI portal alone; nobody is told."""
        self._set_portal(fabric, up=False)

    def portal_up(self, fabric: str) -> None:
        """Give the portal back; the host logs in again by itself."""
        self._set_portal(fabric, up=True)

    def link_down(self, fabric: str) -> None:
        """Unplug the array from a fabric, NFS and REST included."""
        self.network.set_link(fabric, up=False)

    def link_up(self, fabric: str) -> None:
        """Plug the array in again."""
        self.network.set_link(fabric, up=True)

    def stop_multipathd(self) -> None:
        """Stop multipathd and its socket, so that no command brings it back; the maps stay."""
        self.host.ssh("systemctl stop multipathd.socket multipathd.service")

    def start_multipathd(self) -> None:
        """Start multipathd again."""
        self.host.ssh("systemctl start multipathd.service")

    def set_alias(self, lun: Lun, alias: Optional[str]) -> None:
        """Give a LUN's map a name of its own, or its WWID back."""
        place = ALIASES / f"{lun.wwid}.conf"
        text = f"multipaths {{\n multipath {{\n  wwid {lun.wwid}\n  alias {alias}\n }}\n}}\n"
        write = f"mkdir -p {ALIASES} && cat > {place}" if alias else f"rm -f {place}"
        device = f"/dev/mapper/{alias or lun.wwid}"
        self.host.ssh(f"{write} && multipathd reconfigure > /dev/null", stdin=text)
        self.host.ssh(f"udevadm wait --timeout=60 {device}", timeout=90)

    def install_sanlun(self, *, lies: Optional[Mapping[str, str]] = None) -> None:
        """Install the stand-in of the Linux Host Utilities, with today's LUNs; ``lies`` are false paths by WWID."""
        luns = {lun.wwid: lun.path for lun in self.luns.all()}
        lifs = {portal.address: portal.name for portal in topology.PORTALS}
        table = json.dumps({"luns": {**luns, **(lies or {})}, "lifs": lifs})
        self.host.ssh(f"install -D -m 644 /dev/stdin {SANLUN_TABLE}", stdin=table)
        program = f"#!/usr/bin/python3\n{SANLUN_SOURCE.read_text(encoding='utf-8')}"
        self.host.ssh(f"install -m 755 /dev/stdin {SANLUN}", stdin=program)

    def remove_sanlun(self) -> None:
        """Remove the stand-in."""
        self.host.ssh(f"rm -f {SANLUN} {SANLUN_TABLE}")

    def make_volume_group(self, lun: Lun, *, group: str = VOLUME_GROUP) -> str:
        """Put a volume group with one logical volume (``data``) on a LUN and return the volume's active device."""
        one = f"--devices {lun.device}"
        self.host.ssh(
            f"pvcreate --quiet --yes -ff {one} {lun.device} && vgcreate --quiet {one} {group} {lun.device}"
            f" && lvcreate --quiet --yes --wipesignatures n --extents 100%FREE --name data {one} {group}"
        )
        return f"/dev/{group}/data"

    def activate(self, lun: Lun, *, active: bool = True) -> None:
        """Activate or deactivate on the host whatever volume group lies on a LUN, a guest's own one included."""
        self.host.ssh(f"vgchange --quiet --activate {'y' if active else 'n'} --devices {lun.device}")

    def remove_volume_group(self, lun: Lun, *, group: str = VOLUME_GROUP) -> None:
        """Remove the volume group of `make_volume_group` with all traces on the LUN."""
        one = f"--devices {lun.device}"
        self.host.ssh(f"vgremove --quiet --yes -ff {one} {group} && pvremove --quiet --yes {one} {lun.device}")

    def partition(self, lun: Lun) -> str:
        """Put one partition on a LUN, map it by kpartx, and return its device."""
        table = f"sfdisk --quiet --no-reread --no-tell-kernel {lun.device}"
        self.host.ssh(f"{table} && kpartx -a -s -p -part {lun.device}", stdin="label: gpt\n,,L\n")
        return f"{lun.device}-part1"

    def unpartition(self, lun: Lun, *, wipe: bool = True) -> None:
        """Unmap a LUN's partitions, and remove the partition table unless told otherwise."""
        also = f" && wipefs --quiet --all {lun.device}" if wipe else ""
        self.host.ssh(f"kpartx -d -p -part {lun.device}{also}")

    def wwids_of(self, devices: Sequence[str]) -> list[str]:
        """Return the WWIDs of the multipath maps among devices of the host."""
        if not devices:
            return []
        words = " ".join(shlex.quote(device) for device in devices)
        said = self.host.ssh(
            f"for device in {words}; do cat /sys/block/$(basename $(readlink -f $device))/dm/uuid 2> /dev/null; done; :"
        )
        return [uuid.partition("-")[2] for uuid in said.split() if uuid.startswith("mpath-")]

    def _set_portal(self, fabric: str, *, up: bool) -> None:
        for portal in topology.PORTALS:
            if portal.fabric == fabric:
                self.network.set_portal(portal, up=up)
