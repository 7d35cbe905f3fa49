# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is where on the simulated array, and single files brought back out of a snapshot; the bytes are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    OntapDeniedError,
    OntapError,
    OutcomeUnknownError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import (
    clone_file,
    refuses_method,
    restore_file_cli,
    restore_file_rest,
    stat_file,
    unlicensed_methods,
    wait_restored,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.network import find_lifs, lifs_by_address
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import read_snapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import (
    Volume,
    VolumeRef,
    find_volumes,
    list_volumes,
    volume_by_junction,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
from ontapsim.testing import Running

PATH = "dir 1/a.b%2F,*.img"
OLD, NEW = b"as it was" * 1000, b"as it became" * 500
PASSWORDS = {"admin": "lab-Admin1", "kvmsnap": "lab-Kvmsnap1", "kvmsnap_cli": "lab-Cli1", "vsadmin": "lab-Vsadmin1"}


def log_in(sim: Running, user: str) -> Client:
    """Log in at the simulator as one of its users; re-runs come quickly."""
    option = {"hostname": "127.0.0.1", "port": sim.port, "username": user, "password": PASSWORDS[user]}
    controller = Controller.from_option({**option, "ca_path": sim.ca_pem})
    return connect(controller, policy=RetryPolicy(first_delay=0.01, max_delay=0.02))


@pytest.fixture
def client(sim: Running) -> Iterator[Client]:
    """A client of the least-privilege user."""
    with log_in(sim, "kvmsnap") as logged_in:
        sim.control.clear_requests()
        yield logged_in


@pytest.fixture
def root(sim: Running) -> Path:
    """The root directory of kvm_vol1, with an image and its neighbour that changed since the snapshot s1."""
    directory = sim.volume_root("svm1", "kvm_vol1")
    (directory / "dir 1").mkdir(exist_ok=True)
    (directory / "later.img").unlink(missing_ok=True)
    for path in (PATH, "neighbour.img"):
        (directory / path).write_bytes(OLD)
    with log_in(sim, "admin") as admin:
        ((_client, volume),) = find_volumes([admin], [VolumeRef("svm1", "kvm_vol1")])
        old = read_snapshot(admin, volume, name="s1", deadline=Deadline.after(10.0))
        if old:
            admin.delete(f"/storage/volumes/{volume.uuid}/snapshots/{old.uuid}")
    sim.control.add_snapshot("svm1", "kvm_vol1", "s1")
    for path in (PATH, "neighbour.img"):
        (directory / path).write_bytes(NEW)
    sim.control.clear_requests()
    return directory


def place(client: Client) -> Volume:
    """Return kvm_vol1."""
    ((_client, volume),) = find_volumes([client], [VolumeRef("svm1", "kvm_vol1")])
    return volume


def test_the_volumes_of_an_svm_come_in_one_call(sim: Running, client: Client) -> None:
    volumes = {volume.name: volume for volume in list_volumes(client, svms=["svm1"])}
    assert {name: volume.junction for name, volume in volumes.items()} == {
        "svm1_root": "/",
        "kvm_vol1": "/kvm_vol1",
        "kvm_vol2": "/kvm_vol2",
        "kvm_nested": "/kvm_vol1/nested",
        "kvm_san1": None,
        "kvm_san2": None,
    }
    assert (volumes["kvm_vol1"].size, volumes["kvm_vol1"].svm, volumes["svm1_root"].is_svm_root) == (
        10 << 30,
        "svm1",
        True,
    )
    assert len(sim.control.requests()) == 1
    found = volume_by_junction(volumes.values(), "/kvm_vol1/nested/guest/a.img")
    assert found == (volumes["kvm_nested"], "guest/a.img")


@pytest.mark.parametrize("version", ["9.11.1", "9.12.1", "9.19.1"])
def test_every_release_is_asked_only_for_what_it_knows(sim: Running, version: str) -> None:
    sim.control.set_version(version)
    with log_in(sim, "kvmsnap") as client:
        volume = place(client)
        assert volume.snapshot_locking is False
        assert read_snapshot(client, volume, name="nowhere", deadline=Deadline.after(10.0)) is None
        assert stat_file(client, volume, "nowhere") is None
        assert find_lifs(client, ["198.51.100.21"])[0].name == "svm1-nfs"


def test_an_svm_that_is_not_there_has_no_volumes(client: Client) -> None:
    assert list_volumes(client, svms=["svm9"]) == []


def test_lifs_are_found_by_address_in_one_call(sim: Running, client: Client) -> None:
    found = find_lifs(client, ["198.51.100.21", "203.0.113.21", "198.51.100.22", "192.0.2.1"])
    assert {(lif.address, lif.svm, lif.name, lif.serves_nfs) for lif in found} == {
        ("198.51.100.21", "svm1", "svm1-nfs", True),
        ("203.0.113.21", "svm1", "svm1-nfs-b", True),
        ("198.51.100.22", "svm2", "svm2-nfs", True),
    }
    assert len(sim.control.requests()) == 1
    assert find_lifs(client, []) == []
    assert len(sim.control.requests()) == 1


def test_an_address_that_two_svms_have(sim: Running, client: Client) -> None:
    sim.control.change_lif("svm2-nfs", address="198.51.100.21", ipspace="blue")
    try:
        found = lifs_by_address(find_lifs(client, ["198.51.100.21"]))
    finally:
        sim.control.change_lif("svm2-nfs", address="198.51.100.22", ipspace="Default")
    assert sorted((str(lif.svm), str(lif.ipspace)) for lif in found["198.51.100.21"]) == [
        ("svm1", "Default"),
        ("svm2", "blue"),
    ]


def test_a_file_is_looked_at_now_and_then(root: Path, client: Client) -> None:
    volume = place(client)
    now, then = stat_file(client, volume, PATH), stat_file(client, volume, PATH, snapshot="s1")
    assert now is not None
    assert then is not None
    assert (now.path, now.type, now.size, then.size) == (PATH, "file", len(NEW), len(OLD))
    assert now.inode == (root / PATH).stat().st_ino


@pytest.mark.parametrize(("path", "snapshot"), [("nowhere.img", None), ("nowhere.img", "s1"), (PATH, "s9")])
def test_a_file_that_is_not_there(root: Path, client: Client, path: str, snapshot: str | None) -> None:
    assert stat_file(client, place(client), path, snapshot=snapshot) is None
    assert (root / PATH).exists()


@pytest.mark.parametrize("path", ["..", "../svm2/x", "/etc/passwd", "", ".snapshot/s1/x", "a//b"])
def test_no_path_leads_out_of_the_volume(sim: Running, client: Client, path: str) -> None:
    volume = place(client)
    sim.control.clear_requests()
    calls: list[Callable[[], Any]] = [
        lambda: stat_file(client, volume, path),
        lambda: clone_file(client, volume, snapshot="s1", source=path, destination="a", overwrite=True),
        lambda: clone_file(client, volume, snapshot="s1", source="a", destination=path, overwrite=True),
        lambda: restore_file_cli(client, volume, snapshot="s1", path=path),
        lambda: restore_file_cli(client, volume, snapshot="s1", path="a", restore_path=path),
        lambda: restore_file_rest(client, volume, snapshot="s1", path=path),
        lambda: restore_file_rest(client, volume, snapshot="s1", path="a", restore_path=path),
    ]
    for call in calls:
        with pytest.raises(InputError, match="as a path inside a volume"):
            call()
    assert sim.control.requests() == []


JOBS: list[str] = []


def clone(client: Client, path: str = PATH) -> None:
    """Bring the file back by a clone."""
    clone_file(client, place(client), snapshot="s1", source=path, destination=path, begun=JOBS.append, overwrite=True)


def cli(client: Client, path: str = PATH) -> None:
    """Bring the file back by the CLI's SnapRestore."""
    restore_file_cli(client, place(client), snapshot="s1", path=path, begun=JOBS.append)


def rest(client: Client, path: str = PATH) -> None:
    """Bring the file back by SnapRestore over REST."""
    restore_file_rest(client, place(client), snapshot="s1", path=path, begun=JOBS.append)


WAYS = pytest.mark.parametrize(("user", "restore"), [("kvmsnap", clone), ("kvmsnap_cli", cli), ("admin", rest)])


@WAYS
def test_a_file_comes_back_and_its_neighbour_stays(
    sim: Running, root: Path, user: str, restore: Callable[[Client], None]
) -> None:
    with log_in(sim, user) as client:
        restore(client)
    assert (root / PATH).read_bytes() == OLD
    assert (root / "neighbour.img").read_bytes() == NEW
    assert sim.control.sha256("svm1", "kvm_vol1", PATH) == sim.control.sha256("svm1", "kvm_vol1", PATH, "s1")


@pytest.mark.parametrize("returns_job", [True, False])
def test_the_cli_may_answer_with_a_job_or_without(sim: Running, root: Path, returns_job: bool) -> None:
    sim.control.set_switches(cli_restore_returns_job=returns_job)
    with log_in(sim, "kvmsnap_cli") as client:
        cli(client)
    assert (root / PATH).read_bytes() == OLD


@pytest.mark.parametrize(("user", "restore"), [("kvmsnap_cli", cli), ("admin", rest)])
def test_a_restore_in_the_background_is_waited_for(
    sim: Running, root: Path, user: str, restore: Callable[[Client], None]
) -> None:
    sim.control.set_switches(sfsr_seconds=0.3, sfsr_bytes_at_end=True)
    with log_in(sim, user) as client:
        restore(client)
        assert (root / PATH).read_bytes() == NEW
        volume = place(client)
        snapshot = read_snapshot(client, volume, name="s1", deadline=Deadline.after(10.0))
        assert snapshot is not None
        with pytest.raises(OutcomeUnknownError, match="still under way"):
            wait_restored(client, volume, snapshot_uuid=snapshot.uuid, deadline=Deadline.after(0.1))
        wait_restored(client, volume, snapshot_uuid=snapshot.uuid)
    assert (root / PATH).read_bytes() == OLD


@pytest.mark.parametrize("restore", [clone, rest])
def test_a_file_can_come_back_beside_itself(sim: Running, root: Path, restore: Callable[[Client], None]) -> None:
    beside = f"beside-{restore.__name__}.img"
    with log_in(sim, "admin") as client:
        volume = place(client)
        if restore is clone:
            clone_file(client, volume, snapshot="s1", source=PATH, destination=beside, overwrite=False)
        else:
            restore_file_rest(client, volume, snapshot="s1", path=PATH, restore_path=beside)
    assert (root / beside).read_bytes() == OLD
    assert (root / PATH).read_bytes() == NEW
    (root / beside).unlink()


def test_a_clone_overwrites_only_when_told(root: Path, client: Client) -> None:
    with pytest.raises(OntapError, match="on svm1:kvm_vol1: "):
        clone_file(
            client, place(client), snapshot="s1", source="neighbour.img", destination="neighbour.img", overwrite=False
        )
    assert (root / "neighbour.img").read_bytes() == NEW


@pytest.mark.parametrize(
    "fault", [("drop_before", {}), ("drop_after", {}), ("burst", {"status": 503}), ("status", {"status": 500})]
)
def test_an_overwriting_clone_is_asked_for_once(
    sim: Running, client: Client, fault: tuple[str, dict[str, Any]]
) -> None:
    kind, how = fault
    sim.control.add_fault(kind, match={"method": "POST", "count": 1}, **how)
    with pytest.raises(OutcomeUnknownError):
        clone(client)
    assert len([each for each in sim.control.requests() if each["path"].endswith("/storage/file/clone")]) == 1


def test_the_job_of_an_overwriting_clone_is_told(root: Path, client: Client) -> None:
    JOBS.clear()
    clone(client)
    assert len(JOBS) == 1
    found = client.job(JOBS[0])
    assert found is not None
    assert found.ended


@pytest.mark.parametrize("overwrites", [clone_file, restore_file_cli, restore_file_rest])
def test_nothing_overwrites_without_its_job_being_told(client: Client, overwrites: Callable[..., None]) -> None:
    asked = {"path": PATH} if overwrites is not clone_file else {"source": PATH, "destination": PATH, "overwrite": True}
    with pytest.raises(ValueError, match="must be written down"):
        overwrites(client, place(client), snapshot="s1", **asked)


@pytest.mark.parametrize(("user", "restore"), [("kvmsnap_cli", cli), ("admin", rest)])
def test_a_snaprestore_whose_answer_got_lost_is_not_done_again(
    sim: Running, root: Path, user: str, restore: Callable[[Client], None]
) -> None:
    with log_in(sim, user) as client:
        sim.control.add_fault("drop_after", match={"count": 1, "path": "restore-file|volumes/[0-9a-f-]+$"})
        with pytest.raises(OutcomeUnknownError) as caught:
            restore(client)
    assert refuses_method(caught.value) is False
    assert (root / "neighbour.img").read_bytes() == NEW


@pytest.mark.parametrize(("user", "restore"), [("vsadmin", cli), ("kvmsnap", cli), ("kvmsnap", rest)])
def test_a_right_that_is_missing_leads_to_the_next_way(
    sim: Running, root: Path, user: str, restore: Callable[[Client], None]
) -> None:
    with log_in(sim, user) as client:
        if user == "vsadmin":
            restore(client)
            assert (root / PATH).read_bytes() == OLD
            return
        with pytest.raises(OntapDeniedError) as caught:
            restore(client)
    assert refuses_method(caught.value) is True
    assert (root / PATH).read_bytes() == NEW


@pytest.mark.parametrize(
    ("licenses", "lacking"),
    [
        ({}, frozenset()),
        ({"flexclone": False}, {"file_clone"}),
        ({"snaprestore": False}, {"sfsr", "sfsr_cli"}),
        ({"flexclone": False, "snaprestore": False}, {"file_clone", "sfsr", "sfsr_cli"}),
    ],
)
def test_the_licences_that_are_missing(
    sim: Running, client: Client, licenses: dict[str, bool], lacking: set[str]
) -> None:
    sim.control.set_switches(licenses=licenses)
    assert unlicensed_methods(client) == lacking


def test_an_account_that_may_not_see_licences_has_them_all(sim: Running) -> None:
    sim.control.set_switches(licenses={"flexclone": False})
    with log_in(sim, "vsadmin") as client:
        assert unlicensed_methods(client) == frozenset()


def test_a_clone_without_a_licence_leads_to_the_next_way(sim: Running, root: Path, client: Client) -> None:
    sim.control.set_switches(licenses={"flexclone": False})
    with pytest.raises(OntapError) as caught:
        clone(client)
    assert refuses_method(caught.value) is True
    assert (root / PATH).read_bytes() == NEW


@WAYS
def test_a_file_that_the_snapshot_lacks(sim: Running, root: Path, user: str, restore: Callable[..., None]) -> None:
    (root / "later.img").write_bytes(NEW)
    with log_in(sim, user) as client, pytest.raises(OntapError) as caught:
        restore(client, "later.img")
    assert refuses_method(caught.value) is False
    assert (root / "later.img").read_bytes() == NEW
    assert caught.value.fields["snapshot"] == "s1"
