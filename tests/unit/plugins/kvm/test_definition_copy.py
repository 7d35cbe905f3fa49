# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy shares nothing with its original: what collides is renewed, what reaches out is left out, each with a word."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import DefinitionError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import (
    CopyMark,
    CopySpec,
    NewSource,
    copy_mark_of,
    copy_of,
    new_macs,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DomainXmlError, parse_guest

DOMAINS = Path(__file__).parent / "domains"
OLD = "11111111-1111-4111-8111-111111111111"
NEW = "99999999-9999-4999-8999-999999999999"
MARK = CopyMark("drill", "hv1-daily_20261121020000", "web1", OLD, "2026-11-22T03:00:00+00:00")
SPEC = CopySpec("web1-copy", NEW, MARK, {"vda": NewSource("file", "/mnt/v/copy.img", "raw")})
DISK = "<disk type='file' device='disk'><source file='/mnt/v/web1.img'/><target dev='vda' bus='virtio'/></disk>"


def original(devices: str = "", top: str = "", disk: str = DISK) -> str:
    return (
        f"<domain type='kvm' id='4' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        f"<name>web1</name><uuid>{OLD}</uuid>{top}<os><type arch='x86_64'>hvm</type></os>"
        f"<devices>{disk}{devices}</devices></domain>"
    )


def made(xml: str, spec: CopySpec = SPEC) -> tuple[ET.Element, str]:
    edited = copy_of(xml, spec)
    return ET.fromstring(edited.xml), "\n".join(edited.notes)


def shape(element: ET.Element | None) -> str:
    """An element on one line, without its layout."""
    assert element is not None
    return re.sub(r">\s+<", "><", ET.tostring(element, encoding="unicode")).replace(" />", "/>").strip()


def test_a_copy_is_a_guest_of_its_own_and_says_whose_it_is() -> None:
    root, notes = made(original())
    assert (root.findtext("name"), root.findtext("uuid"), root.get("id")) == ("web1-copy", NEW, None)
    assert root.findtext("title") == "copy of web1 from backup hv1-daily_20261121020000"
    assert [each.get("file") for each in root.findall("devices/disk/source")] == ["/mnt/v/copy.img"]
    assert notes == ""
    assert copy_mark_of(copy_of(original(), SPEC).xml) == MARK
    assert copy_mark_of(original()) is None


@pytest.mark.parametrize("lacking", ["owner", "backup-id", "guest-uuid", "created"])
def test_a_mark_that_is_not_whole_is_none(lacking: str) -> None:
    xml = copy_of(original(), SPEC).xml
    assert copy_mark_of(re.sub(rf' {lacking}="[^"]*"', "", xml)) is None


@pytest.mark.parametrize(
    ("top", "path", "expected", "note"),
    [
        ("<genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>", "genid", "<genid/>", "generation id"),
        (
            f"<sysinfo type='smbios'><system><entry name='uuid'>{OLD}</entry></system></sysinfo>",
            "sysinfo/system/entry",
            f'<entry name="uuid">{NEW}</entry>',
            "",
        ),
        ("<vcpu placement='static' cpuset='1-2'>2</vcpu>", "vcpu", '<vcpu placement="static">2</vcpu>', "not bound"),
        (
            "<cputune><shares>9</shares><vcpupin vcpu='0' cpuset='1'/><emulatorpin cpuset='1'/></cputune>",
            "cputune",
            "<cputune><shares>9</shares></cputune>",
            "not bound",
        ),
        (
            "<blkiotune><weight>8</weight><device><path>/dev/sda</path></device></blkiotune>",
            "blkiotune",
            "<blkiotune><weight>8</weight></blkiotune>",
            "",
        ),
        ("<on_crash>coredump-restart</on_crash>", "on_crash", "<on_crash>destroy</on_crash>", ""),
        ("<title>the web server</title>", "title", f"<title>copy of web1 from backup {MARK.backup_id}</title>", ""),
    ],
)
def test_what_stands_above_the_devices(top: str, path: str, expected: str, note: str) -> None:
    root, notes = made(original(top=top))
    assert shape(root.find(path)) == expected
    assert note in notes
    assert (note == "") is (notes == "")


