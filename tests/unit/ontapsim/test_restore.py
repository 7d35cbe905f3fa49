# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single-file SnapRestore by REST and by the private CLI, and the volume revert that nobody should send."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running

GOOD, GARBAGE = b"good" * 3000, b"garbage" * 4000


@pytest.fixture
def root(sim: Running) -> Path:
    """A volume whose ``dir/disk.img`` was good in the snapshot ``s1`` and is garbage now."""
    root = sim.volume_root("svm1", "kvm_vol1")
    (root / "dir").mkdir()
    (root / "dir/disk.img").write_bytes(GOOD)
    (root / "dir/neighbour.img").write_bytes(b"old")
    sim.control.add_snapshot("svm1", "kvm_vol1", "s1")
    (root / "dir/disk.img").write_bytes(GARBAGE)
    (root / "dir/neighbour.img").write_bytes(b"new")
    return root


def path(api: Api, **params: str) -> str:
    """Return the request that restores by query; ``params`` are those of ``restore_to``, ``__`` for a dot."""
    pairs = "&".join(f"restore_to.{name.replace('__', '.')}={value}" for name, value in params.items())
    return f"/storage/volumes/{api.volume()}?{pairs}"


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("given", ["/dir/disk.img", "/vol/kvm_vol1/dir/disk.img"])
@pytest.mark.parametrize("keeps", [True, False])
def test_one_file(api: Api, sim: Running, root: Path, given: str, keeps: bool) -> None:
    sim.control.set_switches(sfsr_keeps_inode=keeps)
    inode = (root / "dir/disk.img").stat().st_ino
    api.change("PATCH", path(api, snapshot__name="s1", path=given), {})
    assert (root / "dir/disk.img").read_bytes() == GOOD
    assert ((root / "dir/disk.img").stat().st_ino == inode) is keeps
    assert (root / "dir/neighbour.img").read_bytes() == b"new"
    assert [item["op"] for item in sim.control.journal()][-1] == "file_restore"


def test_to_another_name(api: Api, root: Path) -> None:
    api.change("PATCH", path(api, snapshot__name="s1", path="/dir/disk.img", restore_path="/dir/copy.img"), {})
    assert (root / "dir/copy.img").read_bytes() == GOOD
    assert (root / "dir/disk.img").read_bytes() == GARBAGE


def test_part_of_a_file(api: Api, root: Path) -> None:
    params = {"snapshot__name": "s1", "path": "/dir/disk.img", "start_byte": "4096", "byte_count": "4096"}
    api.change("PATCH", path(api, **params), {})
    assert (root / "dir/disk.img").read_bytes() == GARBAGE[:4096] + GOOD[4096:8192] + GARBAGE[8192:]
    assert api.fails("PATCH", path(api, **{**params, "start_byte": "1"}), {}) == "262197"


REFUSED = [
    ({"snapshot__name": "gone", "path": "/dir/disk.img"}, "524511"),
    ({"snapshot__name": "s1", "path": "/no"}, "542797"),
    ({"snapshot__name": "s1", "path": "dir/disk.img"}, "262197"), ({"path": "/dir/disk.img"}, "262212"),
    ({"snapshot__name": "s1", "path": ""}, "262194"), ({"snapshot__name": "s1", "path": "/"}, "262197"),
    ({"snapshot__name": "s1", "path": "/dir"}, "524511"), ({"snapshot__name": "s1", "path": "/../x"}, "524511"),
    ({"snapshot__name": "s1", "restore_path": "/x"}, "262212"),
    ({"snapshot__name": "s1", "path": "/dir/disk.img", "restore_path": "/no/x"}, "542797"),
    ({"snapshot__name": "s1", "path": "/dir/disk.img", "colour": "red"}, "262179"),
]  # fmt: skip


@pytest.mark.parametrize(("params", "code"), REFUSED)
def test_what_is_refused(api: Api, sim: Running, root: Path, params: dict[str, str], code: str) -> None:
    before = len(sim.control.journal())
    assert api.fails("PATCH", path(api, **params), {}) == code
    assert (root / "dir/disk.img").read_bytes() == GARBAGE
    assert len(sim.control.journal()) == before


def test_snapshot_uuid_and_name_must_fit(api: Api, root: Path) -> None:
    other = api.snapshot("s2")
    params = {"snapshot__name": "s1", "snapshot__uuid": other, "path": "/dir/disk.img"}
    assert api.fails("PATCH", path(api, **params), {}) == "918243"


def test_nothing_else_may_change_with_it(api: Api, root: Path) -> None:
    assert api.fails("PATCH", path(api, snapshot__name="s1", path="/dir/disk.img"), {"comment": "x"}) == "918251"


@pytest.mark.parametrize(
    ("change", "code"), [({"state": "offline"}, "9437885"), ({"type": "dp"}, "524511"), ({"full": True}, "524511")]
)
def test_volumes_that_do_not_let(api: Api, sim: Running, root: Path, change: dict[str, Any], code: str) -> None:
    sim.control.change_volume("svm1", "kvm_vol1", **change)
    assert api.fails("PATCH", path(api, snapshot__name="s1", path="/dir/disk.img"), {}) == code


