# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses a file on this host: real processes in other mount namespaces, loop devices, the same file twice mounted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from image_users import looped, make_image, qemu, qemu_nbd

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate import file_users
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.file_users import (
    NfsVolumes,
    ServerFile,
    file_answers,
    parse_volumes,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what others have open")
NOBODY = Claim(frozenset())
VOLUMES = """\
NV SERVER   PORT DEV          FSID                              FSC
v4 0a000001  801 0:45         8e4a1c0b5:3f                      no
v3 0a000002  801 0:46         8e4a1c0b5:3f                      no
"""


def _looks(path: Path) -> dict[str, Answer]:
    return {answer.look.split(" ")[0]: answer for answer in file_answers(FileTarget("svm:/vol/v/d", str(path)), NOBODY)}


@contextmanager
def _reading(path: Path, *before: str) -> Iterator[int]:
    """Let a process of its own read a file; it has no lock."""
    code = "import sys; f = open(sys.argv[1], 'rb'); print('open', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [*before, sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield process.pid
    finally:
        process.communicate(b"")


@needs_root
def test_a_process_that_is_no_child_of_ours_is_found_by_identity(tmp_path: Path) -> None:
    """It has another mount namespace and another name of the file."""
    image, link = make_image(tmp_path / "disk.img"), tmp_path / "link.img"
    os.link(image, link)
    with qemu_nbd(link, image_format="raw") as pid:
        found = _looks(image)["processes"]
    assert [user.who for user in found.users] == [f"process {pid} (qemu-nbd)"]
    with _reading(link, "sh", "-c", 'unshare --mount "$@"; true', "sh"):
        users = _looks(image)["processes"].users
    assert len(users) == 1
    assert users[0].passing


@needs_root
def test_what_we_and_our_children_have_open_does_not_count(tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img")
    with image.open("rb"), _reading(image):
        assert _looks(image)["processes"].verdict == "nothing found"


@needs_root
def test_a_loop_device_holds_a_file_that_no_process_has_open(tmp_path: Path) -> None:
    image, link = make_image(tmp_path / "disk.img"), tmp_path / "link.img"
    os.link(image, link)
    with looped(link) as device:
        looks = _looks(image)
        assert looks["processes"].verdict == "nothing found"
        assert [user.who for user in looks["loop"].users] == [f"loop device {device}"]
    assert _looks(image)["loop"].verdict == "nothing found"


@needs_root
def test_a_qemu_without_locks_is_found_all_the_same(tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img")
    with qemu(image, image_format="raw", locking=False):
        looks = _looks(image)
    assert looks["locks"].verdict == "nothing found"
    assert "qemu-system" in str(looks["processes"])


def test_swap_on_the_file_is_found(tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img")
    proc = tmp_path / "proc"
    proc.mkdir()
    proc.joinpath("swaps").write_text(f"Filename Type Size Used Priority\n{image} file 1024 0 -2\n")
    answer = file_users.kernel_answer(
        FileTarget("x", str(image)),
        file_users.file_id(str(image), file_users.NfsVolumes()),
        file_users.NfsVolumes(),
        proc=proc,
        sysfs=tmp_path,
    )
    assert "swaps to" in str(answer)


@pytest.mark.parametrize(
    ("device", "inode", "fsid", "same"),
    [
        (45, 7, "", True),
        (45, 7, "8e4a1c0b5:3f", True),
        (46, 7, "8e4a1c0b5:3f", True),
        (46, 7, "", False),
        (46, 7, "8e4a1c0b5:40", False),
        (46, 8, "8e4a1c0b5:3f", False),
        (45, 8, "", False),
    ],
)
def test_a_file_is_the_same_by_file_system_and_file_id(device: int, inode: int, fsid: str, same: bool) -> None:
    assert ServerFile(45, 7, "8e4a1c0b5:3f").is_same(device, inode, fsid) is same


def test_local_files_of_two_devices_are_never_the_same() -> None:
    assert not ServerFile(45, 7).is_same(46, 7, "")


@pytest.mark.parametrize("head", ["", "NV SERVER   PORT DEV     FSID              FSC\n"])
def test_a_table_without_rows_tells_nothing(head: str) -> None:
    assert parse_volumes(head) == {}


def test_the_table_of_nfs_file_systems_tells_two_mounts_of_one() -> None:
    assert parse_volumes(VOLUMES) == {"0:45": "8e4a1c0b5:3f", "0:46": "8e4a1c0b5:3f"}


def test_a_device_number_leads_to_the_server_s_file_system_in_its_own_namespace(tmp_path: Path) -> None:
    here, bare = tmp_path / "1", tmp_path / "2"
    (here / "net" / "nfsfs").mkdir(parents=True)
    (here / "net" / "nfsfs" / "volumes").write_text(VOLUMES)
    volumes = NfsVolumes()
    asked = {(0, 45): "8e4a1c0b5:3f", (0, 46): "8e4a1c0b5:3f", (0, 47): "", (8, 45): ""}
    assert {number: volumes.fsid(os.makedev(*number), here) for number in asked} == asked
    assert volumes.fsid(os.makedev(0, 45), bare) == ""


def test_a_file_that_is_not_there_has_no_users(tmp_path: Path) -> None:
    assert file_answers(FileTarget("x", str(tmp_path / "missing")), NOBODY) == ()


def test_a_link_in_the_files_place_is_not_looked_through(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(make_image(tmp_path / "disk.img"))
    (answer,) = file_answers(FileTarget("x", str(link)), NOBODY)
    assert answer.verdict == "not possible here"
