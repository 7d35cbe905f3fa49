# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a foreign definition may be defined: a row for each thing of the host that one could name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_allowed import Site, checked
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import DomainXmlError

DISK = "/mnt/kvm_vol1/web.img"
NVRAM = "/var/lib/libvirt/qemu/nvram/web_VARS.fd"
EMULATOR = "/usr/bin/qemu-system-x86_64"
SITE = Site(
    disks=frozenset((DISK,)),
    emulators=frozenset((EMULATOR,)),
    networks=frozenset(("default", "br0")),
    nvram=frozenset((NVRAM,)),
)
PLAIN = f"""\
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web</name>
  <uuid>7d1b8c6e-0f3c-4f0e-9a53-0d6a2f6f0001</uuid>
  <memory unit='KiB'>1048576</memory>
  <vcpu placement='static'>2</vcpu>
  <os firmware='efi'>
    <type arch='x86_64' machine='pc-q35-9.0'>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>{NVRAM}</nvram>
    <boot dev='hd'/>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='host-passthrough' check='none' migratable='on'/>
  <clock offset='utc'><timer name='rtc' tickpolicy='catchup'/></clock>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{EMULATOR}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none' discard='unmap'/>
      <source file='{DISK}'/>
      <target dev='vda' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
    </disk>
    <controller type='pci' index='0' model='pcie-root'/>
    <interface type='network'>
      <mac address='52:54:00:11:22:33'/><source network='default'/><model type='virtio'/>
    </interface>
    <serial type='pty'><target type='isa-serial' port='0'><model name='isa-serial'/></target></serial>
    <console type='pty'><target type='serial' port='0'/></console>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <input type='tablet' bus='usb'/>
    <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
    <graphics type='vnc' port='-1' autoport='yes'><listen type='address' address='127.0.0.1'/></graphics>
    <video><model type='virtio' heads='1' primary='yes'/></video>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='virtio'/>
  </devices>
</domain>
"""

