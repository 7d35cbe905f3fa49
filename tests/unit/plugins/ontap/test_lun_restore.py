# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A LUN brought back through a temporary clone: its identity, what is left behind, and what is never deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import UNDO
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import lun_restore
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    OntapDeniedError,
    OntapError,
    OutcomeUnknownError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.jobs import Job
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import StillOpenError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import LunIdentity, wwid_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import Expression
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import Outcome
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.request import MAX_RESTORE_ID
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline

SIZE = 1 << 26
SERIAL = "81C91$QXsh5a"
IDENTITY = LunIdentity("lun-1", SERIAL, wwid_of(SERIAL), SIZE, "linux", "/dev/mapper/a")
VOLUME = Volume("cluster1", "svm1", "svm1-uuid", "san1", "san1-uuid")
SOURCE = "/vol/san1/.snapshot/s1/dir/a"
TARGET = "/vol/san1/dir/a"


OWN = {"uuid": "lun-1", "name": TARGET, "serial_number": SERIAL}
"""What an overwritten LUN keeps in any case; all else is taken from the source unless it is sent along."""


def record(uuid: str, name: str, **changes: Any) -> dict[str, Any]:
    """A LUN as ``GET /storage/luns`` tells it."""
    values = {
        "uuid": uuid,
        "name": name,
        "comment": "",
        "space": {"size": SIZE},
        "serial_number": SERIAL if uuid == "lun-1" else f"serial-{uuid:.5}"[:12],
        "os_type": "linux",
        "location": {"volume": {"uuid": "san1-uuid"}},
    }
    return {**values, **changes}


def refusal(code: str, kind: type[OntapError] = OntapError) -> OntapError:
    """What the array answers when it refuses."""
    return kind("do it", f"it says no (ONTAP code {code})", outcome=Outcome("answered", 400, code), ontap_code=code)


class Array:
    """An array with one volume that takes exactly the requests of a restore; ``refuses`` scripts answers by method."""

    name = "cluster1"

    def __init__(self, *luns: dict[str, Any]) -> None:
        self.luns = {each["uuid"]: each for each in (record("lun-1", TARGET), *luns)}
        self.content = dict.fromkeys(self.luns, "now")
        self.size_then = SIZE
        self.refuses: dict[str, list[Optional[OntapError]]] = {}
        self.pauses: list[float] = []
        self.overwrites = 0
        self.jobs: list[str] = []
        self.clock = Clock(sleep=self.pauses.append)

    def _refuse(self, method: str) -> None:
        script = self.refuses.get(method) or [None]
        answer = script.pop(0) if script else None
        if answer is not None:
            raise answer

    def records(self, path: str, params: Mapping[str, Any], *, fields: Any, deadline: Any) -> list[dict[str, Any]]:
        assert path == "/storage/luns"
        assert params == {"location.volume.uuid": "san1-uuid", "name": Expression("*kvmsnap-tmp-*")}
        assert {"uuid", "name", "comment", "space.size", "location.volume.uuid"} <= set(fields)
        return [each for each in self.luns.values() if "kvmsnap-tmp-" in each["name"]]

    def get(self, path: str, params: Mapping[str, Any], *, deadline: Any) -> dict[str, Any]:
        uuid = path.removeprefix("/storage/luns/")
        if uuid not in self.luns:
            raise refusal("5374875")
        return self.luns[uuid]

    def post(self, path: str, params: None, body: Mapping[str, Any], *, fate: Any, deadline: Any) -> dict[str, Any]:
        assert path == "/storage/luns"
        assert set(body) == {"svm", "name", "comment", "clone"}
        assert body["clone"] == {"source": {"name": SOURCE}}
        self._refuse("POST")
        if any(each["name"] == body["name"] for each in self.luns.values()):
            raise refusal("1260136")
        made = record("tmp-1", body["name"], comment=body["comment"], space={"size": self.size_then})
        self.luns["tmp-1"], self.content["tmp-1"] = made, "then"
        return {}

    def change_once(
        self, method: str, path: str, params: None, body: Mapping[str, Any], *, begun: Any, deadline: Any
    ) -> dict[str, Any]:
        assert (method, path) == ("PATCH", "/storage/luns/lun-1")
        assert set(body["clone"]["source"]) == {"uuid"}
        self.overwrites += 1
        self._refuse("PATCH")
        self.content["lun-1"] = self.content[body["clone"]["source"]["uuid"]]
        sent = {name: value for name, value in body.items() if name != "clone"}
        self.luns["lun-1"] = {**self.luns["tmp-1"], **OWN, **sent}
        self._refuse("PATCH after")
        return {}

    def patch(
        self, path: str, params: None, body: Mapping[str, Any], *, retry_safe: bool, deadline: Any
    ) -> dict[str, Any]:
        assert (path, retry_safe) == ("/storage/luns/lun-1", True)
        assert body == {"comment": self.luns["lun-1"]["comment"]}, "it is to stay as it is"
        self._refuse("settings")
        return {}

    def delete(self, path: str, *, fate: Any, deadline: Any) -> dict[str, Any]:
        self._refuse("DELETE")
        uuid = path.removeprefix("/storage/luns/")
        assert uuid != "lun-1", "the guest's own LUN must never be deleted"
        if self.luns.pop(uuid, None) is None:
            raise refusal("5374875")
        return {}

    def job(self, uuid: str, *, deadline: Any) -> Optional[Job]:
        state = self.jobs.pop(0) if self.jobs else None
        return Job(uuid, state, "", None) if state else None

    def get_bytes(self, path: str, params: Mapping[str, Any], *, deadline: Any) -> bytes:
        return f"{path} {params['data.offset']} {params['data.size']}".encode()

    @property
    def temporaries(self) -> list[str]:
        """The LUNs beside the guest's own."""
        return sorted(set(self.luns) - {"lun-1"})


