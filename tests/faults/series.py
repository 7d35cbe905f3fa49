# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long series of random rounds that can be divided, repeated and gone on with.

Each round has a random generator of its own, made of the series' name, its seed and the round's number: a round is the
same whichever rounds were played before it. The environment says which rounds are played:

======================  ================================================================================
``KVMSNAP_SEED``        the seed; without it a new one is taken, and printed
``KVMSNAP_ROUNDS``      how many rounds the series has, in all shards together
``KVMSNAP_SHARD``       ``i/n``: only every n-th round, beginning with the i-th (1/1 is all of them)
``KVMSNAP_FROM``        the first round to play, counted from 0; those before it are left out
======================  ================================================================================

What was played is kept in ``build/series/NAME-SEED.json``. With a seed that was given, a series that broke off goes on
after the rounds that passed; ``KVMSNAP_FROM=0`` plays them again.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

PLACE = Path(__file__).resolve().parents[2] / "build" / "series"


@dataclass(frozen=True)
class Round:
    """One round of a series; ``random`` is its own, and the same whenever this round is played."""

    name: str
    seed: int
    number: int
    random: random.Random = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.name} round {self.number} of seed {self.seed}"


@dataclass(frozen=True)
class Series:
    """``count`` rounds by one seed; of every ``shards`` rounds the ``shard``-th is played (counted from 1)."""

    name: str
    seed: int
    count: int
    shard: int = 1
    shards: int = 1
    first: Optional[int] = None
    place: Path = PLACE

    def __post_init__(self) -> None:
        if not 1 <= self.shard <= self.shards:
            raise ValueError(f"shard {self.shard}/{self.shards}: the first number is from 1 to the second")

    @classmethod
    def from_environment(cls, name: str, count: int, *, environ: Optional[Mapping[str, str]] = None) -> Series:
        """Return the series that the environment asks for; ``count`` is how many rounds it has otherwise."""
        environ = os.environ if environ is None else environ
        shard, _slash, shards = environ.get("KVMSNAP_SHARD", "1/1").partition("/")
        first = environ.get("KVMSNAP_FROM")
        return cls(
            name,
            int(environ.get("KVMSNAP_SEED") or secrets.randbelow(10**9)),
            int(environ.get("KVMSNAP_ROUNDS") or count),
            int(shard),
            int(shards or 1),
            None if first is None else int(first),
        )

    @property
    def progress(self) -> Path:
        """The file that keeps what was played."""
        return self.place / f"{self.name}-{self.seed}.json"

    def left_by(self, number: int) -> Path:
        """Return the directory for what a round that failed leaves to look at."""
        return self.place / f"{self.name}-{self.seed}-{number}"

    def numbers(self) -> list[int]:
        """Return the numbers of the rounds to play: of this shard, from the first one on, and not yet passed."""
        passed = set() if self.first is not None else {int(key) for key, each in self._kept().items() if each["passed"]}
        return [
            number
            for number in range(self.first or 0, self.count)
            if number % self.shards == self.shard - 1 and number not in passed
        ]

    def rounds(self) -> Iterator[Round]:
        """Yield the rounds to play, and print how to play them again."""
        numbers = self.numbers()
        print(f"{self.name}: KVMSNAP_SEED={self.seed} plays {len(numbers)} of {self.count} rounds", flush=True)
        for number in numbers:
            yield self.round(number)

    def round(self, number: int) -> Round:
        """Return one round."""
        return Round(self.name, self.seed, number, random.Random(f"{self.name} {self.seed} {number}"))

    @contextmanager
    def play(self, played: Round) -> Iterator[dict[str, Any]]:
        """Keep what becomes of a round; what is put into the mapping is kept with it."""
        kept: dict[str, Any] = {}
        try:
            yield kept
        except BaseException as exc:
            print(f"{played}: KVMSNAP_SEED={self.seed} KVMSNAP_FROM={played.number} plays it again", flush=True)
            self._keep(played.number, {**kept, "passed": False, "said": repr(exc)[:2000]})
            raise
        self._keep(played.number, {**kept, "passed": True})

    def _kept(self) -> dict[str, dict[str, Any]]:
        try:
            rounds: dict[str, dict[str, Any]] = json.loads(self.progress.read_text(encoding="utf-8"))["rounds"]
        except FileNotFoundError:
            return {}
        return rounds

    def _keep(self, number: int, entry: Mapping[str, Any]) -> None:
        """Write down one round; shards that run at the same time write to the same file."""
        self.place.mkdir(parents=True, exist_ok=True)
        with self.progress.with_suffix(".lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            rounds = {**self._kept(), str(number): dict(entry)}
            whole = {"name": self.name, "seed": self.seed, "count": self.count, "rounds": rounds}
            new = self.progress.with_suffix(".new")
            new.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
            new.replace(self.progress)
