# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the array's volumes to what the NFS server exports."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from kvmlab.exports import Export, configuration, exports_of, nested_mount_points


def volume(svm: str, name: str, junction: str | None, **changes: Any) -> dict[str, Any]:
    usual = {"state": "online", "type": "rw", "export_policy": "default"}
    return {"svm": svm, "volume": name, "junction": junction, **usual, **changes}


def test_only_mounted_online_volumes_are_exported() -> None:
    listed = [
        volume("svm1", "svm1_root", "/"),
        volume("svm1", "unmounted", None),
        volume("svm1", "offline", "/offline", state="offline"),
        volume("svm1", "data", "/data"),
        volume("svm1", "mirror", "/mirror", type="dp"),
    ]
    assert exports_of(listed) == [Export("svm1", "data", "/data"), Export("svm1", "mirror", "/mirror", read_only=True)]


def test_an_export_policy_squashes_root() -> None:
    listed = [volume("svm1", "open", "/open"), volume("svm1", "squashed", "/squashed", export_policy="squash_root")]
    exports = exports_of(listed)
    assert [each.squash_root for each in exports] == [False, True]
    assert configuration(exports[:1]).count("Squash = Root_Squash;") == 0
    assert configuration(exports).count("Squash = Root_Squash;") == 1


def test_of_two_svms_with_one_junction_the_first_wins() -> None:
    listed = [volume("svm2", "b", "/data"), volume("svm1", "a", "/data")]
    assert exports_of(listed) == [Export("svm1", "a", "/data")]


def test_a_junction_lies_in_the_nearest_volume_above_it() -> None:
    exports = [
        Export("svm1", "top", "/top"),
        Export("svm1", "middle", "/top/middle"),
        Export("svm1", "deep", "/top/middle/a/deep"),
        Export("svm1", "namesake", "/topmost"),
    ]
    assert nested_mount_points(exports) == [
        PurePosixPath("svm1/top/middle"),
        PurePosixPath("svm1/middle/a/deep"),
    ]


def test_parents_come_before_children_and_each_has_its_own_number() -> None:
    child, parent = Export("svm1", "child", "/parent/child"), Export("svm1", "parent", "/parent", read_only=True)
    text = configuration([child, parent])
    assert text.index("Pseudo = /parent;") < text.index("Pseudo = /parent/child;")
    assert child.number != parent.number
    assert text.count("Access_Type = RO;") == 1
    assert "Path = /srv/array/vols/svm1/child;" in text
