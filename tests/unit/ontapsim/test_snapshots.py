# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: their life, their names and values, and who keeps them from going."""

from __future__ import annotations

from typing import Any

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running

FUTURE, PAST = "2099-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00"


def base(api: Api, volume: str = "kvm_vol1") -> str:
    """Return the path of a volume's snapshots."""
    return f"/storage/volumes/{api.volume(volume)}/snapshots"


def test_a_life(api: Api, sim: Running) -> None:
    (sim.volume_root("svm1", "kvm_vol1") / "a").write_bytes(b"1")
    uuid = api.snapshot("s1", comment="hello", snapmirror_label="daily", expiry_time=FUTURE)
    record = api.ok("GET", f"{base(api)}/{uuid}")
    assert record["name"] == "s1"
    assert record["comment"] == "hello"
    assert record["snapmirror_label"] == "daily"
    assert record["expiry_time"] == FUTURE
    assert record["volume"] == {
        "name": "kvm_vol1",
        "uuid": api.volume(),
        "_links": {"self": {"href": f"/api/storage/volumes/{api.volume()}"}},
    }
    assert record["svm"]["name"] == "svm1"
    assert "owners" not in record
    assert "state" not in record
    assert (sim.volume_root("svm1", "kvm_vol1") / ".snapshot/s1/a").read_bytes() == b"1"
    api.change(
        "PATCH", f"{base(api)}/{uuid}", {"name": "s2", "comment": "", "snapmirror_label": "", "expiry_time": PAST}
    )
    record = api.ok("GET", f"{base(api)}/{uuid}")
    assert (record["name"], record.get("comment"), record.get("snapmirror_label")) == ("s2", None, None)
    assert (sim.volume_root("svm1", "kvm_vol1") / ".snapshot/s2/a").read_bytes() == b"1"
    api.change("DELETE", f"{base(api)}/{uuid}", {})
    assert api.records(base(api)) == []
    assert api.refused("GET", f"{base(api)}/{uuid}") == (404, "4")
    assert not (sim.volume_root("svm1", "kvm_vol1") / ".snapshot/s2").exists()


def test_a_list(api: Api) -> None:
    for name in ("b", "a", "c"):
        api.snapshot(name, comment=f"about {name}")
    assert set(api.records(base(api))[0]) == {"uuid", "name", "_links"}
    found = api.records(f"{base(api)}?name=a|c&fields=comment&order_by=name%20desc")
    assert [(item["name"], item["comment"]) for item in found] == [("c", "about c"), ("a", "about a")]
    found = api.records(f"{base(api)}?comment=about*&max_records=2&order_by=name")
    assert [item["name"] for item in found] == ["a", "b"]
    assert {item["name"] for item in api.records("/storage/volumes/*/snapshots?volume.name=kvm_vol1")} == {
        "a",
        "b",
        "c",
    }


