# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cluster, SVMs, LIFs, licences and EMS: what a client looks up before it acts."""

from __future__ import annotations

from typing import Any

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running


def test_cluster(shared_api: Api) -> None:
    body = shared_api.ok("GET", "/cluster?fields=version")
    assert {key: body["version"][key] for key in ("generation", "major", "minor")} == {
        "generation": 9, "major": 19, "minor": 1,
    }  # fmt: skip
    assert body["name"] == "cluster1"
    assert shared_api.ok("GET", "/cluster?fields=*&max_records=10")["version"]["full"].startswith(
        "NetApp Release 9.19.1"
    )


@pytest.mark.parametrize(
    ("version", "san_optimized", "disaggregated"),
    [("9.10.1", False, False), ("9.11.1", True, False), ("9.16.1", True, True)],
)
def test_fields_of_the_cluster_by_version(
    api: Api, sim: Running, version: str, san_optimized: bool, disaggregated: bool
) -> None:
    sim.control.set_version(version)
    fields = "fields=san_optimized,disaggregated&ignore_unknown_fields=true"
    body = api.ok("GET", f"/cluster?{fields}")
    assert ("san_optimized" in body, "disaggregated" in body) == (san_optimized, disaggregated)


def test_nodes(shared_api: Api) -> None:
    nodes = shared_api.records("/cluster/nodes?fields=version,state&order_by=name")
    assert [item["name"] for item in nodes] == ["cluster1-01", "cluster1-02"]
    assert shared_api.ok("GET", f"/cluster/nodes/{nodes[0]['uuid']}")["state"] == "up"


def test_svms(shared_api: Api) -> None:
    assert shared_api.records("/svm/svms?name=gone") == []
    svm = shared_api.records("/svm/svms?name=svm1&fields=state,subtype,nfs")[0]
    assert (svm["state"], svm["subtype"], svm["nfs"]["enabled"]) == ("running", "default", True)
    assert shared_api.ok("GET", f"/svm/svms/{svm['uuid']}")["name"] == "svm1"
    assert shared_api.refused("GET", "/svm/svms/none") == (404, "4")


LIFS: list[tuple[str, set[str]]] = [
    ("ip.address=198.51.100.21", {"svm1-nfs"}),
    ("ip.address=203.0.113.21|198.51.100.22", {"svm1-nfs-b", "svm2-nfs"}),
    ("services=data_nfs", {"svm1-nfs", "svm1-nfs-b", "svm2-nfs"}),
    ("services=data_nfs&svm.name=svm2", {"svm2-nfs"}),
    ("scope=cluster", {"cluster1-mgmt"}),
    ("ip.address=198.51.100.99", set()),
    ("name=svm1-m*", {"svm1-mgmt"}),
    ("name=svm1-nfs*", {"svm1-nfs", "svm1-nfs-b"}),
    ("ip.family=ipv6", set()),
]


@pytest.mark.parametrize(("query", "expected"), LIFS)
def test_lifs(shared_api: Api, query: str, expected: set[str]) -> None:
    assert {item["name"] for item in shared_api.records(f"/network/ip/interfaces?{query}")} == expected


def test_a_lif(shared_api: Api) -> None:
    lif = shared_api.records("/network/ip/interfaces?ip.address=198.51.100.21&fields=*")[0]
    assert lif["ip"] == {"address": "198.51.100.21", "netmask": "24", "family": "ipv4"}
    assert (lif["svm"]["name"], lif["scope"], lif["state"], lif["enabled"]) == ("svm1", "svm", "up", True)
    assert lif["services"] == ["data_core", "data_nfs"]
    assert shared_api.ok("GET", f"/network/ip/interfaces/{lif['uuid']}")["ipspace"]["name"] == "Default"


def test_a_lif_that_is_down(api: Api, sim: Running) -> None:
    sim.control.change_lif("svm1-nfs", enabled=False)
    assert api.records("/network/ip/interfaces?name=svm1-nfs&fields=state")[0]["state"] == "down"


def test_one_address_in_two_ipspaces(api: Api, sim: Running) -> None:
    sim.control.change_lif("svm2-nfs", address="198.51.100.21", ipspace="other")
    found = api.records("/network/ip/interfaces?ip.address=198.51.100.21&fields=svm,ipspace")
    assert {(item["svm"]["name"], item["ipspace"]["name"]) for item in found} == {
        ("svm1", "Default"),
        ("svm2", "other"),
    }


def test_licenses(api: Api, sim: Running) -> None:
    sim.control.set_switches(licenses={"flexclone": False})
    found = {item["name"]: item["state"] for item in api.records("/cluster/licensing/licenses?fields=state")}
    assert (found["flexclone"], found["snaprestore"]) == ("unlicensed", "compliant")


LOG: dict[str, Any] = {
    "computer_name": "kvm1", "event_source": "kvmsnap", "app_version": "1.0.0", "event_id": 1, "category": "backup",
    "event_description": "done", "severity": "notice", "autosupport_required": False,
}  # fmt: skip


def test_ems(api: Api, sim: Running) -> None:
    response = api.request("POST", "/support/ems/application-logs", json=LOG)
    assert (response.status_code, response.text) == (201, "{\n}")
    for name in LOG:
        body = {key: value for key, value in LOG.items() if key != name}
        assert api.refused("POST", "/support/ems/application-logs", body) == (400, "262212")
    assert api.refused("POST", "/support/ems/application-logs", {**LOG, "severity": "loud"}) == (400, "262197")
    sim.control.set_version("9.10.1")
    assert api.refused("POST", "/support/ems/application-logs", LOG) == (404, "3")
