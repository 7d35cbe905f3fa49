# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup exists when each of its snapshots is there, by uuid."""

from __future__ import annotations

from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import presence
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import Snapshot

VOL1, VOL2 = ("svm1-uuid", "vol1-uuid"), ("svm1-uuid", "vol2-uuid")


def found(uuid: str, name: str = samples.BACKUP) -> dict[str, Snapshot]:
    return {name: Snapshot(uuid=uuid, name=name)}


@pytest.mark.parametrize(
    ("snapshots", "missing"),
    [
        ({VOL1: found("vol1-snap"), VOL2: found("vol2-snap")}, set()),
        ({VOL1: found("vol1-snap"), VOL2: found("another")}, {VOL2}),
        ({VOL1: found("vol1-snap"), VOL2: found("vol2-snap", "other")}, {VOL2}),
        ({VOL1: found("vol1-snap")}, {VOL2}),
        ({}, {VOL1, VOL2}),
    ],
)
def test_a_snapshot_is_the_backup_s_only_by_name_and_uuid(
    snapshots: dict[tuple[str, str], dict[str, Snapshot]], missing: set[tuple[str, str]]
) -> None:
    started = samples.manifest(samples.two_volume_guest(), volumes=("vol1", "vol2"))
    made = [samples.snapshot("vol1"), samples.snapshot("vol2")]
    done = samples.completed(started, holds=[], snapshots=made, at="2026-11-21T02:00:03+00:00")
    assert presence.missing_volumes(done, snapshots) == missing


def test_a_backup_that_was_never_completed_has_no_snapshot() -> None:
    assert presence.missing_volumes(samples.manifest(), {VOL1: found("vol1-snap")}) == {VOL1}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"backup_id": "../x"}, "backup_id"), ({"controllers": []}, "the list of controllers is empty")],
)
def test_what_cannot_be_asked_for_is_refused(change: dict[str, Any], message: str) -> None:
    login = {"hostname": "cluster1", "username": "kvmsnap", "password": "secret"}
    options = {"controllers": [login], "backup_id": None, "guests": [], "retry_count": 3, "timeout": 300}
    options["catalog_dir"] = "/var/lib/kvmsnap"
    assert presence.PresenceRequest.from_options(options).backup_id is None
    with pytest.raises(InputError, match=message):
        presence.PresenceRequest.from_options({**options, **change})
