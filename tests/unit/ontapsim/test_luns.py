# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUNs over REST: looking, making, cloning, overwriting in place, changing, reading and writing, deleting."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running

A, B = "/vol/kvm_san1/luns/a", "/vol/kvm_san1/luns/b"
SAVED = "/vol/kvm_san1/.snapshot/s1/luns/a"
GOOD, BAD = b"good" * 4096, b"bad!" * 4096


@pytest.fixture
def root(sim: Running) -> Path:
    """The volume of the LUNs; ``luns/a`` was "good" in the snapshot ``s1`` and is garbage now."""
    root = sim.volume_root("svm1", "kvm_san1")
    _fill(root / "luns/a", GOOD)
    _fill(root / "luns/b", b"mine" * 4096)
    sim.control.add_snapshot("svm1", "kvm_san1", "s1")
    _fill(root / "luns/a", BAD)
    return root


def _fill(file: Path, data: bytes) -> None:
    with file.open("r+b") as writer:
        writer.write(data)


def lun(api: Api, name: str = A) -> dict[str, Any]:
    """Return all that REST tells of a LUN."""
    (found,) = api.records(f"/storage/luns?svm.name=svm1&name={name}&fields=**")
    return found


def create(api: Api, **values: Any) -> dict[str, Any]:
    """Make a LUN by a body with an SVM, changed by ``values``, and return its record."""
    body = {"svm": {"name": "svm1"}, **values}
    response = api.request("POST", "/storage/luns?return_records=true", json=body)
    assert response.status_code == 201, response.text
    (record,) = response.json()["records"]
    assert response.headers["Location"] == f"/api/storage/luns/{record['uuid']}"
    return dict(record)


NEW = {"name": "/vol/kvm_san2/new", "os_type": "linux", "space": {"size": "1MB"}}


def test_what_is_told_of_a_lun(api: Api) -> None:
    record = lun(api)
    serial = record["serial_number"]
    assert (len(serial), record["serial_number_hex"]) == (12, serial.encode().hex())
    assert record["location"]["volume"]["name"] == "kvm_san1"
    assert record["location"]["qtree"]["name"] == "luns"
    assert (record["location"]["logical_unit"], record["os_type"], record["class"]) == ("a", "linux", "regular")
    assert record["space"] == {
        "size": 8 << 20, "used": 0, "guarantee": {"requested": False, "reserved": False},
        "scsi_thin_provisioning_support_enabled": False, "physical_used": 0,
    }  # fmt: skip
    assert record["status"] == {"container_state": "online", "mapped": True, "read_only": False, "state": "online"}
    assert [(item["igroup"]["name"], item["logical_unit_number"]) for item in record["lun_maps"]] == [("hv1", 1)]


def test_expensive_fields_must_be_asked_for(shared_api: Api) -> None:
    (listed,) = shared_api.records(f"/storage/luns?name={A}")
    assert set(listed) == {"uuid", "name", "_links"}
    whole = shared_api.ok("GET", f"/storage/luns/{listed['uuid']}")
    assert "serial_number" in whole
    assert not {"lun_maps", "attributes", "auto_delete"} & set(whole)
    assert "mapped" not in whole["status"]
    (asked,) = shared_api.records(f"/storage/luns?name={A}&fields=lun_maps,status.mapped")
    assert (asked["status"], asked["lun_maps"][0]["logical_unit_number"]) == ({"mapped": True}, 1)


def test_a_lun_is_found_by_its_serial(api: Api, sim: Running) -> None:
    sim.control.change_lun("svm1", "kvm_san1", "luns/a", serial="wOj7N$QPt5O?")
    for query in ("serial_number=wOj7N%24QPt5O%3F", "serial_number=%22wOj7N%24QPt5O%3F%22",
                  "serial_number_hex=774f6a374e24515074354f3f"):  # fmt: skip
        assert [item["name"] for item in api.records(f"/storage/luns?{query}")] == [A]


@pytest.mark.parametrize(
    ("version", "query"), [("9.16.1", "serial_number_hex=00"), ("9.9.1", "attributes.name=x"), ("9.6", "foo=1")]
)
def test_what_a_version_does_not_know(api: Api, sim: Running, version: str, query: str) -> None:
    sim.control.set_version(version)
    assert api.refused("GET", f"/storage/luns?{query}") == (400, "262179")


