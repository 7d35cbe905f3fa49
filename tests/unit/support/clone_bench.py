# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with a catalog, a mount of the simulated array and libvirt's test driver, on which copies are made.

The array's volume stands for its own mount. A run can be killed before and after each of its steps.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import samples
from virt import URI, Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import (
    store,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.entry_origin import Origin
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone import make, remove
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone import run as clone_run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_attach import San
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ontapsim.testing import Running

NAME = "web1-copy"
BACKUP = samples.BACKUP
THEN, SINCE = b"as it was then" * 5000, b"as it became" * 6000
CLONING = {"method": "POST", "path": "/api/storage/file/clone"}
UEFI, SECRET = b"variables", b"sealed"


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
        self.probes = clone_run.CloneProbes(
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
        return clone_run.run(request, check=check, probes=self.probes)

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


REMOVALS: list[tuple[Any, str]] = [
    (remove, "power_off"),
    (remove.Domain, "undefine"),
    (remove, "file_size"),
    (PlainSan, "detach"),
    (remove.lun_clone, "remove_clone"),
    (remove.clone_record, "forget"),
]
