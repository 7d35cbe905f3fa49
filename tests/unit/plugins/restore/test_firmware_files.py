# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""UEFI variables and TPM state are kept aside, replaced, and put back."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import samples
from firmware_host import Host

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import Aside, SideFileAttributes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import parse_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore import firmware_files


def test_what_was_saved_replaces_what_is_there_and_goes_back(host: Host) -> None:
    before = host.world()
    asides = [firmware_files.keep(host.kept, samples.WEB, file) for file in host.restores()]
    assert host.world() == before
    for file, aside in zip(host.restores(), asides):
        firmware_files.put(file, aside.attributes)
    restored = host.world()
    assert restored["nvram/web1.fd"] == (0o640, "then")
    assert restored[f"swtpm/{samples.WEB}/tpm2/permall"][1] == "then"
    assert f"swtpm/{samples.WEB}/tpm2/only-then" in restored
    assert {path.stat().st_mode & 0o777 for path in host.kept.iterdir()} == {0o600}
    assert host.kept.stat().st_mode & 0o777 == 0o700
    for aside in asides:
        firmware_files.put_back(host.kept, Aside.from_record(asdict(aside)))
    assert host.world() == before


def test_what_was_not_there_is_gone_again(host: Host) -> None:
    host.nvram.unlink()
    (host.tpm / "tpm2" / "permall").unlink()
    (host.tpm / "tpm2").rmdir()
    host.tpm.rmdir()
    for file in host.restores():
        aside = firmware_files.keep(host.kept, samples.WEB, file)
        assert aside == Aside(file.kind, file.path)
        firmware_files.put(file, aside.attributes)
        assert os.path.exists(file.path)
        firmware_files.put_back(host.kept, aside)
    assert host.world() == {}


def test_owner_and_label_are_those_of_before(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []
    labels: list[bytes] = []
    monkeypatch.setattr(os, "fchown", lambda _fd, uid, gid: owners.append((uid, gid)))
    monkeypatch.setattr(os, "setxattr", lambda _path, _name, value, **_more: labels.append(value))
    firmware_files.put(host.restores()[0], SideFileAttributes(107, 108, 0o600, "system_u:object_r:svirt_image_t:s0"))
    assert (owners, labels) == ([(107, 108)], [b"system_u:object_r:svirt_image_t:s0"])


def test_what_a_killed_run_left_beside_is_no_obstacle(host: Host) -> None:
    file = host.restores()[1]
    aside = firmware_files.keep(host.kept, samples.WEB, file)
    host.tpm.rename(host.tpm.with_name(f".{samples.WEB}.kvmsnap-old"))
    (host.tpm.parent / f".{samples.WEB}.kvmsnap-new").mkdir()
    firmware_files.put(file, aside.attributes)
    assert (host.tpm / "tpm2" / "permall").read_text() == "then"
    assert [path.name for path in host.tpm.parent.iterdir()] == [samples.WEB]
    firmware_files.put_back(host.kept, aside)
    assert (host.tpm / "tpm2" / "permall").read_text() == "now"


def archive(name: str, **changes: Any) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        top = tarfile.TarInfo("top")
        top.type = tarfile.DIRTYPE
        tar.addfile(top)
        member = tarfile.TarInfo(name)
        for key, value in changes.items():
            setattr(member, key, value)
        tar.addfile(member)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (archive("top/../../etc/x"), "etc/x"),
        (archive("/etc/x"), "etc/x"),
        (archive("top/x", type=tarfile.SYMTYPE, linkname="/etc"), "top/x"),
        (b"no archive", "Failed to read the TPM's state"),
    ],
)
def test_an_archive_that_leads_astray_is_refused(host: Host, content: bytes, says: str) -> None:
    (host.saved / "w.tpm").write_bytes(content)
    before = host.world()
    file = replace(host.restores()[1], sha256=hashlib.sha256(content).hexdigest())
    assert says in str(firmware_files.fault(file))
    assert host.world() == before


def test_what_cannot_be_trusted_or_is_no_file_is_found_beforehand(host: Host) -> None:
    nvram, tpm = host.restores()
    assert (firmware_files.fault(nvram), firmware_files.fault(tpm)) == (None, None)
    (host.saved / "w.nvram").write_text("other")
    (host.saved / "w.tpm").unlink()
    assert "checksum" in str(firmware_files.fault(nvram))
    assert "Failed to read" in str(firmware_files.fault(tpm))
    host.nvram.unlink()
    host.nvram.symlink_to("/etc/passwd")
    linked = replace(nvram, source=None)
    assert "it is no file" in str(firmware_files.fault(linked))
    with pytest.raises(KvmsnapError, match="it is no file"):
        firmware_files.keep(host.kept, samples.WEB, linked)


