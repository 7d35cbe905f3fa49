# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``kvm_vm_quiesce`` does: hold guests once no other hold has them, and release them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.deadman import DeadMan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.healing import heal, long_over
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold, release
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldSettings, TakenError, Wanted
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import other_holds
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import known_timer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.limits import at_once
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import PATIENCE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

_LOOK_AGAIN = 0.5


def quiesce(options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Return the result of ``kvm_vm_quiesce`` ``state: quiesced``; ``options`` are the module's.

    Raises :class:`InputError`, :class:`LibvirtError`, and :class:`HoldError` when a guest was not held: then none is.
    """
    wanted = [Wanted.from_option(option) for option in options["guests"] or ()]
    hold_id, settings, go_on = options["hold_id"], settings_of(options), options["on_failure"] == "continue"
    deadline = Deadline.after(0 if check else options["concurrency_timeout"])
    remarks = [] if check else heal(settings, but=hold_id)
    while True:
        wait_for_others(wanted, hold_id, settings, deadline)
        try:
            held = hold(
                wanted,
                hold_id,
                settings,
                check=check,
                go_on=go_on,
                refuse_vss=options["refuse_vss"],
                wait=min(PATIENCE, deadline.remaining()),
            )
            return {**held, "remarks": remarks}
        except TakenError:
            if deadline.remaining() <= 0 or not _to_end(wanted, hold_id, settings):
                raise
        deadline.clock.sleep(min(_LOOK_AGAIN, deadline.remaining()))


def resume(options: Mapping[str, Any], *, check: bool) -> dict[str, Any]:
    """Return the result of ``kvm_vm_quiesce`` ``state: resumed``; raises as :func:`release` does."""
    return {**release(options["hold_id"], settings_of(options), check=check), "remarks": []}


def settings_of(options: Mapping[str, Any]) -> HoldSettings:
    """Return the settings that the module's options describe; raises :class:`InputError`."""
    for name, least in (("retry_count", 0), ("freeze_timeout", 1), ("agent_ping_timeout", 1)):
        if options[name] < least:
            raise InputError(f"{name} is {options[name]}; it must be at least {least}")
    uri, retry_count, deadline = options["uri"], options["retry_count"], _deadline_of(options)
    return HoldSettings(
        directory=Path(options["hold_dir"]),
        connect=lambda: connect(uri, retry_count=retry_count),
        retry_count=retry_count,
        freeze_timeout=options["freeze_timeout"],
        ping_timeout=options["agent_ping_timeout"],
        hold_deadline=deadline,
        vss_deadline=options["vss_hold_deadline"],
        at_once=at_once(),
        guard=DeadMan(uri, deadline=deadline, margin=options["hold_margin"]),
    )


def _deadline_of(options: Mapping[str, Any]) -> float:
    """Return how long a hold may last; the time after which the plug-in's agent resumed guests can only shorten it."""
    for name, least in (("hold_deadline", 1), ("hold_margin", 0), ("unquiesce_timeout", 1)):
        if options[name] is not None and options[name] < least:
            raise InputError(f"{name} is {options[name]:g}; it must be at least {least}")
    return float(min(filter(None, (options["hold_deadline"], options["unquiesce_timeout"]))))


def wait_for_others(wanted: Sequence[Wanted], hold_id: str, settings: HoldSettings, deadline: Deadline) -> None:
    """Wait until no other hold has any of the guests, at most until the deadline; a holder is told of later.

    For a hold that is long over and still has guests, nobody waits: they could not be released, and may never be.
    """
    while deadline.remaining() > 0 and _to_end(wanted, hold_id, settings):
        deadline.clock.sleep(min(_LOOK_AGAIN, deadline.remaining()))


def _to_end(wanted: Sequence[Wanted], hold_id: str, settings: HoldSettings) -> bool:
    """Say whether another hold that is to end soon has one of the guests."""
    names = {want.uuid or want.name for want in wanted}
    held = other_holds(settings.directory, hold_id, boot_id(settings.boot)).values()
    return any(
        names & {row.uuid, row.name}
        and not long_over([row], known_timer(settings.directory / f"{holder}.timer"), time.monotonic())
        for holder, row in held
    )
