# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's agent says becomes a typed value or a named error, whatever it is."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import agent_answers as border
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.agent_answers import AnswerError, Executed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem

SEED = 20261130
READERS: tuple[Callable[[Any], object], ...] = (
    border.freeze_status,
    border.file_system_count,
    border.file_systems,
    border.commands,
    border.pid,
    border.executed,
    border.addresses,
)


def short(value: object) -> str:
    """Return the name of a case, since values of megabytes are no names."""
    return ascii(value[:24])[1:-1] if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"return": {}}', {}),
        ('{"return": "frozen", "id": 7}', "frozen"),
        ('{"return": [1, -2, 1.5, true, null, "[{,:"]}', [1, -2, 1.5, True, None, "[{,:"]),
        ('{"return": "a\\"}]\\\\"}', 'a"}]\\'),
        ('{"return": 18446744073709551615}', 2**64 - 1),
        ('{"return": "' + "x" * 1_000_000 + '"}', "x" * 1_000_000),
    ],
    ids=short,
)
def test_an_answer_is_taken(text: str, value: object) -> None:
    assert border.returned(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"return": ' + "9" * 5000 + "}", "a number of 5000 digits"),
        ('{"return": -' + "9" * 30 + "}", "a number of 31 digits"),
        ('{"return": NaN}', "NaN for a number"),
        ('{"return": -Infinity}', "-Infinity for a number"),
        ('{"return": ' + "[" * 10_000 + "]" * 10_000 + "}", "deeper than 16 levels"),
        ('{"return": ' + '{"a":' * 10_000, "deeper than 16 levels"),
        ('{"return": [' + "0," * 999_999 + "0]}", "more than 100000 values"),
        ('{"return": "' + "x" * border.LONGEST_ANSWER + '"}', "4194304 are the most"),
        ('{"return": "frozen", "return": "thawed"}', "'return' twice"),
        ('{"return": {"a": 1, "a": 2}}', "'a' twice"),
        ('{"return": "thaw', "no JSON"),
        ("", "no JSON"),
        ("<html>\x1b[31m", r"no JSON: '<html>\\x1b\[31m'"),
        ('{"return": 1} {"return": 2}', "no JSON"),
        ("7", "nothing that it returns: '7'"),
        ("[]", "nothing that it returns"),
        ("{}", "nothing that it returns"),
        ('{"error": {"class": 7}}', "nothing that it returns"),
        (b'{"return": 1}', "of the type bytes"),
        (None, "of the type NoneType"),
    ],
    ids=short,
)
def test_an_answer_is_refused(text: Any, why: str) -> None:
    with pytest.raises(AnswerError, match=why) as caught:
        border.returned(text)
    assert len(caught.value.message) < 300
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        '"' + '\\"' * 2_000_000,
        '"' + "\\\\" * 1_000_000 + "\\",
        '"\\"' * 1_000_000 + "\\",
        '{"return": "' + '\\"' * 1_500_000 + "\\",
        "[]" * 2_000_000,
        "[" * 4_000_000,
        "\x00" * 4_000_000,
    ],
    ids=short,
)
def test_no_answer_takes_long(text: str) -> None:
    """The time grows with the length of the answer, not with its square."""
    began = time.process_time()
    with pytest.raises(AnswerError):
        border.returned(text)
    assert time.process_time() - began < 10


@pytest.mark.parametrize("value", ["frozen", "thawed"])
def test_a_freeze_status(value: str) -> None:
    assert border.freeze_status(value) == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (7, "said 7"),
        (True, "said True"),
        (None, "said None"),
        (1.5, "said 1.5"),
        (10**5000, "said a value of the type int"),
        ({"frozen": True}, "said a value of the type dict"),
        (["thawed"], "said a value of the type list"),
        ("Thawed", "said 'Thawed'"),
        ("thawed\n", r"said 'thawed\\n'"),
        ("\ud800", r"said '\\ud800'"),
        ("x" * 1000, r"x'\.\.\., neither"),
    ],
    ids=short,
)
def test_what_is_no_freeze_status(value: object, said: str) -> None:
    with pytest.raises(AnswerError, match=said) as caught:
        border.freeze_status(value)
    assert len(caught.value.message) < 250


@pytest.mark.parametrize(("number", "taken"), [(0, True), (3, True), (-1, False), (True, False), (2**40, False)])
def test_how_many_file_systems(number: int, *, taken: bool) -> None:
    if taken:
        assert border.file_system_count(number) == number
    else:
        with pytest.raises(AnswerError, match="the number of file systems is"):
            border.file_system_count(number)


@pytest.mark.parametrize("number", [None, "3", 1.0, [], {}])
def test_what_is_no_number_of_file_systems(number: object) -> None:
    with pytest.raises(AnswerError, match="no whole number"):
        border.file_system_count(number)


def test_file_systems() -> None:
    found = border.file_systems([("/", "vda1", "ext4", ["vda"]), ("D:\\", "dev", "NTFS", None)])
    assert found == (FileSystem("/", "vda1", "ext4", ("vda",)), FileSystem("D:\\", "dev", "NTFS", ()))


@pytest.mark.parametrize(
    "found",
    [
        None,
        "all",
        [()],
        [("/", "vda1", "ext4")],
        [("/", "vda1", 7, [])],
        [("/", None, "ext4", [])],
        [("/", "vda1", "ext4", "vda")],
        [("/", "vda1", "ext4", [1])],
        [("/" * 5000, "vda1", "ext4", [])],
        [("/", "vda1", "ext4", ["vda"] * 1001)],
        [("/", "vda1", "ext4", [])] * 1001,
    ],
    ids=short,
)
def test_what_are_no_file_systems(found: object) -> None:
    with pytest.raises(AnswerError):
        border.file_systems(found)