def test_without_the_licence(api: Api, sim: Running, root: Path) -> None:
    sim.control.set_switches(licenses={"snaprestore": False})
    assert api.fails("PATCH", path(api, snapshot__name="s1", path="/dir/disk.img"), {}) == "524511"
    assert api.fails("PATCH", path(api, snapshot__name="s1"), {}) == "524511"


def test_it_goes_on_in_the_background(api: Api, sim: Running, root: Path) -> None:
    sim.control.set_switches(sfsr_seconds=0.5)
    base = f"/storage/volumes/{api.volume()}/snapshots"
    uuid = api.records(f"{base}?name=s1")[0]["uuid"]
    api.change("PATCH", path(api, snapshot__name="s1", path="/dir/disk.img"), {})
    assert api.ok("GET", f"{base}/{uuid}?fields=owners")["owners"] == ["snap_restore"]
    assert api.fails("POST", base, {"name": "s2"}) == "1638532"
    assert api.fails("DELETE", f"{base}/{uuid}", {}) == "1638543"
    assert api.fails("PATCH", path(api, snapshot__name="s1"), {}) == "524511"
    api.change("PATCH", path(api, snapshot__name="s1", path="/dir/neighbour.img"), {})
    wait_for(lambda: "owners" not in api.ok("GET", f"{base}/{uuid}?fields=owners"))
    api.change("POST", base, {"name": "s2"})
    api.change("DELETE", f"{base}/{uuid}", {})


def test_two_restores_from_one_snapshot_keep_it_until_both_have_ended(api: Api, sim: Running, root: Path) -> None:
    base = f"/storage/volumes/{api.volume()}/snapshots"
    sim.control.set_switches(sfsr_seconds=0.2)
    api.change("PATCH", path(api, snapshot__name="s1", path="/dir/disk.img"), {})
    sim.control.set_switches(sfsr_seconds=60)
    api.change("PATCH", path(api, snapshot__name="s1", path="/dir/neighbour.img"), {})
    time.sleep(0.5)
    assert api.fails("POST", base, {"name": "s2"}) == "1638532"


def test_the_bytes_may_come_late(api: Api, sim: Running, root: Path) -> None:
    sim.control.set_switches(sfsr_bytes_at_end=True, sfsr_seconds=0.3)
    api.change("PATCH", path(api, snapshot__name="s1", path="/dir/disk.img"), {})
    assert (root / "dir/disk.img").read_bytes() == GARBAGE
    wait_for(lambda: (root / "dir/disk.img").read_bytes() == GOOD)


@pytest.mark.parametrize(("version", "known"), [("9.8", False), ("9.10.1", True)])
def test_one_file_by_version(api: Api, sim: Running, root: Path, version: str, known: bool) -> None:
    sim.control.set_version(version)
    request = path(api, snapshot__name="s1", path="/dir/disk.img")
    if known:
        api.change("PATCH", request, {})
        return
    assert api.fails("PATCH", request, {}) == "262179"
    assert (root / "dir/disk.img").read_bytes() == GARBAGE


# -- the whole volume


def test_a_revert_takes_everything_back(api: Api, sim: Running, root: Path) -> None:
    api.snapshot("s2")
    (root / "later").write_bytes(b"1")
    api.change("PATCH", path(api, snapshot__name="s1"), {})
    assert (root / "dir/disk.img").read_bytes() == GOOD
    assert (root / "dir/neighbour.img").read_bytes() == b"old"
    assert not (root / "later").exists()
    assert [item["name"] for item in api.records(f"/storage/volumes/{api.volume()}/snapshots")] == ["s1"]
    assert [item["op"] for item in sim.control.journal()][-1] == "volume_revert"


@pytest.mark.parametrize(("version", "forced"), [("9.18.1", None), ("9.19.1", True)])
def test_newer_snapshots_can_forbid_it(api: Api, sim: Running, root: Path, version: str, forced: bool | None) -> None:
    sim.control.add_snapshot("svm1", "kvm_vol1", "s2", owners=["snapmirror"])
    sim.control.set_version(version)
    assert api.fails("PATCH", path(api, snapshot__name="s1"), {}) == "1638480"
    request = path(api, snapshot__name="s1", snapshot__force="true")
    if forced:
        api.change("PATCH", request, {})
    else:
        assert api.fails("PATCH", request, {}) == "262179"


def test_locked_snapshots_forbid_it(api: Api, sim: Running, root: Path) -> None:
    sim.control.add_snapshot("svm1", "kvm_vol1", "s2", snaplock_expiry_time="2099-01-01T00:00:00Z")
    assert api.fails("PATCH", path(api, snapshot__name="s1"), {}) == "9437886"


# -- the private CLI

