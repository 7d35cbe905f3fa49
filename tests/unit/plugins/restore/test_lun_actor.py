# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A LUN under a restore: what must hold before it is written, and what is compared afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Optional

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Pending, TemporaryFile
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import lun_device
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import SAMPLE_BYTES
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_device import (
    DeviceError,
    MapPath,
    MapState,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import lun_restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapDeniedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.storage import Storage
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import lun_actor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.actor import CheckFailedError, Verified
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.lun_actor import LunActor
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import DiskRestore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock

SERIAL = "81C91$QXsh5a"
SIZE = SAMPLE_BYTES * 3
DEVICE = "/dev/mapper/mpatha"
VOLUME = Volume("cluster1", "svm1", "svm1-uuid", "vol1", "vol1-uuid")
LUN = {"uuid": "lun-1", "serial": SERIAL, "wwid": wwid_of(SERIAL), "size": SIZE, "os_type": "linux", "device": DEVICE}
PLACE = Storage.from_record(samples.storage("vol1", "a", kind="lun", mount_point=None, lun=LUN))
DISK = DiskRestore("vda", "raw", PLACE, DEVICE, None, samples.BACKUP, "vol1-snap", SIZE)
WHOLE = replace(DISK, verify="full")
THEN, NOW = b"t" * SAMPLE_BYTES, b"n" * SAMPLE_BYTES


class World:
    """An array with the LUN, and the host's map of it; it stands in for the client, too."""

    name = "cluster1"
    clock = Clock()

    def __init__(self) -> None:
        self.record = {
            "uuid": "lun-1",
            "name": "/vol/vol1/a",
            "serial_number": SERIAL,
            "os_type": "linux",
            "space": {"size": SIZE},
            "location": {"volume": {"uuid": "vol1-uuid"}},
        }
        self.maps: list[dict[str, Any]] = [
            {"lun": {"uuid": "lun-1"}, "igroup": {"uuid": "ig-1"}, "logical_unit_number": 0}
        ]
        self.maps_refused: Optional[OntapDeniedError] = None
        self.obstacles: list[Problem] = []
        self.host = [NOW] * 3
        self.readable = True
        self.steps: list[str] = []
        self.noted: list[str] = []
        self.breaks: Optional[str] = None
        self.temporary: Optional[dict[str, Any]] = None
        self.gone = False

    def get(self, path: str, params: Mapping[str, Any], **_how: Any) -> dict[str, Any]:
        assert path == "/storage/luns/lun-1"
        if self.gone:
            raise OntapDeniedError("read", "no such LUN", ontap_code="4")
        return self.record

    def records(self, path: str, params: Mapping[str, Any], **_how: Any) -> list[dict[str, Any]]:
        if path == "/storage/luns":
            return [self.temporary] if self.temporary else []
        if self.maps_refused is not None:
            raise self.maps_refused
        return list(self.maps)

    def post(self, path: str, params: None, body: Mapping[str, Any], **_how: Any) -> dict[str, Any]:
        self.temporary = {**self.record, "uuid": "tmp-1", "name": body["name"], "comment": body["comment"]}
        return {}

    def change_once(self, method: str, path: str, params: None, body: Any, **_how: Any) -> dict[str, Any]:
        assert method == "PATCH"
        assert self.noted == ["tmp-1"], "it is sent before it is written down"
        self.host = [THEN] * 3
        self.steps.append("overwrite")
        return {}

    def delete(self, path: str, **_how: Any) -> dict[str, Any]:
        assert path == "/storage/luns/tmp-1"
        self.temporary = None
        return {}

    def get_bytes(self, path: str, params: Mapping[str, Any], **_how: Any) -> bytes:
        assert path == "/storage/luns/tmp-1"
        if not self.readable:
            raise OntapDeniedError("read data", "not allowed", ontap_code="6")
        offset = int(params["data.offset"])
        return (THEN * 3)[offset : offset + int(params["data.size"])]

    def step(self, name: str) -> None:
        self.steps.append(name)
        if self.breaks == name:
            raise DeviceError(f"Failed to {name}")

    def state(self, _device: str) -> MapState:
        return MapState(DEVICE, wwid_of(SERIAL), SIZE, True, (MapPath("sda", True),))

    def read_block(self, device: str, offset: int, *, length: int) -> bytes:
        assert device == DEVICE
        return b"".join(self.host)[offset : offset + length]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose host answers instead of this machine."""
    made = World()

    def paths(_look: Callable[[], MapState], *, before: MapState) -> None:
        made.step("paths")

    def sized(_look: Callable[[], MapState], *, size: int) -> None:
        assert size == SIZE
        made.step("size")

    def looked(device: str, *, wwid: str, off: bool) -> list[Problem]:
        assert (device, wwid, off) == (DEVICE, wwid_of(SERIAL), True)
        return made.obstacles

    monkeypatch.setattr(lun_device, "obstacles", looked)
    monkeypatch.setattr(lun_device, "map_state", made.state)
    monkeypatch.setattr(lun_device, "flush", lambda _state: made.step("flush"))
    monkeypatch.setattr(lun_device, "follow_size", sized)
    monkeypatch.setattr(lun_device, "wait_paths", paths)
    monkeypatch.setattr(lun_device, "read_block", made.read_block)
    return made


class OpenGate(Gate):
    """A gate on a host where nobody uses anything."""

    def __init__(self) -> None:
        super().__init__(connect=lambda: None)  # type: ignore[arg-type,return-value]

    def refuse_used(self, *_what: Any, **_how: Any) -> tuple[Any, ...]:
        return ()


class Written:
    """What an actor writes down: the clones out of which it is about to overwrite."""

    def __init__(self, world: World) -> None:
        self._world = world

    def temporary(self, file: TemporaryFile) -> None:
        raise AssertionError(file)

    def no_temporary(self, file: TemporaryFile) -> None:
        raise AssertionError(file)

    def pending(self, disk: str, request: Optional[Pending]) -> None:
        assert disk == DISK.label
        self._world.noted += [request.source] if request else []


def new_actor() -> LunActor:
    return LunActor("r1", OpenGate(), Claim(frozenset()), timeout=60, unknown_wait=1)


def restored(world: Any, *, disk: DiskRestore = DISK) -> tuple[LunActor, tuple[str, ...]]:
    """Do all that is done before a LUN is compared."""
    actor = new_actor()
    actor.prepare(world, VOLUME, disk)
    notes = actor.overwrite(world, VOLUME, disk, Written(world), Pending(disk.label, "lun", "now"))
    actor.settle(disk)
    return actor, notes


def verified(world: Any, actor: LunActor, disk: DiskRestore = DISK) -> Verified:
    return actor.verify(world, VOLUME, disk)


def refusal(said: str) -> str:
    """The pattern of what is said of a LUN that is not as it should be."""
    return f"^Failed to check restored LUN {DISK.label}: {said}$"


def test_caches_are_dropped_before_and_after_and_the_content_is_compared(world: World) -> None:
    actor, notes = restored(world)
    assert world.steps == ["flush", "overwrite", "flush", "size", "paths"]
    assert (verified(world, actor), notes) == (Verified("identity and sampled blocks"), ())
    assert world.temporary is None


@pytest.mark.parametrize("block", [0, 1, 2])
def test_a_block_that_this_host_reads_otherwise_is_found(world: World, block: int) -> None:
    actor, _notes = restored(world)
    world.host[block] = NOW
    with pytest.raises(
        CheckFailedError, match=refusal(f"it differs from {samples.BACKUP} at byte {block * SAMPLE_BYTES}")
    ):
        verified(world, actor)


def test_where_the_content_cannot_be_read_the_result_says_so(world: World) -> None:
    world.readable = False
    actor, _notes = restored(world)
    said = verified(world, actor).what
    assert said.startswith("identity; content not compared: Failed to read LUN /vol/vol1/kvmsnap-tmp-r1-")


def test_a_lun_that_was_restored_by_another_way_is_compared_by_identity(world: Any) -> None:
    actor = new_actor()
    actor.prepare(world, VOLUME, DISK)
    said = "identity; content not compared: the LUN was not restored through a clone"
    assert verified(world, actor).what == said
    with pytest.raises(CheckFailedError, match=f"all of it was to be compared, and only {said} was"):
        verified(world, actor, WHOLE)


def test_all_of_it_is_compared_part_by_part_when_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lun_actor, "PART_BYTES", SAMPLE_BYTES * 2)
    monkeypatch.setattr(lun_restore, "BLOCK_LIMIT", SAMPLE_BYTES)
    actor, _notes = restored(world, disk=WHOLE)
    whole = hashlib.sha256(THEN * 3).hexdigest()
    assert verified(world, actor, WHOLE) == Verified("identity and all content", whole)
    world.host[2] = THEN[:-1] + b"!"
    with pytest.raises(CheckFailedError, match=refusal(f"it differs from {samples.BACKUP} at byte {SAMPLE_BYTES * 2}")):
        verified(world, actor, WHOLE)


def test_nothing_is_overwritten_when_all_is_to_be_compared_and_cannot_be_read(world: World) -> None:
    world.readable = False
    with pytest.raises(OntapDeniedError, match="not allowed"):
        restored(world, disk=WHOLE)
    assert (world.steps, world.temporary) == (["flush"], None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"serial_number": "other"}, "its serial is other and was 81C91"),
        ({"space": {"size": 512}}, f"its size is 512 and was {SIZE}"),
        ({"os_type": "aix"}, "its os_type is aix"),
        ({"name": "/vol/vol1/b"}, "it is /vol/vol1/b now"),
        ({"name": "/vol/vol2/a"}, "it is /vol/vol2/a now"),
    ],
)
def test_another_lun_is_not_touched(world: Any, change: dict[str, Any], said: str) -> None:
    world.record.update(change)
    with pytest.raises(KvmsnapError, match=f"Failed to restore LUN svm1:/vol/vol1/a: {said}"):
        restored(world)
    assert world.steps == []


def test_a_lun_that_is_gone_is_told(world: World) -> None:
    world.gone = True
    with pytest.raises(KvmsnapError, match="it is not there any more"):
        restored(world)
    assert world.steps == []


def test_an_obstacle_stops_before_anything_is_touched(world: World) -> None:
    world.obstacles = [Problem("lun-in-use", "error", "something has it open", "End it.")]
    with pytest.raises(KvmsnapError, match=r"something has it open\. End it\."):
        restored(world)
    assert world.steps == []


def test_a_host_that_does_not_answer_is_told_of_the_lun(world: World) -> None:
    world.breaks = "paths"
    with pytest.raises(KvmsnapError, match="Failed to settle LUN svm1:/vol/vol1/a: Failed to paths"):
        restored(world)


def test_maps_that_changed_are_noticed_and_unreadable_ones_are_not_held_against_it(world: World) -> None:
    actor, _notes = restored(world)
    world.maps = []
    with pytest.raises(CheckFailedError, match=refusal("it is mapped otherwise than before")):
        verified(world, actor)
    world.maps_refused = OntapDeniedError("list", "not allowed", ontap_code="6")
    assert verified(world, actor).what == "identity and sampled blocks"


def test_settings_that_did_not_outlast_the_overwrite_are_told(world: Any) -> None:
    world.record.update(qos_policy={"name": "gold", "uuid": "q-1"}, enabled=True)
    actor, _notes = restored(world)
    assert verified(world, actor).notes == ()
    del world.record["qos_policy"]
    (said,) = verified(world, actor).notes
    assert said == "the QoS policy of LUN /vol/vol1/a is none and was gold: set it again"


def test_what_is_no_lun_is_an_error_of_the_caller(world: World) -> None:
    with pytest.raises(TypeError):
        restored(world, disk=replace(DISK, storage=Storage.from_record(samples.storage())))