def test_only_luns_in_scope(api: Api, sim: Running) -> None:
    sim.control.add_lun("svm2", "kvm_vol3", "x", 1 << 20)
    vsadmin = api.as_user("vsadmin", "lab-Vsadmin1")
    assert {item["name"] for item in vsadmin.records("/storage/luns")} == {A, B}
    uuid = api.records("/storage/luns?svm.name=svm2")[0]["uuid"]
    assert vsadmin.refused("GET", f"/storage/luns/{uuid}") == (404, "5374875")
    assert vsadmin.refused("DELETE", f"/storage/luns/{uuid}") == (404, "5374875")


def test_the_role_decides(api: Api) -> None:
    reader = api.as_user("readonly", "lab-Readonly1")
    assert reader.refused("POST", "/storage/luns", {**NEW, "svm": {"name": "svm1"}}) == (403, "6")
    assert len(api.as_user("kvmsnap_cli", "lab-Cli1").records("/storage/luns")) == 2


def test_making(api: Api, sim: Running) -> None:
    record = create(api, **NEW, comment="hello", attributes=[{"name": "k", "value": "v"}])
    assert (record["name"], record["space"]["size"], record["comment"]) == ("/vol/kvm_san2/new", 1 << 20, "hello")
    assert (sim.volume_root("svm1", "kvm_san2") / "new").stat().st_size == 1 << 20
    assert lun(api, "/vol/kvm_san2/new")["attributes"] == [{"name": "k", "value": "v"}]
    assert lun(api, "/vol/kvm_san2/new")["status"]["mapped"] is False
    entry = sim.control.journal()[-1]
    assert (entry["op"], entry["path"], entry["detail"]["lun"]) == ("lun_create", "new", record["uuid"])


def test_making_by_location(api: Api) -> None:
    place = {"volume": {"name": "kvm_san1"}, "qtree": {"name": "luns"}, "logical_unit": "c"}
    record = create(api, location=place, os_type="linux", space={"size": 5000})
    assert (record["name"], record["space"]["size"]) == ("/vol/kvm_san1/luns/c", 5120)


NOT_MADE: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, "5374862"), ({"name": "kvm_san2/new"}, "5374127"), ({"name": "/vol/kvm_san2/"}, "5374862"),
    ({"name": "/vol//new"}, "5374859"), ({"name": "/vol/kvm_san2/a b"}, "5374121"),
    ({"name": "/vol/kvm_san2/../x"}, "5374127"), ({"name": "/vol/kvm_san2/" + 256 * "x"}, "5376462"),
    ({"name": "/vol/none/new"}, "917927"), ({"name": "/vol/svm1_root/new"}, "5374237"),
    ({"name": "/vol/kvm_san1/.snapshot/s1/new"}, "5374238"), ({"name": A}, "5374242"),
    ({"name": "/vol/kvm_san2/none/new"}, "5242927"), ({"os_type": None}, "5374884"), ({"space": {}}, "5374884"),
    ({"space": {"size": -1}}, "5374123"), ({"space": {"size": 1}}, "5374124"),
    ({"space": {"size": "999TB"}}, "5374125"),
    ({"space": {"size": "much"}}, "262197"), ({"os_type": "beos"}, "262197"), ({"class": "vvol"}, "262197"),
    ({"location": {"volume": {"name": "kvm_san1"}}}, "5374858"), ({"location": {"logical_unit": "x"}}, "5374861"),
    ({"svm": {"name": "none"}}, "2621462"), ({"svm": {}}, "2621707"), ({"foo": 1}, "262179"),
    ({"serial_number": "abcdefghijkl"}, "262196"), ({"attributes": [{"name": "k"}]}, "5374928"),
    ({"attributes": 2 * [{"name": "k", "value": "v"}]}, "5374932"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "code"), NOT_MADE)
def test_what_is_not_made(api: Api, values: dict[str, Any], code: str) -> None:
    body = {key: value for key, value in {"svm": {"name": "svm1"}, **NEW, **values}.items() if value is not None}
    assert api.refused("POST", "/storage/luns", body)[1] == code
    assert len(api.records("/storage/luns")) == 2