QEMU_LINE = "<qemu:commandline><qemu:arg value='-chardev'/></qemu:commandline>"
INTO_DOMAIN = {
    "qemu arguments": (QEMU_LINE, "qemu:arg"),
    "qemu override": ("<qemu:override><qemu:device alias='a'/></qemu:override>", "qemu:override"),
    "kernel": ("<os><kernel>/boot/vmlinuz</kernel></os>", "os/kernel '/boot/vmlinuz' is no file of this host"),
    "initrd": ("<os><initrd>/etc/shadow</initrd></os>", "os/initrd '/etc/shadow' is no file of this host"),
    "device tree": ("<os><dtb>/etc/shadow</dtb></os>", "os/dtb"),
    "command line": ("<os><cmdline>init=/x</cmdline></os>", "os/cmdline"),
    "shim": ("<os><shim>/etc/shadow</shim></os>", "os/shim"),
    "init": ("<os><init>/bin/sh</init></os>", "os/init"),
    "loader": ("<os><loader type='rom'>/mnt/kvm_vol1/rom</loader></os>", "no firmware that a package"),
    "loader that climbs": ("<os><loader>/usr/share/OVMF/../../../etc/shadow</loader></os>", "no firmware"),
    "nvram template": ("<os><nvram template='/etc/shadow'/></os>", "template='/etc/shadow' is no firmware"),
    "nvram of another": ("<os><nvram>/var/lib/libvirt/qemu/nvram/db_VARS.fd</nvram></os>", "UEFI variables"),
    "nvram elsewhere": ("<os><nvram>/etc/cron.d/x</nvram></os>", "UEFI variables"),
    "nvram on the network": ("<os><nvram type='network'><source protocol='nbd'/></nvram></os>", "type='network'"),
    "acpi table": ("<os><acpi><table type='slic'>/etc/shadow</table></acpi></os>", "os/acpi"),
    "smbios of the host": ("<os><smbios mode='host'/></os>", "mode='host'"),
    "boot loader": ("<bootloader>/usr/bin/pygrub</bootloader>", "bootloader"),
    "fw_cfg file": (
        "<sysinfo type='fwcfg'><entry name='opt/x' file='/etc/shadow'/></sysinfo>",
        "sysinfo type='fwcfg' is not allowed",
    ),
    "fw_cfg entry": ("<sysinfo type='fwcfg'><entry name='opt/x'>y</entry></sysinfo>", "sysinfo/entry"),
    "label of root": ("<seclabel type='static' model='dac'><label>+0:+0</label></seclabel>", "seclabel"),
    "label that nobody sets": ("<seclabel type='static' model='dac' relabel='no'/>", "seclabel"),
    "base label": ("<seclabel type='dynamic'><baselabel>root:root</baselabel></seclabel>", "seclabel"),
    "no label": ("<seclabel type='none'/>", "seclabel"),
    "encrypted memory": ("<launchSecurity type='sev'><session>x</session></launchSecurity>", "launchSecurity"),
    "key wrapping": ("<keywrap><cipher name='aes' state='on'/></keywrap>", "keywrap"),
    "id map": ("<idmap><uid start='0' target='0' count='1'/></idmap>", "idmap"),
    "another type of domain": ("<domain type='xen'/>", "domain is not allowed"),
    "unknown element": ("<future>/etc/shadow</future>", "future is not allowed"),
    "unknown attribute": ("<vcpu shared='/x'>1</vcpu>", "vcpu shared='/x'"),
    "another namespace": ("<x:os xmlns:x='urn:x'><x:kernel>/boot/x</x:kernel></x:os>", "urn:x"),
    "text where none is": ("<features>/etc/shadow</features>", "hold text"),
    "time zone": ("<clock offset='timezone' timezone='../../../etc/shadow'/>", "timezone"),
}
INTO_DEVICES = {
    "emulator in the volume": ("<emulator>/mnt/kvm_vol1/qemu</emulator>", "none of the emulators"),
    "disk of the host": ("<disk type='file'><source file='/etc/shadow'/></disk>", "file='/etc/shadow' is none of the"),
    "device of the host": ("<disk type='block'><source dev='/dev/sda'/></disk>", "dev='/dev/sda' is none of the"),
    "disk of a directory": ("<disk type='dir'><source dir='/'/></disk>", "type='dir'"),
    "disk of a pool": ("<disk type='volume'><source pool='p' volume='v'/></disk>", "type='volume'"),
    "disk of the network": ("<disk type='network'><source protocol='nbd' name='x'/></disk>", "type='network'"),
    "nvme": ("<disk type='nvme'><source type='pci' namespace='1'/></disk>", "type='nvme'"),
    "vhost-user disk": ("<disk type='vhostuser'><source type='unix' path='/run/x'/></disk>", "type='vhostuser'"),
    "vhost-vdpa disk": ("<disk type='vhostvdpa'><source dev='/dev/vhost-vdpa-0'/></disk>", "type='vhostvdpa'"),
    "format that names files": (f"<disk><driver name='qemu' type='vmdk'/><source file='{DISK}'/></disk>", "'vmdk'"),
    "slices": (f"<disk><source file='{DISK}'><slices/></source></disk>", "slices"),
    "encryption": (f"<disk><source file='{DISK}'><encryption format='luks'/></source></disk>", "encryption"),
    "secret": ("<disk><encryption><secret type='passphrase' uuid='x'/></encryption></disk>", "encryption"),
    "user and secret": ("<disk><auth username='x'><secret type='ceph' usage='x'/></auth></disk>", "disk/auth"),
    "label of a disk": (f"<disk><source file='{DISK}'><seclabel relabel='no'/></source></disk>", "seclabel"),
    "reservations": ("<disk><source><reservations managed='no'/></source></disk>", "reservations"),
    "data store": ("<disk><source><dataStore type='file'/></source></disk>", "dataStore"),
    "backing store": (
        "<disk><backingStore type='file'><source file='/etc/shadow'/></backingStore></disk>",
        "backingStore is not allowed",
    ),
    "mirror": ("<disk><mirror type='file'><source file='/etc/x'/></mirror></disk>", "mirror"),
    "transient": ("<disk><transient/></disk>", "transient"),
    "raw commands": ("<disk device='lun' rawio='yes'/>", "rawio='yes'"),
    "unfiltered commands": ("<disk device='lun' sgio='unfiltered'/>", "sgio='unfiltered'"),
    "shared directory": ("<filesystem type='mount'><source dir='/'/><target dir='x'/></filesystem>", "filesystem"),
    "pci device": ("<hostdev mode='subsystem' type='pci'/>", "hostdev"),
    "usb device": ("<hostdev mode='subsystem' type='usb'/>", "hostdev"),
    "scsi device": ("<hostdev mode='subsystem' type='scsi'/>", "hostdev"),
    "mediated device": ("<hostdev mode='subsystem' type='mdev'/>", "hostdev"),
    "serial file": (
        "<serial type='file'><source path='/etc/cron.d/x'/></serial>",
        "devices/serial/source path='/etc/cron.d/x' is no file of this host",
    ),
    "serial log": ("<serial type='pty'><log file='/etc/cron.d/x' append='on'/></serial>", "serial/log"),
    "serial device": ("<serial type='dev'><source path='/dev/ttyS0'/></serial>", "serial type='dev'"),
    "serial socket": ("<serial type='unix'><source mode='bind' path='/run/x'/></serial>", "serial type='unix'"),
    "console pipe": ("<console type='pipe'><source path='/run/x'/></console>", "console type='pipe'"),
    "console log": ("<console type='pty'><log file='/etc/x'/></console>", "console/log"),
    "parallel file": ("<parallel type='file'><source path='/etc/x'/></parallel>", "parallel type='file'"),
    "channel to a socket": (
        "<channel type='unix'><source mode='connect' path='/run/docker.sock'/></channel>",
        "channel/source mode='connect'",
    ),
    "channel path that climbs": (
        "<channel type='unix'><source mode='bind' path='/run/libvirt/qemu/channel/../../x'/></channel>",
        "channel/source",
    ),
    "channel over tcp": ("<channel type='tcp'><source mode='connect' host='h' service='1'/></channel>", "type='tcp'"),
    "channel over udp": ("<channel type='udp'/>", "type='udp'"),
    "channel of another name": ("<channel type='unix'><target type='virtio' name='x.y'/></channel>", "name='x.y'"),
    "channel log": ("<channel type='unix'><log file='/etc/x'/></channel>", "channel/log"),
    "interface of a host device": ("<interface type='hostdev'/>", "type='hostdev'"),
    "direct interface": ("<interface type='direct'><source dev='eth0' mode='passthrough'/></interface>", "'direct'"),
    "vhost-user interface": ("<interface type='vhostuser'/>", "type='vhostuser'"),
    "vdpa": ("<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>", "type='vdpa'"),
    "ethernet": ("<interface type='ethernet'/>", "type='ethernet'"),
    "server": ("<interface type='server'><source address='0.0.0.0' port='1'/></interface>", "type='server'"),
    "script": ("<interface type='bridge'><source bridge='br0'/><script path='/x'/></interface>", "interface/script"),
    "down script": ("<interface type='bridge'><downscript path='/x'/></interface>", "interface/downscript"),
    "target device": ("<interface type='bridge'><target dev='eth0'/></interface>", "interface/target"),
    "other network": ("<interface type='network'><source network='storage'/></interface>", "none of the networks"),
    "other bridge": ("<interface type='bridge'><source bridge='br-storage'/></interface>", "none of the networks"),
    "tag": ("<interface type='bridge'><vlan><tag id='7'/></vlan></interface>", "interface/vlan"),
    "filter": ("<interface type='bridge'><filterref filter='none'/></interface>", "interface/filterref"),
    "boot rom": ("<interface type='user'><rom file='/etc/shadow'/></interface>", "rom file='/etc/shadow'"),
    "passt log": ("<interface type='user'><backend type='passt' logFile='/etc/x'/></interface>", "interface/backend"),
    "port forward": ("<interface type='user'><portForward proto='tcp'/></interface>", "interface/portForward"),
    "vhost path": ("<interface type='user'><backend vhost='/dev/x'/></interface>", "interface/backend"),
    "evdev": ("<input type='evdev'><source dev='/dev/input/event1'/></input>", "type='evdev'"),
    "passthrough input": ("<input type='passthrough'><source evdev='/dev/x'/></input>", "type='passthrough'"),
    "screen on a socket": ("<graphics type='vnc'><listen type='socket' socket='/run/x'/></graphics>", "socket"),
    "screen by a socket": ("<graphics type='vnc' socket='/run/x'/>", "graphics socket='/run/x'"),
    "render node": ("<graphics type='spice'><gl enable='yes' rendernode='/dev/dri/x'/></graphics>", "gl"),
    "egl": ("<graphics type='egl-headless'><gl rendernode='/dev/dri/x'/></graphics>", "type='egl-headless'"),
    "dbus screen": ("<graphics type='dbus' address='unix:path=/run/x'/>", "type='dbus'"),
    "sdl": ("<graphics type='sdl' display=':0' xauth='/root/.Xauthority'/>", "type='sdl'"),
    "rdp": ("<graphics type='rdp'/>", "type='rdp'"),
    "video node": ("<video><model type='virtio'><acceleration rendernode='/dev/dri/x'/></model></video>", "rendernode"),
    "vhost-user video": ("<video><driver name='vhostuser'/></video>", "video/driver name='vhostuser'"),
    "audio file": ("<audio id='1' type='file' path='/etc/cron.d/x'/>", "audio type='file'"),
    "audio device": ("<audio id='1' type='oss'><input dev='/dev/dsp'/></audio>", "audio type='oss'"),
    "sound device": ("<sound model='usb' path='/dev/x'/>", "sound path"),
    "random device": ("<rng model='virtio'><backend model='random'>/dev/sda</backend></rng>", "/dev/sda"),
    "egd": ("<rng model='virtio'><backend model='egd' type='udp'/></rng>", "model='egd'"),
    "tpm of the host": ("<tpm><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>", "passthrough"),
    "tpm state": ("<tpm><backend type='emulator'><source type='dir' path='/etc'/></backend></tpm>", "backend/source"),
    "tpm log": ("<tpm><backend type='emulator' debug='1'><log file='/x'/></backend></tpm>", "backend"),
    "tpm secret": ("<tpm><backend type='emulator'><encryption secret='x'/></backend></tpm>", "backend/encryption"),
    "external tpm": ("<tpm><backend type='external'><source type='unix' path='/x'/></backend></tpm>", "external"),
    "shared memory": ("<shmem name='x'><server path='/run/x'/></shmem>", "shmem"),
    "persistent memory": ("<memory model='nvdimm'><source><path>/etc/x</path></source></memory>", "nvdimm"),
    "memory source": ("<memory model='dimm'><source><pagesize>1</pagesize></source></memory>", "memory/source"),
    "smart card": ("<smartcard mode='host'/>", "smartcard"),
    "redirected device": ("<redirdev bus='usb' type='tcp'><source mode='bind' host='0.0.0.0'/></redirdev>", "redirdev"),
    "lease": ("<lease><lockspace>x</lockspace></lease>", "lease"),
    "pstore": ("<pstore backend='acpi-erst'><path>/etc/x</path></pstore>", "pstore"),
    "crypto": ("<crypto model='virtio'><backend model='lkcf'/></crypto>", "crypto"),
    "address of a mediated device": ("<input type='mouse'><address type='mdev' uuid='/x'/></input>", "input/address"),
    "deep": ("<video>" * 20 + "</video>" * 20, "deep, are not allowed"),
}
TUNING = {
    "memory": "<memoryBacking><hugepages/><source type='file'/></memoryBacking>",
    "processors": "<cputune><vcpupin vcpu='0' cpuset='1'/></cputune>",
    "threads": "<iothreads>4</iothreads>",
    "nodes": "<numatune><memory mode='strict' nodeset='0'/></numatune>",
    "weights": "<blkiotune><device><path>/dev/sda</path></device></blkiotune>",
    "partition": "<resource><partition>/machine/x</partition></resource>",
    "metadata": "<metadata><x:y xmlns:x='urn:x' run='/bin/sh'/></metadata>",
}


