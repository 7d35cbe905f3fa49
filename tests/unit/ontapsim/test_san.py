# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Igroups, LUN maps and the iSCSI service over REST."""

from __future__ import annotations

from typing import Any

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running

HV1, ELSEWHERE = "iqn.2026-01.org.example:hv1", "iqn.2026-01.org.example:elsewhere"
A = "/vol/kvm_san1/luns/a"
MAPS, IGROUPS = "/protocols/san/lun-maps", "/protocols/san/igroups"


def body(**values: Any) -> dict[str, Any]:
    """Return a map of the first LUN to the other igroup, changed by ``values`` (None: left out)."""
    result = {"svm": {"name": "svm1"}, "lun": {"name": A}, "igroup": {"name": "other"}, **values}
    return {key: value for key, value in result.items() if value is not None}


def igroup(api: Api, name: str) -> str:
    """Return the uuid of an igroup."""
    return str(api.records(f"{IGROUPS}?name={name}")[0]["uuid"])


def numbers(api: Api, name: str) -> dict[str, int]:
    """Return the numbers under which an igroup sees LUNs."""
    found = api.records(f"{MAPS}?igroup.name={name}&fields=logical_unit_number")
    return {item["lun"]["name"]: item["logical_unit_number"] for item in found}


def test_igroups(shared_api: Api) -> None:
    (found,) = shared_api.records(f"{IGROUPS}?initiators.name={HV1}&fields=**")
    assert (found["name"], found["os_type"], found["protocol"]) == ("hv1", "linux", "iscsi")
    assert found["initiators"] == [{"name": HV1}]
    assert {item["lun"]["name"]: item["logical_unit_number"] for item in found["lun_maps"]} == {
        A: 1, "/vol/kvm_san1/luns/b": 2,
    }  # fmt: skip
    assert "lun_maps" not in shared_api.ok("GET", f"{IGROUPS}/{found['uuid']}")


def test_the_iscsi_service(shared_api: Api) -> None:
    (found,) = shared_api.records("/protocols/san/iscsi/services?fields=*")
    assert (found["svm"]["name"], found["enabled"], found["target"]["alias"]) == ("svm1", True, "svm1")
    assert found["target"]["name"].startswith("iqn.1992-08.com.netapp:sn.")
    uuid = found["svm"]["uuid"]
    assert shared_api.ok("GET", f"/protocols/san/iscsi/services/{uuid}")["target"] == found["target"]
    assert shared_api.refused("GET", "/protocols/san/iscsi/services/none") == (404, "4")


def test_a_map_comes_and_goes(api: Api) -> None:
    response = api.request("POST", MAPS, json=body())
    assert (response.status_code, response.json()) == (201, {})
    lun = api.records(f"/storage/luns?name={A}")[0]["uuid"]
    assert response.headers["Location"] == f"/api{MAPS}/{lun}/{igroup(api, 'other')}"
    shown = api.ok("GET", f"{response.headers['Location'][4:]}?fields=**")
    assert (shown["logical_unit_number"], shown["igroup"]["initiators"]) == (0, [ELSEWHERE])
    assert [node["name"] for node in shown["reporting_nodes"]] == ["cluster1-01", "cluster1-02"]
    api.ok("DELETE", response.headers["Location"][4:])
    assert api.refused("DELETE", response.headers["Location"][4:]) == (404, "5374922")
    assert numbers(api, "other") == {}


def test_the_lowest_free_number_is_taken(api: Api, sim: Running) -> None:
    for name in ("x", "y"):
        sim.control.add_lun("svm1", "kvm_san2", name, 1 << 20)
        api.ok("POST", MAPS, body(lun={"name": f"/vol/kvm_san2/{name}"}, igroup={"name": "hv1"}))
    assert numbers(api, "hv1") == {A: 1, "/vol/kvm_san1/luns/b": 2, "/vol/kvm_san2/x": 0, "/vol/kvm_san2/y": 3}


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"lun": None}, "5374901"), ({"igroup": None}, "5374902"), ({"lun": {"name": "/vol/kvm_san1/none"}}, "1254201"),
    ({"lun": {"uuid": "none"}}, "1254201"), ({"igroup": {"name": "none"}}, "5374878"),
    ({"igroup": {"name": "hv1"}}, "1254207"), ({"lun": {"name": "luns/a"}}, "5374127"),
    ({"lun": {"name": "/vol/kvm_san1/.snapshot/s/luns/a"}}, "5374238"), ({"logical_unit_number": 4096}, "262197"),
    ({"svm": {"name": "svm2"}}, "1254201"), ({"svm": None}, "2621707"), ({"reporting_nodes": []}, "262179"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "code"), REFUSED)
