# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a guest's definition may hold secrets and is left out of the copy that its volumes carry. Pure.

Whoever may read a volume may read its snapshots. The catalog, which belongs to root alone, keeps the whole definition.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import LIBOSINFO, QEMU, text_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import xml_root

_PASSWORDS = ("passwd", "password", "passwdValidTo")
# What a serial number or a name of a product has none of: data handed to the guest, such as ds=nocloud;s=https://...
_DATA = re.compile(r"[=;]|://|\s{2}|.{65}", re.DOTALL)


def without_secrets(xml: str) -> tuple[str, tuple[str, ...]]:
    """Return a definition without what may be secret, and the names of what was left out; the same text when nothing.

    Raises ``DomainXmlError`` for what is no definition.
    """
    if not xml:
        return xml, ()
    root = xml_root(xml)
    domain = root.find("domain") if root.tag != "domain" else root
    parts = [] if domain is None else [*_sysinfo(domain), *_metadata(domain), *_qemu(domain)]
    left_out = [*_passwords(root), *parts, *_cookies(root)]
    return (text_of(root), tuple(dict.fromkeys(left_out))) if left_out else (xml, ())


def _passwords(root: ET.Element) -> list[str]:
    found = []
    for element in root.iter():
        for name in _PASSWORDS:
            if element.attrib.pop(name, None) is not None and name != "passwdValidTo":
                kind = f" ({element.get('type')})" if element.get("type") else ""
                found.append(f"{name} of {_name(element)}{kind}")
    return found


def _sysinfo(root: ET.Element) -> list[str]:
    found = []
    for sysinfo in root.findall("sysinfo"):
        for group in list(sysinfo):
            if group.tag == "entry":
                sysinfo.remove(group)
                found.append(f"sysinfo fwcfg {group.get('name', 'entry')}")
            elif group.tag == "oemStrings":
                sysinfo.remove(group)
                found.append("sysinfo oemStrings")
            else:
                for entry in list(group):
                    if _DATA.search(entry.text or ""):
                        group.remove(entry)
                        found.append(f"sysinfo {_name(group)} {entry.get('name', 'entry')}")
    return found


def _metadata(root: ET.Element) -> list[str]:
    """Leave out what other programs keep in the definition; a console of hosts keeps passwords there."""
    found = []
    for metadata in root.findall("metadata"):
        for element in list(metadata):
            if not element.tag.startswith(f"{{{LIBOSINFO}}}"):
                metadata.remove(element)
                found.append(f"metadata {_name(element)}")
    return found


def _qemu(root: ET.Element) -> list[str]:
    """Leave out arguments and variables handed to QEMU: objects with secrets, fw_cfg and smbios data come that way."""
    found = []
    for element in root.findall(f"{{{QEMU}}}commandline"):
        root.remove(element)
        found.append("qemu:commandline")
    return found


def _cookies(root: ET.Element) -> list[str]:
    found = []
    for source in root.iter("source"):
        for cookies in source.findall("cookies"):
            source.remove(cookies)
            found.append("cookies of a disk's source")
    return found


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
