# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private host of a long series: brought up anew after a round that failed, so that none spoils those after it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .ground import Ground
from .operations_host import OperationsHost


class Renewed:
    """Hosts one after the other, each with the guest and its first backup, all in the directory ``name``.

    ``begin`` is done on each once it is up. After ``rounds`` rounds (0 is never) a host is replaced, too.
    """

    def __init__(self, name: str, begin: Callable[[OperationsHost], None], *, rounds: int = 0) -> None:
        self._name = name
        self._begin = begin
        self._rounds = rounds
        self._played = 0
        self._whole: OperationsHost | None = None

    @contextmanager
    def round(self, kept: Path) -> Iterator[OperationsHost]:
        """Return a host that no failed round was played on; what one that fails leaves is copied to ``kept``."""
        if self._rounds and self._played >= self._rounds:
            self.end()
        operated = self._whole or self._fresh()
        self._played += 1
        try:
            yield operated
        except BaseException:
            _keep(operated.ground, kept)
            self.end()
            raise

    def end(self) -> None:
        """End the host that is up, if there is one."""
        if self._whole is not None:
            self._whole.ground.stop()
            self._whole = None

    def _fresh(self) -> OperationsHost:
        ground = Ground.beside(self._name)
        ground.start()
        self._whole = OperationsHost(ground)
        try:
            self._whole.furnish()
            self._begin(self._whole)
        except BaseException:
            self.end()
            raise
        self._played = 0
        return self._whole


def _keep(ground: Ground, place: Path) -> None:
    """Copy what explains a failure: the catalog, the records of holds, the logs."""
    shutil.rmtree(place, ignore_errors=True)
    for name, source in (("catalog", ground.seen(ground.catalog)), ("run", ground.seen(Path("/run/kvmsnap")))):
        if source.is_dir():
            shutil.copytree(source, place / name, symlinks=True)
    if ground.places.logs.is_dir():
        shutil.copytree(ground.places.logs, place / "logs")
