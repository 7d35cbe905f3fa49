# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may come in and what they may do: accounts, scopes, REST roles and traditional roles."""

from __future__ import annotations

from pathlib import Path

import pytest

from ontapsim import config, rbac
from ontapsim.auth import Account, UnauthenticatedError, authenticate
from ontapsim.testclient import Api
from ontapsim.testing import CLI_ROLE, KVMSNAP_ROLE, Running, sample, start

KVMSNAP = rbac.Role("kvmsnap", tuple((item["path"], item["access"]) for item in KVMSNAP_ROLE["privileges"]))
CLI = rbac.Role("cli", tuple((item["path"], item["access"]) for item in CLI_ROLE["privileges"]))
ADMIN, READONLY, NOBODY, VSADMIN = rbac.BUILTIN

REST = [
    (KVMSNAP, "GET", "cluster", True), (KVMSNAP, "HEAD", "cluster", True), (KVMSNAP, "GET", "cluster/jobs/1", True),
    (KVMSNAP, "PATCH", "cluster/jobs/1", False), (KVMSNAP, "GET", "storage/volumes/u", True),
    (KVMSNAP, "PATCH", "storage/volumes/u", False), (KVMSNAP, "DELETE", "storage/volumes/u", False),
    (KVMSNAP, "POST", "storage/volumes/u/snapshots", True), (KVMSNAP, "DELETE", "storage/volumes/u/snapshots/s", True),
    (KVMSNAP, "GET", "storage/volumes/u/files/x", True), (KVMSNAP, "DELETE", "storage/volumes/u/files/x", False),
    (KVMSNAP, "POST", "storage/file/clone", True), (KVMSNAP, "GET", "storage/namespaces", False),
    (KVMSNAP, "POST", "private/cli/volume/snapshot/restore-file", False), (KVMSNAP, "GET", "security/roles", False),
    (ADMIN, "DELETE", "storage/volumes/u", True), (ADMIN, "POST", "private/cli/volume/snapshot/restore-file", True),
    (READONLY, "GET", "storage/volumes", True), (READONLY, "POST", "storage/volumes", False),
    (READONLY, "GET", "security/accounts", False), (NOBODY, "GET", "cluster", False),
    (VSADMIN, "PATCH", "storage/volumes/u", True), (VSADMIN, "PATCH", "cluster/jobs/1", False),
]  # fmt: skip


@pytest.mark.parametrize(("role", "method", "path", "expected"), REST)
def test_rest_roles(role: rbac.Role, method: str, path: str, expected: bool) -> None:
    assert rbac.allows(role, method, path.split("/"), "") is expected


LEVELS = {
    "none": "", "readonly": "GET", "read_create": "GET POST", "read_modify": "GET PATCH",
    "read_create_modify": "GET POST PATCH", "all": "GET POST PATCH DELETE",
}  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_levels(level: str) -> None:
    role = rbac.Role("x", (("/api/storage", level),))
    allowed = [verb for verb in ("GET", "POST", "PATCH", "DELETE") if rbac.allows(role, verb, ["storage", "x"], "")]
    assert allowed == LEVELS[level].split()


COMMANDS = [
    (CLI, "POST", "volume snapshot restore-file", True), (CLI, "GET", "volume snapshot show", True),
    (CLI, "PATCH", "volume modify", False), (CLI, "GET", "volume show", True), (CLI, "POST", "volume create", False),
    (rbac.Role("x", (("DEFAULT", "readonly"), ("volume snapshot", "none"))), "GET", "volume snapshot show", False),
    (rbac.Role("x", (("DEFAULT", "readonly"), ("volume snapshot", "none"))), "GET", "volume show", True),
    (rbac.Role("x", (("DEFAULT", "all"),)), "DELETE", "volume delete", True),
]  # fmt: skip


@pytest.mark.parametrize(("role", "method", "command", "expected"), COMMANDS)
def test_traditional_roles(role: rbac.Role, method: str, command: str, expected: bool) -> None:
    assert rbac.allows(role, method, ["storage", "x"], command) is expected


