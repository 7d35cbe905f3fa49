# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks on files, as real QEMUs, their tools and other programs take them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from image_users import make_image, qemu, qemu_nbd

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.locks import lock_answer, lock_met
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import FileTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import replacement

User = Callable[[Path], AbstractContextManager[object]]


def _raw(path: Path) -> AbstractContextManager[object]:
    return qemu(make_image(path), image_format="raw")


def _qcow2(path: Path) -> AbstractContextManager[object]:
    return qemu(make_image(path, image_format="qcow2"), image_format="qcow2")


def _readonly(path: Path) -> AbstractContextManager[object]:
    return qemu(make_image(path), image_format="raw", readonly=True)


def _shared(path: Path) -> AbstractContextManager[object]:
    return qemu(make_image(path), image_format="raw", share=True)


def _nbd(path: Path) -> AbstractContextManager[object]:
    return qemu_nbd(make_image(path), image_format="raw")


def _nbd_readonly(path: Path) -> AbstractContextManager[object]:
    return qemu_nbd(make_image(path), image_format="raw", readonly=True)


def _backing(path: Path) -> AbstractContextManager[object]:
    overlay = make_image(path.with_name("overlay"), image_format="qcow2", backing=make_image(path))
    return qemu(overlay, image_format="qcow2")


WRITERS = {"qemu, raw": _raw, "qemu, qcow2": _qcow2, "qemu, share-rw": _shared, "qemu-nbd": _nbd}
READERS = {"qemu, read-only": _readonly, "qemu-nbd, read-only": _nbd_readonly, "below an overlay": _backing}


@pytest.mark.parametrize("name", [*WRITERS, *READERS])
def test_who_has_an_image_open_is_seen_by_a_probe_for_a_write_lock_alone(name: str, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    with {**WRITERS, **READERS}[name](image):
        answer = lock_answer(FileTarget("svm:/vol/v/disk.img", str(image)))
        descriptor = os.open(image, os.O_RDONLY)
        try:
            blind = lock_met(descriptor, kind=fcntl.F_RDLCK)
        finally:
            os.close(descriptor)
    assert answer.verdict == "found", str(answer)
    assert ("open for writing" in str(answer)) == (name in WRITERS)
    assert blind is None, "QEMU's locks are shared ones, which no probe for a read lock meets"


def test_without_a_user_nothing_is_found_and_no_lock_is_left(tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img")
    with qemu(image, image_format="raw"):
        pass
    assert str(lock_answer(FileTarget("x", str(image)))) == "locks on the file: nothing found"
    with qemu(image, image_format="raw"):
        assert lock_answer(FileTarget("x", str(image))).users


@contextmanager
def _locked(path: Path, start: int, length: int) -> Iterator[None]:
    """Let another process have a POSIX lock for writing."""
    code = (
        "import fcntl, sys\n"
        "f = open(sys.argv[1], 'r+b')\n"
        "fcntl.lockf(f, fcntl.LOCK_EX, int(sys.argv[3]), int(sys.argv[2]))\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, path, str(start), str(length)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield
    finally:
        process.communicate(b"")


@pytest.mark.parametrize("start", [0, 100, 1 << 40])
def test_a_lock_of_any_program_on_any_byte_counts(start: int, tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img")
    with _locked(image, start, 1):
        answer = lock_answer(FileTarget("x", str(image)))
    assert answer.verdict == "found"
    assert ("a program holds a lock" in str(answer)) == (start != 100)


@pytest.mark.parametrize(("start", "writes"), [(100, False), (101, True), (102, False), (201, False)])
def test_one_byte_of_qemu_s_says_that_it_writes(start: int, writes: bool, tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img")
    with _locked(image, start, 1):
        answer = lock_answer(FileTarget("x", str(image)))
    assert ("has it open for writing" in str(answer)) == writes
    assert "a QEMU or one of its tools holds its lock" in str(answer)


def test_a_mount_without_locks_shows_those_of_this_host_alone_and_says_so(tmp_path: Path) -> None:
    image = make_image(tmp_path / "disk.img")
    target = FileTarget("x", str(image), locks=False)
    assert lock_answer(target).verdict == "not possible here"
    assert "takes no locks to the server" in str(lock_answer(target))
    with _locked(image, 0, 1):
        assert lock_answer(target).verdict == "found"


def test_the_lock_that_this_process_has_is_nobody_s_and_stays(tmp_path: Path) -> None:
    image, other = make_image(tmp_path / "disk.img"), make_image(tmp_path / "other.img")
    fences = [replacement.locked(str(each)) for each in (image, other)]
    try:
        assert lock_answer(FileTarget("x", str(image))).users, "a lock that is not said to be ours is somebody's"
        assert lock_answer(FileTarget("x", str(image), fence=fences[1])).users, "that is another file's lock"
        assert lock_answer(FileTarget("x", str(image), fence=fences[0])).users == ()
        with pytest.raises(BlockingIOError):
            replacement.locked(str(image))
    finally:
        for each in fences:
            os.close(each)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to(make_image(tmp_path / "disk.img"))
    for path in (fifo, link, tmp_path, tmp_path / "missing"):
        assert lock_answer(FileTarget("x", str(path))).verdict == "not possible here", path
