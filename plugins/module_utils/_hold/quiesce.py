# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``kvm_vm_quiesce`` does: hold guests once no other hold has them, and release them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.healing import heal, long_over
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold, release
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldRequest, HoldSettings, TakenError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import other_holds
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.request import QuiesceRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import known_timer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import boot_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.guest_lock import PATIENCE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

_LOOK_AGAIN = 0.5
"""Seconds between two looks at the other holds: a look reads all their records, and a hold lasts some seconds."""


def quiesce(request: QuiesceRequest, *, check: bool) -> dict[str, Any]:
    """Return the result of ``kvm_vm_quiesce`` ``state: quiesced``.

    Raises :class:`LibvirtError`, and :class:`HoldError` when a guest was not held: then none is.
    """
    wanted, hold_id, settings = request.guests, request.hold_id, request.settings
    deadline = Deadline.after(0 if check else request.patience, settings.clock)
    notes = [] if check else heal(settings, but=hold_id)
    while True:
        wait_for_others(wanted, hold_id, settings, deadline)
        try:
            held = hold(
                wanted,
                hold_id,
                settings,
                check=check,
                go_on=request.go_on,
                refuse_vss=request.refuse_vss,
                wait=min(PATIENCE, deadline.remaining()),
            )
            return {**held, "notes": notes}
        except TakenError:
            if deadline.remaining() <= 0 or not _to_end(wanted, hold_id, settings):
                raise
        deadline.clock.sleep(min(_LOOK_AGAIN, deadline.remaining()))


def resume(request: QuiesceRequest, *, check: bool) -> dict[str, Any]:
    """Return the result of ``kvm_vm_quiesce`` ``state: resumed``; raises as :func:`release` does."""
    return {**release(request.hold_id, request.settings, check=check), "notes": []}


def wait_for_others(wanted: Sequence[HoldRequest], hold_id: str, settings: HoldSettings, deadline: Deadline) -> None:
    """Wait until no other hold has any of the guests, at most until the deadline; the hold names a holder later.

    For a hold that is long over and still has guests, nobody waits: they could not be released, and may never be.
    """
    while deadline.remaining() > 0 and _to_end(wanted, hold_id, settings):
        deadline.clock.sleep(min(_LOOK_AGAIN, deadline.remaining()))


def _to_end(wanted: Sequence[HoldRequest], hold_id: str, settings: HoldSettings) -> bool:
    """Say whether another hold that is to end soon has one of the guests."""
    held = other_holds(settings.directory, hold_id, boot_id(settings.boot)).values()
    return any(
        any(row.uuid == want.uuid if want.uuid else row.name == want.name for want in wanted)
        and not long_over([row], known_timer(settings.directory / f"{holder}.timer"), time.monotonic())
        for holder, row in held
    )
