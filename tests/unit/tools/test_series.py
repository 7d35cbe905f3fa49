# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Series of random rounds: divided, repeated, gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from series import Series


def numbers_of(place: Path, environ: dict[str, str], count: int = 10) -> list[int]:
    found = Series.from_environment("pairs", count, environ=environ)
    return Series(found.name, found.seed, found.count, found.shard, found.shards, found.first, place).numbers()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, list(range(10))),
        ({"KVMSNAP_ROUNDS": "3"}, [0, 1, 2]),
        ({"KVMSNAP_SHARD": "1/3"}, [0, 3, 6, 9]),
        ({"KVMSNAP_SHARD": "3/3"}, [2, 5, 8]),
        ({"KVMSNAP_FROM": "8"}, [8, 9]),
        ({"KVMSNAP_FROM": "4", "KVMSNAP_SHARD": "2/4", "KVMSNAP_ROUNDS": "12"}, [5, 9]),
    ],
)
def test_the_rounds_that_the_environment_asks_for(tmp_path: Path, environ: dict[str, str], expected: list[int]) -> None:
    assert numbers_of(tmp_path, environ) == expected


def test_shards_together_are_the_whole_series(tmp_path: Path) -> None:
    parts = [number for shard in (1, 2, 3) for number in Series("pairs", 7, 20, shard, 3, place=tmp_path).numbers()]
    assert sorted(parts) == list(range(20))


@pytest.mark.parametrize("shard", [(0, 2), (3, 2)])
def test_a_shard_that_does_not_exist_is_refused(tmp_path: Path, shard: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="shard"):
        Series("pairs", 7, 20, *shard, place=tmp_path)


def test_a_round_is_the_same_whichever_were_played_before_it(tmp_path: Path) -> None:
    alone = Series("pairs", 7, 20, first=12, place=tmp_path).round(12).random.random()
    after = {each.number: each.random.random() for each in Series("pairs", 7, 20, place=tmp_path).rounds()}
    assert after[12] == alone
    assert len(set(after.values())) == 20
    others = [Series("pairs", 8, 20, place=tmp_path), Series("kills", 7, 20, place=tmp_path)]
    assert alone not in [other.round(12).random.random() for other in others]


def test_without_a_seed_each_series_has_one_of_its_own() -> None:
    assert len({Series.from_environment("pairs", 1, environ={}).seed for _time in range(20)}) > 1
    assert Series.from_environment("pairs", 1, environ={"KVMSNAP_SEED": "42"}).seed == 42


def test_a_series_that_broke_off_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = Series("pairs", 7, 4, place=tmp_path)
    rounds = series.rounds()
    for _time in range(2):
        with series.play(next(rounds)) as kept:
            kept["offset"] = 0.5
    with pytest.raises(RuntimeError), series.play(next(rounds)):
        raise RuntimeError("the guest is off")
    assert "KVMSNAP_SEED=7 KVMSNAP_FROM=2 plays it again" in capsys.readouterr().out
    assert series.numbers() == [2, 3]
    assert Series("pairs", 7, 4, first=0, place=tmp_path).numbers() == [0, 1, 2, 3]
    kept_rounds = json.loads(series.progress.read_text(encoding="utf-8"))["rounds"]
    assert kept_rounds["1"] == {"offset": 0.5, "passed": True}
    assert (kept_rounds["2"]["passed"], "the guest is off" in kept_rounds["2"]["said"]) == (False, True)


def test_shards_keep_their_rounds_in_one_file(tmp_path: Path) -> None:
    for shard in (1, 2):
        series = Series("pairs", 7, 4, shard, 2, place=tmp_path)
        for each in series.rounds():
            with series.play(each):
                pass
    assert Series("pairs", 7, 4, place=tmp_path).numbers() == []
