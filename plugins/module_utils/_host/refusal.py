# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why something cannot be saved, or what there is to say about it."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code


@dataclass(frozen=True)
class Refusal:
    """Why something cannot be saved: a problem code, and the end of a sentence that begins with the disk.

    As a note it does not keep the disk from being saved.
    """

    code: Code
    reason: str
