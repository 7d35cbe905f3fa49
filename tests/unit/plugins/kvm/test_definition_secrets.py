# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a definition a volume's copy lacks, by name; everything else stays."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import comparable
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_secrets import without_secrets

SECRET = "s3cr3t"
QEMU = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
PLAIN = (
    "<domain type='kvm'><name>a</name><uuid>u-u</uuid><os><smbios mode='sysinfo'/></os>{more}"
    "<devices>{devices}</devices></domain>"
)


def domain(more: str = "", devices: str = "") -> str:
    return PLAIN.format(more=more, devices=devices)


@pytest.mark.parametrize(
    ("given", "left", "names"),
    [
        (
            domain(devices=f"<graphics type='vnc' port='-1' passwd='{SECRET}' passwdValidTo='2026-01-01T00:00:00'/>"),
            domain(devices="<graphics type='vnc' port='-1'/>"),
            ["passwd of graphics (vnc)"],
        ),
        (
            domain(devices=f"<graphics type='spice' passwd='{SECRET}'/>"),
            domain(devices="<graphics type='spice'/>"),
            ["passwd of graphics (spice)"],
        ),
        (
            domain(f"<sysinfo type='smbios'><oemStrings><entry>{SECRET}</entry></oemStrings></sysinfo>"),
            domain("<sysinfo type='smbios'/>"),
            ["sysinfo oemStrings"],
        ),
        (
            domain(
                "<sysinfo type='smbios'><system><entry name='serial'>ds=nocloud;s=http://h/s3cr3t</entry>"
                "<entry name='product'>Box 5</entry></system></sysinfo>"
            ),
            domain("<sysinfo type='smbios'><system><entry name='product'>Box 5</entry></system></sysinfo>"),
            ["sysinfo system serial"],
        ),
        (
            domain(
                f"<sysinfo type='fwcfg'><entry name='opt/com.coreos/config'>{SECRET}</entry>"
                "<entry name='opt/b' file='/root/s3cr3t'/></sysinfo>"
            ),
            domain("<sysinfo type='fwcfg'/>"),
            ["sysinfo fwcfg opt/com.coreos/config", "sysinfo fwcfg opt/b"],
        ),
        (
            domain(
                "<metadata xmlns:c='urn:console'><c:install><c:root_password>s3cr3t</c:root_password></c:install>"
                "</metadata>"
            ),
            domain("<metadata/>"),
            ["metadata install"],
        ),
        (
            domain(
                f"<qemu:commandline {QEMU}><qemu:arg value='-fw_cfg'/><qemu:arg value='name=opt/a,string=s3cr3t'/>"
                "<qemu:env name='TOKEN' value='s3cr3t'/></qemu:commandline>"
            ),
            domain(),
            ["qemu:commandline"],
        ),
        (
            domain(
                devices="<disk type='network'><source protocol='https' name='x'><cookies><cookie name='t'>s3cr3t"
                "</cookie></cookies></source></disk>"
            ),
            domain(devices="<disk type='network'><source protocol='https' name='x'/></disk>"),
            ["cookies of a disk's source"],
        ),
    ],
    ids=["vnc", "spice", "oem strings", "serial for cloud-init", "fw_cfg", "metadata", "command line", "cookies"],
)
def test_what_may_be_secret_is_left_out_and_named(given: str, left: str, names: list[str]) -> None:
    found, told = without_secrets(given)
    assert SECRET not in found
    assert list(told) == names
    assert comparable(found) == comparable(left)


@pytest.mark.parametrize(
    "given",
    [
        "",
        domain(),
        domain("<sysinfo type='smbios'><system><entry name='serial'>5c1e0a-44</entry></system></sysinfo>"),
        domain(
            "<metadata><o:libosinfo xmlns:o='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
            "<o:os id='http://debian.org/debian/12'/></o:libosinfo></metadata>"
        ),
        domain(
            devices="<disk type='network'><auth username='u'><secret type='iscsi' uuid='u-u'/></auth></disk>"
            "<tpm model='tpm-crb'><backend type='emulator'><encryption secret='u-u'/></backend></tpm>"
        ),
    ],
    ids=["none", "plain", "serial", "libosinfo", "references to libvirt's secrets"],
)
def test_a_definition_without_secrets_stays_as_it_is(given: str) -> None:
    assert without_secrets(given) == (given, ())
