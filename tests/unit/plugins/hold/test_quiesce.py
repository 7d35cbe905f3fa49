# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests are held once no other hold has them, and released."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import libvirt
import pytest
from holding import take, want
from hurried import Hurry
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import quiesce as kvm_quiesce
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import release
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldSettings,
    TakenError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.quiesce import quiesce, resume, wait_for_others
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.request import QuiesceRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import BOOT_ID
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

RUNNING, PAUSED = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED)


def test_a_hold_can_wait_for_another_one(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid), hold_id="h1")
    began = time.monotonic()
    wait_for_others([want(uuid)], "h2", settings, Deadline.after(0.3))
    assert time.monotonic() - began >= 0.3
    release("h1", settings, check=False)
    wait_for_others([want(uuid)], "h2", settings, Deadline.after(60))
    assert time.monotonic() - began < 30


def test_a_hold_does_not_wait_for_a_guest_that_is_called_as_another_one(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    take(settings, want(guests.add(uuid)), hold_id="h1")
    began = time.monotonic()
    wait_for_others([want(uuid)], "h2", settings, Deadline.after(60))
    assert time.monotonic() - began < 30
    release("h1", settings, check=False)


def options(settings: HoldSettings, **more: Any) -> dict[str, Any]:
    return {
        "hold_id": "h1",
        "hold_dir": str(settings.directory),
        "uri": "test:///default",
        "retry_count": 0,
        "freeze_timeout": 20,
        "agent_ping_timeout": 5,
        "on_failure": "fail",
        "refuse_vss": False,
        "hold_deadline": 30.0,
        "hold_margin": 0.5,
        "vss_hold_deadline": 8.0,
        "unquiesce_timeout": None,
        "concurrency_timeout": 0.0,
        "state": "quiesced",
        **more,
    }


def request_of(settings: HoldSettings, **more: Any) -> QuiesceRequest:
    return QuiesceRequest.from_options(options(settings, **more))


def test_quiesce_and_resume_from_options(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    given = request_of(settings, guests=[{"uuid": None, "name": " sol ", "method": "auto", "disks": None}])
    assert quiesce(given, check=False)["guests"][0]["uuid"] == uuid
    assert guests.state(uuid)[0] == PAUSED
    ended = request_of(settings, state="resumed", guests=[{"name": " "}])
    assert resume(ended, check=False)["guests"][0]["held"] is True, "whom it names does not matter"
    assert guests.state(uuid)[0] == RUNNING


def test_quiesce_waits_also_for_a_hold_that_was_begun_after_it_had_looked(
    guests: Guests, settings: HoldSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = guests.add("sol")
    take(replace(settings, boot=BOOT_ID), want(uuid), hold_id="h9")
    looks: list[str] = []
    waits = kvm_quiesce.wait_for_others

    def late(*given: Any) -> None:
        """Overlook the other hold once, as one that is not written down yet; release it at the next look."""
        looks.append("looked")
        if len(looks) == 2:
            release("h9", replace(settings, boot=BOOT_ID), check=False)
            waits(*given)

    monkeypatch.setattr(kvm_quiesce, "wait_for_others", late)
    given = request_of(settings, guests=[{"name": "sol"}])
    with pytest.raises(TakenError, match="held by another hold, h9"):
        quiesce(given, check=False)
    looks.clear()
    patient = request_of(settings, guests=[{"name": "sol"}], concurrency_timeout=60.0)
    held = quiesce(replace(patient, settings=replace(patient.settings, clock=Hurry(100.0).clock)), check=False)
    assert (held["guests"][0]["held"], len(looks)) == (True, 2)
    resume(given, check=False)
