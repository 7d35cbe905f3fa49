# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a disk's bytes lie on the array."""

from __future__ import annotations

from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage

LUN = samples.lun(wwid=wwid_of("81C91$QXsh5a"))


def test_a_file_and_a_lun_are_told_apart_from_all_others() -> None:
    file = Storage.from_record(samples.storage("vol1", "a/web1.img"))
    assert (file.kind, file.lun, file.label) == ("nfs", None, "svm1:/vol/vol1/a/web1.img")
    assert (file.volume_key, file.key) == (("svm1-uuid", "vol1-uuid"), ("svm1-uuid", "vol1-uuid", "a/web1.img"))
    lun = Storage.from_record(samples.storage("vol1", "a/web1.img", kind="lun", lun=LUN))
    assert lun.lun is not None
    assert (lun.lun.serial, lun.key == file.key) == ("81C91$QXsh5a", True)


def test_names_of_the_host_and_the_array_do_not_tell_them_apart() -> None:
    renamed = {**samples.storage("vol1"), "svm": "other", "controller": "cluster2", "volume": "renamed"}
    assert Storage.from_record(renamed).key == Storage.from_record(samples.storage("vol1")).key


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"kind": "lun"}, ValueError, "kind 'lun' lacks the identity"),
        ({"lun": LUN}, ValueError, "kind 'nfs' has the identity"),
        ({"kind": "lun", "lun": {**LUN, "wwid": "3600a0980"}}, ValueError, "is not that of the serial"),
        ({"path": "../other/web1.img"}, InputError, "path"),
        ({"path": ""}, InputError, "path"),
    ],
)
def test_what_is_no_place_is_refused(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Storage.from_record({**samples.storage(), **changes})


@pytest.mark.parametrize("name", ["kind", "controller", "svm", "svm_uuid", "volume", "volume_uuid", "path"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    record = samples.storage()
    del record[name]
    with pytest.raises(KeyError, match=name):
        Storage.from_record(record)
