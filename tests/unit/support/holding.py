# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds of guests of the test driver, as the tests of a hold ask for them and look at what is left."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldRequest,
    HoldSettings,
    Observation,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    DomainState,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DiskXml, GuestXml

ON = DomainState("running", "booted", 3)


def want(uuid: str, asked: str = "auto", disks: Any = None) -> HoldRequest:
    return HoldRequest("", uuid, asked, disks)  # type: ignore[arg-type]


def take(
    settings: HoldSettings,
    *wanted: HoldRequest,
    check: bool = False,
    go_on: bool = False,
    hold_id: str = "h1",
    **more: Any,
) -> Any:
    return hold(list(wanted), hold_id, settings, check=check, go_on=go_on, **more)


def record_of(settings: HoldSettings, hold_id: str = "h1") -> Any:
    return json.loads((settings.directory / f"{hold_id}.json").read_text(encoding="utf-8"))


def left(settings: HoldSettings) -> list[str]:
    return sorted(path.name for path in settings.directory.iterdir()) if settings.directory.exists() else []


def seen(state: DomainState = ON, *, cache: str = "none", os: str = "linux", **more: Any) -> Observation:
    disk = DiskXml("vda", "disk", "file", "/a", cache=cache)
    other = DiskXml("vdb", "disk", "file", "/b", cache="none")
    definition = GuestXml("g", "u", os, None, "none", (disk, other), None, False)  # type: ignore[arg-type]
    return Observation("g", "u", state, definition, **more)