@pytest.mark.parametrize(
    ("top", "gone", "note"),
    [
        ("<numatune><memory mode='strict' nodeset='0'/></numatune>", "numatune", "not bound"),
        ("<seclabel type='static' model='dac'><label>0:0</label></seclabel>", "seclabel", "security labels"),
        (
            "<metadata><x:nova xmlns:x='http://openstack.org/nova'/></metadata>",
            "metadata/{http://openstack.org/nova}nova",
            "marks of other managers are left out: nova",
        ),
        (
            "<qemu:commandline><qemu:arg value='-netdev'/></qemu:commandline>",
            "{http://libvirt.org/schemas/domain/qemu/1.0}commandline",
            "qemu:commandline",
        ),
    ],
)
def test_what_is_left_out_above_the_devices(top: str, gone: str, note: str) -> None:
    root, notes = made(original(top=top))
    assert root.find(gone) is None
    assert note in notes


def test_what_the_guest_runs_stays_known() -> None:
    info = "<libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
    info += "<libosinfo:os id='http://redhat.com/rhel/9.4'/></libosinfo:libosinfo>"
    assert parse_guest(copy_of(original(top=f"<metadata>{info}</metadata>"), SPEC).xml).os_id is not None


@pytest.mark.parametrize(
    ("device", "path", "expected", "note"),
    [
        (
            "<serial type='file'><source path='/var/log/web1.log'/><target port='0'/></serial>",
            "serial",
            '<serial type="pty"><target port="0"/></serial>',
            "serial port that was a file",
        ),
        (
            "<console type='tcp'><source mode='bind' service='4555'/><protocol type='telnet'/></console>",
            "console",
            '<console type="pty"/>',
            "console port that was a tcp",
        ),
        (
            "<serial type='pty' tty='/dev/pts/3'><source path='/dev/pts/3'/><log file='/l' append='on'/></serial>",
            "serial",
            '<serial type="pty"/>',
            "",
        ),
        (
            (
                "<channel type='unix'><source mode='bind' path='/srv/web1.sock'/>"
                "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
            ),
            "channel",
            '<channel type="unix"><source mode="bind"/><target type="virtio" name="org.qemu.guest_agent.0"/></channel>',
            "",
        ),
        (
            (
                "<graphics type='vnc' port='5901' autoport='no' listen='0.0.0.0' passwd='x'>"
                "<listen type='address' address='0.0.0.0'/></graphics>"
            ),
            "graphics",
            '<graphics type="vnc" autoport="yes"><listen type="address" address="127.0.0.1"/></graphics>',
            "listens on 127.0.0.1 only",
        ),
        (
            "<graphics type='spice' port='5900' tlsPort='5901'><image compression='off'/></graphics>",
            "graphics",
            (
                '<graphics type="spice" autoport="yes"><image compression="off"/>'
                '<listen type="address" address="127.0.0.1"/></graphics>'
            ),
            "",
        ),
        (
            "<graphics type='vnc' socket='/srv/web1.vnc'><listen type='socket' socket='/srv/web1.vnc'/></graphics>",
            "graphics",
            '<graphics type="vnc" autoport="yes"><listen type="address" address="127.0.0.1"/></graphics>',
            "",
        ),
        (
            "<watchdog model='itco' action='reset'/>",
            "watchdog",
            '<watchdog model="itco" action="none"/>',
            "watchdog does nothing",
        ),
        (
            "<vsock model='virtio'><cid auto='no' address='3'/></vsock>",
            "vsock",
            '<vsock model="virtio"><cid auto="yes"/></vsock>',
            "",
        ),
        (
            "<rng model='virtio'><backend model='egd' type='udp'><source host='1.2.3.4'/></backend></rng>",
            "rng",
            '<rng model="virtio"><backend model="random">/dev/urandom</backend></rng>',
            "",
        ),
        ("<audio id='1' type='file' path='/srv/a.wav'/>", "audio", '<audio id="1" type="none"/>', ""),
        (
            (
                "<tpm model='tpm-crb'><backend type='emulator' version='2.0'>"
                "<source type='dir' path='/srv/tpm'/></backend></tpm>"
            ),
            "tpm",
            '<tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm>',
            "place of its own",
        ),
        (
            "<disk type='file' device='cdrom'><source file='/iso/a.iso'/><target dev='sda' bus='sata'/></disk>",
            "disk[@device='cdrom']",
            '<disk type="file" device="cdrom"><target dev="sda" bus="sata"/></disk>',
            "drive sda is empty",
        ),
    ],
)
def test_what_is_renewed(device: str, path: str, expected: str, note: str) -> None:
    root, notes = made(original(device))
    assert shape(root.find(f"devices/{path}")) == expected
    assert note in notes
    assert (note == "") is (notes == "")


