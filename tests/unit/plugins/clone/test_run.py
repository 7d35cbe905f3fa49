# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies made and taken away: files on the simulated array, guests of libvirt's test driver, real qcow2 chains.

The array's volume stands for its own mount. A run is killed before each of its steps, and what it leaves is found.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import samples
from running_module import undocumented
from virt import URI, Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import (
    clone_record,
    from_snapshots,
    manifest,
    store,
    volume_copies,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone import make, remove
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone import run as clone_run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.make import CloneFailedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.plan import CloneRefusedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.remove import NotOursError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate import processes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import InUseError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_attach import San
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import mark_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import read_snapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import VolumeRef, find_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery import run as recovery_run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
from ansible_collections.kvmsnap.ontap.plugins.modules import kvm_vm_clone
from ontapsim import testing, tree
from ontapsim.testclient import Api
from ontapsim.testing import Running

NAME = "web1-copy"
BACKUP = samples.BACKUP
THEN, SINCE = b"as it was then" * 5000, b"as it became" * 6000
CLONING = {"method": "POST", "path": "/api/storage/file/clone"}
UEFI, SECRET = b"variables", b"sealed"

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture(scope="module", name="array")
def _array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One simulated array for all tests."""
    with testing.start(tmp_path=tmp_path_factory.mktemp("array")) as running:
        yield running
    tree.remove_tree(running.state_dir, sealed=True)


@pytest.fixture(scope="module", name="saved")
def _saved(array: Running) -> dict[str, str]:
    """The volume as it was in the backup, written over since; the uuids of volume and snapshot."""
    lun = array.volume_root("svm1", "kvm_san1") / "luns" / "a"
    lun.write_bytes(THEN.ljust(lun.stat().st_size, b"\0"))
    root = array.volume_root("svm1", "kvm_vol1")
    (root / "web1").mkdir()
    (root / "web1.img").write_bytes(THEN)
    (root / "base.img").write_bytes(THEN * 2)
    qemu_img("create", "-q", "-f", "qcow2", "-b", str(root / "base.img"), "-F", "raw", str(root / "web1" / "top.qcow2"))
    array.control.add_snapshot("svm1", "kvm_vol1", BACKUP)
    array.control.add_snapshot("svm1", "kvm_san1", BACKUP)
    lun.write_bytes(SINCE.ljust(lun.stat().st_size, b"\0"))
    for path in ("web1.img", "base.img", "web1/top.qcow2"):
        (root / path).write_bytes(SINCE)
    controller = Controller.from_option(login(array))
    with connect(controller, policy=RetryPolicy()) as client:
        found = find_volumes([client], [VolumeRef("svm1", "kvm_vol1"), VolumeRef("svm1", "kvm_san1")])
        snapshots = [
            read_snapshot(client, volume, name=BACKUP, deadline=Deadline.after(10.0)) for _client, volume in found
        ]
    known = {"svm": found[0][1].svm_uuid}
    for (_client, volume), snapshot in zip(found, snapshots):
        assert snapshot is not None
        known.update({volume.name: volume.uuid, f"{volume.name} snapshot": snapshot.uuid})
    return known


def login(array: Running) -> dict[str, Any]:
    """How the least-privilege account logs in."""
    return {
        "hostname": "127.0.0.1",
        "port": array.port,
        "username": "kvmsnap",
        "password": "lab-Kvmsnap1",
        "ca_path": array.ca_pem,
    }


def qemu_img(*words: str) -> str:
    return subprocess.run(["qemu-img", *words], check=True, timeout=30, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class PlainSan(San):
    """A host that sees each LUN as soon as it is shown to it, and forgets it only while it still is."""

    array: Running | None = None
    seen: dict[str, int] = field(default_factory=dict)

    def attach(self, *, wwid: str, number: int, size: int, timeout: float = 0.0) -> str:
        assert self.shown(wwid) == [number]
        self.seen[wwid] = number
        return f"/dev/mapper/{wwid}"

    def detach(self, *, wwid: str, timeout: float = 0.0) -> None:
        assert wwid not in self.seen or self.shown(wwid)
        self.seen.pop(wwid, None)

    def read(self, device: str, offset: int, *, length: int) -> bytes:
        with self.file(device.rpartition("/")[2]).open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    def map(self, wwid: str) -> Any:
        return self.seen.get(wwid)

    def numbers(self) -> set[int]:
        return {1, 2, 3}

    def file(self, wwid: str) -> Path:
        """Where the array keeps the bytes of a LUN."""
        (found,) = [each for each in self.luns() if wwid_of(each["serial"]) == wwid]
        assert self.array is not None
        return Path(self.array.state_dir, "vols", "svm1", *found["name"].split("/")[2:])

    def shown(self, wwid: str) -> list[int]:
        """The numbers under which a LUN is shown to this host; nobody else may see it."""
        (found,) = [each for each in self.luns() if wwid_of(each["serial"]) == wwid]
        assert set(found["maps"]) <= {"hv1"}
        return list(found["maps"].values())

    def luns(self) -> list[dict[str, Any]]:
        """All LUNs of the array."""
        assert self.array is not None
        return self.array.control.luns()


class Bench:
    """A host with a catalog, a mount of the array and libvirt's test driver."""

    def __init__(self, array: Running, saved: Mapping[str, str], guests: Guests, directory: Path) -> None:
        self.array, self.guests, self.root = array, guests, directory / "catalog"
        self.volume = array.volume_root("svm1", "kvm_vol1")
        self.side = directory / "side"
        self.side.mkdir()
        self.saved = saved
        self.firmware = directory / "code.fd"
        self.firmware.touch()
        key = (saved["svm"], saved["kvm_vol1"])
        mounts = {key: HostVolume(str(self.volume))}
        self.san = PlainSan(array=array, initiators=lambda: ["iqn.2026-01.org.example:hv1"])
        self.ground = clone_run.Ground(
            lambda *_asked: mounts,
            nvram=str(self.side),
            tpm=str(self.side),
            firmware=(f"{directory}/",),
            san=self.san,
            initiators=lambda: ["iqn.2026-01.org.example:hv1"],
        )

    def options(self, **changes: Any) -> dict[str, Any]:
        options = {
            "controllers": [login(self.array)],
            "state": "present",
            "name": NAME,
            "guest": "web1",
            "backup_id": "latest",
            "owner": "drill",
            "backup_from": None,
            "network": None,
            "interfaces": "none",
            "allowed_networks": [],
            "allowed_paths": [],
            "running": False,
            "method": "auto",
            "start_timeout": 10,
            "catalog_dir": str(self.root),
            "hold_dir": str(self.root / "run" / "holds"),
            "uri": URI,
            "retry_count": 0,
            "timeout": 30,
        }
        return {**options, **changes}

    def present(self, *, check: bool = False, **changes: Any) -> dict[str, Any]:
        return self.run(self.options(**changes), check=check)

    def absent(self, *, check: bool = False, **changes: Any) -> dict[str, Any]:
        return self.run(self.options(state="absent", **changes), check=check)

    def run(self, options: dict[str, Any], *, check: bool) -> dict[str, Any]:
        request = clone_run.CloneRequest.from_options(options)
        return clone_run.run(request, check=check, ground=self.ground)

    def world(self) -> dict[str, Any]:
        """Everything that a copy may leave: files of the volume, side files, records, guests."""
        live = [path for path in self.volume.rglob("*") if ".snapshot" not in path.parts and path.is_file()]
        return {
            "files": {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in live},
            "side": sorted(path.name for path in self.side.iterdir()),
            "luns": sorted(json.dumps(each, sort_keys=True) for each in self.san.luns()),
            "seen": dict(self.san.seen),
            "records": sorted(path.name for path in self.root.glob("clones/*.json")),
            "guests": {each.name(): each.XMLDesc(0) for each in self.guests.connection.listAllDomains(0)},
        }

    def domain(self) -> Any:
        return self.guests.connection.lookupByName(NAME)

    def file(self, result: Mapping[str, Any], number: int = 0) -> Path:
        return Path(result["disks"][number]["host_path"])

    def back_up(self, *disks: dict[str, Any], files: tuple[SavedFile, ...] = (), devices: str = "") -> None:
        """Put a complete backup of web1 into the catalog."""
        record = samples.guest(disks=list(disks) or [self.disk()])
        uefi = f"<loader readonly='yes' type='pflash'>{self.firmware}</loader><nvram>/nv/web1.fd</nvram>"
        record["xml"] = (
            f"<domain type='test'><name>web1</name><uuid>{samples.WEB}</uuid><memory>8192</memory>"
            f"<os><type>hvm</type>{uefi if files else ''}</os><devices>"
            + "".join(
                f"<disk type='file' device='disk'><driver name='qemu' type='{each['format']}'/>"
                f"<source file='{each['path']}'/><target dev='{each['target']}' bus='virtio'/></disk>"
                for each in record["disks"]
            )
            + f"{devices}</devices></domain>"
        )
        started = samples.manifest(record)
        (any_volume,) = started.volumes
        volumes = tuple(
            replace(
                any_volume,
                controller=f"127.0.0.1:{self.array.port}",
                svm_uuid=self.saved["svm"],
                volume=name,
                volume_uuid=self.saved[name],
                mount_point=mount_point,
                snapshot_uuid=self.saved[f"{name} snapshot"],
            )
            for name, mount_point in (("kvm_vol1", str(self.volume)), ("kvm_san1", None))
        )
        guests = (replace(started.guests[0], files=files),)
        store.save(
            self.root,
            started.completed_with(guests=guests, volumes=volumes, at="2026-11-21T02:01:00+00:00"),
            origin=Origin.OWN_RUN,
        )

    def disk(self, path: str = "web1.img", target: str = "vda", **changes: Any) -> dict[str, Any]:
        place = samples.storage("kvm_vol1", path, svm_uuid=self.saved["svm"], volume_uuid=self.saved["kvm_vol1"])
        return samples.disk(target, storage=place, path=str(self.volume / path), **changes)

    def lun(self, target: str = "vda", **changes: Any) -> dict[str, Any]:
        """The LUN luns/a as a backup knows it."""
        (found,) = [each for each in self.san.luns() if each["name"] == "/vol/kvm_san1/luns/a"]
        serial, device = found["serial"], f"/dev/mapper/{wwid_of(found['serial'])}"
        identity = {
            "uuid": found["uuid"],
            "serial": serial,
            "wwid": wwid_of(serial),
            "size": 8 << 20,
            "os_type": "linux",
            "device": device,
        }
        place = samples.storage(
            "kvm_san1",
            "luns/a",
            kind="lun",
            lun={**identity, **changes},
            svm_uuid=self.saved["svm"],
            volume_uuid=self.saved["kvm_san1"],
            mount_point=None,
        )
        return samples.disk(target, storage=place, source=device, path=device)

    def chain(self) -> dict[str, Any]:
        return self.disk("web1/top.qcow2", format="qcow2", backing=[str(self.volume / "base.img")])

    def keep(self, kind: str, content: bytes) -> SavedFile:
        """Keep a side file in the backup."""
        stored = f"{samples.WEB}.{kind}"
        directory = store.backup_directory(self.root, BACKUP)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / stored).write_bytes(content)
        return SavedFile(kind, f"/old/{kind}", stored, hashlib.sha256(content).hexdigest())


