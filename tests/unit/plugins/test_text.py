# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control characters in whatever is shown are visible; what a machine reads again stays as it is."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import (
    argument,
    domain,
    hides,
    presentable,
    visible,
    visible_lines,
    why_unreadable,
)

RECAP = "no\r\x1b[2K\nPLAY RECAP *****\nhv0 : ok=9 failed=0"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web-1 Gäste 客人 🖥", "web-1 Gäste 客人 🖥"),
        ("C:\\temp\\new", "C:\\temp\\new"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x00\x07\x7f", "\\x00\\x07\\x7f"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),
        ("exe\u202egpj", "exe\\u202egpj"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("web\u200b1", "web\\u200b1"),
        ("\ufeffweb\u00ad", "\\ufeffweb\\xad"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\udc9b\udcff", "\\x9b\\xff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_text_for_one_line(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert hides(text) is (text != shown)
    assert visible(shown) == shown


def test_every_character_that_unicode_calls_a_control_or_format_is_shown() -> None:
    spared = [
        chr(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp") and visible(chr(code)) == chr(code)
    ]
    # Signs that stand before numbers in Arabic, Syriac and Kaithi, and parts of scripts and notation: none hides text.
    assert all(0x600 <= ord(each) <= 0x8E2 or ord(each) > 0x11000 for each in spared)


def test_lines_stay_lines_and_nothing_else_does() -> None:
    assert visible_lines("a\n\tb\r\x1b[2Jc") == "a\n\tb\\r\\x1b[2Jc"


def test_an_error_and_its_fields() -> None:
    error = KvmsnapError(f"Failed to freeze guest web: {RECAP}", guest="web\u202e", guests=[{"error": RECAP}], code=3)
    told = error.as_result()
    assert str(error) == error.message == told["msg"] == f"Failed to freeze guest web: {visible(RECAP)}"
    assert told["guest"] == "web\\u202e"
    assert told["guests"] == [{"error": visible(RECAP)}]
    assert told["code"] == 3


def test_a_problem() -> None:
    problem = Problem("agent-silent", "error", f"Guest web: {RECAP}", "Look\x07", guest="web\x9b")
    assert problem.message == f"Guest web: {visible(RECAP)}"
    assert problem.remedy == "Look\\x07"
    assert problem.guest == "web\x9b", "a name leads back to the guest"


def test_a_result_at_any_depth() -> None:
    told = presentable(
        {
            "changed": False,
            "summary": [RECAP],
            "diff": {"before": "", "after": "a\n+b\x1b[1A"},
            "guests": [{"name": "web\x9b", "path": "/a\nb", "error": RECAP, "health": {"seen": RECAP}}],
            "plan": {"holds": ({"reason": RECAP},)},
        }
    )
    assert told == {
        "changed": False,
        "summary": [visible(RECAP)],
        "diff": {"before": "", "after": "a\n+b\\x1b[1A"},
        "guests": [{"name": "web\x9b", "path": "/a\nb", "error": visible(RECAP), "health": {"seen": visible(RECAP)}}],
        "plan": {"holds": [{"reason": visible(RECAP)}]},
    }


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("web-1.img", "web-1.img"),
        ("web 1", "'web 1'"),
        ("$(reboot)", "'$(reboot)'"),
        ("a;b|c&d", "'a;b|c&d'"),
        ("it's", "'it'\"'\"'s'"),
        ("a\nb", "'a\\nb'"),
        ("", "''"),
    ],
)
def test_a_name_in_a_command_is_one_word_of_it(name: str, word: str) -> None:
    assert argument(name) == word


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("web1", "web1"),
        ("--domain=db1", "--domain --domain=db1"),
        ("--all; reboot", "--domain '--all; reboot'"),
    ],
)
def test_a_guest_s_name_is_no_option_of_virsh(name: str, words: str) -> None:
    assert domain(name) == words


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda: {}["schema"], "it has no 'schema'"),
        (lambda: int(None), "a value in it is of a wrong kind (int() argument must be"),
        (lambda: json.loads("{"), "it is not JSON (Expecting property name"),
        (b"\xff".decode, "it is not text in UTF-8 (invalid start byte at byte 0)"),
        (lambda: int("x"), "invalid literal for int()"),
        (lambda: json.loads("[" * 100000), "it is nested too deeply"),
    ],
)
def test_a_record_that_cannot_be_read_is_told_in_words(read: Callable[[], object], said: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, RecursionError)) as caught:
        read()
    assert why_unreadable(caught.value).startswith(said)
