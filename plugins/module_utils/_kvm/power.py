# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a guest to a power state and know that it is there. Every wait ends; a state is asked for, never assumed."""

from __future__ import annotations

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain, LibvirtError, State
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

DESTROY_TIMEOUT = 30.0
ASK_AGAIN = 20.0
_PAUSE = 0.2


class PowerError(KvmsnapError):
    """A guest did not come to the state that was asked for in its time."""


def power_off(domain: Domain, *, graceful: bool, timeout: float) -> None:
    """Bring a guest to ``shutoff`` and return only when it is.

    With ``graceful`` it is asked to shut down, again every 20 s, for ``timeout`` seconds, and powered off when it has
    not by then; a paused guest cannot shut down and is powered off at once. Raises :class:`LibvirtError` and
    :class:`PowerError`.
    """
    if not domain.state().active:
        return
    if graceful and domain.state().state == "running" and _shut_down(domain, Deadline.after(timeout)):
        return
    try:
        domain.destroy()
    except LibvirtError:
        if domain.state().active:
            raise
    if not _inactive_by(domain, Deadline.after(DESTROY_TIMEOUT)):
        raise PowerError(
            f"Failed to power off guest {domain.name}: it is still active {DESTROY_TIMEOUT:g} s later",
            guest=domain.name,
        )


def power_on(domain: Domain, *, state: State, timeout: float) -> None:
    """Bring a guest that is off to ``running`` or ``paused`` and return when libvirt says so.

    Raises :class:`LibvirtError`, and :class:`PowerError` when it is in another state after ``timeout`` seconds.
    """
    domain.start(paused=state == "paused")
    deadline = Deadline.after(timeout)
    while True:
        found = domain.state()
        if found.state == state:
            return
        if not found.active or deadline.remaining() <= 0:
            raise PowerError(
                f"Failed to start guest {domain.name}: it is {found.state} ({found.reason}), not {state}",
                guest=domain.name,
            )
        deadline.clock.sleep(_PAUSE)


def _shut_down(domain: Domain, deadline: Deadline) -> bool:
    while deadline.remaining() > 0:
        try:
            domain.shutdown()
        except LibvirtError:
            if domain.state().active:
                return False
        if _inactive_by(domain, Deadline.after(min(ASK_AGAIN, deadline.remaining()))):
            return True
    return not domain.state().active


def _inactive_by(domain: Domain, deadline: Deadline) -> bool:
    while domain.state().active:
        if deadline.remaining() <= 0:
            return False
        deadline.clock.sleep(_PAUSE)
    return True