def ours(uuid: str = "old-1", *, of: str = "lun-1", restore: str = "r0", snapshot: str = "s1-uuid") -> dict[str, Any]:
    """A temporary clone that an earlier restore left."""
    path = lun_restore.temporary_path("dir/a", restore_id=restore, lun_uuid=of, snapshot_uuid=snapshot)
    comment = f"kvmsnap: temporary clone of {of} in snapshot {snapshot} for restore {restore}"
    return record(uuid, f"/vol/san1/{path}", comment=comment)


def restored(array: Any, look: Any = None, seconds: float = 1e9, clock: Optional[Clock] = None) -> Optional[str]:
    """Bring ``dir/a`` back to s1."""
    return lun_restore.clone_over(
        array,
        VOLUME,
        path="dir/a",
        identity=IDENTITY,
        snapshot="s1",
        snapshot_uuid="s1-uuid",
        restore_id="r1",
        look=look or (lambda _lun: None),
        deadline=Deadline.after(seconds, clock),
    )


def test_the_lun_holds_what_it_held_then_and_nothing_is_left() -> None:
    array = Array()
    seen: list[Any] = []
    assert restored(array, seen.append) is None
    assert (array.content["lun-1"], array.temporaries) == ("then", [])
    assert [(lun.uuid, lun.size) for lun in seen] == [("tmp-1", SIZE)]


@pytest.mark.parametrize("comment", ["", "boot disk of web1"])
def test_the_lun_keeps_its_own_comment(comment: str) -> None:
    array = Array()
    array.luns["lun-1"]["comment"] = comment
    assert restored(array) is None
    assert array.luns["lun-1"]["comment"] == comment


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"qos_policy": {"name": "gold", "uuid": "q-1"}},
        {"space": {"guarantee": {"requested": True}}},
        {"space": {"guarantee": {"requested": False}, "scsi_thin_provisioning_support_enabled": True}},
    ],
)
def test_the_lun_keeps_its_own_settings(settings: dict[str, Any]) -> None:
    array = Array()
    wanted = {**array.luns["lun-1"], **settings, "space": {"size": SIZE, **settings.get("space", {})}}
    array.luns["lun-1"] = wanted
    before = lun_restore.LunNow.from_record(wanted)
    assert restored(array) is None
    array.luns["lun-1"]["space"] = {"size": SIZE, **array.luns["lun-1"]["space"]}
    now = lun_restore.LunNow.from_record(array.luns["lun-1"])
    assert now == replace(before, qos_policy=now.qos_policy)
    assert now.qos_uuid == settings.get("qos_policy", {}).get("uuid", "")


BEFORE = lun_restore.LunNow("lun-1", TARGET, "mine", SIZE, SERIAL, "linux", "v", True, True, True, "q-1", "gold")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"qos_uuid": "", "qos_policy": ""}, ["the QoS policy of LUN /vol/san1/dir/a is none and was gold: set it"]),
        ({"reserved": False}, ["the space reservation (space.guarantee.requested) of LUN /vol/san1/dir/a is off and"]),
        ({"unmaps": None}, ["the SCSI thin provisioning (space.scsi_thin_provisioning_support_enabled) of LUN"]),
        ({"enabled": False}, ["the state (enabled) of LUN /vol/san1/dir/a is off and was on"]),
        ({"comment": ""}, ["the comment of LUN /vol/san1/dir/a is none and was mine"]),
        ({"reserved": False, "unmaps": False}, ["the space reservation", "the SCSI thin provisioning"]),
    ],
)
def test_settings_that_were_lost_are_told_with_both_values(change: dict[str, Any], said: list[str]) -> None:
    found = lun_restore.settings_lost(BEFORE, replace(BEFORE, **change))
    assert len(found) == len(said)
    assert all(sentence.startswith(begin) for sentence, begin in zip(found, said))