def with_part(part: str, *, devices: bool) -> str:
    """Return the definition with one more part."""
    return (
        PLAIN.replace("</devices>", f"{part}</devices>") if devices else PLAIN.replace("</domain>", f"{part}</domain>")
    )


def test_a_usual_definition_is_allowed_and_stays_as_it_is() -> None:
    found = checked(PLAIN, SITE)
    assert found.refusals == ()
    assert found.notes == ()
    assert checked(found.xml, SITE) == found


@pytest.mark.parametrize("what", INTO_DOMAIN)
def test_what_reaches_out_is_refused_by_name(what: str) -> None:
    part, said = INTO_DOMAIN[what]
    found = checked(with_part(part, devices=False), SITE)
    assert any(said in each for each in found.refusals), found.refusals


@pytest.mark.parametrize("what", INTO_DEVICES)
def test_a_device_that_reaches_out_is_refused_by_name(what: str) -> None:
    part, said = INTO_DEVICES[what]
    found = checked(with_part(part, devices=True), SITE)
    assert any(said in each for each in found.refusals), found.refusals


def test_files_that_a_person_allowed_may_be_named() -> None:
    boot = "<kernel>/boot/k</kernel><initrd>/boot/i</initrd><cmdline>console=ttyS0</cmdline>"
    port = "<serial type='file'><source path='/var/log/web.log'/><target port='1'/></serial>"
    xml = with_part(port, devices=True).replace("<boot dev='hd'/>", boot)
    allowed = replace(SITE, paths=frozenset(("/boot/k", "/boot/i", "/var/log/web.log")))
    assert checked(xml, allowed).refusals == ()
    assert len(checked(xml, SITE).refusals) == 4
    some = replace(SITE, paths=frozenset(("/boot/k", "/boot/i")))
    assert checked(xml, some).refusals == (
        "devices/serial/source path='/var/log/web.log' is no file of this host that is allowed (allowed_paths)",
    )
    disk = xml.replace(DISK, "/boot/k")
    assert any("is none of the places" in each for each in checked(disk, allowed).refusals)


