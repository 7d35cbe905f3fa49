# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains that are not those of the backup: which overlays came or went is named, and how to get rid of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import BackingFile, SavedDisk
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import backing_chain
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskNow

BASE, MID, TOP = "/mnt/vol1/base.img", "/mnt/vol1/web1.mid", "/mnt/vol1/web1.img"
NEW, NEWER = "/mnt/vol1/web1.snap1", "/mnt/vol1/web1.snap2"
PLACE = "svm1:/vol/vol1/web1.img"


def then(*below: str) -> SavedDisk:
    chain = [{"path": path, "size": 4096, "modified": 1} for path in below]
    return SavedDisk.from_record(samples.disk(format="qcow2", source=TOP, backing=chain))


def now(*below: str, top: str = TOP, **changes: Any) -> DiskNow:
    layers = tuple(BackingFile(path, 4096, 1) for path in below)
    storage = Storage.from_record(samples.storage(path=top.rpartition("/")[2]))
    return replace(DiskNow("vda", "qcow2", top, "/mnt/vol1", 4096, layers, storage), **changes)


@pytest.mark.parametrize(
    ("saved", "here", "code", "says", "remedy"),
    [
        (then(), now(), "", [], ""),
        (then(BASE), now(BASE), "", [], ""),
        (then(MID, BASE), now(BASE), "backing-chain-mismatch", [f"{MID} was pulled in or left since"], "kvm_vm_clone"),
        (then(BASE), now(), "backing-chain-mismatch", ["is none now", f"{BASE} was pulled in"], "kvm_vm_clone"),
        (
            then(BASE),
            now(NEW, NEWER, BASE),
            "backing-chain-mismatch",
            [f"{NEW}, {NEWER} came since"],
            f"virsh blockcommit web1 vda --base {BASE} --active --pivot",
        ),
        (then(), now(BASE), "backing-chain-mismatch", [f"{BASE} came since"], "virsh blockpull web1 vda"),
        (
            then(BASE, MID),
            now(MID, BASE),
            "backing-chain-mismatch",
            [f"{MID} <- {BASE} now", f"{BASE} <- {MID} in the backup"],
            "kvm_vm_clone",
        ),
        (
            then(BASE),
            now(BASE, backing=(BackingFile(BASE),)),
            "backing-file-changed",
            [f"{BASE} is missing"],
            "snapshot of the same backup",
        ),
        (
            then(MID, BASE),
            now(unreadable=f"Could not open '{MID}'"),
            "backing-file-changed",
            [f"cannot be read: Could not open '{MID}'"],
            "snapshot of the same backup",
        ),
        (then(), now(unreadable="its header is broken"), "", [], ""),
        (
            then(BASE),
            now(BASE, backing=(BackingFile(BASE, 8192, 1),)),
            "backing-file-changed",
            [f"{BASE} (8192 bytes now, 4096 then)"],
            "snapshot of the same backup",
        ),
        (
            then(BASE),
            now(BASE, backing=(BackingFile(BASE, 4096, 2),)),
            "backing-file-changed",
            ["not what it was"],
            "snapshot of the same backup",
        ),
    ],
)
def test_a_chain_below_a_disk_at_its_place(
    saved: SavedDisk, here: DiskNow, code: str, says: list[str], remedy: str
) -> None:
    found = backing_chain.compared("web1", saved, here)
    assert (found.code if found else "") == code
    if found:
        assert all(word in found.message for word in says), found.message
        assert remedy in found.remedy


@pytest.mark.parametrize(
    ("saved", "here", "says", "remedy"),
    [
        (then(), now(TOP, top=NEW), [PLACE, f"lies below {NEW} now"], f"--base {TOP} --active"),
        (then(BASE), now(NEW, TOP, BASE, top=NEWER), [f"lies below {NEWER} <- {NEW} now"], f"--base {TOP} --active"),
        (
            then(MID, BASE),
            now(BASE, top=MID),
            [f"{TOP} <- {MID} <- {BASE} in the backup", f"{MID} now"],
            "kvm_vm_clone",
        ),
        (then(BASE), now(top=BASE), [f"and is {BASE} now: the overlay was committed"], "later backup"),
        (then(), now(top=NEW), [], ""),
        (then(BASE), now(BASE, top=NEW), [], ""),
    ],
)
def test_a_disk_that_is_elsewhere_since_its_chain_is_another(
    saved: SavedDisk, here: DiskNow, says: list[str], remedy: str
) -> None:
    found = backing_chain.moved_in_chain("web1", saved, PLACE, [now(top="/mnt/vol1/other.img"), here])
    assert (found is not None) == bool(says)
    if found:
        assert found.code == "backing-chain-mismatch"
        assert all(word in found.message for word in says), found.message
        assert remedy in found.remedy