def test_a_directory_of_a_volume_that_became_a_link_leads_nowhere(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link of the host itself may lead to where its files are; whoever may write into a volume makes others."""
    mounts = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 21 0:40 / {} rw - nfs4 server:/vol rw,addr=198.51.100.1\n"
    nvram = host.restores()[0]
    aside = firmware_files.keep(host.kept, samples.WEB, nvram)
    away = host.root / "away"
    host.nvram.parent.rename(away)
    host.nvram.parent.symlink_to(away)
    assert firmware_files.fault(nvram) is None
    monkeypatch.setattr(firmware_files, "read_mounts", lambda: parse_mounts(mounts.format(host.root)))
    refused = f"{host.nvram.parent} is a link in a volume"
    assert refused in str(firmware_files.fault(nvram))
    for act in (
        lambda: firmware_files.keep(host.kept, samples.WEB, nvram),
        lambda: firmware_files.put(nvram, aside.attributes),
        lambda: firmware_files.put_back(host.kept, aside),
    ):
        with pytest.raises(KvmsnapError, match=refused):
            act()
    assert [(path.name, path.read_text()) for path in away.iterdir()] == [("web1.fd", "now")]


@pytest.mark.parametrize("moment", ["looked at", "opened"])
def test_a_directory_of_a_volume_that_becomes_a_link_meanwhile_leads_nowhere(
    host: Host, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    mounts = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 21 0:40 / {} rw - nfs4 server:/vol rw,addr=198.51.100.1\n"
    monkeypatch.setattr(firmware_files, "read_mounts", lambda: parse_mounts(mounts.format(host.root)))
    elsewhere, own, moved = host.root / "elsewhere", host.nvram.parent, host.root / "moved"
    elsewhere.mkdir()
    (elsewhere / "web1.fd").write_text("another guest's")

    def swap() -> None:
        own.rename(moved)
        own.symlink_to(elsewhere)

    if moment == "opened":
        real = firmware_files.secrets.token_hex
        monkeypatch.setattr(firmware_files.secrets, "token_hex", lambda size: (swap(), real(size))[1])
        firmware_files.put(host.restores()[0], None)
        assert (moved / "web1.fd").read_text() == "then"
    else:
        opens = firmware_files.directory_of
        monkeypatch.setattr(firmware_files, "directory_of", lambda path: (swap(), opens(path))[1])
        with pytest.raises(KvmsnapError, match="Failed to put the UEFI variables to"):
            firmware_files.put(host.restores()[0], None)
        assert (moved / "web1.fd").read_text() == "now"
    assert [(path.name, path.read_text()) for path in elsewhere.iterdir()] == [("web1.fd", "another guest's")]


def test_links_of_the_host_are_followed_however_they_are_written(host: Host, tmp_path: Path) -> None:
    there, file = host.nvram.parent, host.restores()[0]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "up").symlink_to("../two")
    (tmp_path / "two").symlink_to(there)
    firmware_files.put(replace(file, path=str(tmp_path / "one" / "up" / "web1.fd")), None)
    assert host.nvram.read_text() == "then"
    (tmp_path / "ring").symlink_to("ring")
    ring = replace(file, path=str(tmp_path / "ring" / "web1.fd"))
    assert "Too many levels of symbolic links" in str(firmware_files.fault(ring))
    gone = replace(file, path=str(tmp_path / "no" / "web1.fd"), source=None)
    firmware_files.put(gone, None)


def test_a_name_that_has_no_room_for_another_word_is_put_and_put_back(host: Host) -> None:
    place = host.nvram.rename(host.nvram.with_name(f"{'n' * 247}_VARS.fd"))
    file = replace(host.restores()[0], path=str(place))
    aside = firmware_files.keep(host.kept, samples.WEB, file)
    firmware_files.put(file, aside.attributes)
    assert place.read_text() == "then"
    firmware_files.put_back(host.kept, aside)
    assert [(path.name, path.read_text()) for path in place.parent.iterdir()] == [(place.name, "now")]
