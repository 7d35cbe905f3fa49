# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a restored disk is compared: what the plan says, and what is refused before anything is touched."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    DiskRestore,
    GuestRestore,
    RestorePlan,
    RestoreRefusedError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.verify import hindrance, with_verification
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

SERIAL = "81C91$QXsh5a"
LUN = {
    "uuid": "lun-1",
    "serial": SERIAL,
    "wwid": wwid_of(SERIAL),
    "size": 4096,
    "os_type": "linux",
    "device": "/dev/mapper/mpatha",
}
ON_NFS = Storage.from_record(samples.storage("vol1", "a.img"))
ON_LUN = Storage.from_record(samples.storage("vol1", "a", kind="lun", mount_point=None, lun=LUN))
KEY = (ON_NFS.svm_uuid, ON_NFS.volume_uuid)


def disk(root: Path, storage: Storage = ON_NFS) -> DiskRestore:
    return DiskRestore("vda", "qcow2", storage, f"{root}/a.img", str(root), samples.BACKUP, "vol1-snap", 4096)


def plan(*disks: DiskRestore) -> RestorePlan:
    return RestorePlan(samples.BACKUP, "r1", (GuestRestore("web1", samples.WEB, "running", "running", disks),))


@pytest.mark.parametrize("verify", ["sampled", "full"])
@pytest.mark.parametrize("undo", [False, True])
def test_the_plan_says_how_each_disk_is_compared(tmp_path: Path, verify: str, undo: bool) -> None:
    found = with_verification(plan(disk(tmp_path)), verify=verify, undo=undo, look=lambda _disk: None)
    (part,) = found.guests[0].disks
    assert (part.verify, part.check_image) == (verify, not undo)


def test_all_disks_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    two = (disk(tmp_path), replace(disk(tmp_path), target="vdb"))

    def look(_disk: DiskRestore) -> Optional[str]:
        return "nobody sees it"

    assert with_verification(plan(*two), verify="sampled", undo=False, look=look).guests
    with pytest.raises(RestoreRefusedError, match="nothing was touched: disk vda of guest web1 cannot") as caught:
        with_verification(plan(*two), verify="full", undo=False, look=look)
    assert [(each["code"], each["disk"]) for each in caught.value.fields["problems"]] == [
        ("full-verify-impossible", "vda"),
        ("full-verify-impossible", "vdb"),
    ]


def test_a_file_needs_its_snapshot_to_be_seen_on_the_host(tmp_path: Path) -> None:
    def look(part: DiskRestore) -> Optional[str]:
        return hindrance(part, method="auto", places={}, deadline=Deadline.after(1))

    part = disk(tmp_path)
    assert look(part) == f"this host does not see {tmp_path}/.snapshot/{samples.BACKUP}/a.img"
    assert look(replace(part, mount_point=None)) == "this host does not see the snapshot below a mount"
    Path(str(part.host_source)).parent.mkdir(parents=True)
    Path(str(part.host_source)).write_bytes(b"")
    assert look(part) is None


class Array:
    """An array that answers what a LUN needs; it stands in for the client."""

    name = "cluster1"

    def __init__(self, *, licence: str = "compliant", readable: bool = True) -> None:
        self.licence = licence
        self.readable = readable

    def records(self, path: str, **_how: Any) -> list[dict[str, Any]]:
        assert path == "/cluster/licensing/licenses"
        return [{"name": "flexclone", "state": self.licence}]

    def get(self, path: str, _params: Any, **_how: Any) -> dict[str, Any]:
        assert path == "/storage/luns/lun-1"
        return {"uuid": "lun-1", "name": "/vol/vol1/a", "space": {"size": 4096}}

    def get_bytes(self, path: str, params: dict[str, int], **_how: Any) -> bytes:
        assert (path, params) == ("/storage/luns/lun-1", {"data.offset": 0, "data.size": 512})
        if not self.readable:
            raise OntapDeniedError("read data", "not allowed", ontap_code="6")
        return bytes(512)


@pytest.mark.parametrize(
    ("array", "method", "said"),
    [
        (Array(), "auto", None),
        (Array(), "file_clone", None),
        (Array(), "sfsr", "method sfsr makes no temporary LUN"),
        (Array(), "sfsr_cli", "method sfsr_cli makes no temporary LUN"),
        (Array(licence="unlicensed"), "auto", "without a FlexClone licence there is no temporary LUN"),
        (Array(readable=False), "auto", "the LUN's data cannot be read over REST"),
    ],
)
def test_a_lun_needs_a_clone_whose_data_may_be_read(
    tmp_path: Path, array: Any, method: str, said: Optional[str]
) -> None:
    places: Any = {KEY: SimpleNamespace(client=array)}
    made = plan(disk(tmp_path, ON_LUN))

    def result() -> RestorePlan:
        look = partial(hindrance, method=method, places=places, deadline=Deadline.after(1))
        return with_verification(made, verify="full", undo=False, look=look)

    if said is None:
        assert result().guests[0].disks[0].verify == "full"
        return
    with pytest.raises(RestoreRefusedError, match=said):
        result()