@pytest.mark.parametrize(
    ("device", "note"),
    [
        ("<hostdev mode='subsystem' type='pci'/>", "passed-through device (pci)"),
        ("<hostdev mode='subsystem' type='mdev'/>", "passed-through device (mdev)"),
        ("<filesystem type='mount'><source dir='/srv'/><target dir='s'/></filesystem>", "shared directory (mount)"),
        ("<shmem name='both'/>", "shared memory"),
        ("<lease><lockspace>s</lockspace><key>k</key></lease>", "lease is left out"),
        ("<redirdev bus='usb' type='tcp'/>", "redirdev (tcp)"),
        ("<smartcard mode='host'/>", "smartcard is left out"),
        ("<input type='passthrough' bus='virtio'/>", "input device of the host"),
        ("<tpm model='tpm-tis'><backend type='passthrough'/></tpm>", "TPM of the host"),
        (
            "<channel type='tcp'><target type='guestfwd' address='10.0.2.1' port='4600'/></channel>",
            "channel of type tcp",
        ),
        ("<graphics type='sdl' display=':0'/>", "screen of type sdl"),
        ("<interface type='bridge'><mac address='52:54:00:aa:bb:cc'/></interface>", "no network: 1 interface"),
        ("<disk type='file' device='disk'><source file='/l/x.img'/><target dev='vdz'/></disk>", "disk vdz (/l/x.img)"),
    ],
)
def test_what_is_left_out(device: str, note: str) -> None:
    root, notes = made(original(device))
    assert [each.tag for each in root.findall("devices/*")] == ["disk"]
    assert note in notes


def test_redirection_by_spice_stays() -> None:
    root, _notes = made(original("<redirdev bus='usb' type='spicevmc'/>"))
    assert root.find("devices/redirdev") is not None


NIC = (
    "<interface type='bridge'><mac address='52:54:00:aa:bb:cc'/><source bridge='br0'/><vlan><tag id='7'/></vlan>"
    "<target dev='web1-0'/><filterref filter='clean-traffic'/><model type='e1000e'/><boot order='2'/>"
    "<address type='pci' slot='0x03'/></interface>"
)


def test_interfaces_go_to_the_network_named_with_new_addresses_and_nothing_of_the_host() -> None:
    root, notes = made(original(f"{NIC}{NIC}<interface type='hostdev'/>"), replace(SPEC, network="drill"))
    macs = list(zip(new_macs(NEW, ()), range(2)))
    assert [shape(each) for each in root.findall("devices/interface")] == [
        f'<interface type="network"><mac address="{mac}"/><source network="drill"/><model type="e1000e"/>'
        '<boot order="2"/><address type="pci" slot="0x03"/></interface>'
        for mac, _number in macs
    ]
    assert "an interface of type hostdev is left out" in notes
    assert "on network drill" in notes


