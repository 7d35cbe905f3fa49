# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one base exception: a sentence for people, fields for machines."""

from __future__ import annotations

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError


def test_a_failure_is_a_sentence_and_its_fields() -> None:
    error = KvmsnapError("Failed to start guest web1: no", guest="web1", disk=None, http_status=0)
    assert str(error) == error.message == "Failed to start guest web1: no"
    assert error.fields == {"guest": "web1", "http_status": 0}, "what is not known is left out"
    assert error.as_result() == {
        "msg": "Failed to start guest web1: no",
        "error_kind": "KvmsnapError",
        "guest": "web1",
        "http_status": 0,
    }


def test_what_a_stranger_said_hides_nothing() -> None:
    error = KvmsnapError("it said \x1b[2K", reason="a\x00b")
    assert error.message == "it said \\x1b[2K"
    assert error.as_result()["reason"] == "a\\x00b"
    assert error.fields["reason"] == "a\x00b", "machines get what was said"


def test_each_kind_says_its_name() -> None:
    assert InputError("no").as_result()["error_kind"] == "InputError"
    assert isinstance(InputError("no"), KvmsnapError)