@pytest.fixture
def idle_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process but this one has a file open, so that nobody waits for a look at thousands; the gate's tests look."""
    monkeypatch.setattr(processes, "_processes", lambda _proc: iter(()))


@pytest.fixture(name="bench")
def _bench(
    array: Running, saved: dict[str, str], tmp_path: Path, idle_host: None, jobs_end_soon: None
) -> Iterator[Bench]:
    """A host whose array is without faults; no copy outlives its test."""
    array.control.clear_faults()
    array.control.reset_switches()
    guests = Guests()
    bench = Bench(array, saved, guests, tmp_path)
    before = bench.world()
    yield bench
    array.control.clear_faults()
    array.control.reset_switches()
    with suppress(KvmsnapError):
        bench.absent(guest=None)
    guests.close()
    bench.guests = Guests()
    after = bench.world()
    bench.guests.close()
    for path in set(after["files"]) - set(before["files"]):
        Path(path).unlink()
    assert {**after, "guests": set(after["guests"])} == {**before, "guests": set(before["guests"])}


def tar_of(content: bytes, name: str = "tpm2-00.permall", kind: bytes = tarfile.REGTYPE) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        top = tarfile.TarInfo(samples.WEB)
        top.type, top.mode, top.uid, top.gid = tarfile.DIRTYPE, 0o711, os.getuid(), os.getgid()
        tar.addfile(top)
        info = tarfile.TarInfo(f"{samples.WEB}/{name}")
        info.size, info.mode, info.type = (len(content) if kind == tarfile.REGTYPE else 0), 0o600, kind
        info.uid, info.gid, info.linkname = os.getuid(), os.getgid(), "/etc/passwd"
        tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def test_a_copy_is_made_once_and_taken_away_once(bench: Bench) -> None:
    bench.back_up()
    before = bench.world()
    planned = bench.present(check=True)
    assert (planned["changed"], planned["clone"]["state"], planned["disks"]) == (True, "absent", [])
    assert planned["diff"]["before"] == f"copy {NAME}: absent\n"
    assert "web1" in planned["diff"]["after"]
    assert bench.world() == before
    made = bench.present()
    assert (made["changed"], made["clone"]["state"], made["clone"]["owner"]) == (True, "shutoff", "drill")
    (disk,) = made["disks"]
    assert (disk["method"], disk["verified"]) == ("file_clone", "size and sampled blocks")
    told = {key: value for key, value in made.items() if key not in ("changed", "diff")}
    assert undocumented(kvm_vm_clone.RETURN, told) == []
    assert bench.file(made).read_bytes() == THEN
    definition = parse_guest(bench.domain().XMLDesc(0))
    assert (definition.uuid, definition.disks[0].source) == (made["clone"]["uuid"], disk["host_path"])
    assert mark_of(bench.domain().XMLDesc(0)) is not None
    assert not bench.domain().autostart()
    there = bench.world()
    for check in (True, False):
        again = bench.present(check=check)
        assert (again["changed"], again["clone"]["uuid"]) == (False, made["clone"]["uuid"])
    assert bench.world() == there
    assert bench.absent(check=True)["changed"] is True
    assert bench.world() == there
    gone = bench.absent()
    assert (gone["changed"], gone["clone"]) == (True, None)
    assert gone["diff"]["after"] == f"copy {NAME}: absent\n"
    assert bench.world() == before
    assert bench.absent()["changed"] is False


