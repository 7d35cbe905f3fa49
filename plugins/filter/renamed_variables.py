# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter that finds variables whose names changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._renames import VARIABLES, sentences


def renamed_variables(names: Iterable[str]) -> list[str]:
    """Return a sentence with the new name for each name that is an old one."""
    return sentences(names, VARIABLES)


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"renamed_variables": renamed_variables}
