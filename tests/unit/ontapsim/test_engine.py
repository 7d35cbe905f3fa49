# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage engine on real files: snapshots, clones, restores, and paths that stay inside their volume."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from ontapsim.engine import Engine
from ontapsim.storage import Change, Reason, StorageError, VolumeRef

VOLUME = VolumeRef("svm1", "vol1")
OTHER = VolumeRef("svm1", "vol2")
CAUSE = {"request": "r1", "user": "tester"}
BLOCK = 4096


class Setup:
    """An engine with two empty volumes, and the changes it told of."""

    def __init__(self, root: Path) -> None:
        self.engine = Engine(str(root), require_reflink=False)
        self.changes: list[Change] = []
        self.engine.observe(lambda change, _cause: self.changes.append(change))
        for volume in (VOLUME, OTHER):
            self.engine.create_volume(volume, mode=0o755, cause=CAUSE)
        self.root = Path(self.engine.volume_root(VOLUME))

    def write(self, path: str, data: bytes) -> Path:
        """Write a file of the volume, as an NFS client would."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def snapshot(self, name: str) -> Path:
        """Make a snapshot and return its directory."""
        self.engine.create_snapshots([VOLUME], name, cause=CAUSE)
        return self.root / ".snapshot" / name

    def clone(
        self, source: str, target: str, *, snapshot: str | None = None, overwrite: bool = True, keep_inode: bool = True
    ) -> None:
        """Clone one file."""
        self.engine.clone_file(
            VOLUME,
            source,
            target,
            snapshot=snapshot,
            overwrite=overwrite,
            keep_inode=keep_inode,
            op="file_clone",
            cause=CAUSE,
        )


@pytest.fixture
def setup(engine_root: Path) -> Setup:
    """An engine on both kinds of file system."""
    return Setup(engine_root)


def refusal(error: pytest.ExceptionInfo[StorageError]) -> Reason:
    """Return why the engine refused."""
    return error.value.reason


def test_reflink_is_used_where_it_is_there(reflink_root: Path) -> None:
    assert Engine(str(reflink_root / "there"), require_reflink=True).reflink


def test_reflink_can_be_demanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ontapsim.engine.supports_reflink", lambda _directory: False)
    with pytest.raises(StorageError, match="share blocks"):
        Engine(str(tmp_path), require_reflink=True)


def test_snapshot_keeps_what_was_there(setup: Setup) -> None:
    setup.write("a/b/disk.img", b"one" * 5000)
    setup.write("other", b"x")
    copy = setup.snapshot("s1")
    setup.write("a/b/disk.img", b"two")
    (setup.root / "other").unlink()
    assert (copy / "a/b/disk.img").read_bytes() == b"one" * 5000
    assert (copy / "other").read_bytes() == b"x"
    assert not (copy / ".snapshot").exists()
    assert setup.engine.snapshot_names(VOLUME) == ["s1"]


def test_snapshot_of_several_volumes(setup: Setup) -> None:
    setup.write("a", b"1")
    (Path(setup.engine.volume_root(OTHER)) / "b").write_bytes(b"2")
    setup.engine.create_snapshots([VOLUME, OTHER], "both", cause=CAUSE)
    assert (setup.root / ".snapshot/both/a").read_bytes() == b"1"
    assert (Path(setup.engine.volume_root(OTHER)) / ".snapshot/both/b").read_bytes() == b"2"


def test_snapshot_of_several_volumes_is_all_or_none(setup: Setup) -> None:
    with pytest.raises(StorageError):
        setup.engine.create_snapshots([VOLUME, VolumeRef("svm1", "gone")], "both", cause=CAUSE)
    assert setup.engine.snapshot_names(VOLUME) == []
    assert list((Path(setup.engine.root) / "tmp").iterdir()) == []


def test_snapshot_keeps_attributes_links_and_holes(setup: Setup) -> None:
    disk = setup.write("disk.img", b"")
    os.truncate(disk, 64 << 20)
    with disk.open("r+b") as file:
        file.seek(32 << 20)
        file.write(b"data")
    disk.chmod(0o640)
    os.utime(disk, ns=(1_000_000_000, 2_000_000_123))
    if os.geteuid() == 0:
        os.chown(disk, 107, 64055)
    os.link(disk, setup.root / "hard")
    os.symlink("../outside", setup.root / "soft")
    os.mkfifo(setup.root / "pipe")
    copy = setup.snapshot("s1")
    before, after = disk.stat(), (copy / "disk.img").stat()
    for name in ("st_size", "st_mode", "st_uid", "st_gid", "st_mtime_ns"):
        assert getattr(after, name) == getattr(before, name)
    assert after.st_blocks * 512 < 1 << 20
    assert (copy / "hard").stat().st_ino == after.st_ino
    assert os.readlink(copy / "soft") == "../outside"
    assert stat.S_ISFIFO((copy / "pipe").lstat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may seal")
def test_snapshots_cannot_be_changed_from_below(setup: Setup) -> None:
    setup.write("dir/a", b"1")
    copy = setup.snapshot("s1")
    if not setup.engine.seals:
        pytest.skip("this file system has no immutable flag")
    attempts = [
        lambda: (copy / "dir/a").write_bytes(b"2"),
        (copy / "dir/a").unlink,
        lambda: (copy / "new").write_bytes(b"2"),
        lambda: (copy / "dir/new").write_bytes(b"2"),
        (setup.root / ".snapshot/mine").mkdir,
        lambda: (setup.root / ".snapshot").rename(setup.root / "x"),
        lambda: copy.rename(setup.root / ".snapshot/s2"),
    ]
    for attempt in attempts:
        with pytest.raises(PermissionError):
            attempt()
    assert (copy / "dir/a").read_bytes() == b"1"


def test_rename_and_delete_snapshot(setup: Setup) -> None:
    setup.write("a", b"1")
    setup.snapshot("s1")
    setup.engine.rename_snapshot(VOLUME, "s1", "s2", cause=CAUSE)
    assert (setup.root / ".snapshot/s2/a").read_bytes() == b"1"
    setup.engine.delete_snapshot(VOLUME, "s2", cause=CAUSE)
    assert setup.engine.snapshot_names(VOLUME) == []
    with pytest.raises(StorageError) as error:
        setup.engine.delete_snapshot(VOLUME, "s2", cause=CAUSE)
    assert refusal(error) is Reason.NOT_FOUND


@pytest.mark.parametrize("keep_inode", [True, False])
def test_clone_over_a_file(setup: Setup, keep_inode: bool) -> None:
    disk = setup.write("d/disk.img", b"good" * 4096)
    neighbour = setup.write("d/other.img", b"mine")
    disk.chmod(0o604)
    setup.snapshot("s1")
    setup.write("d/disk.img", b"garbage" * 99999)
    disk.chmod(0o777)
    inode = disk.stat().st_ino
    setup.clone("d/disk.img", "d/disk.img", snapshot="s1", keep_inode=keep_inode)
    assert disk.read_bytes() == b"good" * 4096
    assert stat.S_IMODE(disk.stat().st_mode) == 0o604
    assert (disk.stat().st_ino == inode) is keep_inode
    assert disk.stat().st_nlink == 1
    assert neighbour.read_bytes() == b"mine"


def test_clone_grows_and_shrinks_to_the_source(setup: Setup) -> None:
    disk = setup.write("disk.img", b"x" * (3 * BLOCK + 100))
    setup.snapshot("s1")
    for size in (0, 10, 10 * BLOCK):
        disk.write_bytes(b"y" * size)
        setup.clone("disk.img", "disk.img", snapshot="s1")
        assert disk.read_bytes() == b"x" * (3 * BLOCK + 100)


def test_clone_of_a_live_file_to_a_new_name(setup: Setup) -> None:
    setup.write("a", b"1" * 10000)
    setup.clone("a", "b", overwrite=False)
    assert (setup.root / "b").read_bytes() == b"1" * 10000
    (setup.root / "a").write_bytes(b"2")
    assert (setup.root / "b").read_bytes() == b"1" * 10000


def test_clone_keeps_holes(setup: Setup) -> None:
    disk = setup.write("disk.img", b"")
    os.truncate(disk, 256 << 20)
    setup.clone("disk.img", "copy.img")
    info = (setup.root / "copy.img").stat()
    assert (info.st_size, info.st_blocks) == (256 << 20, 0)


def test_clone_by_the_snapshot_directory(setup: Setup) -> None:
    setup.write("a", b"1")
    setup.snapshot("s1")
    setup.write("a", b"2")
    setup.clone("./.snapshot/s1/a", "a")
    assert (setup.root / "a").read_bytes() == b"1"


CLONE_REFUSALS = {
    "no source": ("none", "b", Reason.NOT_FOUND),
    "no directory": ("a", "none/b", Reason.NOT_FOUND),
    "exists": ("a", "a2", Reason.EXISTS),
    "source is a directory": ("dir", "b", Reason.NOT_A_FILE),
    "into a snapshot": ("a", ".snapshot/s1/a", Reason.READ_ONLY),
    "onto the root": ("a", "", Reason.READ_ONLY),
    "above": ("../vol2/secret", "b", Reason.ESCAPE),
    "target above": ("a", "x/../../b", Reason.ESCAPE),
    "through a link": ("link/secret", "b", Reason.NOT_FOUND),
    "target through a link": ("a", "link/b", Reason.NOT_FOUND),
    "a link itself": ("link2", "b", Reason.NOT_A_FILE),
    "nul": ("a\0b", "b", Reason.ESCAPE),
}


@pytest.mark.parametrize("case", CLONE_REFUSALS)
def test_clone_refuses(setup: Setup, case: str) -> None:
    source, target, reason = CLONE_REFUSALS[case]
    other = Path(setup.engine.volume_root(OTHER))
    (other / "secret").write_bytes(b"secret")
    setup.write("a", b"1")
    setup.write("a2", b"2")
    (setup.root / "dir").mkdir()
    setup.snapshot("s1")
    os.symlink(other, setup.root / "link")
    os.symlink(other / "secret", setup.root / "link2")
    before = len(setup.changes)
    with pytest.raises(StorageError) as error:
        setup.clone(source, target, overwrite=False)
    assert refusal(error) is reason
    assert not (setup.root / "b").exists()
    assert sorted(item.name for item in other.iterdir()) == [".snapshot", "secret"]
    assert len(setup.changes) == before
    assert list((Path(setup.engine.root) / "tmp").iterdir()) == []


def test_overwriting_a_link_or_a_directory_is_refused(setup: Setup) -> None:
    setup.write("a", b"1")
    (setup.root / "dir").mkdir()
    os.symlink("a", setup.root / "link")
    for target in ("dir", "link"):
        with pytest.raises(StorageError) as error:
            setup.clone("a", target)
        assert refusal(error) is Reason.NOT_A_FILE


def test_clone_ranges(setup: Setup) -> None:
    disk = setup.write("disk.img", b"a" * BLOCK + b"b" * BLOCK + b"c" * BLOCK)
    setup.snapshot("s1")
    disk.write_bytes(b"z" * (3 * BLOCK))
    inode = disk.stat().st_ino
    setup.engine.clone_ranges(
        VOLUME,
        "disk.img",
        "disk.img",
        [(BLOCK, BLOCK, BLOCK)],
        snapshot="s1",
        keep_inode=True,
        op="file_restore_part",
        cause=CAUSE,
    )
    assert disk.read_bytes() == b"z" * BLOCK + b"b" * BLOCK + b"z" * BLOCK
    assert disk.stat().st_ino == inode


def test_clone_of_the_last_partial_block(setup: Setup) -> None:
    disk = setup.write("disk.img", b"a" * BLOCK + b"b" * 100)
    setup.snapshot("s1")
    disk.write_bytes(b"z" * (3 * BLOCK))
    setup.engine.clone_ranges(
        VOLUME, "disk.img", "disk.img", [(BLOCK, BLOCK, BLOCK)], snapshot="s1", keep_inode=True, op="x", cause=CAUSE
    )
    assert disk.read_bytes() == b"z" * BLOCK + b"b" * 100 + b"z" * (2 * BLOCK - 100)


def test_revert(setup: Setup) -> None:
    disk = setup.write("d/disk.img", b"one")
    setup.write("gone/deep", b"1")
    setup.write("becomes-dir", b"file")
    os.symlink("x", setup.root / "link")
    setup.snapshot("s1")
    inode, root_inode = disk.stat().st_ino, setup.root.stat().st_ino
    disk.write_bytes(b"two, longer")
    (setup.root / "gone/deep").unlink()
    (setup.root / "gone").rmdir()
    (setup.root / "becomes-dir").unlink()
    setup.write("becomes-dir/x", b"1")
    setup.write("new/file", b"1")
    setup.engine.revert(VOLUME, "s1", cause=CAUSE)
    assert disk.read_bytes() == b"one"
    assert (disk.stat().st_ino, setup.root.stat().st_ino) == (inode, root_inode)
    assert (setup.root / "gone/deep").read_bytes() == b"1"
    assert (setup.root / "becomes-dir").read_bytes() == b"file"
    assert os.readlink(setup.root / "link") == "x"
    assert not (setup.root / "new").exists()
    assert (setup.root / ".snapshot/s1/d/disk.img").read_bytes() == b"one"


def test_rename_and_delete_files(setup: Setup) -> None:
    setup.write("d/a", b"1")
    setup.write("b", b"2")
    with pytest.raises(StorageError) as error:
        setup.engine.rename_file(VOLUME, "d/a", "b", cause=CAUSE)
    assert refusal(error) is Reason.EXISTS
    setup.engine.rename_file(VOLUME, "d/a", "d/c", cause=CAUSE)
    assert (setup.root / "d/c").read_bytes() == b"1"
    with pytest.raises(StorageError) as error:
        setup.engine.delete_file(VOLUME, "d", recurse=False, cause=CAUSE)
    assert refusal(error) is Reason.NOT_EMPTY
    setup.engine.delete_file(VOLUME, "d", recurse=True, cause=CAUSE)
    setup.engine.delete_file(VOLUME, "b", recurse=False, cause=CAUSE)
    assert sorted(item.name for item in setup.root.iterdir()) == [".snapshot"]


def test_reading(setup: Setup) -> None:
    setup.write("d/a", b"0123456789")
    os.symlink("a", setup.root / "d/l")
    assert setup.engine.read(VOLUME, "d/a", offset=3, length=4) == b"3456"
    assert [item.name for item in setup.engine.entries(VOLUME, "d")] == [".", "..", "a", "l"]
    link = setup.engine.stat(VOLUME, "d/l")
    assert (link.kind, link.target) == ("symlink", "a")
    assert setup.engine.stat(VOLUME, "").kind == "directory"
    assert setup.engine.sha256(VOLUME, "d/a") == hashlib.sha256(b"0123456789").hexdigest()


def test_volumes_come_and_go(setup: Setup) -> None:
    setup.write("a", b"1")
    setup.snapshot("s1")
    setup.engine.rename_volume(VOLUME, "renamed", cause=CAUSE)
    renamed = VolumeRef("svm1", "renamed")
    assert setup.engine.has_volume(renamed)
    assert not setup.engine.has_volume(VOLUME)
    setup.engine.delete_volume(renamed, cause=CAUSE)
    assert not setup.engine.has_volume(renamed)
    assert list((Path(setup.engine.root) / "tmp").iterdir()) == []


def test_every_change_is_told(setup: Setup) -> None:
    setup.write("a", b"1")
    setup.snapshot("s1")
    setup.clone("a", "b", snapshot="s1")
    setup.engine.rename_snapshot(VOLUME, "s1", "s2", cause=CAUSE)
    setup.engine.revert(VOLUME, "s2", cause=CAUSE)
    setup.engine.delete_snapshot(VOLUME, "s2", cause=CAUSE)
    told = [(change.op, change.path, change.snapshot) for change in setup.changes[2:]]
    assert told == [
        ("snapshot_create", None, "s1"),
        ("file_clone", "b", "s1"),
        ("snapshot_rename", None, "s1"),
        ("volume_revert", None, "s2"),
        ("snapshot_delete", None, "s2"),
    ]


def test_constant_time_with_shared_blocks(reflink_root: Path) -> None:
    setup = Setup(reflink_root / "constant")
    disk = setup.write("disk.img", os.urandom(1 << 20) * 64)
    os.sync()
    free = os.statvfs(reflink_root).f_bavail * os.statvfs(reflink_root).f_frsize
    setup.snapshot("s1")
    setup.clone("disk.img", "disk.img", snapshot="s1")
    setup.clone("disk.img", "copy.img", snapshot="s1")
    used = free - os.statvfs(reflink_root).f_bavail * os.statvfs(reflink_root).f_frsize
    assert used < 4 << 20
    assert disk.stat().st_size == 64 << 20