def test_what_a_killed_run_left_is_removed_by_the_next() -> None:
    array = Array(ours("old-1", restore="r0"), ours("old-2", restore="r1"))
    assert restored(array) is None
    assert (array.content["lun-1"], array.temporaries) == ("then", [])


@pytest.mark.parametrize(
    "foreign",
    [
        record("x", "/vol/san1/dir/kvmsnap-tmp-mine-0123456789ab"),
        record("x", "/vol/san1/dir/kvmsnap-tmp-mine-0123456789ab", comment="kvmsnap: temporary clones are nice"),
        record("x", "/vol/san1/other", comment="kvmsnap: temporary clone of lun-1 in snapshot s for restore r0"),
        ours("x", of="lun-2"),
        {**ours("x"), "location": {"volume": {"uuid": "another"}}},
    ],
)
def test_no_other_lun_is_ever_deleted(foreign: dict[str, Any]) -> None:
    array = Array(foreign)
    assert restored(array) is None
    assert array.temporaries == ["x"]


def test_a_foreign_lun_in_the_way_is_an_error_and_stays() -> None:
    array = Array({**ours("x", restore="r1"), "comment": "somebody else's"})
    with pytest.raises(OntapError, match="1260136"):
        restored(array)
    assert (array.content["lun-1"], array.temporaries) == ("now", ["x"])


def test_a_clone_of_another_snapshot_that_was_made_late_is_not_taken_for_this_one() -> None:
    """The put-back of a failed restore clones the same LUN out of the safety snapshot, under the same restore id."""
    late = ours("late-1", restore="r1", snapshot="backup-uuid")
    array, fates = Array(), []

    def lost(_path: str, _params: None, _body: Any, *, fate: Any, deadline: Any) -> dict[str, Any]:
        array.luns["late-1"] = late
        fates.append(fate())
        raise refusal("9999")

    array.post = lost  # type: ignore[method-assign]
    with pytest.raises(OntapError, match="9999"):
        restored(array)
    assert fates == [None]
    assert (array.content["lun-1"], array.temporaries) == ("now", ["late-1"])


def test_another_size_in_the_snapshot_stops_before_the_overwrite() -> None:
    array = Array()
    array.size_then = SIZE // 2
    with pytest.raises(OntapError, match=f"has {SIZE} bytes, and had {SIZE // 2} in the snapshot"):
        restored(array)
    assert (array.content["lun-1"], array.temporaries) == ("now", [])


@pytest.mark.parametrize(
    ("method", "code", "remedy"),
    [
        ("POST", "13565952", "Look at the space"),
        ("POST", "5376463", "shorter prefix"),
        ("POST", "6", "says no"),
        ("PATCH", "5374480", "foreign LUN import"),
        ("PATCH", "5374866", "Bring the volume online"),
        ("PATCH", "5374876", "says no"),
        ("PATCH", "5374885", "says no"),
    ],
)
def test_a_refusal_names_the_lun_and_the_remedy_and_leaves_nothing(method: str, code: str, remedy: str) -> None:
    array = Array()
    array.refuses[method] = [refusal(code)] * 9
    with pytest.raises(OntapError) as caught:
        restored(array)
    assert caught.value.message.startswith("Failed to bring LUN svm1:/vol/san1/dir/a back to snapshot s1: ")
    assert remedy in caught.value.message
    assert caught.value.has_code(code)
    assert (array.content["lun-1"], array.temporaries) == ("now", [])


def test_the_kind_of_a_refusal_is_kept() -> None:
    array = Array()
    array.refuses["POST"] = [refusal("6", OntapDeniedError)]
    with pytest.raises(OntapDeniedError):
        restored(array)


@pytest.mark.parametrize(
    ("method", "code", "times"),
    [("POST", "7018877", 6), ("PATCH", "7018877", 6), ("POST", "13565952", 2)],
)
def test_a_busy_array_is_asked_again(method: str, code: str, times: int) -> None:
    array = Array()
    array.refuses[method] = [refusal(code)] * times
    assert restored(array) is None
    assert (array.content["lun-1"], len(array.pauses)) == ("then", times)
    assert max(array.pauses) <= 8.0


