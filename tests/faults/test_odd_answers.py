# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that no array gives, before and during a hold: a named error or a backup, and guests that run again."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kvmground import Ground
from kvmground.modules import Outcome

GUEST, VOLUME = "answered", "kvm_vol1"
POST, LIST, JOB = ("POST", "/snapshots$"), ("GET", "/snapshots$"), ("GET", "/cluster/jobs/")
SECONDS = 20

_count = itertools.count(1)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest that is suspended while its disk is saved."""
    with Ground.beside("odd") as found:
        found.guests.add_still(GUEST, VOLUME)
        yield found


@pytest.fixture(autouse=True)
def honest_again(ground: Ground) -> Iterator[None]:
    """Let the array answer well afterwards."""
    yield
    ground.control.clear_faults()


def answering(ground: Ground, request: tuple[str, str], **how: Any) -> None:
    method, path = request
    ground.control.add_fault("answer", match={"method": method, "path": path}, **how)


def backed_up(ground: Ground, found: dict[str, Any]) -> tuple[str, Outcome]:
    name = f"hv1-odd_{next(_count)}"
    made = ground.module("kvm_vm_backup", backup_id=name, owner="hv1", policy="odd", timeout=SECONDS, **found)
    return name, made


@pytest.mark.parametrize(
    ("path", "place", "value"),
    [
        ("/storage/volumes$", ["records"], 5),
        pytest.param("/storage/volumes$", ["records", 0, "nas", "path"], 5, marks=pytest.mark.long),
        pytest.param("/storage/volumes$", ["_links", "next"], "x", marks=pytest.mark.long),
        ("/network/ip/interfaces", ["records", 0], {"uuid": "u"}),
        pytest.param("/network/ip/interfaces", ["records", 0, "services"], "data_nfs", marks=pytest.mark.long),
    ],
    ids=str,
)
def test_what_is_asked_before_a_backup(ground: Ground, path: str, place: list[Any], value: Any) -> None:
    answering(ground, ("GET", path), place=place, value=value)
    outcome = ground.module("kvm_vm_discover")
    assert "Traceback" not in outcome.stderr
    assert outcome.failed or outcome["problems"], outcome.result
    assert "of its answer" in str(outcome.result) or "its answer is not one of ONTAP" in str(outcome.result)


@pytest.mark.parametrize(
    ("request_", "how"),
    [
        pytest.param(POST, {"text": "<html>Welcome</html>"}, id="a page for a snapshot"),
        pytest.param(POST, {"place": ["job"], "value": "x"}, id="a job that is a text", marks=pytest.mark.long),
        pytest.param(JOB, {"value": "x"}, id="a text for a job", marks=pytest.mark.long),
    ],
)
def test_a_snapshot_that_was_made_counts_whatever_its_answer_was(
    ground: Ground, request_: tuple[str, str], how: dict[str, Any]
) -> None:
    found = ground.discovered()
    answering(ground, request_, **how)
    name, made = backed_up(ground, found)
    assert ground.guests.state(GUEST).state == "running"
    assert not made.failed, made.msg
    assert name in ground.snapshots()[f"svm1:{VOLUME}"]


def test_a_look_at_snapshots_that_says_nothing_ends_before_the_hold(ground: Ground) -> None:
    found = ground.discovered()
    answering(ground, LIST, place=["records"], value=[{"name": "x"}])
    name, made = backed_up(ground, found)
    assert made.failed
    assert "a record of its answer has no uuid" in made.msg
    assert ground.guests.state(GUEST).state == "running"
    assert all(name not in names for names in ground.snapshots().values())


@pytest.mark.long
def test_an_answer_that_trickles_in_the_hold_ends_the_backup_and_nothing_is_left(ground: Ground) -> None:
    """A byte a second never lets the time between two bytes run out."""
    found = ground.discovered()
    answering(ground, POST, pause=1)
    began = time.monotonic()
    name, made = backed_up(ground, found)
    assert time.monotonic() - began < 100
    assert ground.guests.state(GUEST).state == "running"
    assert made.failed
    assert "no whole answer within" in made.msg
    assert all(name not in names for names in ground.snapshots().values())
