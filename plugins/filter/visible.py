# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter that makes control characters in foreign text visible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import visible as _visible
from ansible_collections.kvmsnap.ontap.plugins.plugin_utils._untrusted import untrusted


def visible(text: Any) -> Any:
    """Return a text with its control characters as escapes; what is no text becomes one."""
    return untrusted(_visible(str(text)))


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"visible": visible}
