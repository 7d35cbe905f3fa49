# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preflight on a real KVM host: what is fine, and what is found when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

HOST = "hv1"
SANLUN = "#!/bin/sh\necho 'sanlun version 8.0.386.1644'\n"


def _findings(play: Any) -> dict[tuple[str, str], dict[str, Any]]:
    found = play.facts(HOST)["kvm_preflight_findings"]
    return {(finding["check"], finding["object"]): finding for finding in found}


def _failed(play: Any, severity: str = "error") -> set[tuple[str, str]]:
    return {key for key, finding in _findings(play).items() if not finding["ok"] and finding["severity"] == severity}


@contextmanager
def _edited_hosts_file(lab: Any, expression: str) -> Iterator[None]:
    lab.ssh(f"cp -p /etc/hosts /run/hosts.kept && sed '{expression}' /run/hosts.kept > /etc/hosts")
    try:
        yield
    finally:
        lab.ssh("cat /run/hosts.kept > /etc/hosts && rm /run/hosts.kept")


@pytest.fixture(name="sanlun")
def _sanlun(lab: Any) -> Iterator[None]:
    lab.ssh("install -m 755 /dev/stdin /usr/local/sbin/sanlun", stdin=SANLUN)
    try:
        yield
    finally:
        lab.ssh("rm /usr/local/sbin/sanlun")


def test_the_lab_is_ready_and_nothing_is_changed(lab: Any) -> None:
    journal = lab.control.journal()
    lab.control.clear_requests()
    state = (
        "ls -lR --time-style=full-iso /var/lib/kvmsnap /run/kvmsnap /etc/libvirt/qemu 2>&1; cat /etc/hosts; virsh list"
    )
    before = lab.ssh(state)

    play = lab.playbook("preflight")

    assert play.rc == 0, play.stdout
    assert play.stats[HOST]["changed"] == 0
    assert _failed(play) == set()
    findings = _findings(play)
    names = {key[1]: finding["source"] for key, finding in findings.items() if key[0].endswith("-name")}
    assert names.items() >= {"svm1-nfs": "/etc/hosts", "svm2-nfs": "/etc/hosts", HOST: "/etc/hosts"}.items()
    assert {"python", "netapp-ontap", "libvirt-python", "libvirt", "hypervisor", "ansible-core"} <= {
        thing for check, thing in findings if check == "version"
    }
    assert findings["nfs-server-lif", "198.51.100.21"]["ok"]
    assert findings["host-tool", "sanlun"] == {**findings["host-tool", "sanlun"], "ok": False, "severity": "info"}
    assert findings["multipathd", "multipathd"]["ok"]
    assert lab.ssh(state) == before
    assert lab.control.journal() == journal
    assert {request["method"] for request in lab.control.requests()} == {"GET"}


@pytest.mark.usefixtures("sanlun")
def test_what_is_wrong_on_the_host_is_found_at_once(lab: Any) -> None:
    with _edited_hosts_file(lab, "s/svm2-nfs/svm2-moved/; s/^198.51.100.21/198.51.100.99/"):
        play = lab.playbook("preflight", extra_vars={"sc_agent_timeout": 300, "kvm_cmd_retry_count": 99}, check=True)

    assert play.rc != 0
    assert {("sc-agent-timeout", "sc_agent_timeout"), ("retry-count", "kvm_cmd_retry_count")} < _failed(play)
    assert ("nfs-server-name", "svm2-nfs") in _failed(play)
    assert ("nfs-server-name", "svm1-nfs") in _failed(play, "warning")
    findings = _findings(play)
    missing = findings["nfs-server-name", "svm2-nfs"]
    assert "/etc/hosts does not list it" in missing["message"]
    assert "<address> svm2-nfs" in missing["remedy"]
    assert findings["nfs-server-name", "svm1-nfs"]["message"].endswith("uses 198.51.100.21")
    assert findings["host-tool", "sanlun"]["message"].endswith("version 8.0.386.1644")
    assert "svm2-nfs" in play.stdout.split("Stop where a run would not work")[1]


def test_each_controller_that_cannot_be_used_is_told_apart(lab: Any) -> None:
    fine = {"username": "kvmsnap", "password": "lab-Kvmsnap1", "ca_path": "/etc/kvmsnap/ca.pem"}
    controllers = [
        {"hostname": "cluster1", **fine, "password": "wrong"},
        {"hostname": "svm1", **fine, "ca_path": None},
        {"hostname": "198.51.100.11", **fine, "ca_path": "/no/such/ca.pem"},
        {"hostname": "nowhere.invalid", **fine},
        {"hostname": "198.51.100.12", **fine, "validate_certs": False},
        {"hostname": "svm2", **fine, "port": 1},
    ]
    play = lab.playbook("preflight", extra_vars={"kvm_controllers": controllers, "kvm_preflight_fail": False})

    assert play.rc == 0, play.stdout
    assert _failed(play) >= {
        ("controller-login", "cluster1"),
        ("controller-tls", "svm1"),
        ("controller-tls", "198.51.100.11"),
        ("controller-name", "nowhere.invalid"),
        ("controller-connection", "nowhere.invalid"),
        ("controller-connection", "svm2:1"),
    }
    assert ("controller-tls", "198.51.100.12") in _failed(play, "warning")
    assert _findings(play)["controller-name", "198.51.100.12"]["source"] == "address"
    assert "wrong" not in play.stdout
    assert "lab-Kvmsnap1" not in play.stdout


def test_an_array_that_is_too_old_is_an_error(lab: Any) -> None:
    lab.control.set_version("9.10.1")
    try:
        play = lab.playbook("preflight")
    finally:
        lab.control.set_version("9.19.1")

    assert play.rc != 0
    assert {check for check, _thing in _failed(play)} == {"ontap-version"}
