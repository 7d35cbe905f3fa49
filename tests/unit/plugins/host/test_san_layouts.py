# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layouts that docs/san.md tells of, each put before the code; the table there must say what the code says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional, Union

import pytest
from sysfs import SERIAL, WWID, Sysfs

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import resolve
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.assess import assess
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.inspection import (
    Choice,
    DiskInspector,
    DiskObservation,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_storage import (
    lun_of,
    mapped_elsewhere,
    not_compared,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import parse_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import Daemon, LunPlace, PathState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import FileFacts, HostFiles, Place, Stored
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.sanlun import Sanlun, SanlunLun
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import DomainState, PoolVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import Guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import Lun, LunMap
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import CODES

ROOT = Path(__file__).parents[4]
DOCS = ROOT / "docs" / "san.md"
HOST = ROOT / "plugins" / "module_utils" / "_host"
LUN = Lun("c1", "svm1", "s1", "/vol/san1/web1", "l1", SERIAL, 4096, "linux", "san1", "v1")
VOLUME = Volume("c1", "svm1", "s1", "san1", "v1")
GOOD = Daemon(paths={name: PathState(name, "active", "running", "ready") for name in ("sdb", "sdc")})
DOMAIN = """<domain><name>{name}</name><uuid>{name}</uuid><devices>{devices}
<channel type='unix'><target name='org.qemu.guest_agent.0' state='connected'/></channel></devices></domain>"""
MAP = "<disk type='block' device='{device}'><source dev='{source}'/><target dev='vda'/>{more}</disk>"
POOL = "<disk type='volume' device='disk'><source pool='p' volume='v' {more}/><target dev='vda'/></disk>"
HOSTDEV = """<hostdev type='scsi'><source><adapter name='scsi_host2'/><address bus='0' target='3' unit='1'/></source>
</hostdev>"""
ABSENT = Sanlun()
HBA = """<hostdev type='pci'><source><address domain='0' bus='3' slot='0' function='0'/></source></hostdev>"""
VHOST = "<hostdev type='scsi_host'><source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>"
NVME = """<disk type='nvme' device='disk'><source type='pci' namespace='1'><address domain='0' bus='3' slot='0'
function='0'/></source><target dev='vda'/></disk>"""
MOUNTS = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 253:0 / /srv/lun rw - xfs /dev/mapper/mpatha rw\n"


def disk(source: str = "/dev/mapper/mpatha", device: str = "disk", more: str = "") -> str:
    return MAP.format(source=source, device=device, more=more)


class Setting:
    """A host and an array on which one thing may be unlike the ordinary."""

    def __init__(self, sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sysfs = Sysfs(sysfs)
        self.nodes: dict[str, str] = {}
        self._monkeypatch = monkeypatch

    def look(
        self,
        devices: Union[str, Sequence[str]] = "",
        *,
        node: str = "dm-0",
        map_wwid: str = WWID,
        paths: Optional[dict[str, str]] = None,
        uuid: str = "",
        required: bool = True,
        daemon: Daemon = GOOD,
        holders: Sequence[tuple[str, str]] = (),
        luns: Sequence[Lun] = (LUN,),
        volume: Volume = VOLUME,
        sanlun: Sequence[SanlunLun] = (),
        installed: Sanlun = ABSENT,
        maps: Sequence[LunMap] = (),
        file: bool = False,
        alone: bool = False,
        partitions: Sequence[str] = (),
    ) -> str:
        """Return the codes that the first guest gets, comma-separated; ``alone`` leaves a LUN without its map."""
        for name in ("sdb", "sdc"):
            self.sysfs.path(name, **(paths or {}))
        for name in partitions:
            self.sysfs.partition(name)
        if not alone:
            self.sysfs.map(map_wwid)
        for name, holder in holders:
            self.sysfs.holder(name, holder)
        if uuid:
            self.sysfs.device("dm-8", uuid, over="dm-0")
        self.sysfs.number("dm-0")
        self._monkeypatch.setattr(resolve, "look_at", lambda path: self._facts(path, node, file))
        known = [devices or disk()] if isinstance(devices, str) else devices
        guests = [self._inspected(f"g{number}", xml, required, daemon) for number, xml in enumerate(known)]
        inspected = {guest.uuid: (guest, looks) for guest, looks in guests}
        placed = {observed.placed for _guest, looks in inspected.values() for observed in looks}
        places: dict[Place, Stored] = {
            place: lun_of(place, luns, sanlun, volumes={volume.uuid: volume})
            for place in placed
            if isinstance(place, LunPlace)
        }
        remarks = {
            place: [*mapped_elsewhere(maps, ["iqn.own"]), *not_compared(place, installed, sanlun)]
            for place in places
            if isinstance(place, LunPlace)
        }
        found = assess(inspected, places, chosen={"g0"}, remarks=remarks)[0]
        assert found.protected is not any(problem.severity == "error" for problem in found.problems)
        return ", ".join(problem.code for problem in found.problems)

    def _inspected(
        self, name: str, devices: str, required: bool, daemon: Daemon
    ) -> tuple[Guest, list[DiskObservation]]:
        xml = DOMAIN.format(name=name, devices=devices)
        definition = parse_guest(xml)
        guest = Guest(name, name, DomainState("running", "", 1), True, False, False, "libvirt", definition, xml)
        files = HostFiles(lambda: parse_mounts(MOUNTS), sysfs=self.sysfs.root, multipath_required=required)
        pools: Any = Pools()
        inspector = DiskInspector(files, pools, sysfs=self.sysfs.root, multipathd=lambda: daemon)
        return guest, inspector.look(guest, Choice("all", ()), images=True)

    def _facts(self, path: str, node: str, file: bool) -> FileFacts:
        if file:
            return FileFacts(path, "/srv/lun/a.img", "file", 4096)
        node = self.nodes.get(path, node)
        return FileFacts(path, f"/dev/{node}", "block", device=self.sysfs.number(node), identity=node)


class Pools:
    """A storage pool whose volume is the map."""

    def pool_volume(self, _pool: str, _volume: str) -> PoolVolume:
        return PoolVolume("block", "/dev/mapper/mpatha")


HALF = Daemon(paths={**GOOD.paths, "sdc": PathState("sdc", "failed", "running", "faulty")})
TOLD = SanlunLun("svm1", "/vol/san1/web1", "cDOT", "mpatha", WWID)
UNTOLD: dict[str, Any] = {"map_wwid": "odd", "paths": {"wwid": ""}}
BY_ID = f"/dev/disk/by-id/wwn-0x{WWID[1:]}"
SHARED = disk(more="<shareable/>")

LAYOUTS: list[tuple[str, str, dict[str, Any]]] = [
    # what the docs say, the code, and what of host and array is unlike the ordinary
    ("a multipath device of a LUN: `/dev/mapper/<WWID, alias or mpathN>`, `/dev/dm-N`", "", {}),
    ("its links `/dev/disk/by-id/dm-uuid-mpath-…`, `dm-name-…`, `wwn-…`, `scsi-…`", "", {"devices": disk(BY_ID)}),
    ("the same with `device='lun'` (SCSI commands of the guest go to the LUN)", "", {"devices": disk(device="lun")}),
    (
        "a volume of a storage pool (`mpath`, `scsi`, `iscsi`, `disk`) that leads to a multipath device",
        "",
        {"devices": POOL.format(more="")},
    ),
    (
        "a LUN by a single path, with `kvm_multipath_required: false`",
        "",
        {"node": "sdb", "alone": True, "required": False},
    ),
    ("a LUN that several guests use, marked `<shareable/>` in each", "shareable-disk", {"devices": [SHARED, SHARED]}),
    ("a LUN with partitions or LVM of the guest's own that this host leaves alone", "", {}),
    (
        "a LUN out of which this host has made partitions (kpartx) or activated logical volumes",
        "lun-activated-on-host",
        {"holders": [("dm-1", f"part1-mpath-{WWID}"), ("dm-2", "LVM-x")]},
    ),
    ("a LUN with a failed path, or with one path only", "path-failed", {"daemon": HALF}),
    (
        "a LUN that is mapped to initiators of other hosts too",
        "lun-mapped-elsewhere",
        {"maps": [LunMap("l1", "", "all", "i1", 0, ("iqn.own", "iqn.other"))]},
    ),
    ("a LUN that `sanlun` names as the array does", "", {"sanlun": [TOLD]}),
    (
        "a LUN of which an installed `sanlun` says nothing",
        "sanlun-device-unknown",
        {"installed": Sanlun("/usr/sbin/sanlun")},
    ),
    (
        "a LUN whose WWID tells nothing, where `sanlun` names it and the serials agree",
        "",
        {**UNTOLD, "sanlun": [TOLD]},
    ),
    (
        "a LUN that `sanlun` names otherwise than the array",
        "sanlun-disagrees",
        {"sanlun": [replace(TOLD, path="/vol/san1/db1")]},
    ),
    ("a LUN whose WWID tells nothing, and `sanlun` neither", "unresolvable-wwid", UNTOLD),
    (
        "a LUN whose WWID tells nothing, where `sanlun` names one with another serial",
        "sanlun-unconfirmed",
        {**UNTOLD, "luns": [replace(LUN, serial="another12345")], "sanlun": [replace(TOLD, wwid="")]},
    ),
    ("one path of a multipath device (`/dev/sdX`)", "single-path-device", {"node": "sdb"}),
    ("a LUN without multipath", "single-path-device", {"node": "sdb", "alone": True}),
    ("a partition of a LUN", "lun-partition", {"node": "dm-8", "uuid": f"part1-mpath-{WWID}"}),
    ("a logical volume of the host (LVM), on a LUN or not", "logical-volume", {"node": "dm-8", "uuid": "LVM-x"}),
    (
        "any other block device of the host: dm-crypt and other targets of device-mapper, software RAID, a local disk",
        "unsupported-block-device",
        {"node": "dm-8", "uuid": "CRYPT-LUKS2-x"},
    ),
    ("an image file on a file system of the host that lies on a LUN", "image-on-san-file-system", {"file": True}),
    (
        "a LUN that several guests use, not marked as shareable in each",
        "lun-used-by-several-guests",
        {"devices": [SHARED, disk()]},
    ),
    (
        "a LUN that another guest uses by a path, a partition, a logical volume, a drive or a SCSI host device",
        "lun-used-by-several-guests",
        {"devices": [disk(), disk(device="cdrom")]},
    ),
    ("a SCSI host device (`<hostdev type='scsi'>`)", "passed-through-disk", {"devices": HOSTDEV}),
    (
        "a storage controller of the host that is passed through (`<hostdev type='scsi_host'>`, a PCI device)",
        "passed-through-controller",
        {"devices": VHOST},
    ),
    (
        "a passed-through PCI or USB device of which the host cannot tell whether it is storage",
        "unknown-passed-through-device",
        {"devices": disk() + HBA},
    ),
    ("an NVMe namespace that is passed to QEMU", "nvme-disk", {"devices": NVME}),
    (
        "a volume of an iSCSI pool with `mode='direct'`, or any disk that QEMU reaches by itself",
        "network-disk",
        {"devices": POOL.format(more="mode='direct'")},
    ),
    (
        "a device of another vendor",
        "not-a-netapp-device",
        {"map_wwid": "36001405f00", "paths": {"vendor": "LIO-ORG", "wwid": "naa.6001405f00"}},
    ),
    (
        "a LUN of Data ONTAP 7-Mode",
        "seven-mode-lun",
        {"map_wwid": "360a98000486e2f65576f2f7a5a4f6a31", "paths": {"wwid": ""}},
    ),
    (
        "a volume of a NetApp E-Series",
        "e-series-device",
        {"map_wwid": "3600a098000a0b1c2000004d35cb3a7f2", "paths": {"wwid": ""}},
    ),
    (
        "a LUN of a disaggregated system (ASA r2), which lies in no volume",
        "lun-outside-volume",
        {"luns": [replace(LUN, name="web1", volume="")]},
    ),
    ("a LUN of VMware's virtual volumes", "unsupported-lun-class", {"luns": [replace(LUN, lun_class="vvol")]}),
    ("a LUN that no given controller knows", "lun-not-found", {"luns": []}),
    (
        "a LUN whose serial several controllers know",
        "ambiguous-lun",
        {"luns": [LUN, replace(LUN, uuid="l2", controller="c2")]},
    ),
    ("a LUN that is offline", "lun-offline", {"luns": [replace(LUN, state="offline")]}),
    ("a LUN that allows only reading", "lun-read-only", {"luns": [replace(LUN, read_only=True)]}),
    (
        "a LUN in a volume that is the destination of a mirror",
        "volume-read-only",
        {"volume": replace(VOLUME, type="dp")},
    ),
    ("a LUN in a volume that is offline", "volume-offline", {"volume": replace(VOLUME, state="offline")}),
    ("a LUN in a FlexGroup", "flexgroup", {"volume": replace(VOLUME, style="flexgroup")}),
    ("a LUN in the root volume of its SVM", "volume-is-svm-root", {"volume": replace(VOLUME, is_svm_root=True)}),
    (
        "a LUN that is larger or smaller on the array than on the host",
        "lun-size-differs",
        {"luns": [replace(LUN, size=8192)]},
    ),
    (
        "a multipath device whose paths lead to another LUN than its WWID",
        "paths-disagree",
        {"map_wwid": "3600a0980774f6a374e24515074354f4f"},
    ),
    ("a multipath device without a working path", "no-working-path", {"daemon": Daemon(queueing=frozenset({"dm-0"}))}),
    ("any multipath device while multipathd does not answer", "multipathd-not-running", {"daemon": Daemon("silent")}),
]


@pytest.mark.parametrize(("layout", "code", "how"), LAYOUTS, ids=[layout for layout, _code, _how in LAYOUTS])
def test_what_the_code_says_of_a_layout(
    layout: str, code: str, how: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Setting(tmp_path, monkeypatch).look(**how) == code, layout


OTHERS: dict[str, tuple[str, bool]] = {
    # the disk of the other guest, and whether it lies on the first guest's LUN
    "a path": (disk("/dev/sdb"), True),
    "a path with device='lun'": (disk("/dev/sdb", device="lun"), True),
    "a path that the map has lost": (disk("/dev/sdd"), True),
    "a partition of a path": (disk("/dev/sdb1"), True),
    "a partition of the map": (disk("/dev/mapper/part"), True),
    "a logical volume": (disk("/dev/vg/lv"), True),
    "a passed-through path": (HOSTDEV, True),
    "a passed-through path that both call shared": (HOSTDEV.replace("</source>", "</source><shareable/>"), True),
    "a drive": (disk(device="cdrom"), True),
    "a drive on a path": (disk("/dev/sdc", device="cdrom"), True),
    "a drive on a volume of a pool": (POOL.format(more="").replace("'disk'>", "'cdrom'>"), True),
    "another LUN": (disk("/dev/sde"), False),
    "another LUN's partition": (disk("/dev/sde1"), False),
    "another passed-through LUN": (HOSTDEV.replace("unit='1'", "unit='2'"), False),
    "a passed-through LUN that is gone": (HOSTDEV.replace("unit='1'", "unit='3'"), False),
    "another LUN in a drive": (disk("/dev/sde", device="cdrom"), False),
    "an image in a drive": (disk("/srv/iso/a.iso", device="cdrom"), False),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_guest_on_the_lun_is_seen_however_it_gets_there(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(tmp_path, monkeypatch)
    setting.sysfs.path("sdd").path("sde", "naa.600a0980774f6a374e24515074354f4f").partition("sde")
    setting.sysfs.device("dm-7", f"part1-mpath-{WWID}", over="dm-0").device("dm-9", "LVM-x", over="dm-7")
    setting.sysfs.address("sdc", "2:0:3:1").address("sde", "2:0:3:2")
    setting.nodes = {f"/dev/{name}": name for name in ("sdb", "sdb1", "sdc", "sdd", "sde", "sde1")}
    setting.nodes |= {"/dev/mapper/part": "dm-7", "/dev/vg/lv": "dm-9"}
    second, same = OTHERS[other]
    first = SHARED if "<shareable/>" in second else disk()
    assert setting.look([first, second], partitions=["sdb"]) == ("lun-used-by-several-guests" if same else "")


LOOKS = ("inspection", "resolve", "multipath", "lun_storage")
NOT_OF_LAYOUTS = {
    # a file, and the image on whatever it lies
    "backing-file-outside",
    "external-data-file",
    "image-unreadable",
    "inside-snapshot",
    "internal-snapshots",
    "local-file",
    "image-missing",
    "mount-not-responding",
    "not-a-file",
    "unsupported-file-system",
    "unsupported-image-format",
    # an NFS server and its volumes
    "ambiguous-address",
    "flexcache",
    "no-volume-at-path",
    "not-an-ontap-address",
    "unresolvable-server",
    # nothing that could be a LUN
    "directory-disk",
    "shared-directory",
    "unsupported-disk-type",
    "vhost-disk",
    # the means of looking, and a restore
    "lun-device-missing",
    "lun-identity",
    "lun-in-use",
    "lun-maps-unknown",
    "lun-reserved",
    "luns-unreadable",
    "pool-volume-unresolved",
}


def table() -> str:
    """Return the table as the docs must have it."""
    lines = ["| layout | protected | code |", "| --- | --- | --- |"]
    for layout, code, _how in LAYOUTS:
        protected = "no" if code and CODES[code].severity == "error" else "yes"
        lines.append(f"| {layout} | {protected} | {f'`{code}`' if code else ''} |")
    return "\n".join(lines)


def test_the_docs_hold_the_table() -> None:
    found = "\n".join(line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("|"))
    assert found == table(), f"docs/san.md must hold this table:\n{table()}"


def test_no_layout_is_forgotten() -> None:
    """Each code that a look at a disk's device can end with is in the table, but for those that are not of LUNs."""
    told = "".join((HOST / f"{name}.py").read_text(encoding="utf-8") for name in LOOKS)
    named = {code for code in CODES if f'"{code}"' in told or "lun" in code.split("-")}
    assert named >= NOT_OF_LAYOUTS
    assert named - NOT_OF_LAYOUTS == named & {code for _layout, code, _how in LAYOUTS}
