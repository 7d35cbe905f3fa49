# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domain XML against golden files: domains/<name>.xml must read as domains/<name>.json says."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import domain_xml
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import (
    DEEPEST_XML,
    DomainXmlError,
    os_family,
    parse_guest,
    without_passwords,
)

DOMAINS = Path(__file__).parent / "domains"
BOMB = """<?xml version='1.0'?>
<!DOCTYPE domain [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<domain><name>&b;</name><uuid>x</uuid></domain>"""


@pytest.mark.parametrize("path", sorted(DOMAINS.glob("*.xml")), ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    read = json.loads(json.dumps(asdict(parse_guest(path.read_text(encoding="utf-8")))))
    golden = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    for found, expected in zip(read["disks"], golden["disks"]):
        known = {key: value for key, value in found.items() if key in expected}
        assert known == expected
        assert all(not found[key] or found[key] == "raw" for key in found if key not in expected)
    assert len(read["disks"]) == len(golden["disks"])
    assert {**read, "disks": None} == {**golden, "disks": None}


def test_every_domain_has_its_golden_file() -> None:
    assert {path.stem for path in DOMAINS.glob("*.xml")} == {path.stem for path in DOMAINS.glob("*.json")}


@pytest.mark.parametrize("encode", [str, lambda text: text.encode("utf-8"), lambda text: text.encode("utf-16")])
def test_a_doctype_is_refused_before_its_entities_are_read(encode: object) -> None:
    with pytest.raises(DomainXmlError, match="DOCTYPE"):
        parse_guest(encode(BOMB))  # type: ignore[operator]


def test_an_external_entity_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    with pytest.raises(DomainXmlError, match="DOCTYPE"):
        parse_guest(f"<!DOCTYPE d SYSTEM 'file://{secret}'><domain><name>a</name><uuid>b</uuid></domain>")


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("", "no well-formed XML"),
        ("<domain", "no well-formed XML"),
        ("no xml", "no well-formed XML"),
        ("<network><name>default</name></network>", "<network>, not a <domain>"),
        ("<domain><uuid>x</uuid></domain>", "lacks a name or a uuid"),
        ("<domain><name>x</name></domain>", "lacks a name or a uuid"),
        ("<domain><name>&nbsp;</name></domain>", "no well-formed XML"),
        (b"\xff\xfe\x00", "no well-formed XML"),
    ],
)
def test_unreadable(xml: object, why: str) -> None:
    with pytest.raises(DomainXmlError, match=why):
        parse_guest(xml)


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_xml, "MAX_XML", 100)
    with pytest.raises(DomainXmlError, match="larger than 100 bytes"):
        parse_guest("<domain>" + " " * 100 + "</domain>")


@pytest.mark.parametrize("depth", [200, 5000])
def test_deep_nesting_is_no_crash(depth: int) -> None:
    chain = "<backingStore type='file'><format type='raw'/><source file='/x'/>" * depth + "</backingStore>" * depth
    disk = f"<disk type='file'><target dev='vda'/>{chain}</disk>"
    xml = f"<domain><name>a</name><uuid>b</uuid><devices>{disk}</devices></domain>"
    if depth > DEEPEST_XML:
        with pytest.raises(DomainXmlError, match="deep"):
            parse_guest(xml)
    else:
        assert len(parse_guest(xml).disks[0].backing) == depth


@pytest.mark.parametrize(
    ("os_id", "family"),
    [
        ("http://redhat.com/rhel/8.10", "linux"),
        ("http://debian.org/debian/12", "linux"),
        ("http://oracle.com/ol/9.3", "linux"),
        ("http://oracle.com/solaris/11.4", "solaris"),
        ("http://sun.com/solaris/10", "solaris"),
        ("http://microsoft.com/win/11", "windows"),
        ("http://microsoft.com/winnt/4.0", "windows"),
        ("http://microsoft.com/msdos/6.22", "unknown"),
        ("http://freebsd.org/freebsd/14", "unknown"),
        ("nonsense", "unknown"),
        (None, "unknown"),
    ],
)
def test_os_family(os_id: str | None, family: str) -> None:
    assert os_family(os_id) == family


def test_passwords_of_graphics_are_left_out() -> None:
    text = (DOMAINS / "rhel-virt-manager.xml").read_text(encoding="utf-8")
    assert "geheim" in text
    clean = without_passwords(text)
    assert "passwd" not in clean
    assert "geheim" not in clean
    assert "<graphics type='vnc' port='-1' autoport='yes'/>" in clean
    assert clean.replace("autoport='yes'/>", "autoport='yes' passwd='geheim'/>") == text
