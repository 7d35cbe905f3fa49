# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cross-check of a snapshot's create_time: by tables, and in whole backups on an array whose clock differs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Optional

import pytest
import samples
from backup_site import Site, two_guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import manifest_writer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.manifest_writer import ManifestRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.array_clock import (
    Window,
    ahead_of,
    outside,
    window,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import Hold, Stamp
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import snapshot_calls
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshot_sets import ensure_present
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import SnapshotRequest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import VolumeRef
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline
from ontapsim.testing import Running

NOON = 1795262400
"""2026-11-21T12:00:00 in UTC, in seconds since the epoch."""
AT_NOON = "2026-11-21T12:00:00+00:00"
HELD = (10.0, 12.0)


def ahead(skew: float = 0.0, *, took: float = 0.0) -> list[float]:
    """What an array tells whose clock stands at noon and ``skew`` seconds when the host's monotonic one is at 10.0."""
    begin = NOON - 10.0 + skew
    return [begin - took, begin + 1.0]


@pytest.mark.parametrize(
    ("create_time", "told", "within", "expected"),
    [
        # In the middle of the hold, with clocks that agree, and with an array that is an hour ahead or behind.
        ("2026-11-21T12:00:01+00:00", ahead(), HELD, 0.0),
        ("2026-11-21T13:00:01+00:00", ahead(3600.0), HELD, 0.0),
        ("2026-11-21T11:00:01+00:00", ahead(-3600.0), HELD, 0.0),
        # The same moment, as arrays elsewhere write it.
        ("2026-11-21T13:00:01+01:00", ahead(), HELD, 0.0),
        ("2026-11-21T06:30:01-05:30", ahead(), HELD, 0.0),
        ("2026-11-21T12:00:01Z", ahead(), HELD, 0.0),
        ("2026-11-21T12:00:01.900+00:00", ahead(), HELD, 0.0),
        # At the edges: a second of grain on either side, and one for the nodes of a cluster.
        ("2026-11-21T11:59:59+00:00", ahead(), HELD, 0.0),
        ("2026-11-21T11:59:58+00:00", ahead(), HELD, 0.0),
        ("2026-11-21T11:59:57+00:00", ahead(), HELD, -1.0),
        ("2026-11-21T12:00:04+00:00", ahead(), HELD, 0.0),
        ("2026-11-21T12:00:05+00:00", ahead(), HELD, 1.0),
        # An answer that took long leaves more in doubt.
        ("2026-11-21T12:00:09+00:00", ahead(), HELD, 5.0),
        ("2026-11-21T11:59:57+00:00", ahead(took=5.0), HELD, 0.0),
        # Far off, also when only the zone is wrong.
        ("2026-11-21T12:00:01+01:00", ahead(), HELD, -3597.0),
        ("2026-11-21T12:02:01+00:00", ahead(), HELD, 117.0),
        # What cannot be compared.
        (None, ahead(), HELD, None),
        ("", ahead(), HELD, None),
        ("yesterday", ahead(), HELD, None),
        ("2026-11-21T12:00:01", ahead(), HELD, None),
        (AT_NOON, None, HELD, None),
        (AT_NOON, [], HELD, None),
        (AT_NOON, "12", HELD, None),
        (AT_NOON, [None, 1.0], HELD, None),
        (AT_NOON, ahead(), None, None),
    ],
)
def test_how_far_it_is_off(
    create_time: Optional[str], told: Any, within: Optional[Window], expected: Optional[float]
) -> None:
    assert outside(create_time, ahead_of(told), within) == expected


@pytest.mark.parametrize(
    ("holds", "stamp", "expected"),
    [
        ([samples.hold()], (10.5, 11.5), (10.0, 12.0)),
        (
            [samples.hold(), samples.hold(samples.DB, "db1", freeze_answered=10.2, thaw_sent=11.9)],
            (10.5, 11.5),
            (10.2, 11.9),
        ),
        # One that does not span the snapshot, or held nothing, says nothing of when it was made.
        ([samples.hold(), samples.hold(samples.DB, "db1", thaw_sent=11.0)], (10.5, 11.5), (10.0, 12.0)),
        ([samples.hold(method="none", freeze_answered=None, thaw_sent=None)], (10.5, 11.5), (10.5, 11.5)),
        ([], (10.5, 11.5), (10.5, 11.5)),
        ([], (None, None), None),
    ],
)
def test_what_it_is_compared_with(
    holds: list[dict[str, Any]], stamp: tuple[Optional[float], Optional[float]], expected: Optional[Window]
) -> None:
    assert window(Stamp("svm1:vol1", *stamp), map(Hold.from_record, holds)) == expected


def test_it_is_compared_by_the_holds_of_the_guests_on_the_volume_and_changes_no_level() -> None:
    started = samples.manifest(samples.guest(), samples.two_volume_guest(), volumes=("vol1", "vol2"))
    late = {"create_time": "2026-11-21T12:01:00+00:00", "array_ahead": ahead()}
    plain, dated = (
        samples.completed(
            started,
            holds=[samples.hold(), samples.hold(samples.DB, "db1")],
            snapshots=[samples.snapshot("vol1"), samples.snapshot("vol2", **more)],
            at=AT_NOON,
        )
        for more in ({}, late)
    )
    assert [volume.create_time_off for volume in plain.volumes] == [None, None]
    assert [volume.create_time_off for volume in dated.volumes] == [None, 56.0]
    assert dated.guests == plain.guests


@pytest.fixture(name="clock_is_put_back", autouse=True)
def _clock_is_put_back(array: Running) -> Iterator[None]:
    """Leave the array's clock as it was."""
    yield
    array.control.reset_switches()


@pytest.mark.parametrize("skew", [0.0, 86400.0, -3600.0])
def test_an_array_whose_clock_is_set_otherwise_agrees(site: Site, skew: float) -> None:
    two_guests(site)
    site.sim.control.set_switches(clock_offset=skew)
    result = site.back_up()
    assert {volume["create_time_off"] for volume in result["backup"]["volumes"]} == {0.0}
    assert not [line for line in result["summary"] if "dates its snapshot" in line]
    for each in result["snapshots"]:
        least, most = each["array_ahead"]
        assert 1.0 <= most - least < 5.0


def test_in_tasks_it_is_compared_as_well(site: Site) -> None:
    two_guests(site)
    options = {**site.options(), "state": "started", "run_id": None, "hold_dir": str(site.directory / "holds")}
    started = manifest_writer.write(ManifestRequest.from_options(options), check=False)
    begun = started["plan"]
    refs = [VolumeRef(each["svm"], each["volume"], each["volume_uuid"]) for each in begun["volumes"]]
    wanted = SnapshotRequest.checked(name=site.name, owner="hv1", comment=begun["comment"])
    with site.access().connected(Deadline.after(30)) as clients:
        taken = ensure_present(clients, refs, wanted, check_mode=False, deadline=Deadline.after(30)).as_result()
    by_json = json.loads(json.dumps(taken["snapshots"]))
    complete = {"state": "complete", "run_id": started["run_id"], "holds": [], "snapshots": by_json}
    done = manifest_writer.write(ManifestRequest.from_options({**options, **complete}), check=False)
    assert {volume["create_time_off"] for volume in done["backup"]["volumes"]} == {0.0}


def test_an_array_whose_clock_is_set_after_a_snapshot_is_told_and_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_guests(site)
    look = snapshot_calls.confirmed

    def clock_goes_on_first(client: Client, *arguments: Any, **more: Any) -> Any:
        site.sim.control.set_switches(clock_offset=300.0)
        return look(client, *arguments, **more)

    monkeypatch.setattr(snapshot_calls, "confirmed", clock_goes_on_first)
    result = site.back_up()
    assert (result["changed"], result["guests_below_consistency"], site.left()) == (
        True,
        [],
        (["kvm_vol1", "kvm_vol2"], ["complete"], []),
    )
    told = [line for line in result["summary"] if "dates its snapshot" in line]
    off = {volume["volume"]: volume["create_time_off"] for volume in result["backup"]["volumes"]}
    assert len(told) == len([seconds for seconds in off.values() if seconds]) >= 1
    assert all(seconds == 0.0 or -300.0 <= seconds < -285.0 for seconds in off.values())
    assert "before what this host's clock says" in told[0]
    saved = store.load(site.root, site.name)
    assert saved is not None
    assert {volume.volume: volume.create_time_off for volume in saved.volumes} == off
