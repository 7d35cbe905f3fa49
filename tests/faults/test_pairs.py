# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two operations at once on one guest, started at random offsets: afterwards the guest is whole and nothing is left.

``KVMSNAP_SEED=... nox -s faults -- tests/faults/test_pairs.py`` plays the same rounds again (see `series.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import combinations_with_replacement

import pytest

from kvmground import Ground
from kvmground.played import Played, Results
from kvmground.whole import OPERATIONS, Done, Whole
from series import Series

ROUNDS, SHORT = 200, 20
LONGEST_OFFSET = 2.0
PAIRS = tuple(combinations_with_replacement(OPERATIONS, 2))
SERIES = Series.from_environment("pairs", ROUNDS)
NUMBERS = [
    pytest.param(number, marks=() if number < SHORT else pytest.mark.long, id=f"round-{number}")
    for number in SERIES.numbers()
]


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    """Return a private host of its own with the guest and its first backup."""
    with Ground.beside("pairs") as ground:
        found = Whole(ground)
        found.furnish()
        print(f"pairs: KVMSNAP_SEED={SERIES.seed}")
        yield found


def at_once(whole: Whole, pair: tuple[str, str], names: tuple[str, str], offset: float) -> list[Done]:
    """Run both operations, the second one so many seconds after the first, and return what they said."""
    said: list[Done] = []

    def play(operation: str, name: str) -> None:
        said.append(OPERATIONS[operation](whole, name))

    threads = [threading.Thread(target=play, args=each) for each in zip(pair, names)]
    threads[0].start()
    time.sleep(offset)
    threads[1].start()
    for thread in threads:
        thread.join()
    return said


@pytest.mark.parametrize("number", NUMBERS)
def test_two_at_once(whole: Whole, results: Results, number: int) -> None:
    played = SERIES.round(number)
    pair = PAIRS[(number + SERIES.seed) % len(PAIRS)]
    pair = pair if played.random.random() < 0.5 else pair[::-1]
    offset = round(played.random.uniform(0.0, LONGEST_OFFSET), 3)
    same = pair[0] == pair[1] and played.random.random() < 0.5
    names = (f"round_{number:03d}_1", f"round_{number:03d}_{1 if same else 2}")
    step = f"{pair[0]} + {pair[1]}"
    began = time.monotonic()
    with SERIES.play(played) as kept:
        kept.update(pair=list(pair), offset=offset, names=list(names))
        whole.prepare(number, undo="undo" in pair)
        said = at_once(whole, pair, names, offset)
        kept["said"] = [str(each) for each in said]
        wrong = list(whole.complaints())
        if len(said) < len(pair) or not any(each.ok for each in said):
            wrong.append("none of the two was done")
        detail = "; ".join([*wrong, *map(str, said)])
        results.add(Played("pairs", step, f"offset {offset}", not wrong, detail, time.monotonic() - began))
        assert not wrong, f"{step}, {offset} s apart: {detail}"
