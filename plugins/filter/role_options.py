# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filter that tells which variables a role has, without the seconds that a template takes to read its specification."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.yaml import yaml_load

TEXTS = ("str", "path")


def role_options(path: str) -> dict[str, list[str]]:
    """Return the names of a role's variables: ``all`` of them, and the ``texts`` that may be any text.

    :raises AnsibleFilterError: the role has no readable specification of its arguments.
    """
    return _options(str(path))


@cache
def _options(path: str) -> dict[str, list[str]]:
    try:
        text = Path(path, "meta", "argument_specs.yml").read_text(encoding="utf-8")
        options: dict[str, Any] = yaml_load(text)["argument_specs"]["main"]["options"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as exc:
        raise AnsibleFilterError(f"Failed to read the argument specification of the role {path}: {exc}") from exc
    free = {name for name, option in options.items() if option.get("type") in TEXTS and "choices" not in option}
    return {"all": list(options), "texts": [name for name in options if name in free]}


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"role_options": role_options}
