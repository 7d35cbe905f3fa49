# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of backups: the convention, and what must never become part of a path."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils import _ids
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError


@pytest.mark.parametrize("value", ["hv1-daily_20261121020000", "a", "hv1.example.com-hourly_20261121020000", "x+y"])
def test_a_plain_name_is_taken_as_it_is(value: str) -> None:
    assert _ids.checked_id(value, what="backup_id") == value


@pytest.mark.parametrize("value", ["", "a/b", "..", "a..b", ".hidden", "-x", "a b", "a\nb", "ä", "a" * 201, "a\x00b"])
def test_a_name_that_could_lead_elsewhere_is_refused_by_its_option(value: str) -> None:
    with pytest.raises(InputError, match="restore_id"):
        _ids.checked_id(value, what="restore_id")


def test_an_empty_name_is_told_with_an_example_of_a_backup_id_only() -> None:
    with pytest.raises(InputError) as caught:
        _ids.checked_id("", what="backup_id")
    assert caught.value.message == "backup_id is empty; give a name such as hv1-daily_20261121020000"
    with pytest.raises(InputError) as caught:
        _ids.checked_id("", what="owner")
    assert caught.value.message == "owner is empty"


def test_the_stamp_is_utc_whatever_the_clock_s_zone() -> None:
    taken = datetime(2026, 11, 21, 3, 0, 0, tzinfo=timezone(timedelta(hours=1)))
    assert _ids.backup_id(prefix="hv1", policy="daily", taken=taken) == "hv1-daily_20261121020000"


@pytest.mark.parametrize(
    ("value", "prefix", "policy"),
    [
        ("hv1-daily_20261121020000", "hv1", "daily"),
        ("sc-backup-daily_20140505121000", "sc-backup", "daily"),
        ("Nantes-Test_Policy_20140123121459", "Nantes", "Test_Policy"),
    ],
)
def test_the_convention_is_read_back(value: str, prefix: str, policy: str) -> None:
    name = _ids.split_backup_id(value)
    assert name is not None
    assert (name.prefix, name.policy) == (prefix, policy)


@pytest.mark.parametrize("value", ["before-upgrade", "hv1-daily_2026", "hv1-daily_20269921020000"])
def test_a_free_form_id_has_no_parts(value: str) -> None:
    assert _ids.split_backup_id(value) is None


@pytest.mark.parametrize(
    ("value", "safe"), [("hv 1/x", "hv_1_x"), ("hv1.example.com", "hv1.example.com"), ("///", "host")]
)
def test_any_host_name_becomes_a_usable_part(value: str, safe: str) -> None:
    assert _ids.safe_part(value) == safe
    assert _ids.checked_id(f"{safe}-daily_20261121020000", what="backup_id")