CLI = "/private/cli/volume/snapshot/restore-file"
RESTORE = {"vserver": "svm1", "volume": "kvm_vol1", "snapshot": "s1", "path": "/dir/disk.img"}


@pytest.mark.parametrize("job", [True, False])
def test_restore_file(api: Api, sim: Running, root: Path, job: bool) -> None:
    sim.control.set_switches(cli_restore_returns_job=job)
    response = api.request("POST", f"{CLI}?privilege_level=admin", json=RESTORE)
    assert response.status_code == (202 if job else 200)
    assert ("job" in response.json()) is job
    assert "cli_output" in response.json()
    wait_for(lambda: (root / "dir/disk.img").read_bytes() == GOOD)
    assert api.fails("POST", f"/storage/volumes/{api.volume()}/snapshots", {"name": "s2"}) == "1638532"


@pytest.mark.parametrize("key", ["restore-path", "restore_path"])
def test_restore_file_elsewhere(api: Api, root: Path, key: str) -> None:
    api.ok("POST", f"{CLI}?return_timeout=20", {**RESTORE, key: "/dir/copy.img"})
    assert (root / "dir/copy.img").read_bytes() == GOOD


CLI_REFUSED = [
    ({"vserver": "gone"}, "2621462"), ({"volume": "gone"}, "918235"), ({"snapshot": "gone"}, "542797"),
    ({"path": "dir/disk.img"}, "262197"), ({"path": None}, "262212"), ({"vserver": None}, "262212"),
    ({"colour": "red"}, "262179"), ({"path": 1}, "262197"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "code"), CLI_REFUSED)
def test_restore_file_refuses(api: Api, root: Path, values: dict[str, Any], code: str) -> None:
    body = {key: value for key, value in {**RESTORE, **values}.items() if value is not None}
    assert api.refused("POST", CLI, body) == (400, code)
    assert (root / "dir/disk.img").read_bytes() == GARBAGE


def test_restore_file_of_a_missing_file_fails_its_job(api: Api, root: Path) -> None:
    uuid = api.ok("POST", f"{CLI}?return_timeout=20", {**RESTORE, "path": "/gone"})["job"]["uuid"]
    job = api.ok("GET", f"/cluster/jobs/{uuid}")
    assert (job["state"], job["code"]) == ("failure", 542797)


def test_restore_file_by_a_traditional_role(api: Api, root: Path) -> None:
    user = api.as_user("kvmsnap_cli", "lab-Cli1")
    user.ok("POST", f"{CLI}?return_timeout=20", RESTORE)
    assert (root / "dir/disk.img").read_bytes() == GOOD
    assert user.refused("PATCH", f"/storage/volumes/{api.volume()}", {"comment": "x"}) == (403, "6")


def test_restore_file_by_an_svm_account_needs_no_vserver(api: Api, root: Path) -> None:
    user = api.as_user("vsadmin", "lab-Vsadmin1")
    user.ok("POST", f"{CLI}?return_timeout=20", {key: RESTORE[key] for key in ("volume", "snapshot", "path")})
    assert (root / "dir/disk.img").read_bytes() == GOOD


def test_restore_takes_the_whole_volume_back(api: Api, root: Path) -> None:
    api.snapshot("s2")
    body = {key: RESTORE[key] for key in ("vserver", "volume", "snapshot")}
    assert api.fails("POST", "/private/cli/volume/snapshot/restore", {**body, "force": "yes"}) == "262197"
    api.change("POST", "/private/cli/volume/snapshot/restore", {**body, "force": True})
    assert (root / "dir/neighbour.img").read_bytes() == b"old"
    assert [item["name"] for item in api.records(f"/storage/volumes/{api.volume()}/snapshots")] == ["s1"]


def test_snapshot_show(api: Api, sim: Running, root: Path) -> None:
    sim.control.change_snapshot("svm1", "kvm_vol1", "s1", owners=["dump"])
    query = "vserver=svm1&volume=kvm_vol1&fields=owners,create-time"
    body = api.ok("GET", f"/private/cli/volume/snapshot?{query}")
    assert body["num_records"] == 1
    assert {key: body["records"][0][key] for key in ("vserver", "volume", "snapshot", "owners")} == {
        "vserver": "svm1", "volume": "kvm_vol1", "snapshot": "s1", "owners": ["dump"],
    }  # fmt: skip
    assert api.refused("GET", "/private/cli/volume/snapshot?fields=*") == (400, "262220")
    assert api.refused("GET", "/private/cli/volume/snapshot?fields=colour") == (400, "262197")


def test_volume_show_and_version(api: Api) -> None:
    found = api.ok("GET", "/private/cli/volume?vserver=svm1&fields=junction-path,type")["records"]
    assert {item["volume"]: item.get("junction_path") for item in found}["kvm_nested"] == "/kvm_vol1/nested"
    assert {item["type"] for item in found} == {"RW"}
    assert "9.19.1" in api.ok("GET", "/private/cli/version")["cli_output"]
