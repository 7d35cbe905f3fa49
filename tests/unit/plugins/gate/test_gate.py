# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate does with what the looks say: it refuses before it touches anything, and waits for what passes by."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import InUseError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.gate import Gate
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, FileTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host, connect

CLAIM = Claim(frozenset())
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what others have open")


@pytest.fixture
def host() -> Iterator[Host]:
    """Return the host of libvirt's test driver, whose guest has no disk."""
    with closing(connect("test:///default", retry_count=0)) as found:
        yield found


@pytest.fixture
def target(tmp_path: Path) -> FileTarget:
    """Return a disk's file, and beside it another one that could take its place."""
    (tmp_path / "disk.img").write_bytes(b"old")
    (tmp_path / "new.img").write_bytes(b"new")
    return FileTarget("svm1:/vol/v/disk.img", str(tmp_path / "disk.img"))


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a lock of QEMU's kind on a file."""
    with open(path, "r+b") as stream:
        fcntl.fcntl(stream, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 100, 1, 0))
        yield


def rename(gate: Gate, target: FileTarget) -> None:
    directory = os.open(os.path.dirname(target.host_path), os.O_RDONLY)
    try:
        gate.rename_over(target, CLAIM, directory=directory, temporary="new.img", name="disk.img")
    finally:
        os.close(directory)


ACTS: dict[str, tuple[Callable[[Gate, FileTarget], None], bytes | None]] = {
    "rename": (rename, b"new"),
    "copy": (
        lambda gate, target: gate.copy_over_file(target, CLAIM, str(Path(target.host_path).with_name("new.img"))),
        b"new",
    ),
    "remove": (lambda gate, target: gate.remove_file(target, CLAIM), None),
}


@pytest.mark.parametrize(("act", "left"), ACTS.values(), ids=ACTS)
def test_what_somebody_uses_stays_as_it_is_until_nobody_does(
    host: Host, target: FileTarget, act: Callable[[Gate, FileTarget], None], left: bytes | None
) -> None:
    gate, path = Gate(lambda: host), Path(target.host_path)
    with locked(target.host_path), pytest.raises(InUseError) as caught:
        act(gate, target)
    assert path.read_bytes() == b"old"
    assert caught.value.fields == {
        "path": target.host_path,
        "user": f"a QEMU or one of its tools holds its lock on {path} and has it open, here or on another host",
        "look": "locks on the file",
        "remedy": "Stop what uses the file, on whichever host it runs.",
    }
    assert caught.value.message == (
        f"Refused to overwrite svm1:/vol/v/disk.img: {caught.value.fields['user']}. {caught.value.fields['remedy']}"
    )
    act(gate, target)
    assert (path.read_bytes() if path.exists() else None) == left


def test_a_file_behind_a_link_in_the_place_of_its_directory_is_not_removed(host: Host, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "disk.img").write_bytes(b"another one")
    (tmp_path / "swapped").symlink_to(tmp_path / "away")
    target = FileTarget("svm1:/vol/v/swapped/disk.img", str(tmp_path / "swapped" / "disk.img"))
    with pytest.raises(OSError, match=r"[Ll]ink"):
        Gate(lambda: host).remove_file(target, CLAIM)
    assert (tmp_path / "away" / "disk.img").read_bytes() == b"another one"
    Gate(lambda: host).remove_file(FileTarget("svm1:/vol/v/gone/x", str(tmp_path / "gone" / "x")), CLAIM)


@needs_root
def test_a_program_that_passes_by_has_time_to_go(host: Host, target: FileTarget) -> None:
    """It is no child of this process, whose children do not count, and has no lock."""
    code = "import sys; f = open(sys.argv[1], 'rb'); print('open', flush=True); sys.stdin.read()"
    command = ["sh", "-c", '"$@"; true', "sh", sys.executable, "-c", code, target.host_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(InUseError, match="on this host"):
            Gate(lambda: host, patience=0).refuse_used(target, CLAIM)
        threading.Timer(0.5, process.stdin.close).start()
        began = time.monotonic()
        Gate(lambda: host, patience=60).refuse_used(target, CLAIM)
        assert time.monotonic() - began < 60


def test_a_lock_is_not_waited_for(host: Host, target: FileTarget) -> None:
    began = time.monotonic()
    with locked(target.host_path), pytest.raises(InUseError):
        Gate(partial(lambda: host), patience=60).refuse_used(target, CLAIM)
    assert time.monotonic() - began < 30