@pytest.mark.parametrize(
    ("change", "plain", "clone"),
    [({"full": True}, "131100", "13565952"), ({"type": "dp"}, "131102", "13565952"),
     ({"state": "offline"}, "5374866", "13565952")],
)  # fmt: skip
def test_volumes_that_take_no_lun(api: Api, sim: Running, change: dict[str, Any], plain: str, clone: str) -> None:
    sim.control.change_volume("svm1", "kvm_san1", **change)
    body = {"svm": {"name": "svm1"}, "name": "/vol/kvm_san1/new"}
    assert api.refused("POST", "/storage/luns", {**NEW, **body})[1] == plain
    assert api.refused("POST", "/storage/luns", {**body, "clone": {"source": {"name": A}}})[1] == clone


def test_a_clone_out_of_a_snapshot(api: Api, sim: Running, root: Path) -> None:
    before = lun(api)
    record = create(api, name="/vol/kvm_san1/tmp", clone={"source": {"name": SAVED}})
    assert (root / "tmp").read_bytes()[: len(GOOD)] == GOOD
    assert (root / "luns/a").read_bytes()[: len(BAD)] == BAD
    assert (record["space"]["size"], record["os_type"]) == (before["space"]["size"], before["os_type"])
    assert record["serial_number"] != before["serial_number"]
    assert "lun_maps" not in lun(api, "/vol/kvm_san1/tmp")
    entry = sim.control.journal()[-1]
    assert (entry["op"], entry["path"], entry["snapshot"]) == ("lun_clone", "tmp", "s1")
    assert entry["detail"] == {"source": "luns/a", "lun": record["uuid"], "source_lun": before["uuid"]}


def test_a_clone_of_a_lun_that_is_gone(api: Api, root: Path) -> None:
    api.ok("DELETE", f"/storage/luns/{lun(api)['uuid']}?allow_delete_while_mapped=true")
    assert not (root / "luns/a").exists()
    create(api, name=A, clone={"source": {"name": SAVED}})
    assert (root / "luns/a").read_bytes()[: len(GOOD)] == GOOD


NOT_CLONED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"name": SAVED}, {"os_type": "linux"}, "5374883"), ({"name": SAVED}, {"space": {"size": 8192}}, "5374883"),
    ({"name": SAVED}, {"name": B}, "1260136"), ({"name": SAVED}, {"name": "/vol/kvm_san2/x"}, "1260121"),
    ({"name": "/vol/kvm_san1/.snapshot/none/luns/a"}, {}, "5374876"), ({"name": "/vol/kvm_san1/none"}, {}, "5374876"),
    ({"name": "/vol/kvm_san1/.snapshot/s1/none"}, {}, "5374876"), ({"uuid": "none"}, {}, "5374875"),
    ({"name": SAVED, "uuid": "x"}, {}, "5374899"), ({"name": A, "uuid": "x"}, {}, "5374874"),
    ({"name": f"/vol/kvm_san1/.snapshot/{256 * 's'}/luns/a"}, {}, "5376463"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "values", "code"), NOT_CLONED)
def test_what_is_not_cloned(api: Api, root: Path, source: dict[str, Any], values: dict[str, Any], code: str) -> None:
    body = {"svm": {"name": "svm1"}, "name": "/vol/kvm_san1/tmp", "clone": {"source": source}, **values}
    assert api.refused("POST", "/storage/luns", body)[1] == code
    assert not (root / "tmp").exists()