def test_the_original_is_not_touched_and_may_be_gone(bench: Bench) -> None:
    bench.back_up()
    (bench.volume / "web1.img").rename(bench.volume / "elsewhere")
    try:
        assert bench.file(bench.present()).read_bytes() == THEN
    finally:
        bench.absent()
        (bench.volume / "elsewhere").rename(bench.volume / "web1.img")


def test_an_overlay_stands_on_the_copy_of_what_is_below_it(bench: Bench) -> None:
    bench.back_up(bench.chain())
    made = bench.present()
    top, base = bench.file(made), bench.file(made, 1)
    told = json.loads(qemu_img("info", "-U", "--output=json", "-f", "qcow2", str(top)))
    assert (told["backing-filename"], told["backing-filename-format"]) == (str(base), "raw")
    assert base.read_bytes() == THEN * 2
    assert (top.parent, base.parent) == (bench.volume / "web1", bench.volume)
    known = clone_record.load(bench.root, NAME)
    assert known is not None
    assert [each.format for each in known.files] == ["qcow2", "raw"]
    (disk,) = parse_guest(bench.domain().XMLDesc(0)).disks
    assert (disk.source, disk.format, disk.backing) == (str(top), "qcow2", ())


def test_a_chain_that_the_backup_does_not_know_is_refused_and_nothing_is_left(bench: Bench) -> None:
    before = bench.world()
    bench.back_up({**bench.chain(), "backing": []})
    with pytest.raises(CloneFailedError, match=r"it needs .*base[.]img.* is gone again"):
        bench.present()
    assert bench.world() == before


