# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUNs brought back on the simulated array: the bytes, the identity, the neighbours, and breaks in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from hurried import Hurry

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import lun_restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import stat_file
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import LunNow, StillOpenError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity, lun_by_path, lun_maps
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import read_snapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, VolumeRef, find_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
from ontapsim.testing import Running

PASSWORDS = {"admin": "lab-Admin1", "kvmsnap": "lab-Kvmsnap1"}
PATH, NEIGHBOUR = "dir/guest.a", "dir/guest.b"
SIZE = 1 << 20
THEN, NOW = b"then" * (SIZE // 4), b"now!" * (SIZE // 4)


def log_in(sim: Running, user: str) -> Client:
    """Log in as one of the array's users; re-runs come quickly, and pauses are short."""
    option = {"hostname": "127.0.0.1", "port": sim.port, "username": user, "password": PASSWORDS[user]}
    controller = Controller.from_option({**option, "ca_path": sim.ca_pem})
    return connect(controller, policy=RetryPolicy(first_delay=0.01, max_delay=0.02), clock=Hurry(10.0).clock)


@pytest.fixture
def client(sim: Running) -> Iterator[Client]:
    """A client of the least-privilege user."""
    with log_in(sim, "kvmsnap") as logged_in:
        yield logged_in


@pytest.fixture
def root(sim: Running) -> Path:
    """The directory of kvm_san2, with two mapped LUNs that changed since the snapshot s1."""
    directory = sim.volume_root("svm1", "kvm_san2")
    (directory / "dir").mkdir(exist_ok=True)
    with log_in(sim, "admin") as admin:
        volume = place(admin)
        for record in admin.records("/storage/luns", {"location.volume.uuid": volume.uuid}):
            admin.delete(f"/storage/luns/{record['uuid']}", {"allow_delete_while_mapped": True})
        old = read_snapshot(admin, volume, name="s1", deadline=Deadline.after(10.0))
        if old:
            admin.delete(f"/storage/volumes/{volume.uuid}/snapshots/{old.uuid}")
        for path in (PATH, NEIGHBOUR):
            name = f"/vol/kvm_san2/{path}"
            body = {"svm": {"name": "svm1"}, "name": name, "os_type": "linux", "space": {"size": SIZE}}
            admin.post("/storage/luns", None, body)
            mapping = {"svm": {"name": "svm1"}, "lun": {"name": name}, "igroup": {"name": "hv1"}}
            admin.post("/protocols/san/lun-maps", None, mapping)
            (directory / path).write_bytes(THEN)
        sim.control.add_snapshot("svm1", "kvm_san2", "s1")
        for path in (PATH, NEIGHBOUR):
            with (directory / path).open("r+b") as stream:
                stream.write(NOW)
    return directory


def place(client: Client) -> Volume:
    """Return kvm_san2."""
    ((_client, volume),) = find_volumes([client], [VolumeRef("svm1", "kvm_san2")])
    return volume


def identity(client: Client) -> LunIdentity:
    """Return what the array says of the LUN now."""
    lun = lun_by_path(client, svm="svm1", name=f"/vol/kvm_san2/{PATH}")
    assert lun is not None
    return lun.identity(device="")


def restored(client: Client, *, restore_id: str = "r1", look: Any = None, unknown_wait: float = 20.0) -> Optional[str]:
    """Bring the LUN back to s1."""
    return lun_restore.clone_over(
        client,
        place(client),
        path=PATH,
        identity=identity(client),
        snapshot="s1",
        snapshot_uuid="s1-uuid",
        restore_id=restore_id,
        look=look or (lambda _lun: None),
        deadline=Deadline.after(20.0, client.clock),
        unknown_wait=unknown_wait,
        settle=0.1,
    )


def names(client: Client) -> list[str]:
    """Return the LUNs of the volume."""
    records = client.records("/storage/luns", {"location.volume.uuid": place(client).uuid}, fields=["name"])
    return sorted(record["name"].removeprefix("/vol/kvm_san2/") for record in records)


def test_the_bytes_are_back_and_the_lun_is_the_same(root: Path, client: Client) -> None:
    before, maps = identity(client), lun_maps(client, [identity(client).uuid])
    assert len(maps) == 1
    assert restored(client) is None
    assert (root / PATH).read_bytes() == THEN
    assert (root / NEIGHBOUR).read_bytes() == NOW
    assert (identity(client), lun_maps(client, [before.uuid])) == (before, maps)
    assert names(client) == [PATH, NEIGHBOUR]


def test_qos_policy_reservation_and_thin_provisioning_outlast_the_overwrite(
    sim: Running, root: Path, client: Client
) -> None:
    uuid = identity(client).uuid
    space = {"guarantee": {"requested": True}, "scsi_thin_provisioning_support_enabled": True}
    body = {"qos_policy": {"name": "gold"}, "space": space, "comment": "mine"}
    client.patch(f"/storage/luns/{uuid}", None, body, retry_safe=True)
    before = lun_restore.read_lun(client, uuid)
    assert restored(client) is None
    after = lun_restore.read_lun(client, uuid)
    assert before is not None
    assert after is not None
    assert (after.qos_policy, after.reserved, after.unmaps, after.enabled) == ("gold", True, True, True)
    assert lun_restore.settings_lost(before, after) == ()
    assert (root / PATH).read_bytes() == THEN


def test_the_temporary_clone_shows_what_the_lun_will_hold(root: Path, client: Client) -> None:
    seen: list[bytes] = []

    def look(clone: LunNow) -> None:
        assert lun_restore.differences(identity(client), clone)[0].startswith("its uuid is")
        seen.append(lun_restore.read_data(client, clone, SIZE - 512, length=4096))
        assert (root / PATH).read_bytes() == NOW

    assert restored(client, look=look) is None
    assert seen == [THEN[-512:]]


@pytest.mark.parametrize(("kind", "bytes_then"), [("drop_before", NOW), ("drop_after", THEN)])
def test_an_overwrite_without_an_answer_is_not_repeated_and_over(
    sim: Running, root: Path, client: Client, kind: str, bytes_then: bytes
) -> None:
    sim.control.add_fault(kind, match={"method": "PATCH", "path": "/storage/luns", "count": 1})
    assert "was not answered" in str(restored(client))
    assert (root / PATH).read_bytes() == bytes_then
    assert names(client) == [PATH, NEIGHBOUR]


def begun(sim: Running, seconds: float) -> None:
    """Let the next overwrite be begun at once, unanswered, and end late."""
    match = {"method": "PATCH", "path": "/storage/luns", "count": 1}
    sim.control.add_fault("late", match=match, seconds=seconds, answer="drop", begun=True)


def test_the_end_of_an_overwrite_that_had_begun_is_awaited(sim: Running, root: Path, client: Client) -> None:
    begun(sim, 0.6)
    assert "was not answered" in str(restored(client))
    assert sim.control.late()[-1]["status"] == 200, "it ended before the restore went on"
    assert (root / PATH).read_bytes() == THEN
    assert names(client) == [PATH, NEIGHBOUR]


def test_an_overwrite_that_goes_on_leaves_its_fate_unknown(sim: Running, root: Path, client: Client) -> None:
    begun(sim, 1.0)
    with pytest.raises(StillOpenError, match=r"see the end of an overwrite of LUN .*7018919.* after 1 s"):
        restored(client, unknown_wait=1.0)
    assert (root / PATH).read_bytes() == NOW
    sim.control.settle()
    assert (root / PATH).read_bytes() == THEN


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_an_answer_that_got_lost_does_no_harm(sim: Running, root: Path, client: Client, method: str, kind: str) -> None:
    sim.control.add_fault(kind, match={"method": method, "path": "/storage/luns", "count": 1})
    assert restored(client) is None
    assert (root / PATH).read_bytes() == THEN
    assert names(client) == [PATH, NEIGHBOUR]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_after_a_refusal_the_lun_is_as_it_was_and_nothing_is_left(
    sim: Running, root: Path, client: Client, method: str
) -> None:
    fault = {"status": 400, "code": "5374866", "message": "The LUN's volume is offline."}
    sim.control.add_fault("status", match={"method": method, "path": "/storage/luns"}, **fault)
    with pytest.raises(OntapError, match=r"5374866.*Bring the volume online"):
        restored(client)
    assert (root / PATH).read_bytes() == NOW
    assert names(client) == [PATH, NEIGHBOUR]


def test_a_clone_that_stays_is_named_and_the_next_restore_removes_it(sim: Running, root: Path, client: Client) -> None:
    fault = {"status": 403, "code": "6", "message": "not authorized for that command"}
    sim.control.add_fault("status", match={"method": "DELETE", "path": "/storage/luns"}, **fault)
    left = restored(client)
    assert left is not None
    (temporary,) = set(names(client)) - {PATH, NEIGHBOUR}
    assert f"svm1:/vol/kvm_san2/{temporary}" in left
    sim.control.clear_faults()
    assert restored(client, restore_id="r2") is None
    assert names(client) == [PATH, NEIGHBOUR]


def test_the_size_inside_the_snapshot_is_known_beforehand(root: Path, client: Client) -> None:
    found = stat_file(client, place(client), PATH, snapshot="s1")
    assert found is not None
    assert found.size == SIZE
    assert stat_file(client, place(client), "dir/none", snapshot="s1") is None
