# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one base exception of the collection: a sentence for people, fields for machines."""

from __future__ import annotations

from typing import Any


class KvmsnapError(Exception):
    """A failure told in one sentence: "Failed to *verb* *named object*: *what the system said*".

    ``fields`` are what a playbook may branch on: ``ontap_code`` (str), ``http_status`` (int), ``libvirt_code`` (int),
    ``controller``, ``svm``, ``volume``, ``snapshot``, ``guest``, ``disk``, ``path``, ``problems`` (list of dicts).
    A field whose value is ``None`` is left out.
    """

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}

    def as_result(self) -> dict[str, Any]:
        """Return what a failing module tells: ``msg``, ``error_kind`` and the machine fields."""
        return {"msg": self.message, "error_kind": type(self).__name__, **self.fields}


class InputError(KvmsnapError):
    """What the user gave cannot be used; nothing has been touched."""
