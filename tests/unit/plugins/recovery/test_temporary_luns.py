# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Temporary LUNs of restores that were killed, on the simulated array: only this host's own are removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import GuestProgress, Journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import lun_restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import LunNow, TemporaryLun
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunMap, lun_by_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume, VolumeRef, find_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.run import RecoveryError, RecoveryRequest, recover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.temporary_luns import refusal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
from ontapsim.testing import Running

PATH = "luns/a"
TARGET = f"svm1:/vol/kvm_san1/{PATH}"
BEFORE = b"before" * 1000


def login(sim: Running, user: str = "kvmsnap", password: str = "lab-Kvmsnap1") -> dict[str, Any]:
    return {
        "hostname": "127.0.0.1",
        "port": sim.port,
        "username": user,
        "password": password,
        "ca_path": sim.ca_pem,
    }


class Scene:
    """A host with a catalog and the array, on which a LUN has changed since the snapshot."""

    def __init__(self, sim: Running, directory: Path, snapshot: str) -> None:
        self.sim, self.directory, self.snapshot = sim, directory, snapshot
        self.root = directory / "catalog"
        self.file = sim.volume_root("svm1", "kvm_san1") / PATH
        self.file.write_bytes(BEFORE.ljust(self.file.stat().st_size, b"\0"))
        sim.control.add_snapshot("svm1", "kvm_san1", snapshot)
        self.client: Client = connect(Controller.from_option(login(sim)), policy=RetryPolicy(0))
        ((_client, self.volume),) = find_volumes([self.client], [VolumeRef("svm1", "kvm_san1")])

    def killed_restore(self, restore_id: str = "r1", *, disks: tuple[str, ...] = (TARGET,)) -> str:
        """Leave what a restore leaves that is killed before it overwrites; return the temporary LUN's label."""
        record = Journal(restore_id, self.snapshot, {"u1": GuestProgress("running", disks=disks)})
        restore_journal.save(self.root, record)
        return self.temporary(restore_id)

    def temporary(self, restore_id: str) -> str:
        lun = lun_by_path(self.client, svm="svm1", name=f"/vol/kvm_san1/{PATH}")
        assert lun is not None
        path = lun_restore.temporary_path(PATH, restore_id=restore_id, lun_uuid=lun.uuid, snapshot_uuid="s-uuid")
        comment = f"kvmsnap: temporary clone of {lun.uuid} in snapshot s-uuid for restore {restore_id}"
        return self.made(path, comment=comment)

    def made(self, path: str, *, comment: str) -> str:
        """Make a LUN out of the snapshot, as a restore does."""
        name = f"/vol/kvm_san1/{path}"
        source = {"name": f"/vol/kvm_san1/.snapshot/{self.snapshot}/{PATH}"}
        body = {"svm": {"name": "svm1"}, "name": name, "comment": comment, "clone": {"source": source}}
        self.client.post("/storage/luns", None, body)
        return f"svm1:{name}"

    def luns(self) -> set[str]:
        return {f"svm1:{each['name']}" for each in self.sim.control.luns() if "/kvm_san1/" in each["name"]}

    def recover(self, *, check: bool = False, root: Path | None = None) -> dict[str, Any]:
        place: Volume = self.volume
        names = {"svm": place.svm, "svm_uuid": place.svm_uuid, "volume": place.name, "volume_uuid": place.uuid}
        options = {
            "controllers": [login(self.sim)],
            "owner": "hv1",
            "volumes": [{"controller": place.controller, **names}],
            "orphans": "keep",
            "safety_days": 30,
            "grace_period": 3600.0,
            "catalog_dir": str(root or self.root),
            "hold_dir": str(self.directory / "run" / "holds"),
            "freeze_timeout": 5,
            "agent_ping_timeout": 5,
            "retry_count": 0,
            "timeout": 30,
            "uri": "test:///default",
        }
        return recover(RecoveryRequest.from_options(options), check=check)

    def told(self, **how: Any) -> list[tuple[str, Any]]:
        """What recovery says of LUNs: each one's name, and what was done or is the matter."""
        found = [item for item in self.recover(**how)["leftovers"] if item["kind"] == "lun"]
        return [(item["name"], item["action"] or item["message"]) for item in found]


