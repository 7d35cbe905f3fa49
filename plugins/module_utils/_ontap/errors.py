# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with an ONTAP system, one class per thing that a caller or a person treats differently."""

from __future__ import annotations

from typing import Any, Optional, TypeVar

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import Outcome

E = TypeVar("E", bound="OntapError")


class OntapError(KvmsnapError):
    """Failed to ``action``: ``reason``.

    Machine fields: ``ontap_code`` (str), ``http_status`` (int), ``method``, ``path``, ``controller``, and what the
    caller adds (``svm``, ``volume``, ``snapshot``). ``outcome`` is for the retry policy.
    """

    def __init__(self, action: str, reason: str, *, outcome: Optional[Outcome] = None, **fields: Any) -> None:
        super().__init__(f"Failed to {action}: {reason}", **fields)
        self.action = action
        self.reason = reason
        self.outcome = outcome or Outcome("answered")

    @property
    def code(self) -> Optional[str]:
        """ONTAP's error code, as a string."""
        return self.fields.get("ontap_code")

    def has_code(self, *wanted: str) -> bool:
        """Tell whether ONTAP's error code is one of ``wanted``."""
        return self.code in wanted


class OntapUnreachableError(OntapError):
    """No connection could be made, or it broke; ``cause`` is name, refused, timeout, network or tls."""


class OntapUntrustedError(OntapError):
    """The certificate of the other side is not trusted."""


class OntapLoginError(OntapError):
    """The credentials are wrong (HTTP 401)."""


class OntapDeniedError(OntapError):
    """The credentials are right, but the account's role does not allow the call (HTTP 403, codes 6 and 6691623)."""


class NotOntapError(OntapError):
    """Something answered, but no ONTAP REST API."""


class OntapTooOldError(OntapError):
    """The system runs an ONTAP release below the floor."""


class OutcomeUnknownError(OntapError):
    """A change was sent, and it could not be found out whether it took effect.

    ``job`` is the uuid of its job, where the array named one: its end is the end of the change.
    """


class JobFailedError(OntapError):
    """An asynchronous operation ended, but not with success; ``ontap_code`` and ``job`` say which and why."""


class JobTimeoutError(OntapError):
    """An asynchronous operation was still under way at the deadline; ``job`` is its uuid."""


class JobGoneError(OntapError):
    """ONTAP no longer knows the job (it forgets one 300 s after its end): how it ended is unknown.

    ``seen`` says whether it was seen before; one that never was may be under way and hidden from the account.
    """


class FencedError(OntapError):
    """A group's snapshot was begun, or may have been, and not made.

    Until ``until`` (monotonic seconds of the client's clock) its volumes' writes may be kept waiting, and another start
    is refused.
    """

    until = 0.0


def during(exc: E, action: str, **fields: Any) -> E:
    """Return the same failure as a failure to ``action``, with ``fields`` added; to be raised ``from exc``."""
    return type(exc)(action, exc.reason, outcome=exc.outcome, **{**exc.fields, **fields})