def test_a_role_is_of_one_kind() -> None:
    with pytest.raises(ValueError, match="mixes"):
        rbac.Role("x", (("/api", "all"), ("volume", "all"))).check((9, 19, 1))


@pytest.mark.parametrize(("version", "fits"), [((9, 10, 1), False), ((9, 11, 1), True)])
def test_granular_levels_have_a_version(version: tuple[int, int, int], fits: bool) -> None:
    if fits:
        KVMSNAP.check(version)
        return
    with pytest.raises(ValueError, match="not known"):
        KVMSNAP.check(version)


ACCOUNTS = [
    Account("admin", "a", "admin"),
    Account("vs", "b", "vsadmin", "svm1"),
    Account("l", "c", "admin", None, True),
]
BASIC = {("admin", "a"): "YWRtaW46YQ==", ("vs", "b"): "dnM6Yg==", ("l", "c"): "bDpj", ("admin", "x"): "YWRtaW46eA=="}


@pytest.mark.parametrize(
    ("login", "listener", "fits"),
    [
        (("admin", "a"), None, True), (("admin", "a"), "*", True), (("admin", "a"), "svm1", False),
        (("vs", "b"), None, True), (("vs", "b"), "svm1", True), (("vs", "b"), "*", False), (("vs", "b"), "svm2", False),
        (("admin", "x"), None, False), (("l", "c"), None, False),
    ],
)  # fmt: skip
def test_accounts_and_where_they_come_in(login: tuple[str, str], listener: str | None, fits: bool) -> None:
    header = f"Basic {BASIC[login]}"
    if fits:
        assert authenticate(ACCOUNTS, header, listener=listener).name == login[0]
        return
    with pytest.raises(UnauthenticatedError):
        authenticate(ACCOUNTS, header, listener=listener)


@pytest.mark.parametrize("header", [None, "", "Basic", "Basic !!!", "Basic YWI=", "Bearer x", "Basic /w=="])
def test_credentials_that_are_none(header: str | None) -> None:
    with pytest.raises(UnauthenticatedError):
        authenticate(ACCOUNTS, header, listener=None)


def test_wrong_password(api: Api) -> None:
    response = api.as_user("admin", "wrong").request("GET", "/cluster")
    assert response.status_code == 401
    assert "Basic" in response.headers["WWW-Authenticate"]


def test_denied(api: Api) -> None:
    reader = api.as_user("readonly", "lab-Readonly1")
    response = reader.request("POST", f"/storage/volumes/{api.volume()}/snapshots", json={"name": "s1"})
    assert response.status_code == 403
    assert response.json() == {"error": {"message": "not authorized for that command", "code": "6"}}
    assert api.records(f"/storage/volumes/{api.volume()}/snapshots") == []


def test_the_least_privileged_role_can_back_up_and_restore(api: Api, sim: Running) -> None:
    (sim.volume_root("svm1", "kvm_vol1") / "a").write_bytes(b"1")
    user = api.as_user("kvmsnap", "lab-Kvmsnap1")
    uuid = user.snapshot("s1")
    path = f"/storage/volumes/{user.volume()}/snapshots/{uuid}"
    user.change("PATCH", path, {"comment": "x"})
    clone = {"volume": {"uuid": user.volume(), "name": "kvm_vol1"}, "source_path": ".snapshot/s1/a"}
    user.change("POST", "/storage/file/clone", {**clone, "destination_path": "b"})
    user.change("DELETE", path, {})
    assert user.refused("PATCH", f"/storage/volumes/{user.volume()}", {"comment": "x"}) == (403, "6")
    assert user.refused("POST", "/private/cli/volume/snapshot/restore-file", {}) == (403, "6")


def test_an_svm_account_sees_its_svm_only(api: Api) -> None:
    user = api.as_user("vsadmin", "lab-Vsadmin1")
    assert {item["name"] for item in user.records("/svm/svms")} == {"svm1"}
    assert {item["svm"]["name"] for item in user.records("/storage/volumes?fields=svm.name")} == {"svm1"}
    assert {item["svm"]["name"] for item in user.records("/network/ip/interfaces?fields=svm.name")} == {"svm1"}
    other = api.volume("kvm_vol3")
    assert user.refused("GET", f"/storage/volumes/{other}") == (404, "4")
    assert user.refused("POST", f"/storage/volumes/{other}/snapshots", {"name": "x"}) == (404, "4")
    user.snapshot("s1")


