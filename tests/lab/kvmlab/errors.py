# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception of the lab."""

from __future__ import annotations


class LabError(Exception):
    """A step of the lab that failed, told in one sentence, with the end of what the system said."""
