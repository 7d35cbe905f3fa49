# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""New tests against an old commit: options that its modules and roles do not know, or name otherwise.

`make prove-old` sets the environment variable `SWITCH`; without it everything is passed on as it is, so that a test
with a misspelt option fails.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

SWITCH = "KVMSNAP_OLD_SIDE"
ROLES = Path(__file__).resolve().parents[3] / "roles"
# The old names of options and variables, by their new ones.
RENAMED: Mapping[str, str] = {
    "state": "undo",
    "kvm_restore_state": "kvm_restore_undo",
    "disks_unused_elsewhere": "other_hosts_off",
    "kvm_restore_disks_unused_elsewhere": "kvm_restore_other_hosts_off",
    "unmanaged_guests": "cluster_off",
    "kvm_restore_unmanaged_guests": "kvm_restore_cluster_off",
    "grace_period": "settle",
    "kvm_recover_grace_period": "kvm_recover_settle",
}
# The old values of those whose values changed too, by their new ones.
_UNDO = {"restored": False, "undone": True}
VALUES: Mapping[str, Mapping[str, Any]] = {"undo": _UNDO, "kvm_restore_undo": _UNDO}


def for_module(module: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that this side's module knows, on the old side."""
    if not os.environ.get(SWITCH):
        return dict(options)
    return fit(options, argument_spec_of(module), drop=lambda name: not name.startswith("_ansible_"))


def for_playbook(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables with the nested options that this side's roles know, on the old side.

    A variable that no role knows is read by nobody there; the playbooks have some of their own.
    """
    if not os.environ.get(SWITCH):
        return dict(variables)
    return fit(variables, _variables(), drop=lambda _name: False)


def fit(
    given: Mapping[str, Any], spec: Mapping[str, Any], *, drop: Any, renamed: Mapping[str, str] | None = None
) -> Any:
    """Return what of the given options fits an argument spec; ``drop`` says of an unknown one whether it goes."""
    renamed = RENAMED if renamed is None else renamed
    fitted = {}
    for name, value in given.items():
        known = name if name in spec else renamed.get(name, name)
        entry = spec.get(known) or {}
        if known in spec:
            fitted[known] = _fit_value(_old_value(name, known, value), entry.get("options") or {}, renamed)
        elif not drop(name):
            fitted[known] = _old_value(name, known, value)
    return fitted


def _old_value(name: str, known: str, value: Any) -> Any:
    """The value that a renamed option had for the new one."""
    return VALUES[known][value] if name != known and known in VALUES else value


def _fit_value(value: Any, options: Mapping[str, Any], renamed: Mapping[str, str]) -> Any:
    """Fit an option's own options, of which a mapping or each mapping of a list is made."""
    if options and isinstance(value, Mapping):
        return fit(value, options, drop=lambda _name: True, renamed=renamed)
    if options and isinstance(value, (list, tuple)):
        return [_fit_value(each, options, renamed) for each in value]
    return value


class _AskedError(Exception):
    """Carries the argument spec out of a module's main()."""


@cache
def argument_spec_of(module: str) -> Mapping[str, Any]:
    """Return the argument spec that a module gives to AnsibleModule."""
    found: Any = importlib.import_module(f"ansible_collections.kvmsnap.ontap.plugins.modules.{module}")
    kept = found.AnsibleModule

    def asked(**how: Any) -> None:
        raise _AskedError(how["argument_spec"])

    found.AnsibleModule = asked
    try:
        found.main()
    except _AskedError as exc:
        spec: Mapping[str, Any] = exc.args[0]
        return spec
    finally:
        found.AnsibleModule = kept
    raise AssertionError(f"{module} did not ask for its arguments")


@cache
def _variables() -> dict[str, Any]:
    """Return the variables of all roles, with their options."""
    specs = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROLES.glob("*/meta/argument_specs.yml")]
    return {
        name: entry
        for spec in specs
        for each in spec["argument_specs"].values()
        for name, entry in each["options"].items()
    }
