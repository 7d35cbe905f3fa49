# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests a Pacemaker cluster manages, by its configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import pacemaker
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.pacemaker import Cluster, ClusterError, NamedGuest

UUID = "6f1d3f0e-6a59-4d3f-9a44-2c1f0c8f0a11"
CONFIG = "/etc/cluster/web1.xml"
NODES = """
      <node id="1" uname="hv1"><instance_attributes id="n1">{first}</instance_attributes></node>
      <node id="2" uname="hv2"><instance_attributes id="n2">{second}</instance_attributes></node>
      <node id="3" uname="quorum" type="ping"/>"""
MAINTAINED = '<nvpair id="{id}" name="maintenance" value="on"/>'


def pair(name: str, value: str) -> str:
    return f'<nvpair id="{name}-{value}" name="{name}" value="{value}"/>'


def meta(name: str, value: str, more: str = "") -> str:
    return f'<meta_attributes id="m-{name}-{value}">{more}{pair(name, value)}</meta_attributes>'


def primitive(
    inner: str = "", *, config: str = CONFIG, template: str = "", hypervisor: str = "", name: str = "web1-vm"
) -> str:
    """A resource as pcs writes it; with a template it says no more than that."""
    what = f'template="{template}"' if template else 'class="ocf" provider="heartbeat" type="VirtualDomain"'
    own = pair("config", config) + (pair("hypervisor", hypervisor) if hypervisor else "")
    attributes = f'<instance_attributes id="{name}-attributes">{own}{pair("migration_transport", "ssh")}'
    operations = '<operations><op id="o1" interval="10s" name="monitor" timeout="30s"/></operations>'
    return f'<primitive id="{name}" {what}>{attributes}</instance_attributes>{inner}{operations}</primitive>'


def cib(resources: str, *, options: str = "", nodes: str = "", defaults: str = "") -> str:
    return f"""<?xml version="1.0" ?>
<cib crm_feature_set="3.17.4" validate-with="pacemaker-3.9" epoch="42" num_updates="7" admin_epoch="0" have-quorum="1">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="o2" name="cluster-infrastructure" value="corosync"/>{options}
      </cluster_property_set>
    </crm_config>
    <nodes>{nodes}</nodes>
    <resources>{resources}</resources>
    <constraints><rsc_location id="l1" node="hv1" rsc="web1-vm" score="50"/></constraints>
    <rsc_defaults>{defaults}</rsc_defaults>
  </configuration>
  <status><node_state id="1" uname="hv1" in_ccm="true" crmd="online"/></status>
</cib>"""


def found(xml: str, *, named: NamedGuest | None = None, uri: str = "qemu:///system", off: bool = False) -> list[str]:
    """The codes for guest web1; its XML file says ``named``, or is not to be read."""
    cluster = pacemaker.parse_cib(xml)
    files = dict.fromkeys((config for guest in cluster.guests for config in guest.configs), named)
    verdict = pacemaker.verdict(cluster, files, name="web1", uuid=UUID, uri=uri, off=off)
    return [problem.code for problem in verdict.problems]


@pytest.mark.parametrize(
    ("xml", "refused"),
    [
        (cib(primitive()), True),
        (cib(primitive(meta("is-managed", "true"))), True),
        (cib(primitive(meta("target-role", "Stopped"))), True),
        (cib(primitive(meta("is-managed", "false"))), False),
        (cib(primitive(meta("is-managed", "No"))), False),
        (cib(primitive(meta("maintenance", "true"))), False),
        (cib(primitive(meta("maintenance", "false"))), True),
        (cib(f'<group id="g">{primitive()}{meta("is-managed", "false")}</group>'), False),
        (cib(f'<group id="g">{primitive(meta("is-managed", "true"))}{meta("is-managed", "false")}</group>'), True),
        (cib(f'<clone id="c"><group id="g">{primitive()}</group>{meta("maintenance", "1")}</clone>'), False),
        (cib(f'<master id="c">{primitive()}</master>'), True),
        (cib(primitive(), defaults=meta("is-managed", "false")), False),
        (cib(primitive(meta("is-managed", "yes")), defaults=meta("is-managed", "false")), True),
        (cib(primitive(meta("is-managed", "false", '<rule id="r" score="0"/>'))), True),
        (cib(primitive(meta("is-managed", "false") + meta("is-managed", "true"))), True),
        (cib(primitive(), options=pair("maintenance-mode", "true")), False),
        (cib(primitive(), options=pair("maintenance-mode", "false")), True),
        (cib(primitive(), options=pair("stop-all-resources", "true")), True),
        (
            cib(primitive(), nodes=NODES.format(first=MAINTAINED.format(id="a"), second=MAINTAINED.format(id="b"))),
            False,
        ),
        (cib(primitive(), nodes=NODES.format(first=MAINTAINED.format(id="a"), second="")), True),
        (cib(primitive(config="/etc/cluster/web2.xml")), False),
        (cib(primitive(config="/etc/cluster/web1.xml", hypervisor="xen:///system")), False),
        (cib(primitive(config="/etc/cluster/web1.xml", hypervisor="qemu+unix:///system")), True),
        (cib('<primitive id="web1" class="ocf" provider="heartbeat" type="Filesystem"/>'), False),
        (cib(""), False),
    ],
)
def test_a_guest_that_the_cluster_would_start_is_refused(xml: str, refused: bool) -> None:
    assert found(xml) == (["cluster-managed"] if refused else [])


