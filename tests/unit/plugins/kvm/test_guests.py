# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests of a host: from libvirt, from files, and which of them are meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    NO_DOMAIN,
    Domain,
    LibvirtError,
    connect,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DomainXmlError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.guests import (
    guests_in_files,
    guests_of,
    select,
    unmatched,
)

DOMAINS = Path(__file__).parent / "domains"


@dataclass(frozen=True)
class Named:
    name: str
    uuid: str


HOST = [Named("db1", "u-1"), Named("web1", "u-2"), Named("web2", "u-3"), Named("odd[1]", "u-4")]


def node(tmp_path: Path, *domains: str) -> str:
    """Write a host for the test driver and return its URI."""
    path = tmp_path / "node.xml"
    path.write_text(f"<node>{''.join(domains)}</node>", encoding="utf-8")
    return f"test://{path}"


def domain(name: str, number: int, disk: str) -> str:
    return (
        f"<domain type='test'><name>{name}</name><uuid>00000000-0000-4000-8000-00000000000{number}</uuid>"
        f"<memory>1024</memory><os><type>hvm</type></os><devices>{disk}</devices></domain>"
    )


def test_a_host_in_one_pass(tmp_path: Path) -> None:
    disk = "<disk type='file' device='disk'><source file='/a.img'/><target dev='vda' bus='virtio'/></disk>"
    host = connect(node(tmp_path, domain("b", 1, disk), domain("a", 2, "")))
    found, problems = guests_of(host)
    host.close()
    assert problems == []
    assert [guest.name for guest in found] == ["a", "b"]
    second = found[1]
    assert second.state.state == "running"
    assert second.source == "libvirt"
    assert second.definition.disks[0].source == "/a.img"
    assert second.xml.startswith("<domain type='test'>"), "what is kept is the definition of the next start"


def test_persistent_and_transient(guests: Guests) -> None:
    guests.add("off", running=False)
    transient = guests.connection.createXML(domain("tra", 1, ""))
    host = guests.connect()
    by_name = {guest.name: guest for guest in guests_of(host)[0]}
    host.close()
    assert (by_name["off"].persistent, by_name["off"].state.state) == (True, "shutoff")
    assert (by_name["tra"].persistent, by_name["tra"].state.state) == (False, "running")
    assert (by_name["tra"].autostart, by_name["tra"].managed_save) == (False, False)
    transient.destroy()


@pytest.mark.parametrize(
    ("burst", "code"),
    [
        (ValueError("Exceeds the limit"), "guest-unreadable"),
        (LibvirtError("Failed to read the state of guest bad: no"), "guest-unreadable"),
        (DomainXmlError("Refused to read the definition"), "definition-unreadable"),
        (LibvirtError("Failed to look at guest bad: it is gone", libvirt_code=NO_DOMAIN), None),
    ],
)
def test_what_fails_with_one_guest_is_no_matter_of_the_others(
    guests: Guests, monkeypatch: pytest.MonkeyPatch, burst: Exception, code: str | None
) -> None:
    bad, _good = guests.add("bad"), guests.add("good")
    really = Domain.persistent

    def persistent(domain: Domain) -> bool:
        if domain.uuid == bad:
            raise burst
        return really(domain)

    monkeypatch.setattr(Domain, "persistent", persistent)
    host = guests.connect()
    found, problems = guests_of(host)
    assert "good" in [guest.name for guest in found]
    assert "bad" not in [guest.name for guest in found]
    assert [(each.code, each.guest) for each in problems] == ([(code, "bad")] if code else [])
    monkeypatch.setattr(type(host), "alive", property(lambda _host: False))
    if isinstance(burst, LibvirtError) and code:
        with pytest.raises(LibvirtError):
            guests_of(host)
    host.close()