def test_side_files_come_from_the_backup_to_places_of_their_own(bench: Bench) -> None:
    files = (bench.keep("nvram", UEFI), bench.keep("tpm", tar_of(SECRET)))
    bench.back_up(files=files, devices="<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>")
    made = bench.present()
    uuid = made["clone"]["uuid"]
    nvram = bench.side / f"kvmsnap-clone-{uuid}_VARS.fd"
    assert nvram.read_bytes() == UEFI
    assert (bench.side / uuid / "tpm2-00.permall").read_bytes() == SECRET
    assert parse_guest(bench.domain().XMLDesc(0)).nvram == str(nvram)
    bench.absent()
    assert list(bench.side.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("tpm", tar_of(b"x", "../../evil"), "Refused to unpack"),
        ("tpm", tar_of(b"x", "link", tarfile.SYMTYPE), "Refused to unpack"),
        ("tpm", b"no archive", "Failed to put tpm state"),
    ],
)
def test_what_is_no_state_of_a_tpm_is_refused(bench: Bench, kind: str, content: bytes, words: str) -> None:
    bench.back_up(files=(bench.keep(kind, content),), devices="<tpm model='tpm-crb'><backend type='emulator'/></tpm>")
    with pytest.raises(CloneFailedError, match=words):
        bench.present()
    assert list(bench.side.iterdir()) == []


def test_a_side_file_that_was_altered_is_not_trusted(bench: Bench) -> None:
    kept = bench.keep("nvram", UEFI)
    bench.back_up(files=(kept,))
    bench.keep("nvram", b"tampered")
    with pytest.raises(CloneFailedError, match="checksum is not that of the backup"):
        bench.present()


@contextmanager
def an_isolated_network(bench: Bench, name: str) -> Iterator[None]:
    network = bench.guests.connection.networkDefineXML(
        f"<network><name>{name}</name><ip address='10.9.0.1' netmask='255.255.255.0'/></network>"
    )
    network.create()
    try:
        yield
    finally:
        network.destroy()
        network.undefine()


def test_interfaces_go_to_an_isolated_network_or_nowhere(bench: Bench) -> None:
    bench.back_up(
        devices="<interface type='bridge'><mac address='52:54:00:11:22:33'/><source bridge='br0'/></interface>"
    )
    bench.present()
    assert "<interface" not in bench.domain().XMLDesc(0)
    with pytest.raises(NotOursError, match="its network is none, not drillnet"):
        bench.present(network="drillnet")
    bench.absent()
    with an_isolated_network(bench, "drillnet"):
        bench.present(network="drillnet")
        xml = bench.domain().XMLDesc(0)
        assert "network='drillnet'" in xml
        assert "52:54:00:11:22:33" not in xml
        bench.absent()


def test_interfaces_of_the_original_are_kept_where_asked_with_new_addresses(bench: Bench) -> None:
    bench.back_up(
        devices="<interface type='network'><mac address='52:54:00:11:22:33'/><source network='default'/></interface>"
    )
    planned = bench.present(check=True, interfaces="original")
    assert "network: those of the original, with new addresses" in planned["diff"]["after"]
    made = bench.present(interfaces="original")
    assert (made["clone"]["network"], made["clone"]["interfaces"]) == (None, "original")
    xml = bench.domain().XMLDesc(0)
    assert "network='default'" in xml
    assert "52:54:00:11:22:33" not in xml
    assert bench.present(interfaces="original")["changed"] is False
    with pytest.raises(NotOursError, match="its choice of interfaces is original, not none"):
        bench.present()
    bench.absent()
    before = bench.world()
    with pytest.raises(InputError, match="network and interfaces=original exclude each other"):
        bench.present(interfaces="original", network="default")
    bench.back_up(devices="<interface type='network'><source network='nowhere'/></interface>")
    with pytest.raises(CloneRefusedError, match="refers to the network nowhere"):
        bench.present(interfaces="original")
    assert bench.world() == before