def test_the_snapshot_of_a_clone_stays_busy(api: Api, sim: Running, root: Path) -> None:
    sim.control.set_switches(clone_split_seconds=0.3)
    create(api, name="/vol/kvm_san1/tmp", clone={"source": {"name": SAVED}})
    snapshots = f"/storage/volumes/{api.volume('kvm_san1')}/snapshots?name=s1&fields=owners"
    assert api.records(snapshots)[0]["owners"] == ["lun_clone"]
    deadline = time.monotonic() + 10
    while "owners" in api.records(snapshots)[0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_overwriting_in_place(api: Api, sim: Running, root: Path) -> None:
    sim.control.change_lun("svm1", "kvm_san1", "luns/a", comment="changed since", os_type="vmware")
    before, inode = lun(api), (root / "luns/a").stat().st_ino
    neighbour = sim.control.sha256("svm1", "kvm_san1", "luns/b")
    temporary = create(api, name="/vol/kvm_san1/tmp", clone={"source": {"name": SAVED}})
    mark = sim.control.journal()[-1]["seq"]
    api.ok("PATCH", f"/storage/luns/{before['uuid']}", {"clone": {"source": {"uuid": temporary["uuid"]}}})
    api.ok("DELETE", f"/storage/luns/{temporary['uuid']}")
    after = lun(api)
    assert (root / "luns/a").read_bytes()[: len(GOOD)] == GOOD
    assert (root / "luns/a").stat().st_ino == inode
    for name in ("uuid", "serial_number", "lun_maps", "status", "class", "auto_delete"):
        assert after[name] == before[name]
    assert (after["os_type"], "comment" in after) == ("linux", False)
    assert sim.control.sha256("svm1", "kvm_san1", "luns/b") == neighbour
    entries = sim.control.journal(mark)
    assert [(item["op"], item["path"], item["detail"]["lun"]) for item in entries] == [
        ("lun_overwrite", "luns/a", before["uuid"]), ("lun_delete", "tmp", temporary["uuid"]),
    ]  # fmt: skip


SETTINGS: dict[str, Any] = {
    "qos_policy": {"name": "gold"},
    "space": {"guarantee": {"requested": True}, "scsi_thin_provisioning_support_enabled": True},
}


def settings(record: dict[str, Any]) -> tuple[Any, ...]:
    """Return QoS policy, space reservation and SCSI thin provisioning of a LUN's record."""
    space = record["space"]
    policy = record.get("qos_policy", {}).get("name")
    return policy, space["guarantee"]["requested"], space["scsi_thin_provisioning_support_enabled"]


def test_settings_that_a_new_clone_does_not_inherit(api: Api) -> None:
    api.ok("PATCH", f"/storage/luns/{lun(api)['uuid']}", SETTINGS)
    create(api, name="/vol/kvm_san1/tmp", clone={"source": {"name": A}})
    assert settings(lun(api, "/vol/kvm_san1/tmp")) == (None, False, False)
    create(api, name="/vol/kvm_san1/tmp2", clone={"source": {"name": A}}, **SETTINGS)
    assert settings(lun(api, "/vol/kvm_san1/tmp2")) == ("gold", True, True)


@pytest.mark.parametrize(("sent", "expected"), [({}, (None, False, True)), (SETTINGS, ("gold", True, True))])
def test_settings_that_an_overwrite_takes_unless_they_are_sent(
    api: Api, sent: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    path = f"/storage/luns/{lun(api)['uuid']}"
    api.ok("PATCH", path, SETTINGS)
    api.ok("PATCH", f"/storage/luns/{lun(api, B)['uuid']}", {"space": {"size": 8 << 20}})
    api.ok("PATCH", path, {"clone": {"source": {"name": B}}, **sent})
    assert settings(lun(api)) == expected


def test_the_qos_policy_of_a_lun(api: Api) -> None:
    path = f"/storage/luns/{lun(api)['uuid']}"
    api.ok("PATCH", path, {"qos_policy": {"name": "silver"}})
    uuid = lun(api)["qos_policy"]["uuid"]
    assert api.refused("PATCH", path, {"qos_policy": {"name": "none"}}) == (400, "8454243")
    assert api.refused("PATCH", path, {"qos_policy": {"name": "gold", "uuid": uuid}}) == (400, "8454243")
    api.ok("PATCH", path, {"qos_policy": {"name": ""}})
    assert "qos_policy" not in lun(api)
    api.ok("PATCH", path, {"qos_policy": {"uuid": uuid}})
    assert lun(api)["qos_policy"] == {"name": "silver", "uuid": uuid}


@pytest.mark.parametrize("takes", [True, False])
def test_the_size_of_an_overwritten_lun(api: Api, sim: Running, root: Path, takes: bool) -> None:
    sim.control.set_switches(lun_overwrite_takes_size=takes)
    api.ok("PATCH", f"/storage/luns/{lun(api, B)['uuid']}", {"clone": {"source": {"name": A}}})
    size = (8 << 20) if takes else (4 << 20)
    assert (lun(api, B)["space"]["size"], (root / "luns/b").stat().st_size) == (size, size)
    assert (root / "luns/b").read_bytes()[: len(BAD)] == BAD


@pytest.mark.parametrize("allowed", [True, False])
def test_overwriting_straight_from_a_snapshot(api: Api, sim: Running, root: Path, allowed: bool) -> None:
    sim.control.set_switches(lun_overwrite_from_snapshot=allowed)
    body, path = {"clone": {"source": {"name": SAVED}}}, f"/storage/luns/{lun(api)['uuid']}"
    if allowed:
        api.ok("PATCH", path, body)
    else:
        assert api.refused("PATCH", path, body) == (400, "5374876")
    assert (root / "luns/a").read_bytes()[: len(GOOD)] == (GOOD if allowed else BAD)


def test_what_is_not_overwritten(api: Api, sim: Running, root: Path) -> None:
    path = f"/storage/luns/{lun(api)['uuid']}"
    other = create(api, **NEW)
    assert api.refused("PATCH", path, {"clone": {"source": {"uuid": other["uuid"]}}}) == (400, "13565952")
    assert api.refused("PATCH", path, {"clone": {"source": {"uuid": "none"}}}) == (400, "5374875")
    assert api.refused("PATCH", path, {"clone": {"source": {"name": A}}}) == (400, "13565952")
    assert api.refused("PATCH", "/storage/luns/none", {"clone": {"source": {"name": A}}}) == (404, "5374875")
    body = {"clone": {"source": {"name": B}}}
    sim.control.set_switches(licenses={"flexclone": False})
    assert api.refused("PATCH", path, body) == (400, "13565952")
    sim.control.reset_switches()
    sim.control.change_volume("svm1", "kvm_san1", state="offline")
    assert api.refused("PATCH", path, body) == (400, "5374904")
    sim.control.change_volume("svm1", "kvm_san1", state="online", full=True)
    assert api.refused("PATCH", path, body) == (400, "13565952")
    assert (root / "luns/a").read_bytes()[: len(BAD)] == BAD


def test_an_asa_r2_clones_nothing(api: Api, sim: Running, root: Path) -> None:
    source = {"clone": {"source": {"name": SAVED}}}
    path = f"/storage/luns/{lun(api)['uuid']}"
    sim.control.set_switches(disaggregated=True)
    assert api.refused("POST", "/storage/luns", {"svm": {"name": "svm1"}, "name": "tmp", **source})[1] == "5376469"
    assert api.refused("PATCH", path, source)[1] == "5376470"
    record = api.ok("GET", path)
    assert (record["name"], "volume" in record["location"]) == ("a", False)
    assert api.ok("GET", "/cluster?fields=disaggregated")["disaggregated"] is True


def test_resizing(api: Api, root: Path) -> None:
    path = f"/storage/luns/{lun(api)['uuid']}"
    api.ok("PATCH", path, {"space": {"size": 16 << 20}})
    assert (lun(api)["space"]["size"], (root / "luns/a").stat().st_size) == (16 << 20, 16 << 20)
    assert api.refused("PATCH", path, {"space": {"size": 16 << 20}})[1] == "1254226"
    assert api.refused("PATCH", path, {"space": {"size": 8 << 20}})[1] == "5374892"


def test_settings(api: Api) -> None:
    path = f"/storage/luns/{lun(api)['uuid']}"
    api.ok("PATCH", path, {"enabled": False, "comment": "c"})
    assert (lun(api)["status"]["state"], lun(api)["comment"]) == ("offline", "c")


def test_renaming(api: Api, root: Path) -> None:
    before = lun(api)
    path = f"/storage/luns/{before['uuid']}"
    for name, code in ((B, "1254196"), (SAVED, "5376466"), ("/vol/none/x", "917927"), ("/vol/kvm_san2/x", "262197"),
                       ("/vol/kvm_san1/none/x", "5242927")):  # fmt: skip
        assert api.refused("PATCH", path, {"name": name})[1] == code
    api.ok("PATCH", path, {"name": "/vol/kvm_san1/luns/c"})
    after = lun(api, "/vol/kvm_san1/luns/c")
    assert (after["uuid"], after["lun_maps"]) == (before["uuid"], before["lun_maps"])
    assert not (root / "luns/a").exists()
    create(api, name=A, clone={"source": {"name": SAVED}})


def test_deleting(api: Api, root: Path) -> None:
    path = f"/storage/luns/{lun(api)['uuid']}"
    assert api.refused("DELETE", path)[1] == "1254197"
    api.ok("DELETE", f"{path}?allow_delete_while_mapped=true")
    assert api.refused("DELETE", path) == (404, "5374875")
    assert len(api.records("/protocols/san/lun-maps")) == 1
    assert not (root / "luns/a").exists()


def test_attributes(api: Api, sim: Running) -> None:
    path = f"/storage/luns/{lun(api)['uuid']}/attributes"
    assert api.request("POST", path, json={"name": "k", "value": "v"}).headers["Location"].endswith("/attributes/k")
    assert api.refused("POST", path, {"name": "k", "value": "v"})[1] == "5374932"
    assert api.refused("POST", path, {"name": "l"})[1] == "5374928"
    assert api.refused("POST", path, {"name": "l", "value": 4092 * "x"})[1] == "5374929"
    api.ok("PATCH", f"{path}/k", {"value": "w"})
    assert [(item["name"], item["value"]) for item in api.records(f"{path}?fields=value")] == [("k", "w")]
    assert api.ok("GET", f"{path}/k")["value"] == "w"
    api.ok("DELETE", f"{path}/k")
    assert api.refused("GET", f"{path}/k") == (404, "4")
    sim.control.set_version("9.9.1")
    assert api.refused("GET", path) == (404, "3")


def _put(api: Api, path: str, data: bytes, **options: Any) -> Any:
    return api.request("PATCH", path, files=options.get("files", {"data": ("lun", data)}))


def test_data(api: Api, sim: Running) -> None:
    path = f"/storage/luns/{lun(api)['uuid']}"
    data = bytes(range(256)) * 4096
    assert _put(api, f"{path}?data.offset=4096", data).status_code == 200
    answer = api.request(
        "GET", f"{path}?data.offset=4096&data.size={len(data)}", headers={"Accept": "multipart/form-data"}
    )
    assert answer.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert data in answer.content
    entry = sim.control.journal()[-1]
    assert (entry["op"], entry["detail"]["offset"], entry["detail"]["length"]) == ("lun_write", 4096, 1 << 20)


def test_data_that_is_refused(api: Api, sim: Running) -> None:
    path = f"/storage/luns/{lun(api)['uuid']}"
    assert _put(api, path, b"x").json()["error"]["code"] == "262212"
    assert _put(api, f"{path}?data.offset={8 << 20}", b"x").json()["error"]["code"] == "262197"
    assert _put(api, f"{path}?data.offset=0", bytes((1 << 20) + 1)).json()["error"]["code"] == "262197"
    two = {"a": ("a", b"1"), "b": ("b", b"2")}
    assert _put(api, f"{path}?data.offset=0", b"", files=two).json()["error"]["code"] == "262199"
    assert api.refused("GET", f"{path}?data.offset=0")[1] == "262212"
    assert api.refused("GET", f"{path}?data.offset=0&data.size={2 << 20}")[1] == "262197"
    sim.control.set_version("9.10.1")
    assert api.refused("GET", f"{path}?data.offset=0&data.size=1")[1] == "262179"
    assert _put(api, f"{path}?data.offset=0", b"x").status_code == 400


def test_a_lun_is_no_ordinary_file(api: Api, root: Path) -> None:
    base = f"/storage/volumes/{api.volume('kvm_san1')}/files"
    types = {item["name"]: item["type"] for item in api.records(f"{base}/luns")}
    assert types["a"] == "lun"
    assert api.fails("DELETE", f"{base}/luns%2Fa", {}) == "3"
    assert api.fails("DELETE", f"{base}/luns?recurse=true", {}) == "3"
    body = {
        "volume": {"uuid": api.volume("kvm_san1"), "name": "kvm_san1"},
        "source_path": ".snapshot/s1/luns/a",
        "destination_path": "x",
    }
    assert api.fails("POST", "/storage/file/clone", body) == "13565952"


def test_luns_survive_a_restart(api: Api, sim: Running, root: Path) -> None:
    before = lun(api)
    create(api, name="/vol/kvm_san1/tmp", clone={"source": {"name": SAVED}})
    sim.stop()
    (root / "tmp").unlink()
    sim.start()
    again = Api(sim)
    assert lun(again) == before
    assert not again.records("/storage/luns?name=/vol/kvm_san1/tmp")
    create(again, name="/vol/kvm_san1/tmp", clone={"source": {"name": SAVED}})


def test_another_lun_at_the_same_path(api: Api, sim: Running, root: Path) -> None:
    before = lun(api)
    new = sim.control.replace_lun("svm1", "kvm_san1", "luns/a")
    after = lun(api)
    assert (after["uuid"], after["serial_number"]) == (new["uuid"], new["serial"])
    assert after["serial_number"] != before["serial_number"]
    assert after["lun_maps"] == before["lun_maps"]
    (found,) = [item for item in sim.control.luns() if item["path"] == "luns/a"]
    assert (found["name"], found["uuid"], found["maps"]) == (A, new["uuid"], {"hv1": 1})
