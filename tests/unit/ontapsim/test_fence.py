# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The write fence: it stops, it never lasts, and it falls with whoever holds it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ontapsim.engine import Engine
from ontapsim.fence import Fence, FenceError
from ontapsim.storage import StorageError, VolumeRef

_WRITER = """
import os, sys, threading, time
def write(number):
    place, counter = os.path.join(sys.argv[1], f"file{number}"), 0
    fd = os.open(place, os.O_CREAT | os.O_WRONLY)
    while True:
        counter += 1
        os.pwrite(fd, counter.to_bytes(8, "big"), 0)
        time.sleep(0.0005)
for number in range(3):
    threading.Thread(target=write, args=(number,), daemon=True).start()
time.sleep(60)
"""


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def state_of(pid: int) -> str:
    """Return the state letter of a process."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with threads that keep writing, its number in ``pidfile``."""
    (tmp_path / "data").mkdir()
    with subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path / "data")]) as process:
        (tmp_path / "pidfile").write_text(f"{process.pid}\n", encoding="ascii")
        wait_for(lambda: len(list((tmp_path / "data").iterdir())) == 3)
        yield process
        process.kill()
        process.send_signal(signal.SIGCONT)


def test_held_means_stopped_and_no_writes(daemon: subprocess.Popen[bytes], tmp_path: Path) -> None:
    fence = Fence([str(tmp_path / "pidfile")])
    with fence.held(strict=True):
        assert state_of(daemon.pid) == "T"
        contents = [file.read_bytes() for file in (tmp_path / "data").iterdir()]
        time.sleep(0.05)
        assert contents == [file.read_bytes() for file in (tmp_path / "data").iterdir()]
    wait_for(lambda: state_of(daemon.pid) != "T")
    wait_for(lambda: contents != [file.read_bytes() for file in (tmp_path / "data").iterdir()])
    fence.close()


def test_continued_after_a_failure(daemon: subprocess.Popen[bytes], tmp_path: Path) -> None:
    fence = Fence([str(tmp_path / "pidfile")])
    with pytest.raises(ZeroDivisionError), fence.held(strict=True):
        raise ZeroDivisionError
    wait_for(lambda: state_of(daemon.pid) != "T")
    fence.close()


def test_the_guard_ends_a_fence_that_lasts_too_long(daemon: subprocess.Popen[bytes], tmp_path: Path) -> None:
    fence = Fence([str(tmp_path / "pidfile")], limit=0.2)

    def hold_too_long() -> None:
        with fence.held(strict=True):
            wait_for(lambda: state_of(daemon.pid) != "T")
            time.sleep(0.2)

    with pytest.raises(FenceError, match="fell after"):
        hold_too_long()
    fence.close()


def test_the_guard_continues_when_the_holder_is_killed(daemon: subprocess.Popen[bytes], tmp_path: Path) -> None:
    holder = (
        "import sys, time; from ontapsim.fence import Fence\n"
        "with Fence([sys.argv[1]], limit=30).held(strict=True): print('held', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", holder, str(tmp_path / "pidfile")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert state_of(daemon.pid) == "T"
        process.kill()
        process.wait(timeout=10)
        wait_for(lambda: state_of(daemon.pid) != "T")


def test_what_was_left_stopped_can_be_continued(daemon: subprocess.Popen[bytes], tmp_path: Path) -> None:
    os.kill(daemon.pid, signal.SIGSTOP)
    wait_for(lambda: state_of(daemon.pid) == "T")
    Fence([str(tmp_path / "pidfile")]).free()
    wait_for(lambda: state_of(daemon.pid) != "T")
    assert daemon.poll() is None


def test_a_stranger_with_the_same_number_is_left_alone(daemon: subprocess.Popen[bytes], tmp_path: Path) -> None:
    os.utime(tmp_path / "pidfile", (1_000_000_000, 1_000_000_000))
    with Fence([str(tmp_path / "pidfile")]).held(strict=True):
        assert state_of(daemon.pid) != "T"


def test_nobody_to_stop(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("", encoding="ascii")
    (tmp_path / "gone").write_text("999999999\n", encoding="ascii")
    fence = Fence([str(tmp_path / name) for name in ("empty", "gone", "missing")])
    with fence.held(strict=True):
        (tmp_path / "done").touch()
    fence.close()
    assert (tmp_path / "done").exists()


def test_a_snapshot_is_one_point_in_time_over_all_files(daemon: subprocess.Popen[bytes], tmp_path: Path) -> None:
    volume = VolumeRef("svm1", "vol1")
    fence = Fence([str(tmp_path / "pidfile")])
    engine = Engine(str(tmp_path / "array"), require_reflink=False, seal=False, fence=fence)
    engine.create_volume(volume, mode=0o755, cause={})
    root = Path(engine.volume_root(volume))
    for file in (tmp_path / "data").iterdir():
        os.link(file, root / file.name)
    before = [int.from_bytes((root / f"file{number}").read_bytes(), "big") for number in range(3)]
    engine.create_snapshots([volume], "s1", cause={})
    stopped_at = [int.from_bytes((root / ".snapshot/s1" / f"file{number}").read_bytes(), "big") for number in range(3)]
    wait_for(lambda: (root / "file0").read_bytes() != (root / ".snapshot/s1/file0").read_bytes())
    assert all(then >= earlier for then, earlier in zip(stopped_at, before))
    assert state_of(daemon.pid) != "T"
    fence.close()


def test_a_snapshot_whose_fence_fell_is_not_made(
    daemon: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = VolumeRef("svm1", "vol1")
    fence = Fence([str(tmp_path / "pidfile")], limit=0.1)
    engine = Engine(str(tmp_path / "array"), require_reflink=False, seal=False, fence=fence)
    engine.create_volume(volume, mode=0o755, cause={})
    monkeypatch.setattr("ontapsim.tree.clone_tree", lambda *_args, **_options: time.sleep(0.3))
    with pytest.raises(StorageError, match="fell after"):
        engine.create_snapshots([volume], "s1", cause={})
    assert engine.snapshot_names(volume) == []
    wait_for(lambda: state_of(daemon.pid) != "T")
    fence.close()
