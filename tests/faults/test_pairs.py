# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two operations at once on one guest, started at random offsets: afterwards the guest is whole and nothing is left.

Each of the two does what it was asked for, or says that the other one is at work and has changed nothing. The offset
is a part of the time that the first one takes: ``KVMSNAP_SEED=... nox -s faults -- tests/faults/test_pairs.py`` plays
the same rounds again (see `series.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import combinations_with_replacement

import pytest

from kvmground.operations_host import AS_BEFORE, AS_SAVED, OPERATIONS, Done, OperationsHost, held_after, unexpected
from kvmground.played import Played, Results
from kvmground.renewed import Renewed
from series import Series

ROUNDS, SHORT = 200, 20
HOST_ROUNDS = 50
UNKNOWN_LENGTH = 2.0
PAIRS = tuple(combinations_with_replacement(OPERATIONS, 2))
SERIES = Series.from_environment("pairs", ROUNDS)
NUMBERS = [
    pytest.param(number, marks=() if number < SHORT else pytest.mark.long, id=f"round-{number}")
    for number in SERIES.numbers()
]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Renewed]:
    """Return private hosts of their own with the guest and its first backup."""
    print(f"pairs: KVMSNAP_SEED={SERIES.seed}")
    found = Renewed("pairs", lambda _whole: None, rounds=HOST_ROUNDS)
    yield found
    found.end()


def at_once(operated: OperationsHost, pair: tuple[str, str], names: tuple[str, str], offset: float) -> list[Done]:
    """Run both operations, the second one so many seconds after the first; return what they said as they ended."""
    with ThreadPoolExecutor(len(pair)) as pool:
        first = pool.submit(operated.play, pair[0], names[0])
        time.sleep(offset)
        second = pool.submit(operated.play, pair[1], names[1])
        return [each.result() for each in as_completed([first, second])]


@pytest.mark.parametrize("number", NUMBERS)
def test_two_at_once(hosts: Renewed, results: Results, number: int) -> None:
    played = SERIES.round(number)
    pair = PAIRS[(number + SERIES.seed) % len(PAIRS)]
    pair = pair if played.random.random() < 0.5 else pair[::-1]
    part = played.random.random()
    same = pair[0] == pair[1] and played.random.random() < 0.5
    names = (f"round_{number:03d}_1", f"round_{number:03d}_{1 if same else 2}")
    step = f"{pair[0]} + {pair[1]}"
    began = time.monotonic()
    with SERIES.play(played) as kept, hosts.round(SERIES.left_by(number)) as operated:
        offset = round(part * operated.seconds.get(pair[0], UNKNOWN_LENGTH), 3)
        kept.update(pair=list(pair), part=part, offset=offset, names=list(names))
        operated.prepare(number, undo="undo" in pair)
        said = at_once(operated, pair, names, offset)
        kept["said"] = [str(each) for each in said]
        before = AS_SAVED if "undo" in pair else AS_BEFORE
        wrong = [
            *unexpected(said),
            *operated.complaints(held_after(before, said)),
            *operated.complaints_of_backups(said),
        ]
        detail = "; ".join([*wrong, *map(str, said)])
        results.add(Played("pairs", step, f"offset {offset}", not wrong, detail, time.monotonic() - began))
        assert not wrong, f"{step}, {offset} s apart: {detail}"
