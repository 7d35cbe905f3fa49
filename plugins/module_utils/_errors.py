# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one base exception of the collection: a sentence for people, fields for machines."""

from __future__ import annotations

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable, visible, visible_fields


class KvmsnapError(Exception):
    """A failure in one sentence: "Failed to *verb* *named object*: *what the system said*".

    ``fields`` are what a playbook may branch on: ``ontap_code`` (str), ``http_status`` (int), ``libvirt_code`` (int),
    ``controller``, ``svm``, ``volume``, ``snapshot``, ``guest``, ``disk``, ``path``, ``problems`` (list of dicts).
    A field whose value is ``None`` is left out. Control characters in the sentence are made visible: much of what is
    quoted in it was said by a guest, an array or a tool.
    """

    def __init__(self, message: str, **fields: Any) -> None:
        self.message = visible(message)
        super().__init__(self.message)
        self.fields: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}

    def as_result(self) -> dict[str, Any]:
        """Return what a failing module tells: ``msg``, ``error_kind`` and the machine fields, all of it visible."""
        return presentable({"msg": self.message, "error_kind": type(self).__name__, **visible_fields(self.fields)})


class InputError(KvmsnapError):
    """What the user gave cannot be used; nothing has been touched."""
