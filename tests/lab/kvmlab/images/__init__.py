# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of the lab, built once and cached under a hash of what they are built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import topology
from ..progress import step
from . import array, cache, guest, host
from .apt import RELEASE, Apt

_HERE = Path(__file__).parent
AGENTS = "resource-agents"
_EVERYWHERE = (_HERE / "apt.py", _HERE / "cache.py")


@dataclass(frozen=True)
class Images:
    """The complete images: where each part lies in the cache."""

    host: Path
    guest: Path
    array: Path

    @property
    def key(self) -> str:
        """Return one word that changes when any of the images does."""
        return "+".join(place.name for place in (self.host, self.guest, self.array))


def ensure(directory: Path) -> Images:
    """Build what the cache in ``directory`` does not hold, and return where everything is."""
    apt = Apt(directory / "apt")
    parts = _parts(apt)
    if cache.missing(directory, parts):
        with step("fetching the package lists"):
            apt.refresh()
        cache.build(directory, parts)
    return locate(directory)


def ensure_guest(directory: Path) -> Path:
    """Build the guests' image alone when the cache in ``directory`` does not hold it, and return where it is."""
    apt = Apt(directory / "apt")
    parts = [part for part in _parts(apt) if part.name == "guest"]
    if cache.missing(directory, parts):
        with step("fetching the package lists"):
            apt.refresh()
        cache.build(directory, parts)
    return locate(directory).guest


def ensure_resource_agents(directory: Path) -> Path:
    """Unpack Pacemaker's resource agents unless the cache in ``directory`` has them, and return their root."""
    apt = Apt(directory / "apt")
    part = cache.Part(
        AGENTS, list(_EVERYWHERE), [RELEASE, AGENTS], lambda target: apt.unpack([AGENTS], target / "root")
    )
    if cache.missing(directory, [part]):
        with step("fetching the package lists"):
            apt.refresh()
        cache.build(directory, [part])
    return part.place(directory) / "root"


def locate(directory: Path) -> Images:
    """Return where the images of today's sources lie, built or not."""
    return Images(**{part.name: part.place(directory) for part in _parts(Apt(directory / "apt"))})


def complete(directory: Path) -> bool:
    """True when nothing would have to be built."""
    return not cache.missing(directory, _parts(Apt(directory / "apt")))


def prune(directory: Path) -> None:
    """Remove the images of yesterday's sources."""
    cache.prune(directory, _parts(Apt(directory / "apt")))


def _parts(apt: Apt) -> list[cache.Part]:
    return [
        _part("host", lambda target: host.build(target, apt), [host.FILES, Path(topology.__file__)]),
        _part("guest", lambda target: guest.build(target, apt), [guest.FILES]),
        _part("array", lambda target: array.build(target, apt), []),
    ]


def _part(name: str, build: Callable[[Path], None], sources: list[Path]) -> cache.Part:
    return cache.Part(name, [*_EVERYWHERE, _HERE / f"{name}.py", *sources], [RELEASE], build)