def unknown(**fields: Any) -> OutcomeUnknownError:
    """What is known of an overwrite that was not answered."""
    return OutcomeUnknownError("do it", "no answer within 5 s", outcome=Outcome("lost"), **fields)


@pytest.mark.parametrize("moment", ["PATCH", "PATCH after"])
def test_an_overwrite_without_an_answer_is_asked_for_once_and_its_source_taken_away(moment: str) -> None:
    array = Array()
    array.refuses[moment] = [unknown()]
    left = restored(array)
    assert (array.overwrites, array.temporaries) == (1, [])
    assert left is not None
    assert "was not answered (no answer within 5 s)" in left
    assert array.pauses == [lun_restore.SETTLE], "what had begun has time to end, once its source is gone"


def test_a_copy_under_way_is_not_met_by_another_overwrite() -> None:
    array = Array()
    array.refuses["PATCH"] = [unknown(ontap_code="7018919")]
    restored(array)
    assert array.overwrites == 1


def test_the_job_of_an_unanswered_overwrite_must_have_ended() -> None:
    array = Array()
    array.refuses["PATCH"] = [unknown(job="job-1")]
    array.jobs = ["running", "running", "success"]
    restored(array)
    assert array.pauses == [0.5, 1.0, lun_restore.SETTLE]
    assert array.temporaries == []


def test_a_source_that_stays_leaves_the_fate_unknown_after_a_bounded_time() -> None:
    array, now = Array(), [0.0]
    array.clock = Clock(lambda: now[0], lambda seconds: now.append(now.pop() + seconds))
    array.refuses = {"PATCH": [unknown()], "DELETE": [refusal("1254197")] * 1000}
    with pytest.raises(StillOpenError, match=r"tmp-1.*1254197.* after 900 s"):
        restored(array, clock=array.clock)
    assert 880 < now[0] <= 900
    assert array.overwrites == 1


@pytest.mark.parametrize("code", ["7018919", "5374053", "5374866"])
def test_an_overwrite_that_had_begun_is_awaited_while_the_array_takes_no_change_of_the_lun(code: str) -> None:
    array = Array()
    array.refuses = {"PATCH": [unknown()], "settings": [refusal(code)] * 2}
    restored(array)
    assert array.pauses == [lun_restore.SETTLE, 0.5, 1.0]


def test_an_overwrite_that_does_not_end_leaves_its_fate_unknown_after_a_bounded_time() -> None:
    array, now = Array(), [0.0]
    array.clock = Clock(lambda: now[0], lambda seconds: now.append(now.pop() + seconds))
    array.refuses = {"PATCH": [unknown()], "settings": [refusal("7018919")] * 1000}
    with pytest.raises(StillOpenError, match=r"the end of an overwrite of LUN lun-1.*7018919.* after 900 s"):
        restored(array, clock=array.clock)
    assert 880 < now[0] - lun_restore.SETTLE <= 900
    assert (array.overwrites, array.temporaries) == (1, [])


def test_a_busy_array_is_not_asked_for_ever() -> None:
    array = Array()
    array.refuses["POST"] = [refusal("7018877")] * 100
    with pytest.raises(OntapError, match="7018877"):
        restored(array, seconds=0.3)
    assert array.pauses == []


def test_a_long_look_at_the_clone_is_not_held_against_the_array() -> None:
    array, now = Array(), [0.0]
    array.clock = Clock(lambda: now[0], lambda seconds: now.append(now.pop() + seconds))
    array.refuses["PATCH"] = [refusal("7018877")]
    assert restored(array, lambda _clone: array.clock.sleep(3600), seconds=60, clock=array.clock) is None
    assert (array.content["lun-1"], now[0] > 3600) == ("then", True)


def test_properties_that_were_not_set_do_not_undo_an_overwrite() -> None:
    array = Array()
    array.refuses["PATCH after"] = [refusal("5374864")]
    assert restored(array) is None
    assert array.content["lun-1"] == "then"


def test_a_temporary_that_cannot_be_removed_is_named() -> None:
    array = Array()
    array.refuses["DELETE"] = [refusal("1254197")]
    left = restored(array)
    assert left is not None
    assert "svm1:/vol/san1/dir/kvmsnap-tmp-r1-" in left
    assert "Unmap it" in left
    assert (array.content["lun-1"], array.temporaries) == ("then", ["tmp-1"])


