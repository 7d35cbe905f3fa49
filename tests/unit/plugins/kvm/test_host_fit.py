# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A definition held against what another host offers, need by need."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.host_fit import (
    DomainCapabilities,
    HostCapabilities,
    HostFacts,
    Machines,
    files_asked,
    host_problems,
)

CAPABILITIES = """<capabilities><host/>
  <guest><os_type>hvm</os_type><arch name='x86_64'>
    <wordsize>64</wordsize><emulator>/usr/libexec/qemu-kvm</emulator>
    <machine canonical='pc-q35-rhel9.4.0' maxCpus='4096'>q35</machine>
    <machine maxCpus='240'>pc-i440fx-rhel7.6.0</machine>
    <domain type='qemu'/><domain type='kvm'><machine maxCpus='8'>microvm</machine></domain>
  </arch></guest>
</capabilities>"""
OFFERED = """<domainCapabilities>
  <path>/usr/libexec/qemu-kvm</path><domain>kvm</domain><arch>x86_64</arch>
  <os supported='yes'><enum name='firmware'><value>efi</value></enum>
    <loader supported='yes'><value>/usr/share/edk2/ovmf/OVMF_CODE.fd</value></loader></os>
  <cpu>
    <mode name='host-passthrough' supported='yes'/><mode name='host-model' supported='no'/>
    <mode name='custom' supported='yes'><model usable='yes'>Nehalem</model><model usable='no'>EPYC</model>
    <model usable='unknown'>qemu64</model></mode>
  </cpu>
</domainCapabilities>"""
FACTS = HostFacts(
    capabilities=HostCapabilities.from_xml(CAPABILITIES),
    domain=DomainCapabilities.from_xml(OFFERED),
    networks=frozenset({"default"}),
    pools=frozenset({"images"}),
    secrets=frozenset({"aaaa"}),
    files=frozenset({"/usr/libexec/qemu-kvm"}),
)


def domain(*, kind: str = "kvm", system: str = "", arch: str = "x86_64", machine: str = "q35", rest: str = "") -> str:
    return (
        f"<domain type='{kind}'><name>web1</name><uuid>u</uuid>"
        f"<os{system}<type arch='{arch}' machine='{machine}'>hvm</type></os>{rest}</domain>"
    )


def codes(xml: str, facts: HostFacts = FACTS) -> list[str]:
    return [problem.code for problem in host_problems(xml, facts)]


def test_what_libvirt_says_is_read() -> None:
    assert FACTS.capabilities.machines == (
        Machines(
            "x86_64",
            frozenset({"qemu", "kvm"}),
            frozenset({"/usr/libexec/qemu-kvm"}),
            frozenset({"q35", "pc-q35-rhel9.4.0", "pc-i440fx-rhel7.6.0", "microvm"}),
        ),
    )
    assert FACTS.domain == DomainCapabilities(
        frozenset({"efi"}),
        frozenset({"/usr/share/edk2/ovmf/OVMF_CODE.fd"}),
        frozenset({"host-passthrough", "custom"}),
        frozenset({"Nehalem", "qemu64"}),
    )


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        (domain(system=">"), []),
        (domain(system=">", machine="pc-q35-rhel9.4.0"), []),
        (domain(system=">", machine="pc-q35-8.2"), ["machine-type-missing"]),
        (domain(system=">", arch="aarch64"), ["architecture-missing"]),
        (domain(system=">", kind="xen"), ["domain-type-missing"]),
        (domain(system=" firmware='efi'>"), []),
        (domain(system=" firmware='bios'>"), ["firmware-missing"]),
        (domain(system="><loader>/usr/share/edk2/ovmf/OVMF_CODE.fd</loader>"), []),
        (domain(system="><loader>/usr/share/OVMF/OVMF_CODE.fd</loader>"), ["host-file-missing"]),
        (domain(system="><kernel>/boot/vmlinuz</kernel>"), ["host-file-missing"]),
        (domain(system="><nvram template='/usr/share/t.fd'>/nv</nvram>"), ["host-file-missing"]),
        (domain(system=">", rest="<devices><emulator>/usr/libexec/qemu-kvm</emulator></devices>"), []),
        (domain(system=">", rest="<devices><emulator>/usr/bin/qemu</emulator></devices>"), ["emulator-missing"]),
        (domain(system=">", rest="<cpu mode='host-passthrough'/>"), []),
        (domain(system=">", rest="<cpu mode='host-model'/>"), ["cpu-mode-missing"]),
        (domain(system=">", rest="<cpu mode='custom' match='exact'><model>Nehalem</model></cpu>"), []),
        (domain(system=">", rest="<cpu mode='custom' match='exact'><model>EPYC</model></cpu>"), ["cpu-model-missing"]),
        (domain(system=">", rest="<cpu match='minimum'><model>EPYC</model></cpu>"), []),
        (domain(system=">", rest="<devices><interface><source network='default'/></interface></devices>"), []),
        (
            domain(system=">", rest="<devices><interface><source network='lan'/></interface></devices>"),
            ["network-missing"],
        ),
        (
            domain(system=">", rest="<devices><disk><source pool='p' volume='v'/></disk></devices>"),
            ["storage-pool-missing"],
        ),
        (
            domain(
                system=">",
                rest="<devices><disk><source><encryption><secret uuid='AAAA'/></encryption></source></disk>"
                "<tpm><backend><encryption secret='BBBB'/></backend></tpm></devices>",
            ),
            ["secret-missing"],
        ),
    ],
)
def test_each_need_is_held_against_the_host(xml: str, expected: list[str]) -> None:
    assert codes(xml) == expected


def test_where_libvirt_cannot_tell_nothing_is_guessed() -> None:
    xml = domain(system=" firmware='bios'>", rest="<cpu mode='host-model'/>")
    assert codes(xml, replace(FACTS, domain=None)) == []


def test_an_unchecked_processor_is_a_remark_and_the_guest_is_named() -> None:
    xml = domain(system=">", rest="<cpu mode='custom' check='none'><model>EPYC</model></cpu>")
    (problem,) = host_problems(xml, FACTS)
    assert (problem.severity, problem.guest) == ("warning", "web1")
    assert "EPYC" in problem.message


def test_the_files_to_look_for() -> None:
    xml = domain(
        system="><loader> /code.fd </loader><nvram template='/vars.fd'>/nv</nvram><kernel>relative</kernel>",
        rest="<devices><emulator>/qemu</emulator></devices>",
    )
    assert files_asked(xml) == {"/code.fd", "/vars.fd", "/qemu"}
