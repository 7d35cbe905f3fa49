# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what goes wrong with one guest from what is done for the others.

A guest's definition, its agent's answers and its images are foreign: whatever reads them may fail in ways that nobody
thought of. Where many guests are worked on, each goes through :func:`outcome_of`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError

T = TypeVar("T")

LONGEST = 300


class UnexpectedError(KvmsnapError):
    """Something failed in a way that nobody provided for; ``exception`` is the name of its type."""


def outcome_of(call: Callable[[], T], *, what: str) -> Union[T, KvmsnapError]:
    """Return what ``call`` returns, or as a value what it raises, whatever that is; ``what`` completes "Failed to".

    A request to end the process (KeyboardInterrupt, SystemExit) passes.
    """
    try:
        return call()
    except KvmsnapError as exc:
        return exc
    except Exception as exc:  # noqa: BLE001 - one guest's, whatever it is; the others must not suffer
        return unexpected(exc, what)


def unexpected(exc: Exception, what: str) -> UnexpectedError:
    """Return the named error for an exception that nobody provided for."""
    kind = type(exc).__name__
    said = str(exc)[:LONGEST]
    found = UnexpectedError(f"Failed to {what}: {kind}{f': {said}' if said else ''}", exception=kind)
    found.__cause__ = exc
    return found