def test_a_copy_of_a_backup_that_the_catalog_lost_has_new_side_files(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.back_up(files=(bench.keep("nvram", UEFI),))
    found = store.load(bench.root, BACKUP)
    assert found is not None
    store.remove(bench.root, BACKUP)
    before = bench.world()
    mount = bench.side.parent / "mount"
    at = mount / ".snapshot" / BACKUP
    at.mkdir(parents=True)
    carrying = tuple(replace(each, mount_point=str(at) if each is found.volumes[0] else None) for each in found.volumes)
    started = replace(found, phase="started", completed=None, volumes=carrying)
    parts = volume_copies.put_parts(started).parts
    bound, _remarks = volume_copies.put_index(started, parts, owner=found.owner, run_id=RUN)
    monkeypatch.setattr(from_snapshots, "nfs_points", lambda: [str(mount)])
    monkeypatch.setattr(from_snapshots, "volumes_at", lambda *_asked: {str(mount): found.volumes[0].key})
    with pytest.raises(manifest.ManifestError, match="has the comment '', which no backup gave"):
        bench.present(backup_id=BACKUP)
    assert bench.world() == before
    for volume in found.volumes:
        bench.array.control.change_snapshot("svm1", volume.volume, BACKUP, comment=bound.stored_comment)
    try:
        made = bench.present(backup_id=BACKUP)
    finally:
        for volume in found.volumes:
            bench.array.control.change_snapshot("svm1", volume.volume, BACKUP, comment="")
    assert bench.file(made).read_bytes() == THEN
    assert "UEFI variables: kept in the catalog only, which is gone; the copy has new ones" in made["notes"]
    assert any("its manifest is the one in the snapshot of svm1:kvm_vol1" in note for note in made["notes"])
    assert list(bench.side.iterdir()) == []


def test_a_copy_is_made_from_the_catalog_of_another_host(bench: Bench) -> None:
    bench.back_up(files=(bench.keep("nvram", UEFI),))
    text = (store.backup_directory(bench.root, BACKUP) / "manifest.json").read_bytes()
    store.remove(bench.root, BACKUP)
    nvram = {f"{samples.WEB}.nvram": base64.b64encode(UEFI).decode()}
    option = {"manifest": base64.b64encode(text).decode(), "files": nvram}
    assert bench.present(check=True, backup_from=option)["changed"] is True
    assert store.entries(bench.root) == []
    made = bench.present(backup_from=option)
    assert "the backup was handed over from the catalog of another host" in made["notes"]
    assert (bench.side / f"kvmsnap-clone-{made['clone']['uuid']}_VARS.fd").read_bytes() == UEFI
    assert [entry.backup_id for entry in store.entries(bench.root)] == [BACKUP]


@pytest.mark.parametrize(
    ("network", "words"), [("default", "is not isolated, it forwards"), ("nowhere", "knows no such network")]
)
def test_a_network_that_leads_out_is_refused(bench: Bench, network: str, words: str) -> None:
    bench.back_up()
    with pytest.raises(CloneRefusedError, match=words):
        bench.present(network=network)


def test_a_copy_is_started_when_it_is_to_run_and_left_as_it_is_otherwise(bench: Bench) -> None:
    bench.back_up()
    assert bench.present(running=True)["clone"]["state"] == "running"
    assert bench.present(running=True)["changed"] is False
    assert bench.present(running=False)["clone"]["state"] == "running"
    bench.domain().destroy()
    assert bench.present(running=True, check=True)["changed"] is True
    assert bench.present(running=True)["clone"]["state"] == "running"
    bench.absent()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"owner": "somebody"}, "owner is drill, not somebody"),
        ({"backup_id": "hv1-daily_20200101000000"}, "backup is hv1-daily_20261121020000, not hv1-daily_2020"),
        ({"guest": "db1"}, "guest is web1, not db1"),
    ],
)
def test_another_copy_of_that_name_is_not_touched(bench: Bench, changes: dict[str, Any], words: str) -> None:
    bench.back_up()
    bench.present()
    before = bench.world()
    for act in (bench.present, bench.absent):
        with pytest.raises(NotOursError, match=words):
            act(**changes)
    assert bench.world() == before
    assert bench.absent(guest=samples.WEB, backup_id=BACKUP)["changed"] is True


def test_a_guest_that_only_has_the_name_is_not_touched(bench: Bench) -> None:
    bench.back_up()
    bench.guests.add(NAME)
    before = bench.world()
    with pytest.raises(InputError, match="a guest of that name is defined, and it is no copy"):
        bench.present()
    with pytest.raises(NotOursError, match="no copy of ours"):
        bench.absent()
    assert bench.world() == before


def test_a_copy_whose_mark_was_taken_away_is_somebody_s_own(bench: Bench) -> None:
    bench.back_up()
    bench.present()
    xml = bench.domain().XMLDesc(0)
    bench.guests.connection.defineXML(re.sub("<metadata.*</metadata>", "", xml, flags=re.DOTALL))
    before = bench.world()
    with pytest.raises(NotOursError, match="carries no mark of ours"):
        bench.absent()
    with pytest.raises(NotOursError, match="carries no mark of ours"):
        bench.present()
    assert bench.world() == before
    bench.guests.connection.defineXML(xml)


def test_a_file_that_another_guest_uses_is_not_removed(bench: Bench) -> None:
    bench.back_up()
    path = bench.present()["clone"]["disks"][0]["path"]
    other = bench.guests.connection.defineXML(
        "<domain type='test'><name>other</name><memory>1024</memory><os><type>hvm</type></os><devices>"
        f"<disk type='file' device='disk'><source file='{path}'/><target dev='vda'/></disk></devices></domain>"
    )
    before = bench.world()
    with pytest.raises(InUseError, match=r"Refused to remove .*: guest other \(.*\), shutoff, has it as its disk vda"):
        bench.absent()
    assert bench.world() == before
    other.undefine()


