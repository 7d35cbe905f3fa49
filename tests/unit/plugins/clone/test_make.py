# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy is made: files, overlays on the copies of what is below them, LUNs, UEFI variables and TPM state."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from functools import partial

import pytest
import samples
from clone_bench import (
    CLONING,
    NAME,
    SECRET,
    THEN,
    UEFI,
    Bench,
    PlainSan,
    qemu_img,
)

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import (
    clone_record,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone import make
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.make import CloneFailedError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ontapsim.testclient import Api


def tar_of(content: bytes, name: str = "tpm2-00.permall", kind: bytes = tarfile.REGTYPE) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        top = tarfile.TarInfo(samples.WEB)
        top.type, top.mode, top.uid, top.gid = tarfile.DIRTYPE, 0o711, os.getuid(), os.getgid()
        tar.addfile(top)
        info = tarfile.TarInfo(f"{samples.WEB}/{name}")
        info.size, info.mode, info.type = (len(content) if kind == tarfile.REGTYPE else 0), 0o600, kind
        info.uid, info.gid, info.linkname = os.getuid(), os.getgid(), "/etc/passwd"
        tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


def test_an_overlay_stands_on_the_copy_of_what_is_below_it(bench: Bench) -> None:
    bench.back_up(bench.chain())
    made = bench.present()
    top, base = bench.file(made), bench.file(made, 1)
    told = json.loads(qemu_img("info", "-U", "--output=json", "-f", "qcow2", str(top)))
    assert (told["backing-filename"], told["backing-filename-format"]) == (str(base), "raw")
    assert base.read_bytes() == THEN * 2
    assert (top.parent, base.parent) == (bench.volume / "web1", bench.volume)
    known = clone_record.load(bench.root, NAME)
    assert known is not None
    assert [each.format for each in known.files] == ["qcow2", "raw"]
    (disk,) = parse_guest(bench.domain().XMLDesc(0)).disks
    assert (disk.source, disk.format, disk.backing) == (str(top), "qcow2", ())


def test_a_chain_that_the_backup_does_not_know_is_refused_and_nothing_is_left(bench: Bench) -> None:
    before = bench.world()
    bench.back_up({**bench.chain(), "backing": []})
    with pytest.raises(CloneFailedError, match=r"it needs .*base[.]img.* is gone again"):
        bench.present()
    assert bench.world() == before


def test_side_files_come_from_the_backup_to_places_of_their_own(bench: Bench) -> None:
    files = (bench.keep("nvram", UEFI), bench.keep("tpm", tar_of(SECRET)))
    bench.back_up(files=files, devices="<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>")
    made = bench.present()
    uuid = made["clone"]["uuid"]
    nvram = bench.side / f"kvmsnap-clone-{uuid}_VARS.fd"
    assert nvram.read_bytes() == UEFI
    assert (bench.side / uuid / "tpm2-00.permall").read_bytes() == SECRET
    assert parse_guest(bench.domain().XMLDesc(0)).nvram == str(nvram)
    bench.absent()
    assert list(bench.side.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("tpm", tar_of(b"x", "../../evil"), "Refused to unpack"),
        ("tpm", tar_of(b"x", "link", tarfile.SYMTYPE), "Refused to unpack"),
        ("tpm", b"no archive", "Failed to put tpm state"),
    ],
)
def test_what_is_no_state_of_a_tpm_is_refused(bench: Bench, kind: str, content: bytes, words: str) -> None:
    bench.back_up(files=(bench.keep(kind, content),), devices="<tpm model='tpm-crb'><backend type='emulator'/></tpm>")
    with pytest.raises(CloneFailedError, match=words):
        bench.present()
    assert list(bench.side.iterdir()) == []


def test_a_side_file_that_was_altered_is_not_trusted(bench: Bench) -> None:
    kept = bench.keep("nvram", UEFI)
    bench.back_up(files=(kept,))
    bench.keep("nvram", b"tampered")
    with pytest.raises(CloneFailedError, match="checksum is not that of the backup"):
        bench.present()


def test_where_the_array_may_not_clone_the_next_way_is_gone(bench: Bench) -> None:
    bench.back_up()
    bench.array.control.add_fault("status", match=CLONING, status=403, code="6", message="not authorized")
    made = bench.present()
    assert made["disks"][0]["method"] in ("sfsr_cli", "copy")
    assert bench.file(made).read_bytes() == THEN