def test_commands() -> None:
    told = {"version": "9" * 5000, "supported_commands": [_command("a"), _command("b", enabled=False), _command("c")]}
    assert border.commands(told) == {"a", "c"}


def _command(name: object, *, enabled: object = True) -> dict[str, object]:
    return {"name": name, "enabled": enabled}


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"supported_commands": None},
        {"supported_commands": {}},
        {"supported_commands": "guest-exec"},
        {"supported_commands": ["guest-exec"]},
        {"supported_commands": [{"enabled": True}]},
        {"supported_commands": [{"name": "guest-exec"}]},
        {"supported_commands": [_command(7)]},
        {"supported_commands": [_command("x", enabled=1)]},
        {"supported_commands": [_command("x", enabled="false")]},
        {"supported_commands": [_command("x" * 5000)]},
        {"supported_commands": [_command("x")] * 1001},
    ],
    ids=short,
)
def test_what_are_no_commands(told: object) -> None:
    with pytest.raises(AnswerError):
        border.commands(told)


@pytest.mark.parametrize("told", [None, 7, {}, {"pid": "7"}, {"pid": 7.0}, {"pid": True}, {"pid": -1}, {"pid": 2**70}])
def test_what_is_no_pid(told: object) -> None:
    assert border.pid({"pid": 7}) == 7
    with pytest.raises(AnswerError):
        border.pid(told)


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"exited": False}, Executed(False)),
        ({"exited": True, "exitcode": 3, "out-data": "b3V0", "err-data": None}, Executed(True, 3, output="b3V0")),
        ({"exited": True, "signal": 9}, Executed(True, signal=9)),
        ({"exited": True, "exitcode": -1073741510}, Executed(True, -1073741510)),
    ],
    ids=short,
)
def test_how_far_a_program_is(told: dict[str, Any], found: Executed) -> None:
    assert border.executed(told) == found


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        {"exited": 1},
        {"exited": "false"},
        {"exited": True, "exitcode": "0"},
        {"exited": True, "exitcode": False},
        {"exited": True, "exitcode": 2**70},
        {"exited": True, "signal": []},
        {"exited": True, "out-data": 7},
        {"exited": True, "err-data": ["x"]},
    ],
    ids=short,
)
def test_what_is_no_word_of_a_program(told: object) -> None:
    with pytest.raises(AnswerError):
        border.executed(told)


def test_addresses() -> None:
    told = [
        {"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1"}, {"ip-address": "::1"}]},
        {"name": "eth1"},
        {"name": "eth2", "ip-addresses": None},
    ]
    assert border.addresses(told) == ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        [7],
        [{"ip-addresses": "10.0.0.1"}],
        [{"ip-addresses": [{}]}],
        [{"ip-addresses": [{"ip-address": 7}]}],
        [{"ip-addresses": [{"ip-address": "1" * 5000}]}],
    ],
    ids=short,
)
def test_what_are_no_addresses(told: object) -> None:
    with pytest.raises(AnswerError):
        border.addresses(told)


def test_few() -> None:
    assert border.few(["a", "b"]) == ["a", "b"]
    assert border.few([f"{n}" for n in range(13)]) == [*(f"{n}" for n in range(10)), "and 3 more"]
    assert border.few(["x" * 1000]) == [f"{'x' * border.LONGEST_SHOWN}..."]


def test_nothing_but_a_value_or_a_named_error_comes_out() -> None:
    """Random answers, most of them near to what an agent says, broken here and there."""
    dice = random.Random(SEED)
    said = []
    for _round in range(3000):
        text = json.dumps({"return": _value(dice, 4)})
        if dice.random() < 0.4:
            at = dice.randrange(len(text))
            text = text[:at] + dice.choice(["", '"', "{", "]", "\\", "9" * 5000, "NaN", "\x00", "\ud800"]) + text[at:]
        said += [_refusal(read, text) for read in READERS]
    refused = [each for each in said if each is not None]
    assert len(said) - len(refused) > 100
    assert len(refused) > 1000
    assert max(map(len, refused)) < 400


def _refusal(read: Callable[[Any], object], text: str) -> str | None:
    try:
        read(border.returned(text))
    except AnswerError as exc:
        return exc.message
    return None


_WORDS = ("return", "exited", "pid", "name", "enabled", "supported_commands", "ip-addresses", "ip-address", "out-data")


def _value(dice: random.Random, depth: int) -> Any:
    plain: tuple[Callable[[], Any], ...] = (
        lambda: dice.choice([None, True, False]),
        lambda: dice.randint(-(2**70), 2**70),
        lambda: dice.randint(0, 9),
        lambda: dice.random() * 10 ** dice.randint(0, 300),
        lambda: dice.choice(["frozen", "thawed", "", "x" * 6000, "\x1b[2J", "\u202e", "\ud800"]),
    )
    nested: tuple[Callable[[], Any], ...] = (
        lambda: [_value(dice, depth - 1) for _each in range(dice.randint(0, 4))],
        lambda: {dice.choice(_WORDS): _value(dice, depth - 1) for _each in range(dice.randint(0, 5))},
    )
    return dice.choice(nested * 3 + plain if depth else plain)()
