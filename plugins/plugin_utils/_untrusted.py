# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mark what came from hosts, guests and arrays as text that Ansible never reads as a template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.utils.unsafe_proxy import wrap_var


def untrusted(value: Any) -> Any:
    """Return the value with every text in it marked, in plain dictionaries and lists.

    ansible-core 2.16 and 2.18 read a plain string as a template when a task refers to it again (a fact, for one), and a
    filter that builds a new string out of a marked one returns a plain one. Later versions trust no result at all.
    """
    if isinstance(value, Mapping):
        return {untrusted(key): untrusted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [untrusted(item) for item in value]
    return wrap_var(value) if isinstance(value, str) else value
