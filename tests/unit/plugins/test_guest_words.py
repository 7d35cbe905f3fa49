# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A word means one guest: a uuid in any case of its letters, or else a name."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._guest_words import by_uuid, called


@dataclass(frozen=True)
class Guest:
    """A guest of this test."""

    name: str
    uuid: str


WEB, DB = "0e5f0a00-6f2a-4e0b-9a53-0000000000ab", "0e5f0a00-6f2a-4e0b-9a53-0000000000cd"
GUESTS = (Guest("web1", WEB), Guest(WEB.upper(), DB))


@pytest.mark.parametrize(
    ("word", "found"),
    [("web1", [WEB]), (WEB, [WEB]), (WEB.upper(), [WEB]), (DB.upper(), [DB]), ("WEB1", []), ("", [])],
)
def test_a_uuid_is_one_in_capitals_too_and_never_another_guest_s_name(word: str, found: list[str]) -> None:
    assert [each.uuid for each in called(word, GUESTS)] == found


def test_a_guest_that_is_not_asked_about_keeps_its_uuid() -> None:
    assert called(WEB.upper(), GUESTS[1:], GUESTS) == []
    assert called(WEB.upper(), GUESTS[1:]) == [GUESTS[1]]


def test_what_is_said_by_words_is_of_one_guest_and_a_name_wins() -> None:
    assert by_uuid({WEB.upper(): "none"}, GUESTS) == {WEB: "none"}
    assert by_uuid({"web1": "agent", WEB: "none", DB: "suspend"}, GUESTS) == {WEB: "agent", DB: "suspend"}
