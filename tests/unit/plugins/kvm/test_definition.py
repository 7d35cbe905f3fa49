# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions compared and put together: noise is none, disks come from the backup, media from nowhere."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import definition
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import DefinitionError, changes, merged
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DomainXmlError, parse_guest

DOMAINS = Path(__file__).parent / "domains"
UUID = "11111111-1111-4111-8111-111111111111"


def disk(target: str, path: str, *, form: str = "raw", device: str = "disk", more: str = "") -> str:
    source = f"<source file='{path}'/>" if path else ""
    return (
        f"<disk type='file' device='{device}'><driver name='qemu' type='{form}'/>{source}"
        f"<target dev='{target}' bus='virtio'/>{more}</disk>"
    )


def domain(*devices: str, name: str = "web1", uuid: str = UUID, more: str = "", attributes: str = "") -> str:
    return (
        f"<domain type='kvm'{attributes}><name>{name}</name><uuid>{uuid}</uuid>{more}"
        f"<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>{''.join(devices)}</devices></domain>"
    )


PLAIN = domain(
    disk("vda", "/mnt/v/web1.img"),
    "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/></interface>",
    "<serial type='pty'><target port='0'/></serial>",
    "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>",
    "<graphics type='vnc' autoport='yes'/>",
)
RUNNING = domain(
    disk(
        "vda",
        "/mnt/v/web1.img' index='1",
        more="<backingStore/><alias name='virtio-disk0'/><address type='pci' domain='0x0000' bus='0x04' slot='0x00'/>",
    ),
    "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan' portid='p' bridge='virbr0'/>"
    "<target dev='vnet3'/><alias name='net0'/></interface>",
    "<serial type='pty'><source path='/dev/pts/1'/><target port='0'/><alias name='serial0'/></serial>",
    "<channel type='unix'><source mode='bind' path='/run/libvirt/qemu/channel/7-web1/org.qemu.guest_agent.0'/>"
    "<target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>",
    "<graphics type='vnc' port='5900' autoport='yes'/>",
    more="<seclabel type='dynamic' model='dac' relabel='yes'><label>+64055:+64055</label></seclabel>",
    attributes=" id='7'",
)


def test_what_libvirt_adds_to_a_running_guest_is_no_difference() -> None:
    assert changes(RUNNING, PLAIN) == ()
    assert definition.comparable(PLAIN) == definition.comparable(definition.comparable(PLAIN))


def test_the_order_of_attributes_and_the_layout_are_no_difference() -> None:
    other = PLAIN.replace("type='vnc' autoport='yes'", "autoport='yes'   type='vnc'").replace("><", ">\n  <")
    assert changes(PLAIN, other) == ()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("/mnt/v/web1.img", "/mnt/v/other.img", '+      <source file="/mnt/v/other.img" />'),
        ("52:54:00:00:00:01", "52:54:00:00:00:02", '+      <mac address="52:54:00:00:00:02" />'),
        ("type='raw'", "type='qcow2'", '+      <driver name="qemu" type="qcow2" />'),
        ("<target port='0'/>", "<target port='0'/><alias name='ua-mine'/>", '+      <alias name="ua-mine" />'),
        (" autoport='yes'", " port='5901'", '+    <graphics port="5901" type="vnc" />'),
    ],
)
def test_what_somebody_changed_is_a_difference(old: str, new: str, line: str) -> None:
    assert line in changes(PLAIN, PLAIN.replace(old, new))


def test_the_address_of_a_device_of_the_host_is_no_noise() -> None:
    text = (DOMAINS / "block-and-passthrough.xml").read_text(encoding="utf-8")
    assert changes(text, text.replace("bus='0x3b'", "bus='0x3c'"))
    assert changes(text, text) == ()


def test_foreign_definitions_are_read_as_strictly_as_ever() -> None:
    with pytest.raises(DomainXmlError, match="DOCTYPE"):
        changes("<!DOCTYPE domain [<!ENTITY x 'y'>]>" + PLAIN, PLAIN)


SAVED = domain(
    disk("vda", "/mnt/v/a.img"),
    disk("vdb", "/mnt/v/b.qcow2", form="qcow2"),
    disk("sda", "/iso/old.iso", device="cdrom"),
    "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='old'/>"
    "<address type='pci' slot='0x03'/></interface>",
    "<graphics type='vnc' autoport='yes'/>",
    more="<title>then</title><memory>1</memory>",
)