GOOD_NAMES = ["a", "kvm1-daily_20260102030405", "hourly.2026-01-02_1805", "A" * 255]
BAD_NAMES = {
    "a/b": "1638518", "a b": "1638518", ".": "1638518", "..": "1638518", "": "1638518", "é": "1638518",
    "A" * 256: "1638518", "snapmirror.x": "1638477",
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names(api: Api, name: str) -> None:
    assert api.snapshot(name)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_are_refused(api: Api, name: str) -> None:
    assert api.fails("POST", base(api), {"name": name}) == BAD_NAMES[name]
    uuid = api.snapshot("s1")
    code = "524508" if BAD_NAMES[name] == "1638518" else BAD_NAMES[name]
    assert api.fails("PATCH", f"{base(api)}/{uuid}", {"name": name}) == code


def test_a_name_twice(api: Api) -> None:
    api.snapshot("s1")
    other = api.snapshot("s2")
    assert api.fails("POST", base(api), {"name": "s1"}) == "525059"
    assert api.fails("PATCH", f"{base(api)}/{other}", {"name": "s1"}) == "525059"
    api.snapshot("s1", volume="kvm_vol2")


def test_two_at_once(api: Api, sim: Running) -> None:
    jobs = [api.ok("POST", base(api), {"name": "s1"})["job"]["uuid"] for _turn in range(2)]
    api.change("POST", base(api), {"name": "later"})
    states = sorted(api.ok("GET", f"/cluster/jobs/{uuid}")["state"] for uuid in jobs)
    assert states == ["failure", "success"]
    assert [item["op"] for item in sim.control.journal()].count("snapshot_create") == 2


VALUES: list[tuple[dict[str, Any], str, str]] = [
    ({"comment": "c" * 256}, "1638455", "1638455"), ({"snapmirror_label": "l" * 32}, "1638523", "1638523"),
    ({"expiry_time": "soon"}, "262197", "262197"), ({"snaplock_expiry_time": FUTURE}, "1638618", "1638554"),
    ({"create_time": FUTURE}, "262196", "262196"), ({"owners": ["dump"]}, "262196", "262196"),
    ({"colour": "red"}, "262179", "262179"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "on_create", "on_modify"), VALUES)
def test_values_that_are_refused(api: Api, values: dict[str, Any], on_create: str, on_modify: str) -> None:
    assert api.fails("POST", base(api), {"name": "s1", **values}) == on_create
    assert api.records(base(api)) == []
    uuid = api.snapshot("s1")
    assert api.fails("PATCH", f"{base(api)}/{uuid}", values) == on_modify


def test_values_at_their_limits(api: Api) -> None:
    api.snapshot("s1", comment="c" * 255, snapmirror_label="l" * 31)
    assert api.fails("POST", base(api), {"name": "s2", "snapmirror_label": ""}) == "1638523"


def test_the_limit(api: Api, sim: Running) -> None:
    sim.control.add_snapshot("svm1", "kvm_vol1", "many", count=1022)
    api.snapshot("last")
    assert api.fails("POST", base(api), {"name": "one-too-many"}) == "525062"
    assert api.records("/storage/volumes?name=kvm_vol1&fields=snapshot_count")[0]["snapshot_count"] == 1023
    assert api.ok("GET", f"{base(api)}?return_records=false")["num_records"] == 1023


@pytest.mark.parametrize(
    ("change", "on_create", "on_rename", "on_delete"),
    [
        ({"type": "dp"}, "1638461", "1638522", "1638521"), ({"state": "offline"}, "524479", None, "524481"),
        ({"full": True}, "524479", None, None),
    ],
)  # fmt: skip
def test_volumes_that_do_not_let(
    api: Api, sim: Running, change: dict[str, Any], on_create: str, on_rename: str | None, on_delete: str | None
) -> None:
    uuid = api.snapshot("s1")
    sim.control.change_volume("svm1", "kvm_vol1", **change)
    assert api.fails("POST", base(api), {"name": "s2"}) == on_create
    if on_rename:
        assert api.fails("PATCH", f"{base(api)}/{uuid}", {"name": "s3"}) == on_rename
    if on_delete:
        assert api.fails("DELETE", f"{base(api)}/{uuid}", {}) == on_delete
    else:
        api.change("DELETE", f"{base(api)}/{uuid}", {})


def test_owned_snapshots_stay(api: Api, sim: Running) -> None:
    uuid = sim.control.add_snapshot("svm1", "kvm_vol1", "busy", owners=["volume_clone"])[0]
    assert api.ok("GET", f"{base(api)}/{uuid}?fields=owners")["owners"] == ["volume_clone"]
    assert api.fails("DELETE", f"{base(api)}/{uuid}", {}) == "1638543"
    assert api.fails("PATCH", f"{base(api)}/{uuid}", {"name": "x"}) == "1638476"
    assert [item["name"] for item in api.records(f"{base(api)}?owners=volume_clone")] == ["busy"]
    assert api.records(f"{base(api)}?owners=dump") == []
    sim.control.change_snapshot("svm1", "kvm_vol1", "busy", owners=[])
    api.change("DELETE", f"{base(api)}/{uuid}", {})


def test_snapshots_that_have_not_expired_stay(api: Api, sim: Running) -> None:
    uuid = api.snapshot("s1", expiry_time=FUTURE)
    response = api.request("DELETE", f"{base(api)}/{uuid}?return_timeout=20", json={})
    assert response.json()["error"]["code"] == "1638555"
    assert "has not expired or is locked" in response.json()["error"]["message"]
    api.change("PATCH", f"{base(api)}/{uuid}", {"expiry_time": PAST})
    api.change("DELETE", f"{base(api)}/{uuid}", {})


def test_locked_snapshots_stay(api: Api, sim: Running) -> None:
    sim.control.change_volume("svm1", "kvm_vol1", snapshot_locking_enabled=True)
    uuid = api.snapshot("s1", snaplock_expiry_time=FUTURE)
    path = f"{base(api)}/{uuid}"
    assert api.ok("GET", f"{path}?fields=snaplock")["snaplock"] == {"expiry_time": FUTURE, "expired": False}
    assert api.fails("DELETE", path, {}) == "1638555"
    assert api.fails("PATCH", path, {"name": "s2"}) == "1638555"
    assert api.fails("PATCH", path, {"snaplock_expiry_time": PAST}) == "1638554"
    sim.control.set_switches(clock_offset=86400 * 365 * 80)
    api.change("DELETE", path, {})


def test_flexgroups_know_no_expiry(api: Api, sim: Running) -> None:
    sim.control.change_volume("svm1", "kvm_vol1", style="flexgroup")
    assert api.fails("POST", base(api), {"name": "s1", "expiry_time": FUTURE}) == "1638574"
    uuid = api.snapshot("s1")
    assert api.ok("GET", f"{base(api)}/{uuid}")["state"] == "valid"


@pytest.mark.parametrize(("code", "expected"), [("4", (404, "4")), ("918235", (400, "918235"))])
def test_a_volume_that_is_not_there(api: Api, sim: Running, code: str, expected: tuple[int, str]) -> None:
    sim.control.set_switches(unknown_volume_code=code)
    assert api.refused("GET", "/storage/volumes/none/snapshots") == expected


def test_status_of_a_code_can_be_switched(api: Api, sim: Running) -> None:
    api.snapshot("s1")
    sim.control.set_switches(status_of_code={"525059": 409})
    assert api.refused("POST", f"{base(api)}?return_timeout=20", {"name": "s1"}) == (409, "525059")


def test_bodies_that_name_another_volume_or_svm(api: Api) -> None:
    assert api.fails("POST", base(api), {"name": "s1", "volume": {"name": "kvm_vol2"}}) == "918236"
    assert api.fails("POST", base(api), {"name": "s1", "svm": {"name": "svm2"}}) == "2621462"
    assert api.fails("POST", base(api), {"name": "s1", "svm": {"name": "gone"}}) == "2621462"
    api.change("POST", base(api), {"name": "s1", "svm": {"name": "svm1"}, "volume": {"name": "kvm_vol1"}})


def test_an_all_san_array_refuses(tmp_path: Any) -> None:
    from ontapsim.testing import sample, start

    data = sample()
    data["cluster"]["san_optimized"] = True
    with start(data, tmp_path) as running:
        api = Api(running)
        assert api.ok("GET", "/cluster?fields=san_optimized")["san_optimized"] is True
        assert api.fails("POST", base(api), {"name": "s1"}) == "1638644"


def test_unknown_parameters(api: Api) -> None:
    uuid = api.snapshot("s1")
    assert api.refused("DELETE", f"{base(api)}/{uuid}?force=true", {}) == (400, "262179")
    assert api.refused("POST", f"{base(api)}?name=x", {"name": "s2"}) == (400, "262179")
