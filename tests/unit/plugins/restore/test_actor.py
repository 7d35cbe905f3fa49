# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a comparison is enough for, and what is said of an overwrite whose end is unknown."""

from __future__ import annotations

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import (
    CheckFailedError,
    FateUnknownError,
    Verified,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskRestore

PLACE = Storage.from_record(samples.storage("vol1", "web1.img"))


def disk(verify: str) -> DiskRestore:
    return DiskRestore("vda", "raw", PLACE, "/vm/web1.img", None, samples.BACKUP, "vol1-snap", 1, verify=verify)


@pytest.mark.parametrize(("verify", "sha256"), [("sampled", None), ("sampled", "c0ffee"), ("full", "c0ffee")])
def test_a_comparison_of_all_that_was_asked_for_is_enough(verify: str, sha256: str | None) -> None:
    found = Verified("size", sha256)
    assert found.enough_for(disk(verify)) is found


def test_samples_are_not_enough_where_all_was_to_be_compared() -> None:
    with pytest.raises(CheckFailedError, match=r"all of it was to be compared, and only size was") as caught:
        Verified("size").enough_for(disk("full"))
    assert caught.value.fields == {"path": disk("full").label}


def test_an_overwrite_without_a_known_end_names_the_word_that_releases_it() -> None:
    error = FateUnknownError.of(disk("full"), "no answer", "its job", restore_id="r1")
    assert "is unknown (no answer); looked for: its job." in error.message
    assert error.message.endswith("accept_unknown=r1")
    assert error.fields == {"path": disk("full").label, "restore_id": "r1"}