@pytest.mark.parametrize("method", ["copy", "file_clone"])
def test_a_way_that_is_asked_for_is_gone(bench: Bench, method: str) -> None:
    bench.back_up()
    made = bench.present(method=method)
    assert made["disks"][0]["method"] == method
    assert bench.file(made).read_bytes() == THEN
    assert bench.file(made).stat().st_mode == (bench.volume / "web1.img").stat().st_mode


@pytest.mark.parametrize("after", [0, 1], ids=["first file", "second file"])
def test_a_copy_that_fails_is_taken_away_again(bench: Bench, after: int) -> None:
    """The array refuses it with a code of its own: nothing comes later."""
    bench.back_up(bench.chain())
    before = bench.world()
    bench.array.control.add_fault("status", match={**CLONING, "after": after}, status=400, code="1", message="no")
    with pytest.raises(CloneFailedError, match=f"What was made of copy {NAME} is gone again"):
        bench.present()
    assert bench.world() == before


def test_a_copy_with_other_bytes_is_no_copy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.back_up()
    before = bench.world()
    monkeypatch.setattr(make, "first_difference", lambda *_paths: 4096)
    with pytest.raises(CloneFailedError, match=r"differs from .* at byte 4096"):
        bench.present()
    assert bench.world() == before


def test_a_lun_is_cloned_shown_to_this_host_alone_and_taken_away(bench: Bench) -> None:
    bench.back_up(bench.lun())
    before = bench.world()
    assert "svm1:/vol/kvm_san1/luns/kvmsnap-clone-" in bench.present(check=True)["diff"]["after"]
    assert bench.world() == before
    made = bench.present()
    (disk,) = made["disks"]
    assert (disk["method"], disk["verified"]) == ("lun_clone", "size and sampled blocks")
    (wwid,) = bench.san.seen
    assert disk["host_path"] == f"/dev/mapper/{wwid}"
    assert bench.san.file(wwid).read_bytes().startswith(THEN)
    assert bench.san.shown(wwid) == [4]
    (found,) = parse_guest(bench.domain().XMLDesc(0)).disks
    assert (found.kind, found.source) == ("block", f"/dev/mapper/{wwid}")
    assert bench.present()["changed"] is False
    assert bench.absent()["changed"] is True
    assert bench.world() == before
    bench.present()
    assert list(bench.san.seen.values()) == [5]
    bench.absent()


def test_a_lun_is_shown_to_the_igroup_in_which_this_host_sees_the_original(
    bench: Bench, request: pytest.FixtureRequest
) -> None:
    """Another one of this host alone has more initiators, and may be of ports that are connected nowhere."""
    api, ports = Api(bench.array), ["10:00:00:00:c9:00:00:01", "10:00:00:00:c9:00:00:02"]
    spec = {"svm": {"name": "svm1"}, "name": "hv1-fc", "os_type": "linux", "protocol": "fcp"}
    made = api.request(
        "POST", "/protocols/san/igroups", json={**spec, "initiators": [{"name": port} for port in ports]}
    )
    request.addfinalizer(partial(api.ok, "DELETE", made.headers["Location"].removeprefix("/api")))
    own = ["iqn.2026-01.org.example:hv1", *ports]
    bench.probes = replace(bench.probes, initiators=lambda: own)
    bench.back_up(bench.lun())
    bench.present()
    (wwid,) = bench.san.seen
    assert len(bench.san.shown(wwid)) == 1
    bench.absent()


def test_a_lun_of_another_size_than_then_is_refused(bench: Bench) -> None:
    bench.back_up(bench.lun(size=4096))
    before = bench.world()
    with pytest.raises(CloneFailedError, match=r"it has 8388608 bytes, and had 4096 then.* is gone again"):
        bench.present()
    assert bench.world() == before


def test_a_map_that_leads_elsewhere_is_no_copy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.back_up(bench.lun())
    before = bench.world()
    monkeypatch.setattr(PlainSan, "read", lambda *_asked, length: b"x" * length)
    with pytest.raises(CloneFailedError, match=r"differs from LUN .* at byte 0"):
        bench.present()
    assert bench.world() == before