@pytest.fixture(name="scene")
def _scene(sim: Running, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A host whose array has no LUN more after a test than before."""
    pytest.importorskip("libvirt")
    (tmp_path / "run").mkdir()
    made = Scene(sim, tmp_path, f"b{abs(hash(request.node.name)) % 10**10}")
    before = made.luns()
    yield made
    sim.control.clear_faults()
    with connect(Controller.from_option(login(sim, "admin", "lab-Admin1")), policy=RetryPolicy(0)) as admin:
        for record in admin.records("/storage/luns", {"location.volume.uuid": made.volume.uuid}):
            if f"svm1:{record['name']}" not in before:
                admin.delete(f"/storage/luns/{record['uuid']}", {"allow_delete_while_mapped": True})
    made.client.close()


def test_it_is_shown_then_removed_then_gone(scene: Scene) -> None:
    before, content = scene.luns(), scene.file.read_bytes()
    left = scene.killed_restore()
    assert scene.luns() == before | {left}
    shown = scene.recover(check=True)
    assert (shown["changed"], scene.luns()) == (True, before | {left})
    assert f"lun {left}: a restore that broke off left it\n" in shown["diff"]["before"]
    assert left not in shown["diff"]["after"]
    assert scene.told() == [(left, "removed")]
    assert (scene.luns(), scene.file.read_bytes()) == (before, content)
    assert scene.told() == []
    assert scene.recover()["changed"] is False


def test_none_is_touched_while_a_restore_of_the_host_is_under_way(scene: Scene) -> None:
    left = scene.killed_restore()
    with restore_journal.alone(scene.root):
        assert scene.told() == []
    assert left in scene.luns()
    assert scene.told() == [(left, "removed")]


def test_a_restore_that_begins_meanwhile_keeps_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    left = scene.killed_restore()
    monkeypatch.setattr(restore_journal, "under_way", lambda _root: False)
    with (
        restore_journal.alone(scene.root),
        pytest.raises(RecoveryError, match="Another restore is under way on this host"),
    ):
        scene.recover()
    assert left in scene.luns()


@pytest.mark.parametrize("other", ["journal", "disk"])
def test_another_host_s_is_told_and_stays(scene: Scene, other: str, tmp_path: Path) -> None:
    """Its journal is on that host, and this one may have restored other LUNs under the same id."""
    left = scene.killed_restore(disks=(TARGET,) if other == "journal" else ("svm1:/vol/kvm_san1/luns/b",))
    found = scene.told(root=tmp_path / "elsewhere" if other == "journal" else None)
    assert found == [
        (left, f"a restore that broke off left it; no restore 'r1' of {TARGET} is known on this host"),
    ]
    assert left in scene.luns()


def test_somebody_s_lun_of_such_a_name_stays(scene: Scene) -> None:
    scene.killed_restore()
    own = scene.made("luns/kvmsnap-tmp-mine", comment="do not touch")
    assert dict(scene.told())[own].endswith("its comment 'do not touch' are not those of a restore of ours")
    assert own in scene.luns()


def test_a_mapped_one_stays(scene: Scene) -> None:
    left = scene.killed_restore()
    mapping = {"svm": {"name": "svm1"}, "lun": {"name": left.partition(":")[2]}, "igroup": {"name": "hv1"}}
    scene.client.post("/protocols/san/lun-maps", None, mapping)
    assert scene.told() == [(left, "a restore that broke off left it; it is mapped to hv1, which no restore does")]
    assert left in scene.luns()


def test_one_that_cannot_be_deleted_is_an_error(scene: Scene) -> None:
    left = scene.killed_restore()
    fault = {"status": 500, "code": "1", "message": "no"}
    scene.sim.control.add_fault("status", match={"method": "DELETE", "path": "/storage/luns"}, **fault)
    with pytest.raises(RecoveryError, match=r"delete the temporary LUN .*no \(ONTAP code 1\)"):
        scene.recover()
    assert left in scene.luns()


def test_a_restore_that_was_killed_indeed_leaves_what_is_looked_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name and the comment are those of the code that restores."""
    before = scene.luns()
    lun = lun_by_path(scene.client, svm="svm1", name=f"/vol/kvm_san1/{PATH}")
    assert lun is not None

    def killed(_lun: LunNow) -> None:
        raise SystemExit(9)

    scene.killed_restore("r0")
    with monkeypatch.context() as patched:
        patched.setattr(lun_restore, "_removed", lambda *_arguments: None)
        with pytest.raises(SystemExit):
            lun_restore.clone_over(
                scene.client,
                scene.volume,
                path=PATH,
                identity=lun.identity(device=""),
                snapshot=scene.snapshot,
                snapshot_uuid="s-uuid",
                restore_id="r0",
                look=killed,
                deadline=Deadline.after(20.0),
            )
    assert len(scene.luns() - before) == 1
    assert [remedy for _name, remedy in scene.told()] == ["removed"]
    assert scene.luns() == before


LUN = LunNow("t-uuid", "/vol/v/kvmsnap-tmp-r1-0", "c", 1, "s", "linux", "v-uuid")
OURS = TemporaryLun(LUN, "svm1", "l-uuid", "r1")
RECORD = Journal("r1", "b1", {"u1": GuestProgress("running", disks=("svm1:/vol/v/a", "svm1:/vol/v/b"))})
MAP = LunMap("t-uuid", LUN.name, "hv7", "g-uuid", 3, ())


@pytest.mark.parametrize(
    ("found", "record", "target", "maps", "said"),
    [
        (OURS, RECORD, "svm1:/vol/v/b", [], None),
        (replace(OURS, of="", restore_id=""), RECORD, "svm1:/vol/v/b", [], "its name and its comment 'c' are not"),
        (OURS, None, "svm1:/vol/v/b", [], "no restore 'r1' of svm1:/vol/v/b is known"),
        (OURS, RECORD, "svm1:/vol/v/c", [], "no restore 'r1' of svm1:/vol/v/c is known"),
        (OURS, RECORD, "", [], "no restore 'r1' of its LUN, which is gone, is known"),
        (OURS, RECORD, "svm1:/vol/v/b", [MAP], "it is mapped to hv7"),
    ],
)
def test_why_one_stays(
    found: TemporaryLun, record: Journal | None, target: str, maps: list[LunMap], said: str | None
) -> None:
    reason = refusal(found, record, target, maps)
    assert (reason is None) if said is None else (reason or "").startswith(said)


FOR_R1 = lun_restore.temporary_path("a", restore_id="r1", lun_uuid="u-1", snapshot_uuid="s-1")
FOR_UNDO = lun_restore.temporary_path("a", restore_id="hv1 safety.undo", lun_uuid="u-1", snapshot_uuid="s-1")


@pytest.mark.parametrize(
    ("name", "comment", "expected"),
    [
        (FOR_R1, "kvmsnap: temporary clone of u-1 in snapshot s-1 for restore r1", ("u-1", "r1")),
        (
            FOR_UNDO,
            "kvmsnap: temporary clone of u-1 in snapshot s-1 for restore hv1 safety.undo",
            ("u-1", "hv1 safety.undo"),
        ),
        (FOR_R1, "kvmsnap: temporary clone of u-1 in snapshot s-1 for restore r2", ("", "")),
        (FOR_R1, "kvmsnap: temporary clone of u-2 in snapshot s-1 for restore r1", ("", "")),
        (f"{FOR_R1}-kept", "kvmsnap: temporary clone of u-1 in snapshot s-1 for restore r1", ("", "")),
        (FOR_R1, "kvmsnap: temporary clone of u-1 in snapshot s-2 for restore r1", ("", "")),
        (FOR_R1, "kvmsnap: temporary clone of u-1 for restore r1", ("", "")),
        (FOR_R1, "kvmsnap: temporary clone of u-1", ("", "")),
        (FOR_R1, "my kvmsnap: temporary clone of u-1 in snapshot s-1 for restore r1", ("", "")),
        (FOR_R1, "", ("", "")),
    ],
)
def test_what_a_name_and_a_comment_tell(name: str, comment: str, expected: tuple[str, str]) -> None:
    record = {"uuid": "t", "name": f"/vol/v/{name}", "comment": comment, "svm": {"name": "svm1"}}
    found = TemporaryLun.from_record(record)
    assert (found.of, found.restore_id, found.label) == (*expected, f"svm1:/vol/v/{name}")
