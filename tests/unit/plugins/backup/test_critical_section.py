# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens between hold and release, and that whatever breaks there leaves nothing."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from backup_site import Site, two_guests
from virt import Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import critical_section, run
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.run import BackupError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import snapshot_calls, snapshot_sets


def test_inside_the_hold_is_nothing_but_the_snapshots(site: Site) -> None:
    two_guests(site)
    site.back_up()
    sent = site.sim.control.requests()
    first = next(at for at, each in enumerate(sent) if each["method"] == "POST")
    assert all("/snapshots" in each["path"] or "/cluster/jobs" in each["path"] for each in sent[first:])


class Crowded(snapshot_sets.Creation):
    """A creation on a host where only one more thread can be had."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        start, started = threading.Thread.start, []

        def refuse(thread: threading.Thread) -> None:
            if thread.name.startswith("ThreadPoolExecutor"):
                if started:
                    raise RuntimeError("can't start new thread")
                started.append(thread)
            start(thread)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            super().__init__(*arguments, **more)


@pytest.mark.usefixtures("hurry")
def test_a_thread_that_cannot_be_had_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    two_guests(site)
    with monkeypatch.context() as patched:
        patched.setattr(critical_section, "Creation", Crowded)
        with pytest.raises(BackupError, match="no thread could be had") as raised:
            site.back_up()
    assert len(raised.value.fields["failures"]) == 1
    assert site.left() == ([], [], [])
    assert site.free()
    assert site.back_up()["changed"] is True


def broken_when(moment: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something that nobody foresaw happen after the snapshots were asked for."""

    def fail(*_arguments: Any) -> None:
        raise error

    def made_and_fail(*arguments: Any, **more: Any) -> None:
        snapshot_calls.create_one(*arguments, **more)
        raise error

    place, name, act = {
        "asking": (snapshot_sets, "create_one", made_and_fail),
        "waiting": (critical_section, "over", fail),
    }[moment]
    monkeypatch.setattr(place, name, act)


@pytest.mark.parametrize(
    ("moment", "error"),
    [
        ("asking", TypeError("never expected")),
        ("waiting", TypeError("never expected")),
    ],
)
@pytest.mark.usefixtures("hurry")
def test_whatever_breaks_after_the_request_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, moment: str, error: Exception
) -> None:
    two_guests(site)
    with monkeypatch.context() as patched:
        broken_when(moment, error, patched)
        with pytest.raises(BackupError, match=str(error)):
            site.back_up()
    assert site.left() == ([], [], [])
    assert site.free()
    assert site.back_up()["changed"] is True


def test_what_cannot_be_taken_back_keeps_its_manifest(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    two_guests(site)

    def fail(*_arguments: Any, **_more: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        broken_when("waiting", TypeError("never expected"), patched)
        patched.setattr(run, "undo", fail)
        with pytest.raises(RuntimeError):
            site.back_up()
    assert site.left() == (["kvm_vol1", "kvm_vol2"], ["started"], [])
    assert site.free()
    assert site.back_up()["changed"] is True


def test_a_guest_that_cannot_be_frozen_ends_it_before_any_snapshot(site: Site) -> None:
    two_guests(site)
    site.add("db1", "kvm_vol2", agent=Inside(freezes=["error"] * 9))
    with pytest.raises(BackupError, match="db1"):
        site.back_up()
    assert not [each for each in site.sim.control.requests() if each["method"] == "POST"]
    assert site.left() == ([], [], [])
    assert site.free()


@pytest.mark.usefixtures("hurry")
def test_the_deadline_ends_the_hold_whatever_the_array_does(site: Site) -> None:
    two_guests(site)
    site.seconds = 1.0
    site.fault("delay", "kvm_vol2", seconds=1.3)
    began = time.monotonic()
    with pytest.raises(BackupError) as raised:
        site.back_up()
    assert time.monotonic() - began < 30
    assert site.free()
    assert raised.value.fields["failure_kind"] == "SnapshotSetError"
    assert site.left()[2] == []