def sources(xml: str) -> dict[str, str]:
    return {each.target: each.source for each in parse_guest(xml).disks}


@pytest.mark.parametrize(
    ("existing", "targets", "expected", "notes"),
    [
        pytest.param(
            domain(disk("vda", "/mnt/v/a.img"), disk("vdb", "/mnt/v/b.qcow2", form="qcow2")),
            None,
            {"vda": "/mnt/v/a.img", "vdb": "/mnt/v/b.qcow2"},
            [],
            id="as it was",
        ),
        pytest.param(
            domain(disk("vda", "/mnt/v/b.qcow2", form="qcow2"), disk("vdb", "/mnt/v/a.img")),
            None,
            {"vda": "/mnt/v/a.img", "vdb": "/mnt/v/b.qcow2"},
            ["disk vda points to /mnt/v/a.img again", "disk vdb points to /mnt/v/b.qcow2 again"],
            id="swapped since",
        ),
        pytest.param(
            domain(disk("vda", "/mnt/v/a.img"), disk("vdc", "/mnt/v/new.img")),
            None,
            {"vda": "/mnt/v/a.img", "vdc": "/mnt/v/new.img", "vdb": "/mnt/v/b.qcow2"},
            ["disk vdb is attached again at /mnt/v/b.qcow2"],
            id="one taken away, one added since",
        ),
        pytest.param(
            domain(disk("vda", "/mnt/w/moved.img"), disk("vdb", "/mnt/w/moved-too.img")),
            ["vda"],
            {"vda": "/mnt/v/a.img", "vdb": "/mnt/w/moved-too.img"},
            ["disk vda points to /mnt/v/a.img again, no more to /mnt/w/moved.img"],
            id="only the one that is restored",
        ),
        pytest.param(
            domain(
                disk("vda", "/mnt/v/a.img"),
                disk("vdb", "/mnt/v/b.qcow2", form="qcow2"),
                disk("sda", "/iso/now.iso", device="cdrom"),
            ),
            None,
            {"vda": "/mnt/v/a.img", "vdb": "/mnt/v/b.qcow2", "sda": "/iso/now.iso"},
            [],
            id="a medium of now stays in its drive",
        ),
    ],
)
def test_keep(existing: str, targets: list[str] | None, expected: dict[str, str], notes: list[str]) -> None:
    result = merged(existing=existing, saved=SAVED, policy="keep", targets=targets)
    assert sources(result.xml) == expected
    assert len(result.notes) == len(notes)
    for note, words in zip(result.notes, notes):
        assert words in note


def test_keep_takes_over_the_format_with_the_source_and_forgets_the_chain_that_was() -> None:
    chain = "<backingStore type='file'><format type='raw'/><source file='/mnt/v/base.img'/></backingStore>"
    existing = domain(disk("vda", "/mnt/v/a.snap1", form="qcow2", more=chain + "<serial>KEEP</serial>"))
    result = merged(existing=existing, saved=SAVED, policy="keep", targets=["vda"])
    (found,) = parse_guest(result.xml).disks
    assert (found.source, found.format, found.backing, found.serial) == ("/mnt/v/a.img", "raw", (), "KEEP")


EXISTING = domain(
    disk("vda", "/mnt/v/x.img"),
    disk("sda", "/iso/now.iso", device="cdrom"),
    "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='new'/>"
    "<address type='pci' slot='0x09'/></interface>",
    "<interface type='network'><mac address='52:54:00:00:00:02'/><source network='new'/>"
    "<address type='pci' slot='0x0a'/></interface>",
    "<graphics type='spice' autoport='yes'/>",
    name="web1-renamed",
    more="<title>now</title><memory>2</memory>",
)


def facts(xml: str) -> dict[str, object]:
    root = ET.fromstring(xml)
    return {
        "name": root.findtext("name"),
        "title": root.findtext("title"),
        "memory": root.findtext("memory"),
        "networks": [each.get("network") for each in root.findall("devices/interface/source")],
        "slots": [each.get("slot") for each in root.findall("devices/interface/address")],
        "graphics": [each.get("type") for each in root.findall("devices/graphics")],
    }