TEMPLATE = '<template id="vms" class="ocf" provider="heartbeat" type="VirtualDomain">{inner}</template>'
REFERRED = f'<primitive id="a" class="ocf" type="Dummy">{meta("is-managed", "false")}</primitive>'


@pytest.mark.parametrize(
    ("resources", "refused"),
    [
        (TEMPLATE.format(inner="") + primitive(template="vms"), True),
        (TEMPLATE.format(inner=meta("is-managed", "false")) + primitive(template="vms"), False),
        (TEMPLATE.format(inner=meta("is-managed", "false")) + primitive(meta("is-managed", "1"), template="vms"), True),
        (REFERRED + primitive('<meta_attributes id-ref="m-is-managed-false"/>'), False),
        (REFERRED + primitive('<meta_attributes id="x"><nvpair id-ref="is-managed-false"/></meta_attributes>'), False),
        (REFERRED + primitive('<meta_attributes id-ref="nowhere"/>'), True),
    ],
)
def test_what_a_resource_says_by_reference(resources: str, refused: bool) -> None:
    assert found(cib(resources)) == (["cluster-managed"] if refused else [])


@pytest.mark.parametrize(
    ("named", "refused"),
    [
        (NamedGuest("web1", ""), True),
        (NamedGuest("web1", "another"), True),
        (NamedGuest("renamed", UUID), True),
        (NamedGuest("web2", "another"), False),
        (None, True),
    ],
)
def test_the_xml_of_a_resource_says_whose_it_is_and_its_name_if_not(named: NamedGuest | None, refused: bool) -> None:
    assert found(cib(primitive()), named=named) == (["cluster-managed"] if refused else [])


def test_what_is_said_of_a_guest_that_may_be_restored() -> None:
    unmanaged = pacemaker.parse_cib(cib(primitive(meta("is-managed", "false"))))
    names = {"name": "web1", "uuid": UUID, "uri": "qemu:///system"}
    assert pacemaker.verdict(unmanaged, {}, **names).notes == (
        "resource web1-vm of Pacemaker is unmanaged; let it be managed again afterwards",
    )
    managed = pacemaker.verdict(pacemaker.parse_cib(cib(primitive())), {}, off=True, **names)
    assert managed.problems == ()
    assert "resource web1-vm" in managed.notes[0]
    assert pacemaker.verdict(Cluster((), maintenance=True), {}, **names) == pacemaker.Verdict()


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "no XML",
        "<cib><configuration>",
        "<domain/>",
        '<!DOCTYPE cib [<!ENTITY x SYSTEM "file:///etc/passwd">]><cib>&x;</cib>',
    ],
)
def test_what_is_no_cib_is_not_believed(xml: str) -> None:
    with pytest.raises(ClusterError, match="Failed to read the configuration of the Pacemaker cluster"):
        pacemaker.parse_cib(xml)


class Host:
    """Where a host has its cluster, if any."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "cib.xml"
        self.sign = root / "corosync.conf"

    def cibadmin(self, script: str) -> None:
        """Install a program of that name."""
        program = self.root / "cibadmin"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def read(self) -> Cluster | None:
        return pacemaker.read_cluster(directories=[str(self.root)], cib=self.file, signs=[self.sign])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


SILENT = 'echo "Could not connect to the CIB: Transport endpoint is not connected" >&2; exit 102'


def test_a_running_cluster_is_asked_for_what_it_has_here(host: Host) -> None:
    (host.root / "answer").write_text(cib(primitive(meta("is-managed", "false"))))
    host.cibadmin(f'[ "$*" = "--query --local" ] && exec cat {host.root}/answer')
    host.file.write_text(cib(primitive()))
    cluster = host.read()
    assert cluster is not None
    assert [(guest.resource, guest.configs, guest.managed) for guest in cluster.guests] == [
        ("web1-vm", (CONFIG,), False)
    ]


def test_a_cluster_that_does_not_run_here_has_its_file(host: Host) -> None:
    host.cibadmin(SILENT)
    host.file.write_text(cib(primitive()))
    cluster = host.read()
    assert cluster is not None
    assert [guest.managed for guest in cluster.guests] == [True]
    (host.root / "cibadmin").unlink()
    assert host.read() == cluster


def test_a_host_without_a_cluster_has_none_and_one_that_is_silent_is_told(host: Host) -> None:
    assert host.read() is None
    host.cibadmin(SILENT)
    assert host.read() is None
    host.sign.write_text("totem {}")
    with pytest.raises(ClusterError, match="Transport endpoint is not connected"):
        host.read()
    host.file.mkdir()
    with pytest.raises(ClusterError, match=r"cib\.xml"):
        host.read()


def test_the_files_of_resources_are_read_as_foreign_data(tmp_path: Path) -> None:
    files = {
        "whole.xml": f"<domain type='kvm'><name>web1</name><uuid>{UUID.upper()}</uuid></domain>",
        "short.xml": "<domain type='kvm'><name>web1</name></domain>",
        "broken.xml": "<domain>",
        "evil.xml": "<!DOCTYPE d [<!ENTITY x 'y'>]><domain><name>&x;</name></domain>",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    resources = (primitive(config=str(tmp_path / name), name=name) for name in [*files, "missing.xml"])
    told = pacemaker.definitions_of(pacemaker.parse_cib(cib("".join(resources))))
    assert {Path(config).name: named for config, named in told.items()} == {
        "whole.xml": NamedGuest("web1", UUID),
        "short.xml": NamedGuest("web1", ""),
        "broken.xml": None,
        "evil.xml": None,
        "missing.xml": None,
    }
