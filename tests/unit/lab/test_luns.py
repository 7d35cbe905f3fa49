# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The LUNs of the lab's array: names, identifiers, and their life over REST."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmlab import rest, topology
from kvmlab.errors import LabError
from kvmlab.luns import MIB, Lun, Luns, lun_file, serial_of
from kvmlab.places import Places
from kvmlab.rest import ArrayApi
from ontapsim.testing import ADDRESS, sample, start

VOLUMES = Path("/lab/vols")
PAIRS = [("wOj7N$QPt5OO", "3600a0980774f6a374e24515074354f4f"), ("81C91$QXsh5a", "3600a0980383143393124515873683561")]


@pytest.mark.parametrize(("serial", "wwid"), PAIRS)
def test_serial_and_wwid_tell_each_other(serial: str, wwid: str) -> None:
    lun = Lun.from_record(
        {
            "svm": {"name": "svm1"},
            "name": "/vol/v/l",
            "uuid": "u",
            "serial_number": serial,
            "space": {"size": 4096},
        }
    )
    assert lun.wwid == wwid
    assert serial_of(wwid) == serial
    assert (lun.device, lun.path, lun.size) == (f"/dev/mapper/{wwid}", "svm1:/vol/v/l", 4096)


def test_another_makers_wwid_has_no_serial() -> None:
    with pytest.raises(LabError, match="no LUN of ONTAP"):
        serial_of("360a98000" + "0" * 24)


def test_a_lun_lies_in_its_volume() -> None:
    assert lun_file(VOLUMES, "/vol/kvm_san1/luns/a") == VOLUMES / "svm1/kvm_san1/luns/a"
    assert lun_file(VOLUMES, "/vol/v/l", svm="svm2") == VOLUMES / "svm2/v/l"


@pytest.mark.parametrize("name", ["/vol/kvm_san1", "/mnt/kvm_vol1/a.img", "vol/v/l", "/vol"])
def test_what_is_no_luns_name_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="the name of a LUN is"):
        lun_file(VOLUMES, name)


@pytest.fixture(name="luns")
def _luns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Luns]:
    """The LUNs of a simulated array that is reached without namespaces."""
    places = Places(tmp_path)
    with start({**sample(), "state_dir": str(places.array_data)}, places.array) as running:
        places.tls.mkdir()
        (places.tls / "ca.pem").write_bytes(Path(running.ca_pem).read_bytes())
        monkeypatch.setitem(topology.NAMES, "cluster1", ADDRESS)  # type: ignore[arg-type]
        monkeypatch.setattr(
            rest, "connect", lambda _space, _to, *, timeout: socket.create_connection((ADDRESS, running.port), timeout)
        )
        yield Luns(places)


def test_a_lun_is_made_filled_mapped_and_removed(luns: Luns) -> None:
    lun = luns.create("/vol/kvm_san1/luns/new", 8)
    assert (lun, lun.size, luns.maps(lun)) == (luns.get(lun.name), 8 * MIB, {})
    assert luns.file(lun).stat().st_size == lun.size
    luns.fill(lun)
    filled = luns.file(lun).read_bytes()
    assert filled[1080:1082] == b"\x53\xef"
    luns.fill(lun)
    assert luns.file(lun).read_bytes() == filled
    luns.map(lun)
    luns.map(lun)
    luns.map(lun, "other", number=77)
    assert luns.maps(lun) == {"hv1": 0, "other": 77}
    luns.unmap(lun, "other")
    luns.unmap(lun, "other")
    assert list(luns.maps(lun)) == ["hv1"]
    luns.delete(lun)
    luns.delete(lun)
    assert luns.find(lun.name) is None
    assert not luns.file(lun).exists()


def test_a_deleted_luns_namesake_is_left_alone(luns: Luns) -> None:
    lun = luns.create("/vol/kvm_san2/again", 4)
    luns.delete(lun)
    new = luns.create("/vol/kvm_san2/again", 4)
    luns.delete(lun)
    assert luns.get(lun.name) == new != lun


def test_what_the_array_refuses_is_told_with_its_code(luns: Luns) -> None:
    with pytest.raises(LabError, match=r"Failed to POST /storage/luns: 4\d\d, code \d+: "):
        luns.create("/vol/nowhere/lun", 4)
    with pytest.raises(LabError, match="Failed to find the LUN svm1:/vol/kvm_san1/none"):
        luns.get("/vol/kvm_san1/none")
    stranger = ArrayApi(luns.places, password="wrong")
    with pytest.raises(LabError, match="401"):
        stranger.records("/storage/luns")