def test_replace_brings_the_backup_s_back_under_the_name_of_now() -> None:
    result = merged(existing=EXISTING, saved=SAVED, policy="replace")
    assert facts(result.xml) == {
        "name": "web1-renamed",
        "title": "then",
        "memory": "1",
        "networks": ["old"],
        "slots": ["0x03"],
        "graphics": ["vnc"],
    }
    assert sources(result.xml) == {"vda": "/mnt/v/a.img", "vdb": "/mnt/v/b.qcow2", "sda": ""}
    assert any("in the backup it was web1" in note for note in result.notes)


def test_merge_keeps_what_the_site_decides_at_addresses_that_are_free() -> None:
    result = merged(existing=EXISTING, saved=SAVED, policy="merge")
    assert facts(result.xml) == {
        "name": "web1-renamed",
        "title": "now",
        "memory": "1",
        "networks": ["new", "new"],
        "slots": ["0x03"],
        "graphics": ["spice"],
    }
    assert sources(result.xml)["vda"] == "/mnt/v/a.img"


@pytest.mark.parametrize(
    ("existing", "same", "medium"),
    [
        (None, (), ""),
        (None, ("/iso/old.iso",), "/iso/old.iso"),
        (EXISTING, (), ""),
        (EXISTING.replace("/iso/now.iso", "/iso/old.iso"), (), "/iso/old.iso"),
        (EXISTING.replace("/iso/now.iso", "/iso/old.iso").replace("'sda'", "'sdb'"), (), ""),
    ],
)
def test_a_medium_comes_back_only_where_it_still_is(existing: str | None, same: tuple[str, ...], medium: str) -> None:
    result = merged(existing=existing, saved=SAVED, policy="replace", same_media=same)
    assert sources(result.xml)["sda"] == medium
    assert any("drive sda is empty" in note for note in result.notes) is (medium == "")


@pytest.mark.parametrize("policy", definition.POLICIES)
def test_definitions_of_different_guests_are_never_put_together(policy: definition.Policy) -> None:
    other = domain(uuid="22222222-2222-4222-8222-222222222222")
    with pytest.raises(DefinitionError, match="another guest"):
        merged(existing=other, saved=SAVED, policy=policy)


@pytest.mark.parametrize("path", sorted(DOMAINS.glob("*.xml")), ids=lambda path: path.stem)
def test_every_definition_survives_a_restore_of_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    result = merged(existing=text, saved=text, policy="keep")
    assert result.notes == ()
    assert changes(text, result.xml) == ()


def test_another_uuid_stands_everywhere_where_libvirt_or_firmware_state_has_it() -> None:
    new = "0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11"
    more = (
        f"<sysinfo type='smbios'><system><entry name='uuid'>{UUID}</entry><entry name='serial'>s1</entry></system>"
        f"</sysinfo><metadata><x:y xmlns:x='urn:x'>{UUID}</x:y></metadata>"
    )
    tpm = f"<tpm><backend type='emulator'><source type='dir' path='/srv/swtpm/{UUID}'/></backend></tpm>"
    nvram = "<nvram>/var/lib/libvirt/qemu/nvram/{}_VARS.fd</nvram></os>"
    xml = domain(disk("vda", f"/mnt/v/{UUID}.img"), tpm, more=more).replace("</os>", nvram.format(UUID.upper()))
    seen = ET.fromstring(definition.with_uuid(xml, new))
    assert seen.findtext("uuid") == new
    assert [entry.text for entry in seen.findall("sysinfo/system/entry")] == [new, "s1"]
    assert seen.findtext("os/nvram") == f"/var/lib/libvirt/qemu/nvram/{new}_VARS.fd"
    assert [source.get("path") for source in seen.findall("devices/tpm/backend/source")] == [f"/srv/swtpm/{new}"]
    assert [source.get("file") for source in seen.findall("devices/disk/source")] == [f"/mnt/v/{UUID}.img"]
    assert seen.findtext("metadata/{urn:x}y") == UUID
    assert seen.findtext("name") == "web1"


def test_a_file_of_variables_that_is_named_as_a_source_moves_with_the_uuid() -> None:
    nvram = f"<nvram type='file'><source file='/srv/nvram/{UUID}.fd'/></nvram></os>"
    seen = ET.fromstring(definition.with_uuid(PLAIN.replace("</os>", nvram), "0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11"))
    assert [each.get("file") for each in seen.findall("os/nvram/source")] == [
        "/srv/nvram/0d3f4a52-6f6b-4c0a-9c57-3b1f6a0c4f11.fd"
    ]