def test_files(tmp_path: Path) -> None:
    for name in ("rhel-virt-manager", "windows-uefi-tpm"):
        (tmp_path / f"{name}.xml").write_bytes((DOMAINS / f"{name}.xml").read_bytes())
    (tmp_path / "broken.xml").write_text("<domain", encoding="utf-8")
    (tmp_path / "network.xml").write_text("<network/>", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no guest", encoding="utf-8")
    (tmp_path / "dir.xml").mkdir()
    (tmp_path / "autostart").mkdir()
    (tmp_path / "autostart" / "windows-uefi-tpm.xml").symlink_to(tmp_path / "windows-uefi-tpm.xml")
    found, problems = guests_in_files(tmp_path)
    assert [(guest.name, guest.autostart) for guest in found] == [("rhel9-web", False), ("win2k22", True)]
    assert [guest.state.state for guest in found] == ["unknown", "unknown"]
    assert [guest.source for guest in found] == ["config_dir", "config_dir"]
    assert "geheim" not in found[0].xml
    assert found[0].xml.count("<domain") == 1
    assert [(problem.code, problem.guest) for problem in problems] == [
        ("definition-unreadable", "broken"),
        ("definition-unreadable", "dir"),
        ("definition-unreadable", "network"),
    ]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Failed to read the guests' definitions in .*: No such file"):
        guests_in_files(tmp_path / "none")


@pytest.mark.parametrize(
    ("wanted", "exclude", "names"),
    [
        (["*"], [], ["db1", "web1", "web2", "odd[1]"]),
        (["web*"], [], ["web1", "web2"]),
        (["web*"], ["web2"], ["web1"]),
        (["*"], ["*b*"], ["odd[1]"]),
        (["U-3", "db1"], [], ["db1", "web2"]),
        (["*"], ["u-1"], ["web1", "web2", "odd[1]"]),
        (["odd[1]"], [], ["odd[1]"]),
        (["nothing*"], [], []),
        (["web[12]"], [], ["web1", "web2"]),
    ],
)
def test_select(wanted: list[str], exclude: list[str], names: list[str]) -> None:
    assert [guest.name for guest in select(HOST, wanted=wanted, exclude=exclude)] == names


@pytest.mark.parametrize(("wanted", "exclude"), [(["u-1"], []), (["U-1"], []), (["*"], ["web1", "u-2"])])
def test_the_uuid_of_a_guest_means_no_other_that_has_it_for_a_name(wanted: list[str], exclude: list[str]) -> None:
    guests = [Named("u-1", "u-9"), Named("db1", "u-1"), Named("web1", "u-2")]
    chosen = [guest.uuid for guest in select(guests, wanted=wanted, exclude=exclude)]
    assert chosen == (["u-9", "u-1"] if wanted == ["*"] else ["u-1"])
    assert [guest.uuid for guest in select(guests, wanted=["*"], exclude=["u-1"])] == ["u-9", "u-2"]


def test_unknown_names_are_named_with_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        select(HOST, wanted=["web1", "web9", "Db1"], exclude=[])
    assert caught.value.message == (
        "Guests 'web9', 'Db1' are not known here; the guests of this host are: db1, web1, web2, odd[1]"
    )
    assert caught.value.fields == {"guests": ["web9", "Db1"]}
    with pytest.raises(InputError, match="Guest 'x' is not known here; the guests of this host are: none"):
        select([], wanted=["x"], exclude=[])


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(InputError, match="list of guests is empty"):
        select(HOST, wanted=[], exclude=[])


def test_globs_without_a_match_are_told() -> None:
    assert [problem.message for problem in unmatched(HOST, wanted=["*", "web*", "zz*", "odd[1]"])] == [
        "No guest of this host matches 'zz*'"
    ]
    assert unmatched([], wanted=["*"]) == []


def test_guests_that_are_not_here_can_be_ignored() -> None:
    wanted = ["web1", "web9", "u-1", "u-9"]
    assert [guest.name for guest in select(HOST, wanted=wanted, exclude=[], unknown="ignore")] == ["db1", "web1"]
    assert [(problem.code, problem.severity, problem.guest) for problem in unmatched(HOST, wanted=wanted)] == [
        ("guest-not-found", "info", "web9"),
        ("guest-not-found", "info", "u-9"),
    ]
