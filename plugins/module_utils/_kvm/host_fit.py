# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a definition can be used on a host: what libvirt says that it can, held against what is asked. Pure.

Sources: virConnectGetCapabilities, virConnectGetDomainCapabilities (https://libvirt.org/formatdomaincaps.html), and
the names of networks, storage pools and secrets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import domain_element, xml_root
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Code, Problem, Severity


@dataclass(frozen=True)
class Machines:
    """What one kind of guest can be on a host: its architecture, domain types (kvm, qemu), emulators and machines."""

    arch: str
    types: frozenset[str]
    emulators: frozenset[str]
    names: frozenset[str]


@dataclass(frozen=True)
class HostCapabilities:
    """What a host can run, for every kind of guest."""

    machines: tuple[Machines, ...]

    @classmethod
    def from_xml(cls, xml: str) -> HostCapabilities:
        """Read the answer of virConnectGetCapabilities; raises ``DomainXmlError`` when it is no XML."""
        found = []
        for guest in xml_root(xml).findall("guest"):
            for arch in guest.findall("arch"):
                machines = [*arch.findall("machine"), *arch.findall("domain/machine")]
                names = {(each.text or "").strip() for each in machines}
                names |= {each.get("canonical", "") for each in machines}
                found.append(
                    Machines(
                        arch=arch.get("name", ""),
                        types=frozenset(each.get("type", "") for each in arch.findall("domain")),
                        emulators=frozenset((each.text or "").strip() for each in arch.iter("emulator")),
                        names=frozenset(names - {""}),
                    )
                )
        return cls(tuple(found))


@dataclass(frozen=True)
class DomainCapabilities:
    """What a host offers to guests of one emulator, machine and type.

    ``firmware`` holds what ``<os firmware>`` may say, ``loaders`` the paths of firmware images; ``cpu_modes`` are the
    supported modes and ``cpu_models`` those of mode ``custom`` that can be used.
    """

    firmware: frozenset[str]
    loaders: frozenset[str]
    cpu_modes: frozenset[str]
    cpu_models: frozenset[str]

    @classmethod
    def from_xml(cls, xml: str) -> DomainCapabilities:
        """Read the answer of virConnectGetDomainCapabilities; raises ``DomainXmlError`` when it is no XML."""
        root = xml_root(xml)
        modes = [mode for mode in root.findall("cpu/mode") if mode.get("supported") == "yes"]
        models = [model for mode in modes if mode.get("name") == "custom" for model in mode.findall("model")]
        return cls(
            firmware=frozenset((each.text or "") for each in root.findall("os/enum[@name='firmware']/value")),
            loaders=frozenset((each.text or "") for each in root.findall("os/loader/value")),
            cpu_modes=frozenset(mode.get("name", "") for mode in modes),
            cpu_models=frozenset((model.text or "") for model in models if model.get("usable") != "no"),
        )


@dataclass(frozen=True)
class HostFacts:
    """What a definition may refer to on a host; ``files`` are those of the paths asked about that exist there.

    ``domain`` is None when libvirt could not tell it, and then processors and firmware are not checked. ``secrets`` are
    uuids in lower case.
    """

    capabilities: HostCapabilities
    domain: Optional[DomainCapabilities]
    networks: frozenset[str]
    pools: frozenset[str]
    secrets: frozenset[str]
    files: frozenset[str]


def files_asked(xml: str) -> frozenset[str]:
    """Return the files of the host that a definition needs beside its disks: emulator, firmware, kernel."""
    domain = domain_element(xml)
    paths = [domain.findtext(path) for path in ("devices/emulator", "os/loader", "os/kernel", "os/initrd", "os/dtb")]
    nvram = domain.find("os/nvram")
    paths.append(nvram.get("template") if nvram is not None else None)
    return frozenset(path.strip() for path in paths if path and path.strip().startswith("/"))


def host_problems(xml: str, facts: HostFacts) -> list[Problem]:
    """Return why a definition would not be accepted or started on a host; empty when nothing speaks against it."""
    domain = domain_element(xml)
    guest = domain.findtext("name") or ""
    found = [*_machine(xml, facts), *_processor(xml, facts), *_firmware(xml, facts), *_references(xml, facts)]
    return [
        Problem(code, severity, f"Guest {guest}: {message}", remedy, guest=guest)
        for code, severity, message, remedy in found
    ]


_Finding = tuple[Code, Severity, str, str]


def _machine(xml: str, facts: HostFacts) -> Iterator[_Finding]:
    domain = domain_element(xml)
    kind = domain.find("os/type")
    arch = kind.get("arch") if kind is not None else None
    machine = kind.get("machine") if kind is not None else None
    here = [each for each in facts.capabilities.machines if arch in (None, each.arch)]
    if not here:
        known = ", ".join(sorted({each.arch for each in facts.capabilities.machines})) or "none"
        yield (
            "architecture-missing",
            "error",
            f"its architecture is {arch}; this host runs {known}",
            "Choose a host of that architecture.",
        )
        return
    if machine is not None and not any(machine in each.names for each in here):
        yield (
            "machine-type-missing",
            "error",
            f"its machine type {machine} is not known to this host's QEMU",
            "Choose a host whose QEMU has it, or change the machine type in the definition.",
        )
    wanted = domain.get("type", "")
    if wanted and not any(wanted in each.types for each in here):
        yield (
            "domain-type-missing",
            "error",
            f"it is of type {wanted}; this host offers {', '.join(sorted(set().union(*(one.types for one in here))))}",
            "Switch hardware virtualization on, or choose another host.",
        )


def _processor(xml: str, facts: HostFacts) -> Iterator[_Finding]:
    cpu = domain_element(xml).find("cpu")
    if cpu is None or facts.domain is None:
        return
    mode, model = cpu.get("mode"), cpu.findtext("model")
    if mode and mode not in facts.domain.cpu_modes:
        yield (
            "cpu-mode-missing",
            "error",
            f"its processor is {mode}, which this host does not offer",
            "Choose another mode in the definition, or another host.",
        )
    strict = cpu.get("check") == "full" or cpu.get("match", "exact") != "minimum"
    if mode in (None, "custom") and model and model not in facts.domain.cpu_models and strict:
        severity: Severity = "warning" if cpu.get("check") == "none" else "error"
        yield (
            "cpu-model-missing",
            severity,
            f"its processor model {model} cannot be used on this host",
            "Choose a model that both hosts have, or another host.",
        )


def _firmware(xml: str, facts: HostFacts) -> Iterator[_Finding]:
    domain = domain_element(xml)
    system = domain.find("os")
    wanted = system.get("firmware") if system is not None else None
    if wanted and facts.domain is not None and facts.domain.firmware and wanted not in facts.domain.firmware:
        yield (
            "firmware-missing",
            "error",
            f"it needs firmware of kind {wanted}, which this host does not have",
            "Install the firmware (edk2-ovmf, ovmf) on this host.",
        )
    known = facts.files | (facts.domain.loaders if facts.domain is not None else frozenset())
    for path in sorted(files_asked(xml) - known):
        emulator = path == (domain.findtext("devices/emulator") or "").strip()
        yield (
            "emulator-missing" if emulator else "host-file-missing",
            "error",
            f"it needs {path}, which is not on this host",
            "Install what provides it, or change the path in the definition.",
        )


def _references(xml: str, facts: HostFacts) -> Iterator[_Finding]:
    domain = domain_element(xml)
    networks = {each.get("network", "") for each in domain.findall("devices/interface/source")} - {""}
    pools = {each.get("pool", "") for each in domain.findall("devices/disk/source")} - {""}
    secrets = {each.get("uuid", "").lower() for each in domain.iter("secret")} - {""}
    secrets |= {each.get("secret", "").lower() for each in domain.findall("devices/tpm/backend/encryption")} - {""}
    references: tuple[tuple[Code, str, AbstractSet[str]], ...] = (
        ("network-missing", "network", networks - facts.networks),
        ("storage-pool-missing", "storage pool", pools - facts.pools),
        ("secret-missing", "secret", secrets - facts.secrets),
    )
    for code, what, missing in references:
        for name in sorted(missing):
            yield (
                code,
                "error",
                f"it refers to the {what} {name}, which libvirt does not know on this host",
                f"Define the {what} on this host.",
            )


def facts_of(host: Host, xml: str) -> HostFacts:
    """Return what a host offers to a guest with this definition; raises ``LibvirtError``."""
    domain = domain_element(xml)
    system = domain.find("os/type")
    capabilities = HostCapabilities.from_xml(host.capabilities())
    emulator = domain.findtext("devices/emulator")
    offered = None
    # libvirt runs the emulator to tell what it can do: none is named that it does not list by itself.
    if emulator is None or any(emulator in each.emulators for each in capabilities.machines):
        offered = host.domain_capabilities(
            emulator=emulator,
            arch=system.get("arch") if system is not None else None,
            machine=system.get("machine") if system is not None else None,
            kind=domain.get("type"),
        )
    return HostFacts(
        capabilities=capabilities,
        domain=DomainCapabilities.from_xml(offered) if offered is not None else None,
        networks=frozenset(host.networks()),
        pools=frozenset(host.pools()),
        secrets=frozenset(secret.lower() for secret in host.secrets()),
        files=frozenset(path for path in files_asked(xml) if os.path.exists(path)),
    )