def test_a_failure_names_what_it_leaves_too() -> None:
    array = Array()
    array.refuses = {"PATCH": [refusal("5374866")], "DELETE": [refusal("6")]}
    with pytest.raises(OntapError, match=r"5374866.*kvmsnap-tmp-r1-.* is left behind"):
        restored(array)


def test_a_break_in_between_leaves_nothing_either() -> None:
    def interrupted(_lun: Any) -> None:
        raise KeyboardInterrupt

    array = Array()
    with pytest.raises(KeyboardInterrupt):
        restored(array, interrupted)
    assert (array.content["lun-1"], array.temporaries) == ("now", [])


@pytest.mark.parametrize("restore_id", ["r1", "a+b", "x" * 200, "restore_20261121020000"])
def test_a_temporary_has_a_name_that_a_lun_may_have(restore_id: str) -> None:
    which = {"restore_id": restore_id, "lun_uuid": "lun-1", "snapshot_uuid": "s-1"}
    path = lun_restore.temporary_path("qtree/deep/a", **which)
    directory, _slash, name = path.rpartition("/")
    assert directory == "qtree/deep"
    assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._{}")
    assert len(name) < 100
    for other in ({"lun_uuid": "lun-2"}, {"snapshot_uuid": "s-2"}):
        assert path != lun_restore.temporary_path("qtree/deep/a", **{**which, **other})


def test_the_longest_comment_of_a_temporary_is_one_that_a_lun_may_have() -> None:
    uuid, restore_id = "1cd8a442-86d1-11e0-ae1c-123478563412", "x" * MAX_RESTORE_ID + UNDO
    assert len(lun_restore.temporary_comment(restore_id=restore_id, lun_uuid=uuid, snapshot_uuid=uuid)) <= 254


@pytest.mark.parametrize("path", ["/a", "../a", "a/../b", ".snapshot/s/a"])
def test_no_temporary_leaves_the_volume(path: str) -> None:
    with pytest.raises(InputError):
        lun_restore.temporary_path(path, restore_id="r1", lun_uuid="lun-1", snapshot_uuid="s-1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"uuid": "lun-2"}, ["its uuid is lun-2 and was lun-1"]),
        ({"serial": "other"}, [f"its serial is other and was {SERIAL}"]),
        ({"size": 512}, [f"its size is 512 and was {SIZE}"]),
        ({"os_type": "aix"}, ["its os_type is aix and was linux"]),
    ],
)
def test_an_identity_that_changed_is_told_with_both_values(change: dict[str, Any], said: list[str]) -> None:
    now = replace(lun_restore.LunNow.from_record(record("lun-1", TARGET)), **change)
    assert lun_restore.differences(IDENTITY, now) == said


def test_a_lun_is_read_and_one_that_is_gone_is_none() -> None:
    array: Any = Array()
    found = lun_restore.read_lun(array, "lun-1")
    assert found is not None
    assert (found.serial, found.size, found.volume_uuid) == (SERIAL, SIZE, "san1-uuid")
    assert lun_restore.read_lun(array, "gone") is None
    assert (
        lun_restore.read_data(array, found, SIZE - 512, length=4096) == f"/storage/luns/lun-1 {SIZE - 512} 512".encode()
    )


@pytest.mark.parametrize(
    ("wanted", "refused", "order"),
    [
        ("auto", (), ("lun_clone", "sfsr_cli")),
        ("auto", ("lun_clone",), ("sfsr_cli",)),
        ("auto", ("sfsr_cli",), ("lun_clone",)),
        ("file_clone", (), ("lun_clone",)),
        ("sfsr_cli", ("lun_clone",), ("sfsr_cli",)),
        ("sfsr", (), ("sfsr",)),
    ],
)
def test_the_ways_for_a_lun(wanted: str, refused: tuple[str, ...], order: tuple[str, ...]) -> None:
    assert lun_restore.choose_lun_method(wanted, refused) == order


@pytest.mark.parametrize(
    ("wanted", "refused", "said"),
    [
        ("copy", (), "none can be copied"),
        ("revert", (), "auto, file_clone"),
        ("auto", ("lun_clone", "sfsr_cli"), "refused lun_clone, sfsr_cli"),
        ("file_clone", ("lun_clone",), "refused lun_clone"),
    ],
)
def test_no_way_for_a_lun(wanted: str, refused: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        lun_restore.choose_lun_method(wanted, refused)


def test_a_licence_serves_files_and_luns() -> None:
    assert lun_restore.lun_ways({"file_clone", "sfsr"}) == {"lun_clone", "sfsr"}
