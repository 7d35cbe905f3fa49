# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each look for users of a disk says: who was found, that nobody was, or why it was not possible here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError

Verdict = Literal["found", "nothing found", "not possible here"]


class InUseError(KvmsnapError):
    """What was to be overwritten or removed is used by somebody; nothing was done to it.

    Its fields are ``path`` (the object), ``user``, ``look`` (how the user was seen) and ``remedy``.
    """


@dataclass(frozen=True)
class User:
    """Somebody who uses an object. ``who`` and ``how`` are a sentence together, ``remedy`` is another one.

    ``passing``: it may be gone in a moment, as a program is that looks into every new device. ``uuid`` is the guest's,
    where it is one.
    """

    who: str
    how: str
    remedy: str
    passing: bool = False
    uuid: str = ""

    def __str__(self) -> str:
        return f"{self.who} {self.how}"


@dataclass(frozen=True)
class Answer:
    """The answer of one look. ``look`` names it; ``impossible`` says why it could not be made, or not in full."""

    look: str
    users: tuple[User, ...] = ()
    impossible: str = ""

    @property
    def verdict(self) -> Verdict:
        """A user that was seen counts, whatever else could not be seen."""
        if self.users:
            return "found"
        return "not possible here" if self.impossible else "nothing found"

    def __str__(self) -> str:
        if self.users:
            return f"{self.look}: found {', '.join(map(str, self.users))}"
        return f"{self.look}: {self.verdict}{f', because {self.impossible}' if self.impossible else ''}"


def first_user(answers: Iterable[Answer]) -> Optional[tuple[Answer, User]]:
    """Return the first user that was found, and by which look."""
    return next(((answer, user) for answer in answers for user in answer.users), None)