def test_a_copy_that_lost_a_part_is_made_anew(bench: Bench) -> None:
    bench.back_up()
    first = bench.present()
    bench.file(first).unlink()
    second = bench.present()
    assert (second["changed"], bench.file(second).read_bytes()) == (True, THEN)
    assert second["clone"]["uuid"] != first["clone"]["uuid"]
    bench.domain().undefine()
    third = bench.present()
    assert bench.file(third).read_bytes() == THEN
    assert not bench.file(second).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"guest": "ghost"}, "no backup that holds guest ghost"),
        ({"guest": "ghost", "backup_id": BACKUP}, "Guest ghost is not in backup"),
        ({"backup_id": "hv1-daily_20200101000000"}, "There is no backup"),
        ({"name": "../x"}, "name '../x' cannot be used"),
        ({"owner": "a b"}, "owner 'a b' cannot be used"),
        ({"network": ""}, "network is empty"),
        ({"guest": ""}, "guest is empty"),
        ({"controllers": []}, "the list of controllers is empty"),
    ],
)
def test_input_that_cannot_be_used_is_refused(bench: Bench, options: dict[str, Any], words: str) -> None:
    bench.back_up()
    before = bench.world()
    with pytest.raises(InputError, match=words):
        bench.present(**options)
    assert bench.world() == before


def test_where_the_array_may_not_clone_the_next_way_is_gone(bench: Bench) -> None:
    bench.back_up()
    bench.array.control.add_fault("status", match=CLONING, status=403, code="6", message="not authorized")
    made = bench.present()
    assert made["disks"][0]["method"] in ("sfsr_cli", "copy")
    assert bench.file(made).read_bytes() == THEN


@pytest.mark.parametrize("method", ["copy", "file_clone"])
def test_a_way_that_is_asked_for_is_gone(bench: Bench, method: str) -> None:
    bench.back_up()
    made = bench.present(method=method)
    assert made["disks"][0]["method"] == method
    assert bench.file(made).read_bytes() == THEN
    assert bench.file(made).stat().st_mode == (bench.volume / "web1.img").stat().st_mode


class KilledError(BaseException):
    """The process is killed here: nothing of ours runs after it."""


STEPS: list[tuple[Any, str]] = [
    (make.lun_clone, "clone_lun"),
    (make.lun_clone, "map_clone"),
    (PlainSan, "attach"),
    (make.lun_restore, "read_data"),
    (make.files, "clone_file"),
    (make, "first_difference"),
    (make, "point_to_backing"),
    (make, "write_private"),
    (make.Host, "define"),
    (clone_run, "power_on"),
]


def dying(step: Callable[..., Any], *, when: str) -> Callable[..., Any]:
    """Let a step die before it does anything, or when it is done."""

    def die(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            step(*arguments, **named)
        raise KilledError

    return die


@pytest.mark.parametrize(("when", "then"), [("before", "absent"), ("after", "absent"), ("after", "present")])
@pytest.mark.parametrize(("room", "step"), STEPS, ids=[step for _room, step in STEPS])
def test_a_run_that_is_killed_leaves_nothing_unknown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, room: Any, step: str, when: str, then: str
) -> None:
    bench.back_up(bench.chain(), bench.lun("vdb"), files=(bench.keep("nvram", UEFI),))
    before = bench.world()
    with monkeypatch.context() as patched:
        patched.setattr(room, step, dying(getattr(room, step), when=when))
        with pytest.raises(KilledError):
            bench.present(running=True)
    assert clone_record.load(bench.root, NAME) is not None
    if then == "present":
        made = bench.present(running=True)
        assert made["clone"]["state"] == "running"
        known = clone_record.load(bench.root, NAME)
        assert known is not None
        assert known.phase == "made"
        assert len(bench.world()["files"]) == len(before["files"]) + 2
    assert bench.absent()["changed"] is True
    assert bench.world() == before


REMOVALS: list[tuple[Any, str]] = [
    (remove, "power_off"),
    (remove.Domain, "undefine"),
    (remove, "file_size"),
    (PlainSan, "detach"),
    (remove.lun_clone, "remove_clone"),
    (remove.clone_record, "forget"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("room", "step"), REMOVALS, ids=[step for _room, step in REMOVALS])
def test_a_removal_that_is_killed_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, room: Any, step: str, when: str
) -> None:
    bench.back_up(bench.chain(), bench.lun("vdb"))
    before = bench.world()
    bench.present(running=True)
    with monkeypatch.context() as patched:
        patched.setattr(room, step, dying(getattr(room, step), when=when))
        with pytest.raises(KilledError):
            bench.absent()
    assert bench.absent()["changed"] is ((step, when) != ("forget", "after"))
    assert bench.world() == before


Recovered = Callable[..., list[tuple[str, str, Any]]]


