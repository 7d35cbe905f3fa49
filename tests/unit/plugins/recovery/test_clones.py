# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies that a killed run left half made or half removed are found and taken away."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clone_bench import (
    CLONING,
    NAME,
    REMOVALS,
    STEPS,
    UEFI,
    Bench,
    KilledError,
    dying,
    login,
)
from virt import URI

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import (
    clone_record,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone import make
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.make import CloneFailedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery import run as recovery_run

Recovered = Callable[..., list[tuple[str, str, Any]]]


@pytest.fixture(name="recovered")
def _recovered(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recovered:
    """Run the recovery on the bench's host: what was found, and what was done about it."""
    monkeypatch.setattr(recovery_run, "San", lambda: bench.san)
    (tmp_path / "run").mkdir()

    def run(*, check: bool = False, grace_period: float = 0.0) -> list[tuple[str, str, Any]]:
        options = {
            "controllers": [login(bench.array)],
            "owner": "hv1",
            "volumes": [],
            "orphans": "keep",
            "safety_days": 30,
            "grace_period": grace_period,
            "catalog_dir": str(bench.root),
            "hold_dir": str(tmp_path / "run" / "holds"),
            "freeze_timeout": 5,
            "agent_ping_timeout": 5,
            "retry_count": 0,
            "timeout": 30,
            "uri": URI,
        }
        result = recovery_run.recover(recovery_run.RecoveryRequest.from_options(options), check=check)
        assert result["changed"] is any(item["action"] for item in result["leftovers"])
        return [(item["kind"], item["name"], item["action"] or item["message"]) for item in result["leftovers"]]

    return run


TAKEN_AWAY = [("clone", NAME, "taken away")]


@pytest.mark.parametrize(("room", "step"), STEPS[:-1], ids=[step for _room, step in STEPS[:-1]])
def test_recovery_takes_away_what_a_killed_run_left(
    bench: Bench, recovered: Recovered, monkeypatch: pytest.MonkeyPatch, room: Any, step: str
) -> None:
    bench.back_up(bench.chain(), bench.lun("vdb"), files=(bench.keep("nvram", UEFI),))
    before = bench.world()
    with monkeypatch.context() as patched:
        patched.setattr(room, step, dying(getattr(room, step), when="after"))
        with pytest.raises(KilledError):
            bench.present(running=True)
    left = bench.world()
    assert left != before
    assert recovered(check=True) == TAKEN_AWAY
    assert bench.world() == left
    assert recovered() == TAKEN_AWAY
    assert bench.world() == before
    assert recovered() == []


@pytest.mark.parametrize(("room", "step"), REMOVALS, ids=[step for _room, step in REMOVALS])
def test_recovery_ends_a_removal_that_was_killed(
    bench: Bench, recovered: Recovered, monkeypatch: pytest.MonkeyPatch, room: Any, step: str
) -> None:
    bench.back_up(bench.chain(), bench.lun("vdb"))
    before = bench.world()
    bench.present(running=True)
    with monkeypatch.context() as patched:
        patched.setattr(room, step, dying(getattr(room, step), when="before"))
        with pytest.raises(KilledError):
            bench.absent()
    assert recovered() == TAKEN_AWAY
    assert bench.world() == before
    assert recovered() == []


def test_recovery_leaves_whole_copies_and_those_being_worked_on(bench: Bench, recovered: Recovered) -> None:
    bench.back_up()
    bench.present(running=True)
    made = bench.world()
    assert recovered() == []
    record = clone_record.load(bench.root, NAME)
    assert record is not None
    clone_record.save(bench.root, record.at("making"))
    with clone_record.alone(bench.root):
        assert recovered() == []
    ((_kind, _name, told),) = recovered(grace_period=3600.0)
    said = r"what its run asked of the array may yet appear; it will count as a leftover in 3[56]\d\d s"
    assert re.search(said, told)
    assert bench.world() == made
    assert recovered() == TAKEN_AWAY


def test_recovery_tells_of_what_is_not_provably_a_copy(bench: Bench, recovered: Recovered) -> None:
    bench.back_up()
    bench.present()
    record = clone_record.load(bench.root, NAME)
    assert record is not None
    clone_record.save(bench.root, replace(record.at("making"), mark=replace(record.mark, owner="another")))
    (bench.root / "clones" / "broken.json").write_text("{", encoding="ascii")
    left = bench.world()
    unreadable, foreign = recovered()
    assert unreadable[:2] == ("clone", "broken")
    assert "Failed to read what is known of copy broken" in unreadable[2]
    assert foreign[:2] == ("clone", NAME)
    assert "never made to the end; Refused to remove guest" in foreign[2]
    assert bench.world() == left
    (bench.root / "clones" / "broken.json").unlink()
    clone_record.save(bench.root, record)


def test_recovery_takes_away_what_the_array_made_of_a_copy_that_was_taken_back(
    bench: Bench, recovered: Recovered
) -> None:
    bench.back_up()
    before = bench.world()
    bench.array.control.add_fault("late", match={**CLONING, "count": 1}, seconds=60, answer="drop")
    with pytest.raises(CloneFailedError, match=r"is gone again\. What the array may make of it yet is taken away by"):
        bench.present()
    (late,) = clone_record.names(bench.root)
    assert bench.present()["changed"]
    bench.array.control.hasten()
    bench.array.control.settle()
    assert len(list(bench.volume.rglob("kvmsnap-clone-*.img"))) == 2
    assert bench.absent()["changed"]
    assert [name for _kind, name, said in recovered(grace_period=600) if "may yet appear" in said] == [late]
    assert recovered() == [("clone", late, "taken away")]
    assert bench.world() == before


@pytest.mark.parametrize("act", ["present", "absent"])
def test_recovery_takes_away_what_the_array_made_late_of_a_copy_whose_maker_was_killed(
    bench: Bench, recovered: Recovered, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    """Somebody makes or removes the copy again before what the killed run had asked for is there."""
    bench.back_up()
    before = bench.world()
    with monkeypatch.context() as patched:
        patched.setattr(make, "file_size", dying(make.file_size, when="before"))
        with pytest.raises(KilledError):
            bench.present()
    (asked,) = bench.volume.rglob("kvmsnap-clone-*.img")
    content = asked.read_bytes()
    assert getattr(bench, act)()["changed"]
    assert not asked.exists()
    late = next(name for name in clone_record.names(bench.root) if name != NAME)
    asked.write_bytes(content)
    assert recovered() == [("clone", late, "taken away")]
    assert not asked.exists()
    bench.absent()
    assert bench.world() == before


@pytest.mark.parametrize(
    ("late", "seconds"),
    [
        pytest.param({"seconds": 60, "answer": "now"}, 2.0, id="a job that outlives its time"),
        pytest.param({"seconds": 60, "answer": "error", "status": 503}, 20.0, id="an overload"),
        pytest.param({"seconds": 60, "answer": "error", "status": 500, "code": "1"}, 20.0, id="an error of the server"),
    ],
)
def test_a_copy_that_failed_in_a_way_that_leaves_it_open_is_looked_for_later(
    bench: Bench, recovered: Recovered, late: dict[str, Any], seconds: float
) -> None:
    bench.back_up()
    before = bench.world()
    bench.array.control.add_fault("late", match=CLONING, **late)
    with pytest.raises(CloneFailedError, match=r"What the array may make of it yet is taken away by"):
        bench.present(timeout=seconds, retry_count=0)
    bench.array.control.clear_faults()
    bench.array.control.hasten()
    bench.array.control.settle()
    (name,) = clone_record.names(bench.root)
    assert list(bench.volume.rglob("kvmsnap-clone-*.img"))
    assert recovered() == [("clone", name, "taken away")]
    assert bench.world() == before


@pytest.mark.parametrize(("when", "then"), [("before", "absent"), ("after", "absent"), ("after", "present")])
@pytest.mark.parametrize(("room", "step"), STEPS, ids=[step for _room, step in STEPS])
def test_a_run_that_is_killed_leaves_nothing_unknown(
    bench: Bench, recovered: Recovered, monkeypatch: pytest.MonkeyPatch, room: Any, step: str, when: str, then: str
) -> None:
    """Also not what the array may yet make of it, which the recovery looks for."""
    bench.back_up(bench.chain(), bench.lun("vdb"), files=(bench.keep("nvram", UEFI),))
    before = bench.world()
    with monkeypatch.context() as patched:
        patched.setattr(room, step, dying(getattr(room, step), when=when))
        with pytest.raises(KilledError):
            bench.present(running=True)
    killed = clone_record.load(bench.root, NAME)
    assert killed is not None
    if then == "present":
        made = bench.present(running=True)
        assert made["clone"]["state"] == "running"
        known = clone_record.load(bench.root, NAME)
        assert known is not None
        assert known.phase == "made"
        assert len(bench.world()["files"]) == len(before["files"]) + 2
    assert bench.absent()["changed"] is True
    late = [] if step == "power_on" else [f"late-{killed.uuid}"]
    assert clone_record.names(bench.root) == late
    assert recovered() == [("clone", name, "taken away") for name in late]
    assert bench.world() == before
