# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter that marks foreign data, so that no text in it is ever read as a template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.plugin_utils._untrusted import untrusted


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"untrusted": untrusted}