@pytest.fixture(name="recovered")
def _recovered(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recovered:
    """Run the recovery on the bench's host: what was found, and what was done about it."""
    monkeypatch.setattr(recovery_run, "San", lambda: bench.san)
    (tmp_path / "run").mkdir()

    def run(*, check: bool = False, grace_period: float = 0.0) -> list[tuple[str, str, Any]]:
        options = {
            "controllers": [login(bench.array)],
            "owner": "hv1",
            "volumes": [],
            "orphans": "keep",
            "safety_days": 30,
            "grace_period": grace_period,
            "catalog_dir": str(bench.root),
            "hold_dir": str(tmp_path / "run" / "holds"),
            "freeze_timeout": 5,
            "agent_ping_timeout": 5,
            "retry_count": 0,
            "timeout": 30,
            "uri": URI,
        }
        result = recovery_run.recover(recovery_run.RecoveryRequest.from_options(options), check=check)
        assert result["changed"] is any(item["action"] for item in result["leftovers"])
        return [(item["kind"], item["name"], item["action"] or item["message"]) for item in result["leftovers"]]

    return run


TAKEN_AWAY = [("clone", NAME, "taken away")]


@pytest.mark.parametrize(("room", "step"), STEPS[:-1], ids=[step for _room, step in STEPS[:-1]])
def test_recovery_takes_away_what_a_killed_run_left(
    bench: Bench, recovered: Recovered, monkeypatch: pytest.MonkeyPatch, room: Any, step: str
) -> None:
    bench.back_up(bench.chain(), bench.lun("vdb"), files=(bench.keep("nvram", UEFI),))
    before = bench.world()
    with monkeypatch.context() as patched:
        patched.setattr(room, step, dying(getattr(room, step), when="after"))
        with pytest.raises(KilledError):
            bench.present(running=True)
    left = bench.world()
    assert left != before
    assert recovered(check=True) == TAKEN_AWAY
    assert bench.world() == left
    assert recovered() == TAKEN_AWAY
    assert bench.world() == before
    assert recovered() == []


@pytest.mark.parametrize(("room", "step"), REMOVALS, ids=[step for _room, step in REMOVALS])
def test_recovery_ends_a_removal_that_was_killed(
    bench: Bench, recovered: Recovered, monkeypatch: pytest.MonkeyPatch, room: Any, step: str
) -> None:
    bench.back_up(bench.chain(), bench.lun("vdb"))
    before = bench.world()
    bench.present(running=True)
    with monkeypatch.context() as patched:
        patched.setattr(room, step, dying(getattr(room, step), when="before"))
        with pytest.raises(KilledError):
            bench.absent()
    assert recovered() == TAKEN_AWAY
    assert bench.world() == before
    assert recovered() == []


def test_recovery_leaves_whole_copies_and_those_being_worked_on(bench: Bench, recovered: Recovered) -> None:
    bench.back_up()
    bench.present(running=True)
    made = bench.world()
    assert recovered() == []
    record = clone_record.load(bench.root, NAME)
    assert record is not None
    clone_record.save(bench.root, record.at("making"))
    with clone_record.alone(bench.root):
        assert recovered() == []
    ((_kind, _name, told),) = recovered(grace_period=3600.0)
    said = r"what its run asked of the array may yet appear; it will count as a leftover in 3[56]\d\d s"
    assert re.search(said, told)
    assert bench.world() == made
    assert recovered() == TAKEN_AWAY


def test_recovery_tells_of_what_is_not_provably_a_copy(bench: Bench, recovered: Recovered) -> None:
    bench.back_up()
    bench.present()
    record = clone_record.load(bench.root, NAME)
    assert record is not None
    clone_record.save(bench.root, replace(record.at("making"), mark=replace(record.mark, owner="another")))
    (bench.root / "clones" / "broken.json").write_text("{", encoding="ascii")
    left = bench.world()
    unreadable, foreign = recovered()
    assert unreadable[:2] == ("clone", "broken")
    assert "Failed to read what is known of copy broken" in unreadable[2]
    assert foreign[:2] == ("clone", NAME)
    assert "never made to the end; Refused to remove guest" in foreign[2]
    assert bench.world() == left
    (bench.root / "clones" / "broken.json").unlink()
    clone_record.save(bench.root, record)


def test_recovery_takes_away_what_the_array_made_of_a_copy_that_was_taken_back(
    bench: Bench, recovered: Recovered
) -> None:
    bench.back_up()
    before = bench.world()
    bench.array.control.add_fault("late", match={**CLONING, "count": 1}, seconds=2, answer="drop")
    with pytest.raises(CloneFailedError, match=r"is gone again\. What the array may make of it yet is taken away by"):
        bench.present()
    (late,) = clone_record.names(bench.root)
    assert bench.present()["changed"]
    bench.array.control.settle()
    assert len(list(bench.volume.rglob("kvmsnap-clone-*.img"))) == 2
    assert bench.absent()["changed"]
    assert [name for _kind, name, said in recovered(grace_period=600) if "may yet appear" in said] == [late]
    assert recovered() == [("clone", late, "taken away")]
    assert bench.world() == before


@pytest.mark.parametrize("after", [0, 1], ids=["first file", "second file"])
def test_a_copy_that_fails_is_taken_away_again(bench: Bench, after: int) -> None:
    bench.back_up(bench.chain())
    before = bench.world()
    bench.array.control.add_fault("status", match={**CLONING, "after": after}, status=500, code="1", message="no")
    with pytest.raises(CloneFailedError, match=f"What was made of copy {NAME} is gone again"):
        bench.present()
    assert bench.world() == before


def test_a_guest_that_does_not_start_is_taken_away_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: Any, **_named: Any) -> None:
        raise KvmsnapError("Failed to start")

    bench.back_up()
    before = bench.world()
    monkeypatch.setattr(clone_run, "power_on", refused)
    with pytest.raises(CloneFailedError, match=r"Failed to start\. What was made"):
        bench.present(running=True)
    assert bench.world() == before


def test_a_copy_with_other_bytes_is_no_copy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.back_up()
    before = bench.world()
    monkeypatch.setattr(make, "first_difference", lambda *_paths: 4096)
    with pytest.raises(CloneFailedError, match=r"differs from .* at byte 4096"):
        bench.present()
    assert bench.world() == before


def test_when_taking_away_fails_too_the_message_says_how_to_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: Any, **_named: Any) -> None:
        raise KvmsnapError("Failed to reach the array")

    bench.back_up()
    with monkeypatch.context() as patched:
        patched.setattr(make, "first_difference", refused)
        patched.setattr(remove, "file_size", refused)
        with pytest.raises(CloneFailedError, match=r"half made, and taking it away failed too .*run state=absent"):
            bench.present()
    assert bench.absent()["changed"] is True