@pytest.mark.parametrize("what", TUNING)
def test_what_tunes_it_is_left_out_with_a_note(what: str) -> None:
    found = checked(with_part(TUNING[what], devices=False), SITE)
    assert found.refusals == ()
    assert len(found.notes) == 1
    assert found.xml.replace("<metadata />\n", "").split() == checked(PLAIN, SITE).xml.split()


def test_tuning_of_devices_is_left_out() -> None:
    xml = PLAIN.replace("cache='none'", "cache='none' iothread='1'").replace(
        "<target dev='vda'", "<iotune><total_iops_sec>5</total_iops_sec></iotune><target dev='vda'"
    )
    found = checked(xml, SITE)
    assert (found.refusals, len(found.notes)) == ((), 1)
    assert "iothread" not in found.xml
    assert "iotune" not in found.xml


def test_media_screens_and_addresses_are_the_hosts_choice() -> None:
    drive = "<disk type='file' device='cdrom'><source file='/etc/shadow'/><target dev='sda' bus='sata'/></disk>"
    screen = "<graphics type='spice' port='5900' listen='0.0.0.0'><listen type='address' address='0.0.0.0'/></graphics>"
    vsock = "<vsock model='virtio'><cid auto='no' address='3'/></vsock>"
    found = checked(with_part(drive + screen + vsock, devices=True), SITE)
    assert found.refusals == ()
    assert len(found.notes) == 3
    assert "shadow" not in found.xml
    assert "0.0.0.0" not in found.xml
    assert '<cid auto="yes" />' in found.xml