def test_interfaces_of_the_original_keep_their_networks_and_nothing_that_is_its_own() -> None:
    nics = (
        f"{NIC}<interface type='network'><mac address='52:54:00:aa:bb:cd'/>"
        "<source network='lan' portgroup='web' portid='p' bridge='virbr0'/><script path='/tmp/evil'/>"
        "<virtualport type='openvswitch'><parameters interfaceid='i' profileid='blue'/></virtualport>"
        "<backend tap='/dev/net/tun'/><guest dev='eth0'/><rom file='/tmp/rom'/><alias name='net1'/>"
        "<model type='virtio'/></interface>"
        "<interface type='direct' managed='no' trustGuestRxFilters='yes'><source dev='eth0' mode='vepa'/></interface>"
    )
    left = (
        "<interface type='direct'><source dev='eth1' mode='passthrough'/></interface>"
        "<interface type='vhostuser'><source type='unix' path='/run/x' mode='client'/></interface>"
        "<interface type='hostdev'/><interface type='ethernet'><target dev='tap7'/></interface>"
    )
    root, notes = made(original(f"{nics}{left}"), replace(SPEC, own_networks=True))
    first, second, third = [mac for mac, _number in zip(new_macs(NEW, ()), range(3))]
    assert [shape(each) for each in root.findall("devices/interface")] == [
        (
            f'<interface type="bridge"><mac address="{first}"/><source bridge="br0"/><vlan><tag id="7"/></vlan>'
            '<filterref filter="clean-traffic"/><model type="e1000e"/><boot order="2"/>'
            '<address type="pci" slot="0x03"/></interface>'
        ),
        (
            f'<interface type="network"><mac address="{second}"/><source network="lan" portgroup="web"/>'
            '<virtualport type="openvswitch"><parameters profileid="blue"/></virtualport><model type="virtio"/>'
            "</interface>"
        ),
        f'<interface type="direct"><mac address="{third}"/><source dev="eth0" mode="vepa"/></interface>',
    ]
    assert "it has 3 interface(s) of the original on the networks that they had, with new addresses" in notes
    assert "an interface of type direct is left out: it takes a device of the host for itself" in notes
    for kind in ("vhostuser", "hostdev", "ethernet"):
        assert f"an interface of type {kind} is left out: it is a device of the host, or leads to one socket" in notes


def test_addresses_are_libvirt_s_own_follow_from_the_uuid_and_are_never_given_twice() -> None:
    first = [mac for mac, _number in zip(new_macs(NEW, ()), range(3))]
    assert len(set(first)) == 3
    assert all(re.fullmatch(r"52:54:00(:[0-9a-f]{2}){3}", mac) for mac in first)
    again = [mac for mac, _number in zip(new_macs(NEW, [first[0].upper()]), range(2))]
    assert again == first[1:]
    assert next(new_macs(OLD, ())) not in first


@pytest.mark.parametrize("network", ["", " lan", "a/b", "a\nb"])
def test_a_network_s_name_is_data(network: str) -> None:
    with pytest.raises(DefinitionError, match="name of a network"):
        made(original(NIC), replace(SPEC, network=network))


@pytest.mark.parametrize(
    ("disk", "source", "expected"),
    [
        pytest.param(
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='writeback'/>"
            "<source file='/mnt/v/web1.snap1' index='2' startupPolicy='optional'><seclabel relabel='no'/></source>"
            "<backingStore type='file'><format type='raw'/><source file='/mnt/v/base.img'/></backingStore>"
            "<target dev='vda' bus='virtio'/><shareable/><serial>ABC</serial></disk>",
            NewSource("file", "/mnt/v/copy.img", "qcow2"),
            '<disk type="file" device="disk"><driver name="qemu" type="qcow2" cache="writeback"/>'
            '<target dev="vda" bus="virtio"/><serial>ABC</serial><source file="/mnt/v/copy.img"/></disk>',
            id="overlay",
        ),
        pytest.param(
            "<disk type='block' device='lun' sgio='unfiltered' rawio='yes'><driver name='qemu' type='raw'/>"
            "<source dev='/dev/mapper/a'><reservations managed='yes'/></source><target dev='vda' bus='scsi'/></disk>",
            NewSource("block", "/dev/mapper/b", "raw"),
            '<disk type="block" device="lun" sgio="unfiltered" rawio="yes"><driver name="qemu" type="raw"/>'
            '<target dev="vda" bus="scsi"/><source dev="/dev/mapper/b"/></disk>',
            id="LUN passed through, without its reservations",
        ),
        pytest.param(
            "<disk type='volume' device='disk'><source pool='p' volume='v'/><target dev='vda' bus='virtio'/></disk>",
            NewSource("file", "/mnt/v/copy.img", "raw"),
            '<disk type="file" device="disk"><target dev="vda" bus="virtio"/><source file="/mnt/v/copy.img"/>'
            '<driver name="qemu" type="raw"/></disk>',
            id="volume of a pool",
        ),
        pytest.param(
            "<disk type='file' device='disk'><source file='/mnt/v/luks.img'><encryption format='luks'>"
            "<secret type='passphrase' uuid='s'/></encryption></source><target dev='vda' bus='virtio'/></disk>",
            NewSource("file", "/mnt/v/copy.img", "raw"),
            '<disk type="file" device="disk"><target dev="vda" bus="virtio"/><source file="/mnt/v/copy.img">'
            '<encryption format="luks"><secret type="passphrase" uuid="s"/></encryption></source>'
            '<driver name="qemu" type="raw"/></disk>',
            id="encrypted",
        ),
    ],
)
def test_a_disk_is_pointed_to_its_copy(disk: str, source: NewSource, expected: str) -> None:
    root, _notes = made(original(disk=disk), replace(SPEC, sources={"vda": source}))
    assert shape(root.find("devices/disk")) == expected