def test_what_is_not_mapped(api: Api, values: dict[str, Any], code: str) -> None:
    assert api.refused("POST", MAPS, body(**values))[1] == code
    assert len(api.records(MAPS)) == 2


def test_a_number_is_used_once(api: Api) -> None:
    api.ok("POST", MAPS, body(logical_unit_number=7))
    again = body(lun={"name": "/vol/kvm_san1/luns/b"}, logical_unit_number=7)
    assert api.refused("POST", MAPS, again)[1] == "1254324"


def test_an_initiator_sees_a_lun_once(api: Api) -> None:
    spec = {"svm": {"name": "svm1"}, "name": "twin", "os_type": "linux", "initiators": [{"name": HV1}]}
    api.ok("POST", IGROUPS, {**spec, "protocol": "iscsi"})
    assert api.refused("POST", MAPS, body(igroup={"name": "twin"}))[1] == "1254193"


def test_no_map_without_an_interface(api: Api, sim: Running) -> None:
    for name in ("svm1-iscsi-a", "svm1-iscsi-b"):
        sim.control.change_lif(name, services=["data_core"])
    assert api.refused("POST", MAPS, body())[1] == "5374582"


def test_the_life_of_an_igroup(api: Api) -> None:
    spec = {"svm": {"name": "svm1"}, "name": "drill", "os_type": "linux", "protocol": "iscsi"}
    assert api.request("POST", IGROUPS, json=spec).status_code == 201
    path = f"{IGROUPS}/{igroup(api, 'drill')}"
    assert api.refused("POST", IGROUPS, spec)[1] == "5374023"
    assert api.refused("POST", IGROUPS, {**spec, "name": "a b"})[1] == "5373958"
    assert api.refused("POST", IGROUPS, {**spec, "name": "x", "initiators": [{"name": "me"}]})[1] == "5374039"
    assert api.refused("POST", IGROUPS, {"svm": {"name": "svm1"}, "name": "x"})[1] == "262212"
    third = "iqn.2026-01.org.example:third"
    api.ok("POST", f"{path}/initiators", {"name": third})
    assert api.refused("POST", f"{path}/initiators", {"name": third})[1] == "5374035"
    assert api.refused("POST", f"{path}/initiators", {})[1] == "5374033"
    assert [item["name"] for item in api.records(f"{path}/initiators")] == [third]
    api.ok("POST", MAPS, body(igroup={"name": "drill"}))
    assert api.refused("DELETE", f"{path}/initiators/{third}")[1] == "1254319"
    assert api.refused("DELETE", path)[1] == "1254213"
    api.ok("PATCH", path, {"name": "drill2", "comment": "c"})
    assert api.ok("GET", path)["comment"] == "c"
    api.ok("DELETE", f"{path}/initiators/{third}?allow_delete_while_mapped=true")
    api.ok("DELETE", f"{path}?allow_delete_while_mapped=true")
    assert api.refused("GET", path) == (404, "5374852")
    assert len(api.records(MAPS)) == 2


def nested(api: Api, name: str, *children: str, **values: Any) -> dict[str, Any]:
    """Make an igroup that holds others, and return all that is told of it."""
    spec = {"svm": {"name": "svm1"}, "name": name, "os_type": "linux", "igroups": [{"name": each} for each in children]}
    api.ok("POST", IGROUPS, {**spec, **values})
    return api.ok("GET", f"{IGROUPS}/{igroup(api, name)}?fields=**")


