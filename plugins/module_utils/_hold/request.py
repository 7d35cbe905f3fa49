# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of a hold: the options of ``kvm_vm_quiesce``, and those on holds that ``kvm_vm_backup`` has as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.deadman import DeadMan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldRequest, HoldSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.limits import at_once
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import check_numbers, directory

# The least that an option may be, where it has a value.
_LEAST = {
    "retry_count": 0,
    "freeze_timeout": 1,
    "agent_ping_timeout": 1,
    "hold_deadline": 1,
    "hold_margin": 0,
    "unquiesce_timeout": 1,
    "vss_hold_deadline": 0,
    "concurrency_timeout": 0,
}
_MOST = {"hold_deadline": 600, "hold_margin": 60}
"""Seconds: a hold that may last for days, or whose timer fires then, is one that nobody ends."""


@dataclass(frozen=True)
class GuardedSettings(HoldSettings):
    """The settings of a hold that a dead-man timer watches over."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> GuardedSettings:
        """Read the options on holds; raises :class:`InputError`.

        A hold lasts ``hold_deadline`` at most; the time after which the plug-in's agent resumed guests
        (``unquiesce_timeout``) can only shorten that.
        """
        check_numbers(options, _LEAST, _MOST)
        uri, retry_count = options["uri"], options["retry_count"]
        deadline = float(min(filter(None, (options["hold_deadline"], options["unquiesce_timeout"]))))
        return cls(
            directory=directory(options, "hold_dir"),
            connect=lambda: connect(uri, retry_count=retry_count),
            retry_count=retry_count,
            freeze_timeout=options["freeze_timeout"],
            ping_timeout=options["agent_ping_timeout"],
            hold_deadline=deadline,
            vss_deadline=options["vss_hold_deadline"],
            at_once=at_once(),
            guard=DeadMan(uri, deadline=deadline, margin=options["hold_margin"]),
        )


@dataclass(frozen=True)
class QuiesceRequest:
    """Which hold is to be made or ended, and how; its guests are those to hold, none when they are to be released.

    ``go_on`` holds the others when a guest cannot be held; ``patience`` are the seconds to wait for other holds.
    """

    hold_id: str
    guests: tuple[HoldRequest, ...]
    settings: HoldSettings
    go_on: bool
    refuse_vss: bool
    patience: float

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> QuiesceRequest:
        """Read the module's options; raises :class:`InputError`."""
        named = (options["guests"] or ()) if options["state"] == "quiesced" else ()
        return cls(
            hold_id=options["hold_id"],
            guests=tuple(map(HoldRequest.from_option, named)),
            settings=GuardedSettings.from_options(options),
            go_on=options["on_failure"] == "continue",
            refuse_vss=options["refuse_vss"],
            patience=options["concurrency_timeout"],
        )