def test_disks_are_matched_by_their_name_never_by_their_order() -> None:
    text = (DOMAINS / "windows-uefi-tpm.xml").read_text(encoding="utf-8")
    sources = {"sda": NewSource("file", "/c/boot.img", "raw"), "vdb": NewSource("file", "/c/data.img", "raw")}
    result = copy_of(text, replace(SPEC, sources=sources, nvram="/nv/copy.fd"))
    found = parse_guest(result.xml)
    assert {disk.target: disk.source for disk in found.disks} == {"sdb": "", "vdb": "/c/data.img", "sda": "/c/boot.img"}
    assert found.nvram == "/nv/copy.fd"
    assert next(disk for disk in found.disks if disk.role == "boot").target == "sda"


def test_variables_of_the_firmware_are_never_the_original_s() -> None:
    text = (DOMAINS / "nvram-source.xml").read_text(encoding="utf-8")
    root, notes = made(text, replace(SPEC, sources={"vda": NewSource("file", "/c", "raw")}))
    nvram = root.find("os/nvram")
    assert nvram is not None
    assert (list(nvram), nvram.text, nvram.get("type")) == ([], None, None)
    assert "UEFI variables are new" in notes


@pytest.mark.parametrize(
    ("xml", "sources", "error"),
    [
        (original(), {}, "boot disk vda is not in the backup"),
        (original(), {"vda": NewSource("file", "copy.img", "raw")}, "'copy.img' as a disk"),
        (original(), {"vda": NewSource("network", "/copy.img", "raw")}, "as a disk"),
        (
            original("<memory model='nvdimm'><source><path>/srv/pmem</path></source></memory>"),
            SPEC.sources,
            "persistent memory in /srv/pmem",
        ),
    ],
)
def test_what_cannot_be_kept_apart_is_refused(xml: str, sources: dict[str, NewSource], error: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(error)):
        copy_of(xml, replace(SPEC, sources=sources))


def test_a_doctype_is_refused() -> None:
    with pytest.raises(DomainXmlError, match="DOCTYPE"):
        copy_of("<!DOCTYPE domain>" + original(), SPEC)


def test_names_are_data() -> None:
    spec = replace(SPEC, mark=replace(MARK, guest="a\"/><b c='"), name="x")
    assert copy_mark_of(copy_of(original(), spec).xml) == spec.mark


@pytest.mark.parametrize("path", sorted(DOMAINS.glob("*.xml")), ids=lambda path: path.stem)
def test_no_trace_of_the_original_is_left_in_any_definition(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = parse_guest(text)
    sources = {disk.target: NewSource("file", f"/copy/{disk.target}", disk.format) for disk in found.disks}
    result = parse_guest(copy_of(text, replace(SPEC, sources=sources, nvram="/copy/nvram")).xml)
    assert (result.name, result.uuid) == ("web1-copy", NEW)
    assert all(disk.source == "" or disk.source.startswith("/copy/") for disk in result.disks)
    assert not any(disk.backing or disk.data_store or disk.kind in ("hostdev", "filesystem") for disk in result.disks)
    assert found.uuid not in copy_of(text, replace(SPEC, sources=sources)).xml
