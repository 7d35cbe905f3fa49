# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file put in another one's place by its name: where that may be, what a rename that hangs comes to, locks."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import content, replacement
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.replacement import FileId, RenameUnknownError

HELD = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR)
asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 100, 103, 0)
print(struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)
"""


RENAMES = """
import os, sys, time
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import replacement
made, target, told, go = sys.argv[1:]
def rename():
    with open(told + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(told + ".new", told)
    while not os.path.exists(go):
        time.sleep(0.01)
    os.rename(made, target)
with replacement.opened(made) as file:
    replacement.carried_out(made, target, replacement.file_id(made), rename, keep=[file], expendable=True)
"""


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A target, and the file that is to take its place."""
    target, made = tmp_path / "disk.img", tmp_path / replacement.temporary_name("1234-abcd")
    target.write_bytes(b"old")
    made.write_bytes(b"new")
    return target, made


def renamed(made: Path, target: Path, *, act: object = None, seconds: float = 5.0, expendable: bool = True) -> None:
    wanted = replacement.file_id(str(made))
    assert wanted is not None
    with content.directory_of(str(target)) as directory:

        def rename() -> None:
            os.rename(made.name, target.name, src_dir_fd=directory, dst_dir_fd=directory)

        replacement.carried_out(
            str(made),
            str(target),
            wanted,
            act or rename,
            keep=[directory],
            expendable=expendable,
            seconds=seconds,  # type: ignore[arg-type]
        )


@pytest.mark.parametrize("uuid", ["", "a" * 200, "../../etc/passwd", "8f0b5d3e-1c11-4d6e-9b55-000000000000"])
def test_a_temporary_name_is_ours_unique_bounded_and_in_its_directory(uuid: str) -> None:
    first, second = replacement.temporary_name(uuid), replacement.temporary_name(uuid)
    assert first != second
    assert replacement.is_ours(first)
    assert len(first) <= 70
    assert "/" not in first


@pytest.mark.parametrize(
    "name", ["disk.img", ".kvmsnap-tmp-", ".kvmsnap-tmp-zz", ".kvmsnap-tmp-0123456789abcdef/x", ".nfs0001"]
)
def test_other_names_are_not_ours(name: str) -> None:
    assert not replacement.is_ours(name)


def test_the_new_file_has_the_name_and_no_descriptor_of_ours_stays_on_the_old(pair: tuple[Path, Path]) -> None:
    target, made = pair
    inode, old = made.stat().st_ino, target.stat().st_ino
    renamed(made, target)
    assert (target.read_bytes(), target.stat().st_ino, made.exists()) == (b"new", inode, False)
    opened = [
        os.stat(f"/proc/self/fd/{each}").st_ino
        for each in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{each}")
    ]
    assert old not in opened


def test_a_link_a_directory_a_second_link_and_a_read_only_mount_are_not_renamed_over(tmp_path: Path) -> None:
    plain, link, twice = tmp_path / "plain", tmp_path / "link", tmp_path / "twice"
    plain.touch()
    assert replacement.hindrance(str(plain)) is None
    assert replacement.hindrance(str(tmp_path / "missing")) is None
    link.symlink_to(plain)
    assert "symbolic link" in str(replacement.hindrance(str(link)))
    twice.hardlink_to(plain) if sys.version_info >= (3, 10) else os.link(plain, twice)
    assert "2 links" in str(replacement.hindrance(str(plain)))
    (tmp_path / "directory").mkdir()
    assert "no regular file" in str(replacement.hindrance(str(tmp_path / "directory")))
    assert "read-only" in str(replacement.hindrance("/sys/kernel/vmcoreinfo")) or os.access("/sys/kernel", os.W_OK)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_target_that_is_a_mount_point_is_not_renamed_over(tmp_path: Path) -> None:
    target, other = tmp_path / "disk.img", Path("/dev/shm") / f"kvmsnap-{os.getpid()}.img"
    target.touch()
    other.touch()
    looked = (
        "import sys; from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import replacement;"
        " print(replacement.hindrance(sys.argv[1]))"
    )
    script = f'mount --bind {other} {target} && exec {sys.executable} -c "$1" {target}'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", looked],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    other.unlink()
    assert "is a mount point" in done.stdout, done.stderr


def test_what_is_refused_changes_nothing(pair: tuple[Path, Path]) -> None:
    target, made = pair
    target.unlink()
    target.mkdir()
    with pytest.raises(IsADirectoryError):
        renamed(made, target)
    assert made.read_bytes() == b"new"


def test_a_rename_that_hangs_is_given_up_and_cannot_happen_later(pair: tuple[Path, Path]) -> None:
    target, made = pair
    with pytest.raises(OSError, match="did not answer"):
        renamed(made, target, act=lambda: time.sleep(600), seconds=0.2)
    assert (target.read_bytes(), made.exists()) == (b"old", False)


def test_a_file_that_must_not_be_lost_keeps_its_name_when_its_rename_is_not_answered(pair: tuple[Path, Path]) -> None:
    target, aside = pair[0], pair[0].with_name(replacement.aside_name())
    with pytest.raises(RenameUnknownError, match="is unknown"):
        renamed(target, aside, act=lambda: time.sleep(600), seconds=0.2, expendable=False)
    assert target.read_bytes() == b"old"


def test_a_rename_that_took_place_and_was_not_answered_is_seen_by_the_file_s_id(pair: tuple[Path, Path]) -> None:
    target, made = pair

    def late() -> None:
        os.rename(made, target)
        time.sleep(600)

    renamed(made, target, act=late, seconds=0.5)
    assert target.read_bytes() == b"new"


def test_when_the_names_cannot_be_looked_at_either_the_fate_is_unknown(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, made = pair
    wanted = replacement.file_id(str(made))
    assert wanted is not None

    def hangs(_path: str) -> FileId:
        time.sleep(5)
        raise AssertionError

    monkeypatch.setattr(replacement, "file_id", hangs)
    with pytest.raises(RenameUnknownError, match="is unknown"):
        replacement.settle_rename(str(made), str(target), wanted, expendable=True, seconds=0.1)


def test_a_lock_taken_before_the_rename_holds_the_name_afterwards(pair: tuple[Path, Path]) -> None:
    target, made = pair
    held = replacement.locked(str(made))
    renamed(made, target)
    assert asked(target) == "True"
    os.close(held)
    assert asked(target) == "False"


def test_a_lock_of_somebody_else_is_noticed(pair: tuple[Path, Path]) -> None:
    _target, made = pair
    held = replacement.locked(str(made))
    with pytest.raises(BlockingIOError):
        replacement.locked(str(made))
    os.close(held)


def test_a_child_has_no_descriptor_but_those_it_needs(pair: tuple[Path, Path], tmp_path: Path) -> None:
    target, made = pair
    told = tmp_path / "told"

    def look() -> None:
        told.write_text(" ".join(os.listdir("/proc/self/fd")))
        os.rename(made, target)

    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        renamed(made, target, act=look)
        assert str(lock.fileno()) not in told.read_text().split()


def test_a_child_has_the_file_open_and_does_not_outlive_its_parent(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (target, made), told, go = pair, tmp_path / "told", tmp_path / "go"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", RENAMES, *map(str, (made, target, told, go))], env=environment)
    until(told.exists)
    child = Path("/proc") / told.read_text()
    assert made.stat().st_ino in [os.stat(each).st_ino for each in (child / "fd").iterdir() if os.path.exists(each)]
    parent.kill()
    parent.wait(10)
    until(lambda: ended(child))
    go.touch()
    assert (target.read_bytes(), made.read_bytes()) == (b"old", b"new")


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def ended(process: Path) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def asked(path: Path) -> str:
    """Return whether another process would be refused a write lock."""
    return subprocess.run(
        [sys.executable, "-c", HELD, str(path)], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_child_that_renames_has_no_descriptor_above_the_limit_either(pair: tuple[Path, Path]) -> None:
    """A limit may be lowered below what is open, or be so high that nobody can try all numbers."""
    target, made = pair
    high = fcntl.fcntl(os.open(target, os.O_RDONLY), fcntl.F_DUPFD, 700)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def act() -> None:
        if os.path.exists(f"/proc/self/fd/{high}"):
            raise OSError(16, "it is open still")
        os.rename(made, target)

    resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
    try:
        renamed(made, target, act=act)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(high)
    assert target.read_bytes() == b"new"


def test_the_directory_is_closed_however_its_use_ends(pair: tuple[Path, Path]) -> None:
    made, _target = pair
    before = os.listdir("/proc/self/fd")
    with content.directory_of(str(made)) as descriptor:
        assert os.path.samestat(os.fstat(descriptor), made.parent.stat())
    with suppress(KeyError), content.directory_of(str(made)):
        raise KeyError
    assert len(os.listdir("/proc/self/fd")) == len(before)