def test_what_libvirt_writes_by_itself_is_no_reason() -> None:
    xml = PLAIN.replace("<domain type='kvm'", "<domain type='kvm' id='7'").replace(
        "<target dev='vda' bus='virtio'/>",
        "<backingStore/><target dev='vda' bus='virtio'/><alias name='virtio-disk0'/>",
    )
    xml = xml.replace("<serial type='pty'>", "<serial type='pty'><source path='/dev/pts/1'/>")
    label = "<seclabel type='dynamic' model='selinux' relabel='yes'><label>x</label></seclabel>"
    found = checked(xml.replace("</domain>", f"{label}</domain>"), SITE)
    assert (found.refusals, found.notes) == ((), ())


COUNTS = {
    "vcpus": ("<vcpu placement='static'>2<", "<vcpu placement='static'>99999999<"),
    "no count of vcpus": ("<vcpu placement='static'>2<", "<vcpu placement='static'>2 000<"),
    "vcpus now": ("<vcpu placement='static'>", "<vcpu placement='static' current='4294967295'>"),
    "a vcpu": ("<os firmware", "<vcpus><vcpu id='4294967295' enabled='yes'/></vcpus><os firmware"),
    "slots": ("<vcpu ", "<maxMemory slots='4294967295' unit='KiB'>2097152</maxMemory><vcpu "),
    "threads": ("check='none' migratable='on'/>", "><topology sockets='1' cores='1' threads='99999999'/></cpu>"),
    "controller": ("type='pci' index='0'", "type='scsi' index='99999999'"),
    "ports": ("<video>", "<controller type='virtio-serial' ports='4294967295'/><video>"),
    "queues": ("<model type='virtio'/>", "<model type='virtio'/><driver name='vhost' queues='4294967295'/>"),
    "address of a disk": (
        "<address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>",
        "<address type='drive' controller='99999999' bus='0' target='0' unit='0'/>",
    ),
    "address of a channel": (
        "name='org.qemu.guest_agent.0'/>",
        "name='org.qemu.guest_agent.0'/><address type='virtio-serial' controller='0xffffffff' bus='0' port='1'/>",
    ),
    "port of a serial port": ("<target type='isa-serial' port='0'>", "<target type='isa-serial' port='99999999'>"),
}