def test_an_igroup_shows_the_initiators_of_those_nested_in_it(api: Api) -> None:
    cluster = nested(api, "cluster", "hv1", "other")
    assert [item["name"] for item in cluster["igroups"]] == ["hv1", "other"]
    assert [(item["name"], item["igroup"]["name"]) for item in cluster["initiators"]] == [
        (HV1, "hv1"), (ELSEWHERE, "other"),
    ]  # fmt: skip
    assert cluster["supports_igroups"] is True
    site = nested(api, "site", "cluster")
    assert [item["name"] for item in site["initiators"]] == [HV1, ELSEWHERE]
    child = api.ok("GET", f"{IGROUPS}/{igroup(api, 'hv1')}?fields=**")
    assert ([item["name"] for item in child["parent_igroups"]], child["supports_igroups"]) == (["cluster"], False)
    assert not {"igroups", "parent_igroups"} & set(api.ok("GET", f"{IGROUPS}/{cluster['uuid']}"))


def test_a_map_names_the_group_s_own_initiators_alone(api: Api, sim: Running) -> None:
    nested(api, "cluster", "hv1", "other")
    sim.control.add_lun("svm1", "kvm_san2", "x", 1 << 20)
    location = api.request("POST", MAPS, json=body(lun={"name": "/vol/kvm_san2/x"}, igroup={"name": "cluster"}))
    shown = api.ok("GET", f"{location.headers['Location'][4:]}?fields=**")
    assert shown["igroup"].get("initiators", []) == []


def test_an_initiator_sees_a_lun_once_through_whichever_group(api: Api) -> None:
    nested(api, "cluster", "hv1", "other")
    assert api.refused("POST", MAPS, body(igroup={"name": "cluster"}))[1] == "1254193"


NOT_NESTED: list[tuple[dict[str, Any], str]] = [
    ({"initiators": [{"name": "iqn.2026-01.org.example:x"}]}, "5374040"), ({"igroups": [{"name": "none"}]}, "5374878"),
    ({"igroups": [{}]}, "5374878"), ({"os_type": "vmware"}, "5374739"), ({"protocol": "fcp"}, "5374740"),
    ({"igroups": [{"name": "three"}]}, "5374735"), ({"igroups": [{"name": "hv1"}, {"name": "one"}]}, "5374742"),
    ({"igroups": {"name": "hv1"}}, "262254"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "code"), NOT_NESTED)
def test_what_is_not_nested(api: Api, values: dict[str, Any], code: str) -> None:
    nested(api, "one", "hv1")
    nested(api, "three", "one")
    spec = {"svm": {"name": "svm1"}, "name": "x", "os_type": "linux", "igroups": [{"name": "other"}]}
    assert api.refused("POST", IGROUPS, {**spec, **values})[1] == code
    assert api.records(f"{IGROUPS}?name=x") == []


def test_a_group_of_groups_takes_no_initiator(api: Api) -> None:
    path = f"{IGROUPS}/{nested(api, 'cluster', 'hv1')['uuid']}/initiators"
    assert api.refused("POST", path, {"name": "iqn.2026-01.org.example:x"})[1] == "5374040"


def test_an_initiator_has_one_operating_system(api: Api) -> None:
    spec = {"svm": {"name": "svm1"}, "name": "x", "os_type": "vmware", "initiators": [{"name": HV1}]}
    assert api.refused("POST", IGROUPS, spec)[1] == "5374734"


def test_the_least_role_maps_but_does_not_change_igroups(api: Api) -> None:
    user = api.as_user("kvmsnap", "lab-Kvmsnap1")
    user.ok("POST", MAPS, body())
    assert user.refused("DELETE", f"{IGROUPS}/{igroup(api, 'other')}") == (403, "6")


def test_scope(api: Api) -> None:
    vsadmin = api.as_user("vsadmin", "lab-Vsadmin1")
    vsadmin.ok("POST", MAPS, body(svm=None))
    assert len(vsadmin.records(MAPS)) == 3
    assert vsadmin.refused("POST", MAPS, body(svm={"name": "svm2"}))[1] == "262186"
