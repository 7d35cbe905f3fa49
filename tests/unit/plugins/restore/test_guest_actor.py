# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection of a restore to libvirt, which outlives a restart of the daemon."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import NVRAM
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Aside
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import autostart
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.guest_actor import GuestActor


def actor(*hosts: Mock, kept: Path = Path("/nowhere")) -> GuestActor:
    """Return an actor whose connections are these, one after the other."""
    return GuestActor(
        connect=Mock(side_effect=hosts),
        graceful=True,
        stop_timeout=1,
        start_timeout=1,
        images=Path("/nowhere"),
        kept=kept,
    )


def test_a_connection_that_stands_is_kept() -> None:
    host = Mock(alive=True)
    found = actor(host)
    assert found.host is host
    assert found.host is host


def test_a_broken_connection_is_opened_again_and_all_are_closed() -> None:
    first, second = Mock(alive=True), Mock(alive=True)
    found = actor(first, second)
    assert found.host is first
    first.alive = False
    assert found.host is second
    found.close()
    first.close.assert_called_once_with()
    second.close.assert_called_once_with()


def test_an_autostart_is_made_to_outlast_a_loss_of_power_only_where_there_is_a_guest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[Any] = []
    monkeypatch.setattr(autostart, "make_durable", done.append)
    guest: Any = Mock(uuid=samples.WEB)
    domain = Mock(set_autostart=done.append)
    actor(Mock(alive=True, uri="qemu:///system", domain=Mock(return_value=domain))).set_autostart(guest, False)
    assert done == [False, "qemu:///system"]


def test_what_was_set_aside_comes_back_to_its_place(tmp_path: Path) -> None:
    place, kept = tmp_path / "vars.fd", tmp_path / "kept"
    kept.mkdir(mode=0o700)
    place.write_bytes(b"new")
    text = b"old"
    (kept / "of_web").write_bytes(text)
    aside = Aside(NVRAM, str(place), "of_web", hashlib.sha256(text).hexdigest(), None)
    actor(kept=kept).put_file_back(aside)
    assert place.read_bytes() == text
