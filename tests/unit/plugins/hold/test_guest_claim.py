# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that somebody works on, or that a hold has, cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.guest_claim import claimed, refuse_busy
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import HoldRecord, Row
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import GuestLockedError

GUESTS = [(samples.WEB, "web1"), (samples.DB, "db1")]


@pytest.fixture
def boot(tmp_path: Path) -> str:
    """The file that says which boot this is."""
    path = tmp_path / "boot_id"
    path.write_text("this-boot\n", encoding="ascii")
    return str(path)


def test_who_claims_guests_keeps_others_from_them_until_the_end(tmp_path: Path, boot: str) -> None:
    holds = tmp_path / "holds"
    second = {"purpose": "backup", "identity": "b1", "boot": boot}
    with claimed(holds, GUESTS, purpose="restore", identity="r1", boot=boot):
        for guests in (GUESTS, GUESTS[1:]):
            with pytest.raises(GuestLockedError, match=r"is locked by restore r1"):
                refuse_busy(holds, guests, **second)
            with pytest.raises(GuestLockedError, match=r"is locked by restore r1"), claimed(holds, guests, **second):
                pass
    refuse_busy(holds, GUESTS, **second)
    with claimed(holds, GUESTS, **second):
        pass


@pytest.mark.parametrize(
    ("phase", "boot_of_record", "held"),
    [
        ("held", "this-boot", True),
        ("holding", "this-boot", True),
        ("released", "this-boot", False),
        ("held", "x", False),
    ],
)
def test_a_guest_that_a_hold_has_cannot_be_had(
    tmp_path: Path, boot: str, phase: str, boot_of_record: str, held: bool
) -> None:
    holds = tmp_path / "holds"
    row = Row("web1", samples.WEB, "auto", method="suspend", phase=phase)  # type: ignore[arg-type]
    HoldRecord(holds, "h1", boot_of_record).put(row)
    upper = [(samples.WEB.upper(), "web1")]
    for guests in (GUESTS, upper):
        if not held:
            refuse_busy(holds, guests, purpose="restore", identity="r1", boot=boot)
            continue
        with pytest.raises(
            GuestLockedError, match="Failed to begin restore r1: guest web1 is held by hold h1"
        ) as caught:
            refuse_busy(holds, guests, purpose="restore", identity="r1", boot=boot)
        assert [each["holder"] for each in caught.value.fields["busy"]] == ["hold h1"]
        with (
            pytest.raises(GuestLockedError, match="is held by hold h1"),
            claimed(holds, guests, purpose="restore", identity="r1", boot=boot),
        ):
            pass
    with claimed(holds, GUESTS[1:], purpose="restore", identity="r1", boot=boot):
        pass