@pytest.mark.parametrize(("old", "new"), COUNTS.values(), ids=COUNTS)
def test_nobody_is_made_to_count_until_the_memory_is_full(old: str, new: str) -> None:
    """libvirt makes all vCPUs and controllers up to the number; 99,999,999 vCPUs took it 16 GB to define."""
    assert old in PLAIN
    assert checked(PLAIN.replace(old, new), SITE).refusals


def test_a_guest_of_many_vcpus_and_ports_is_allowed() -> None:
    many = PLAIN.replace("'static'>2<", "'static' current='64'>4096<").replace(
        "<input type='tablet' bus='usb'/>",
        "<input type='tablet' bus='usb'><address type='usb' bus='0' port='1.2.3'/></input>",
    )
    assert checked(many, SITE).refusals == ()


def test_what_the_host_reaches_is_a_network_that_must_be_named() -> None:
    """In user mode a guest reaches what listens on the host's loopback."""
    xml = with_part("<interface type='user'><model type='virtio'/></interface>", devices=True)
    (said,) = checked(xml, replace(SITE, networks=SITE.networks | {"user"})).refusals
    assert said.startswith("devices/interface type='user' is no kind of network that is allowed")
    assert checked(xml, replace(SITE, user_network=True)).refusals == ()


@pytest.mark.parametrize("doctype", ['<!DOCTYPE x [<!ENTITY a "b">]>', "<!DOCTYPE x SYSTEM 'file:///etc/shadow'>"])
def test_entities_are_never_read(doctype: str) -> None:
    with pytest.raises(DomainXmlError, match="DOCTYPE"):
        checked(doctype + PLAIN, SITE)


def test_nothing_of_the_host_is_allowed_that_the_site_does_not_name() -> None:
    refusals = checked(PLAIN, Site()).refusals
    assert [each.split("'")[0].strip() for each in refusals] == [
        "os/nvram",
        "devices/emulator",
        "devices/disk/source file=",
        "devices/interface/source network=",
    ]


def test_control_characters_are_visible_in_what_is_refused() -> None:
    (said,) = checked(with_part("<x y='a&#x85;b'/>", devices=False), SITE).refusals
    assert "\\x85" in said


@pytest.mark.parametrize("text", ["/etc/shadow", "../x", "a/b", "x" * 300, "a$(b)", "{{ x }}"])
def test_only_a_few_kinds_of_values_may_name_anything(text: str) -> None:
    found = checked(PLAIN.replace("<vcpu placement='static'>", f"<vcpu placement='{text}'>"), SITE)
    assert found.refusals == (f"vcpu placement={text[:160]!r} is not allowed",)


@pytest.mark.parametrize("name", sorted(path.name for path in (Path(__file__).parent / "domains").glob("*.xml")))
def test_it_ends_for_every_definition_of_the_other_tests(name: str) -> None:
    xml = (Path(__file__).parent / "domains" / name).read_text(encoding="utf-8")
    again = checked(checked(xml, SITE).xml, SITE)
    assert again.refusals == checked(xml, SITE).refusals