def test_a_file_that_the_host_does_not_see_is_not_called_removed(bench: Bench) -> None:
    bench.back_up()
    path = bench.file(bench.present())
    known = clone_record.load(bench.root, NAME)
    assert known is not None
    elsewhere = tuple(replace(each, host_path=f"/no/such/place/{path.name}") for each in known.files)
    clone_record.save(bench.root, replace(known, files=elsewhere))
    with pytest.raises(KvmsnapError, match="the array still has it"):
        bench.absent()
    clone_record.save(bench.root, known)
    bench.absent()
    assert not path.exists()


def test_a_lun_is_cloned_shown_to_this_host_alone_and_taken_away(bench: Bench) -> None:
    bench.back_up(bench.lun())
    before = bench.world()
    assert "svm1:/vol/kvm_san1/luns/kvmsnap-clone-" in bench.present(check=True)["diff"]["after"]
    assert bench.world() == before
    made = bench.present()
    (disk,) = made["disks"]
    assert (disk["method"], disk["verified"]) == ("lun_clone", "size and sampled blocks")
    (wwid,) = bench.san.seen
    assert disk["host_path"] == f"/dev/mapper/{wwid}"
    assert bench.san.file(wwid).read_bytes().startswith(THEN)
    assert bench.san.shown(wwid) == [4]
    (found,) = parse_guest(bench.domain().XMLDesc(0)).disks
    assert (found.kind, found.source) == ("block", f"/dev/mapper/{wwid}")
    assert bench.present()["changed"] is False
    assert bench.absent()["changed"] is True
    assert bench.world() == before
    bench.present()
    assert list(bench.san.seen.values()) == [5]
    bench.absent()


def test_a_lun_is_shown_to_the_igroup_in_which_this_host_sees_the_original(
    bench: Bench, request: pytest.FixtureRequest
) -> None:
    """Another one of this host alone has more initiators, and may be of ports that are connected nowhere."""
    api, ports = Api(bench.array), ["10:00:00:00:c9:00:00:01", "10:00:00:00:c9:00:00:02"]
    spec = {"svm": {"name": "svm1"}, "name": "hv1-fc", "os_type": "linux", "protocol": "fcp"}
    made = api.request(
        "POST", "/protocols/san/igroups", json={**spec, "initiators": [{"name": port} for port in ports]}
    )
    request.addfinalizer(partial(api.ok, "DELETE", made.headers["Location"].removeprefix("/api")))
    own = ["iqn.2026-01.org.example:hv1", *ports]
    bench.ground = replace(bench.ground, initiators=lambda: own)
    bench.back_up(bench.lun())
    bench.present()
    (wwid,) = bench.san.seen
    assert len(bench.san.shown(wwid)) == 1
    bench.absent()


def test_an_igroup_that_other_hosts_are_in_never_serves(bench: Bench) -> None:
    bench.back_up(bench.lun())
    bench.ground = replace(bench.ground, initiators=lambda: ["iqn.2026-01.org.example:hv9"])
    before = bench.world()
    with pytest.raises(CloneRefusedError, match="has no igroup that holds initiators of this host and of no other"):
        bench.present()
    assert bench.world() == before


def test_a_lun_that_the_array_gives_to_another_host_stays_with_all_of_its_copy(bench: Bench) -> None:
    bench.back_up(bench.lun())
    bench.present()
    before, own = bench.world(), bench.ground
    bench.ground = replace(own, san=replace(bench.san, initiators=lambda: ["iqn.2026-01.org.example:hv9"]))
    with pytest.raises(InUseError, match=r"gives the LUN to iqn.2026-01.org.example:hv1, too"):
        bench.absent()
    assert bench.world() == before
    bench.ground = own
    bench.absent()


def test_a_lun_of_another_size_than_then_is_refused(bench: Bench) -> None:
    bench.back_up(bench.lun(size=4096))
    before = bench.world()
    with pytest.raises(CloneFailedError, match=r"it has 8388608 bytes, and had 4096 then.* is gone again"):
        bench.present()
    assert bench.world() == before


def test_a_map_that_leads_elsewhere_is_no_copy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.back_up(bench.lun())
    before = bench.world()
    monkeypatch.setattr(PlainSan, "read", lambda *_asked, length: b"x" * length)
    with pytest.raises(CloneFailedError, match=r"differs from LUN .* at byte 0"):
        bench.present()
    assert bench.world() == before


def test_a_lun_that_was_replaced_is_not_touched(bench: Bench) -> None:
    bench.back_up(bench.lun())
    bench.present()
    known = clone_record.load(bench.root, NAME)
    assert known is not None
    clone_record.save(bench.root, known.with_lun(replace(known.luns[0], serial="AAAAAAAAAAAA")))
    before = bench.world()
    with pytest.raises(NotOursError, match="the copy's was AAAAAAAAAAAA"):
        bench.absent()
    assert bench.world() == before
    clone_record.save(bench.root, known)


def test_a_host_is_let_look_anew_without_a_trace(tmp_path: Path) -> None:
    os.utime(tmp_path, (0, 0))
    remove.look_anew(str(tmp_path / "made on the array.img"))
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime > 0