@pytest.mark.parametrize("allowed", [True, False])
def test_an_svm_account_and_the_cluster(api: Api, sim: Running, allowed: bool) -> None:
    sim.control.set_switches(svm_reads_cluster=allowed)
    user = api.as_user("vsadmin", "lab-Vsadmin1")
    status = 200 if allowed else 403
    assert user.request("GET", "/cluster?fields=version").status_code == status
    assert user.request("GET", "/cluster/nodes").status_code == 403
    job = user.ok("POST", f"/storage/volumes/{user.volume()}/snapshots", {"name": "s1"})["job"]["uuid"]
    assert user.request("GET", f"/cluster/jobs/{job}").status_code == (200 if allowed else 404)


def test_an_svm_account_does_not_see_the_jobs_of_others(api: Api) -> None:
    job = api.ok("POST", f"/storage/volumes/{api.volume('kvm_vol3')}/snapshots", {"name": "s1"})["job"]["uuid"]
    assert api.as_user("vsadmin", "lab-Vsadmin1").refused("GET", f"/cluster/jobs/{job}") == (404, "4")


def test_tunnelling(api: Api) -> None:
    def through(header: str, value: str, path: str) -> tuple[int, list[str]]:
        response = api.request("GET", path, headers={header: value})
        return response.status_code, sorted(item["name"] for item in response.json().get("records", []))

    uuid = api.records("/svm/svms?name=svm2")[0]["uuid"]
    expected = (200, ["kvm_vol3", "svm2_root"])
    assert through("X-Dot-SVM-Name", "svm2", "/storage/volumes") == expected
    assert through("X-Dot-SVM-UUID", uuid, "/storage/volumes") == expected
    assert through("X-Dot-SVM-Name", "gone", "/storage/volumes")[0] == 400
    other = api.volume("kvm_vol1")
    assert through("X-Dot-SVM-Name", "svm2", f"/storage/volumes/{other}")[0] == 404


def test_tunnelling_and_a_body_that_names_another_svm(api: Api) -> None:
    body = {"name": "new_volume", "svm": {"name": "svm1"}}
    response = api.request("POST", "/storage/volumes", json=body, headers={"X-Dot-SVM-Name": "svm2"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "262186")
    user = api.as_user("vsadmin", "lab-Vsadmin1")
    response = user.request("GET", "/storage/volumes", headers={"X-Dot-SVM-Name": "svm2"})
    assert response.status_code == 403


def test_roles_and_accounts_can_be_read(api: Api) -> None:
    roles = {item["name"]: item for item in api.records("/security/roles?fields=*")}
    assert {"path": "/api/storage/file/clone", "access": "read_create"} in roles["kvmsnap"]["privileges"]
    accounts = {item["name"]: item for item in api.records("/security/accounts?fields=*")}
    assert accounts["vsadmin"]["owner"]["name"] == "svm1"


def test_listeners_on_lifs_know_their_scope(tmp_path: Path) -> None:
    data = sample()
    data["svms"][0]["lifs"].append({"name": "loop", "address": "127.0.0.1", "services": ["management_https"]})
    with start(data, tmp_path) as running:
        assert Api(running).request("GET", "/cluster").status_code == 401
        assert Api(running, "vsadmin", "lab-Vsadmin1").request("GET", "/cluster").status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1}, {"users": [{"name": "x", "password": "y", "role": "none-such"}]},
        {"svms": [{"name": "s", "volumes": [{"name": "v", "colour": "red"}]}]},
        {"roles": [{"name": "r", "privileges": [{"path": "/api", "access": "much"}]}]},
    ],
)  # fmt: skip
def test_a_configuration_with_a_mistake(change: dict[str, object]) -> None:
    data = {**sample(), "state_dir": "/none", "listeners": [], "tls": {"cert": "", "key": ""}, **change}
    with pytest.raises(config.ConfigError):
        config.load(data)
