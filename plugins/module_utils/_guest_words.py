# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guest a word means: one of that uuid, in capitals or not as libvirt takes it, or one of that name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Optional, Protocol, TypeVar


class Named(Protocol):
    """What a guest can be called by."""

    @property
    def name(self) -> str:
        """The name."""

    @property
    def uuid(self) -> str:
        """The uuid in lower case, empty when it is not known."""


N = TypeVar("N", bound=Named)
V = TypeVar("V")


def called(word: str, guests: Iterable[N], among: Optional[Iterable[Named]] = None) -> list[N]:
    """Return those of the guests that a word means: by their uuid, or by their name unless some guest has it for uuid.

    ``among`` are all guests there are, where ``guests`` are only some of them.
    """
    some, uuids = list(guests), (word, word.lower())
    if any(each.uuid in uuids for each in (some if among is None else among)):
        return [each for each in some if each.uuid in uuids]
    return [each for each in some if word == each.name]


def by_uuid(values: Mapping[str, V], guests: Iterable[Named]) -> dict[str, V]:
    """Return what is said of guests by words, by their uuids; what is said by a name wins."""
    known = list(guests)
    names = {each.name for each in known}
    found: dict[str, V] = {}
    for word in sorted(values, key=names.__contains__):
        found.update((each.uuid, values[word]) for each in called(word, known))
    return found
