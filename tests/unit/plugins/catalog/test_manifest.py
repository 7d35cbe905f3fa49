# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest is foreign data once it was written: what is believed of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import manifest as manifests
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError


def rewritten(change: Any) -> str:
    """The text of a manifest whose record was changed and given a fresh, right checksum."""
    record = json.loads(manifests.dump(samples.manifest()))
    record.pop("checksum")
    change(record)
    return json.dumps({**record, "checksum": manifests._checksum(record)})


def test_what_is_written_is_read_back_the_same() -> None:
    original = samples.manifest(samples.guest(), samples.two_volume_guest(), volumes=("vol1", "vol2"))
    assert manifests.parse(manifests.dump(original), where="m") == original


def test_one_changed_character_is_noticed() -> None:
    text = manifests.dump(samples.manifest()).replace("web1.img", "web2.img", 1)
    with pytest.raises(manifests.ManifestError, match="checksum"):
        manifests.parse(text, where="m")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": "other/9"}', "null"])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(manifests.ManifestError, match="Failed to read manifest m"):
        manifests.parse(text, where="m")


def drop(key: str) -> Any:
    return lambda record: record.pop(key)


def put(path: str) -> Any:
    return lambda record: record["guests"][0]["disks"][0]["storage"].update(path=path)


@pytest.mark.parametrize("change", [drop("guests"), drop("volumes"), drop("backup_id"), drop("phase")])
def test_a_missing_field_is_named(change: Any) -> None:
    with pytest.raises(manifests.ManifestError, match="it has no '"):
        manifests.parse(rewritten(change), where="m")


@pytest.mark.parametrize("path", ["../other/vm.img", "/etc/shadow", "a/../../b", "", "a\x00b", ".."])
def test_a_path_out_of_the_volume_is_refused_even_with_a_right_checksum(path: str) -> None:
    with pytest.raises(KvmsnapError):
        manifests.parse(rewritten(put(path)), where="m")


def test_a_backup_id_out_of_the_catalog_is_refused() -> None:
    with pytest.raises(KvmsnapError):
        manifests.parse(rewritten(lambda record: record.update(backup_id="../../etc")), where="m")


def on_lun(**changes: Any) -> Any:
    place = samples.storage("san1", "luns/a", kind="lun", mount_point=None, lun=samples.lun(**changes))
    return lambda record: record["guests"][0]["disks"][0].update(storage=place)


def test_the_identity_of_a_lun_is_kept() -> None:
    kept = manifests.parse(rewritten(on_lun()), where="m")
    storage = kept.guests[0].disks[0].storage
    assert storage is not None
    assert storage.lun is not None
    assert storage.lun.as_dict() == samples.lun()
    assert manifests.parse(manifests.dump(kept), where="m") == kept


def test_manifests_from_before_luns_have_none() -> None:
    parsed = manifests.parse(rewritten(lambda record: record["guests"][0]["disks"][0]["storage"].pop("lun")), where="m")
    assert parsed == samples.manifest()


@pytest.mark.parametrize(
    ("change", "said"),
    [({"wwid": "mpatha"}, "mpatha"), ({"device": "/etc/passwd"}, "/etc/passwd"), ({"size": None}, "size")],
)
def test_an_identity_of_a_lun_that_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(manifests.ManifestError, match=f"Failed to read manifest m: .*{said}"):
        manifests.parse(rewritten(on_lun(**change)), where="m")


@pytest.mark.parametrize("kind", ["lun", "nfs"])
def test_a_lun_without_identity_and_a_file_with_one_are_refused(kind: str) -> None:
    lun = samples.lun() if kind == "nfs" else None
    change = samples.storage(kind=kind, lun=lun)
    with pytest.raises(manifests.ManifestError, match="the identity of a LUN"):
        manifests.parse(rewritten(lambda record: record["guests"][0]["disks"][0].update(storage=change)), where="m")


def test_guests_are_found_by_name_and_uuid() -> None:
    found = samples.manifest()
    assert found.guest("web1") is found.guest(samples.WEB) is found.guests[0]
    assert found.guest("nobody") is None


def test_a_guest_named_as_another_one_s_uuid_is_not_that_one() -> None:
    named = {**samples.two_volume_guest(), "name": samples.WEB}
    found = samples.manifest(named, samples.guest())
    assert found.guest(samples.WEB) is found.guests[1]
    assert found.guest(named["uuid"]) is found.guests[0]


def test_a_uuid_in_capitals_is_the_guest_of_that_uuid() -> None:
    uuid = "abcdef00-0000-4000-8000-000000000001"
    named = {**samples.two_volume_guest(), "name": uuid.upper()}
    found = samples.manifest(named, {**samples.guest(), "uuid": uuid})
    assert found.guest(uuid.upper()) is found.guest(uuid) is found.guests[1]


def test_saved_disks_are_those_that_lie_on_the_array_and_are_included() -> None:
    guest = manifests.SavedGuest.from_record(
        samples.guest(disks=[samples.disk(), samples.disk("vdb", included=False), samples.disk("vdc", storage=None)])
    )
    assert [disk.target for disk in guest.saved_disks] == ["vda"]


def test_completing_changes_the_phase_only_where_it_is_told_to() -> None:
    started = samples.manifest()
    done = started.completed_with(guests=started.guests, volumes=started.volumes, at="2026-11-21T02:00:03+00:00")
    assert done.complete
    assert not started.complete
    assert replace(done, phase=manifests.STARTED, completed=None) == started
