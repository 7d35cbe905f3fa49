# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written down of a hold: who may read, write and lock it."""

from __future__ import annotations

import fcntl
import json
import threading
from pathlib import Path

import libvirt
import pytest
from holding import left, take, want
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import release
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import (
    HoldSettings,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.record import (
    HoldRecordError,
    Row,
    claiming,
    lock_holder,
    locked,
    releasing,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import own_process

RUNNING, PAUSED = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED)


def test_a_hold_waits_until_the_records_are_free(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    with claiming(private_directory(settings.directory)):
        with pytest.raises(HoldRecordError, match="another process has them"), claiming(settings.directory, timeout=0):
            pass
        second = threading.Thread(target=take, args=(settings, want(uuid)))
        second.start()
        second.join(timeout=0.5)
        assert second.is_alive()
        assert guests.state(uuid)[0] == RUNNING
    second.join(timeout=30)
    assert guests.state(uuid)[0] == PAUSED
    release("h1", settings, check=False)


def test_the_record_of_another_boot_is_void(guests: Guests, settings: HoldSettings, tmp_path: Path) -> None:
    uuid = guests.add("sol")
    take(settings, want(uuid))
    (tmp_path / "boot_id").write_text("next-boot\n", encoding="ascii")
    released = release("h1", settings, check=False)
    assert (released["changed"], released["guests"]) == (False, [])
    assert guests.state(uuid)[0] == PAUSED, "no guest is touched on the word of a void record"
    assert left(settings) == []


@pytest.mark.parametrize("hold_id", ["", "../x", "a/b", ".hidden", "a b", "x" * 201])
def test_bad_hold_ids(settings: HoldSettings, hold_id: str) -> None:
    with pytest.raises(InputError, match="hold id"):
        release(hold_id, settings, check=False)
    with pytest.raises(InputError, match="hold id"):
        release(hold_id, settings, check=True)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"schema": "other/1"}',
        '{"schema": "kvmsnap.hold/1", "boot_id": "this-boot", "guests": [{}]}',
        '{"schema": "kvmsnap.hold/1", "boot_id": "this-boot", "guests": [5]}',
        '{"schema": "kvmsnap.hold/1", "boot_id": "this-boot", "guests": ["asked"]}',
    ],
)
def test_an_unreadable_record_is_an_error(guests: Guests, settings: HoldSettings, content: str) -> None:
    uuid = guests.add("sol")
    settings.directory.mkdir(mode=0o700)
    (settings.directory / "h1.json").write_text(content, encoding="utf-8")
    for hold_id in ("h1", "h2"):
        with pytest.raises(HoldRecordError, match=r"h1\.json: it |h1\.json: a value |h1\.json: its schema "):
            take(settings, want(uuid), hold_id=hold_id)
    assert guests.state(uuid)[0] == RUNNING


def test_a_directory_that_others_can_write_to_is_refused(guests: Guests, settings: HoldSettings) -> None:
    uuid = guests.add("sol")
    settings.directory.mkdir()
    settings.directory.chmod(0o777)
    with pytest.raises(HoldRecordError, match="others can write there"):
        take(settings, want(uuid))
    assert guests.state(uuid)[0] == RUNNING


def test_a_record_that_cannot_be_written_holds_nothing(guests: Guests, settings: HoldSettings, tmp_path: Path) -> None:
    uuid = guests.add("sol")
    settings.directory.mkdir(mode=0o700)
    (settings.directory / "h1.json").mkdir()
    with pytest.raises(HoldRecordError):
        take(settings, want(uuid))
    assert guests.state(uuid)[0] == RUNNING


def test_a_record_of_a_version_that_knew_no_locked_guests_is_read() -> None:
    row = Row("g", "u", "auto")
    old = {key: value for key, value in vars(row).items() if key != "locked"}
    assert Row.from_record(old) == row


def test_a_record_from_before_the_method_was_called_requested_is_read() -> None:
    """A guest that such a hold left frozen can be let go of."""
    row = Row("g", "u", "agent", method="agent", phase="held")
    old = {**vars(row), "asked": row.requested_method}
    del old["requested_method"]
    assert Row.from_record(old) == row


def test_a_lock_whose_owner_has_not_said_who_it_is(settings: HoldSettings) -> None:
    settings.directory.mkdir(mode=0o700)
    with (settings.directory / "h1.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        holder = lock_holder(settings.directory, "h1")
        assert holder is not None
        assert (holder.process, holder.stage) == (None, "holding")
    assert lock_holder(settings.directory, "h1") is None
    assert lock_holder(settings.directory, "h2") is None


def test_only_the_owner_of_the_lock_says_that_it_releases(settings: HoldSettings) -> None:
    with locked(settings.directory, "h1"):
        path = settings.directory / "h1.lock"
        own = path.read_text(encoding="ascii")
        path.write_text(json.dumps({"pid": 1, "started": 0, "stage": "holding"}), encoding="ascii")
        releasing(settings.directory / "h1.json", seconds=55)
        assert json.loads(path.read_text(encoding="ascii"))["stage"] == "holding"
        path.write_text(own, encoding="ascii")
        releasing(settings.directory / "h1.json", seconds=55)
        assert json.loads(path.read_text(encoding="ascii"))["stage"] == "releasing"
        assert json.loads(own)["pid"] == own_process().pid
