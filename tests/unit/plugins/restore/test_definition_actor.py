# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition of a guest of libvirt's test driver is kept, replaced, and brought back to the letter."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from restore_world import part
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import DEFINITION
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Aside
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain, Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.definition_actor import (
    bring_back,
    define,
    keep,
    kept,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.new_definition import AS_IS, NewDefinition


@pytest.fixture
def host(guests: Guests) -> Iterator[Host]:
    """The test driver's host."""
    with closing(guests.connect()) as found:
        yield found


@pytest.fixture
def guest(guests: Guests) -> GuestRestore:
    """A guest that is off."""
    return part(uuid=guests.add("web1", running=False), state="shutoff")


@pytest.fixture
def with_state(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the state goes with each guest that is forgotten; the test driver cannot keep it, and has none."""
    asked: list[bool] = []

    def undefine(domain: Domain, *, with_state: bool) -> None:
        asked.append(with_state)
        guests.domain(domain.uuid).undefine()

    monkeypatch.setattr(Domain, "undefine", undefine)
    return asked


def xml_of(guests: Guests, guest: GuestRestore) -> str:
    return str(guests.domain(guest.uuid).XMLDesc(0))


def defined(guests: Guests, guest: GuestRestore) -> bool:
    return guest.uuid in {each.UUIDString() for each in guests.connection.listAllDomains()}


def larger(guests: Guests, guest: GuestRestore) -> GuestRestore:
    """The guest, which is to get another memory."""
    xml = xml_of(guests, guest).replace(">1024<", ">2048<")
    return replace(guest, definition=NewDefinition(xml, AS_IS))


def test_it_is_kept_private_replaced_and_brought_back(
    guests: Guests, host: Host, guest: GuestRestore, tmp_path: Path
) -> None:
    before = xml_of(guests, guest)
    aside = keep(host, tmp_path / "kept", guest)
    (file,) = (tmp_path / "kept").iterdir()
    assert (file.name, stat.S_IMODE(file.stat().st_mode)) == (aside.stored_as, 0o600)
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert kept(tmp_path / "kept", aside) == file.read_text(encoding="utf-8")
    define(host, larger(guests, guest))
    assert ">2048<" in xml_of(guests, guest)
    bring_back(host, tmp_path / "kept", guest.uuid, aside)
    assert xml_of(guests, guest) == before


def test_a_guest_that_was_not_defined_is_forgotten_again(
    guests: Guests, host: Host, guest: GuestRestore, with_state: list[bool], tmp_path: Path
) -> None:
    new = larger(guests, guest)
    guests.domain(guest.uuid).undefine()
    aside = keep(host, tmp_path / "kept", guest)
    assert (aside, (tmp_path / "kept").exists()) == (Aside(DEFINITION, ""), False)
    define(host, new)
    assert defined(guests, guest)
    for _each in range(2):
        bring_back(host, tmp_path / "kept", guest.uuid, aside)
        assert not defined(guests, guest)
    assert with_state == [False], "it may be older than the restore"


def test_a_guest_that_is_to_be_forgotten_is(
    guests: Guests, host: Host, guest: GuestRestore, with_state: list[bool]
) -> None:
    define(host, guest)
    assert defined(guests, guest), "it has no new definition, and keeps its own"
    for _each in range(2):
        define(host, replace(guest, forget=True))
        assert not defined(guests, guest)
    assert with_state == [False], "it may be older than the restore"


def test_what_was_kept_and_altered_is_not_trusted(
    guests: Guests, host: Host, guest: GuestRestore, tmp_path: Path
) -> None:
    before = xml_of(guests, guest)
    aside = keep(host, tmp_path, guest)
    path = tmp_path / aside.stored_as
    path.write_text(path.read_text(encoding="utf-8").replace("1024", "4096"), encoding="utf-8")
    with pytest.raises(KvmsnapError, match="its checksum is not the one that was noted"):
        bring_back(host, tmp_path, guest.uuid, aside)
    path.unlink()
    with pytest.raises(KvmsnapError, match="Failed to read the definition that was kept"):
        bring_back(host, tmp_path, guest.uuid, aside)
    assert xml_of(guests, guest) == before


def test_what_libvirt_makes_another_guest_of_is_told(guests: Guests, host: Host, guest: GuestRestore) -> None:
    other = "99999999-9999-4999-8999-999999999999"
    xml = xml_of(guests, guest).replace(guest.uuid, other).replace("<name>web1<", "<name>web2<")
    try:
        with pytest.raises(KvmsnapError, match=f"Failed to define guest {guest.uuid}: libvirt made {other} of it"):
            define(host, replace(guest, definition=NewDefinition(xml, AS_IS)))
    finally:
        guests.domain(other).undefine()


def test_a_directory_that_cannot_be_written_is_named(host: Host, guest: GuestRestore, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("", encoding="ascii")
    with pytest.raises(KvmsnapError, match=r"Failed to keep the definition of guest web1 in .*kept"):
        keep(host, tmp_path / "kept", guest)
