# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The storage engine: the only place that changes bytes. It knows volumes, files and snapshots, and nothing of HTTP.

A volume is the directory `<state_dir>/vols/<svm>/<volume>`; its snapshots are sealed trees under `.snapshot/<name>/`
there, sharing blocks with the live files. A LUN is a file of the volume like any other, so that a snapshot covers
files and LUNs alike. What is built is built in `<state_dir>/tmp` and renamed into place; what overwrites in place
writes an intent first, which `recover` completes after a crash.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

from . import tree
from .fence import Fence, FenceError
from .reflink import copy_range, copy_whole, set_immutable, supports_immutable, supports_reflink
from .storage import Cause, Change, Observer, Reader, Reason, StorageError, VolumeRef, exists, lstat

BLOCK = 4096


class Engine(Reader):
    """All byte-changing operations, one at a time."""

    def __init__(self, state_dir: str, *, require_reflink: bool, seal: bool = True, fence: Fence | None = None) -> None:
        super().__init__(state_dir)
        self._tmp, self._intents = self.root / "tmp", self.root / "intents"
        for directory in (self.root / "vols", self._tmp, self._intents):
            directory.mkdir(parents=True, exist_ok=True)
        self.reflink = supports_reflink(str(self._tmp))
        if require_reflink and not self.reflink:
            raise StorageError(Reason.INVALID, f"the file system of {state_dir} cannot share blocks between files")
        self.seals = seal and supports_immutable(str(self._tmp))
        self._fence = fence or Fence([])
        self._observer: Observer = _nobody
        self._lock = threading.RLock()

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` of every change from now on."""
        self._observer = observer

    def _writable(self, volume: VolumeRef, path: str) -> None:
        _root, names = self.locate(volume, path)
        if not names or names[0] == tree.SNAPSHOT_DIR:
            raise StorageError(Reason.READ_ONLY, f"{path} cannot be written")

    @contextlib.contextmanager
    def _writing(self, volume: VolumeRef, path: str) -> Iterator[int]:
        self._writable(volume, path)
        with self.entry(volume, path) as (parent, name):
            fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=parent)
            try:
                yield fd
            finally:
                os.close(fd)

    def _stage(self) -> str:
        return str(self._tmp / uuid.uuid4().hex)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """One change at a time; what the file system refuses becomes a ``StorageError``."""
        with self._lock:
            try:
                yield
            except OSError as exc:
                reason = Reason.NO_SPACE if exc.errno in (errno.ENOSPC, errno.EDQUOT) else Reason.INVALID
                raise StorageError(reason, f"{exc.strerror}: {exc.filename}") from exc

    @contextlib.contextmanager
    def _fenced(self, *paths: str, strict: bool) -> Iterator[None]:
        """Hold the fence around a change; what is dirty in the files and trees at ``paths`` is written before."""
        if self._fence.pidfiles:
            for path in paths:
                tree.write_back_tree(path)
        try:
            with self._fence.held(strict=strict):
                yield
        except FenceError as exc:
            raise StorageError(Reason.FENCE, str(exc)) from exc

    def put_up_fence(self, name: str, seconds: float) -> None:
        """Stop all writing until `take_down_fence` with the same name, or until the time is over."""
        with self._changing():
            try:
                self._fence.put_up(name, seconds)
            except FenceError as exc:
                raise StorageError(Reason.FENCE, str(exc)) from exc

    def take_down_fence(self, name: str) -> None:
        """Let writing go on; a fence that has fallen is fine."""
        with self._changing():
            self._fence.take_down(name)

    # -- volumes ------------------------------------------------------------------------------------------------

    def create_volume(self, volume: VolumeRef, *, mode: int, cause: Cause) -> None:
        """Make the directory of a volume with its `.snapshot`; an existing one is left as it is."""
        root = self.volume_root(volume)
        with self._changing():
            if not os.path.isdir(root):
                os.makedirs(root)
                os.chmod(root, mode)
                self._observer(Change("volume_create", volume.svm, volume.name), cause)
            os.makedirs(os.path.join(root, tree.SNAPSHOT_DIR), exist_ok=True)
            self._seal_snapshot_dir(root, True)

    def clone_volume(self, volume: VolumeRef, snapshot: str, target: VolumeRef, *, cause: Cause) -> None:
        """Make a volume out of a snapshot of another, sharing its blocks; it has no snapshots of its own yet."""
        source, stage = os.path.join(self.volume_root(volume), tree.SNAPSHOT_DIR, snapshot), self._stage()
        with self._changing():
            if not os.path.isdir(source):
                raise StorageError(Reason.NOT_FOUND, f"snapshot {snapshot} is not there")
            if self.has_volume(target):
                raise StorageError(Reason.EXISTS, f"volume {target.name} has a directory")
            try:
                tree.clone_tree(source, stage, reflink=self.reflink)
                os.mkdir(os.path.join(stage, tree.SNAPSHOT_DIR))
                os.rename(stage, self.volume_root(target))
            finally:
                tree.remove_tree(stage, sealed=False)
            self._seal_snapshot_dir(self.volume_root(target), True)
            detail = {"parent": volume.name}
            self._observer(Change("volume_clone", target.svm, target.name, snapshot=snapshot, detail=detail), cause)

    def has_volume(self, volume: VolumeRef) -> bool:
        """Say whether a volume has its directory."""
        return os.path.isdir(self.volume_root(volume))

    def delete_volume(self, volume: VolumeRef, *, cause: Cause) -> None:
        """Remove a volume with all its snapshots."""
        root, stage = self.volume_root(volume), self._stage()
        with self._changing():
            if os.path.isdir(root):
                os.rename(root, stage)
                tree.remove_tree(stage, sealed=self.seals)
                self._observer(Change("volume_delete", volume.svm, volume.name), cause)

    def rename_volume(self, volume: VolumeRef, name: str, *, cause: Cause) -> None:
        """Give the directory of a volume another name."""
        with self._changing():
            os.rename(self.volume_root(volume), self.volume_root(VolumeRef(volume.svm, name)))
            self._observer(Change("volume_rename", volume.svm, volume.name, detail={"name": name}), cause)

    def used(self, volume: VolumeRef) -> int:
        """Return the bytes that the live files of a volume occupy."""
        return tree.used_bytes(self.volume_root(volume))

    # -- snapshots ----------------------------------------------------------------------------------------------

    def create_snapshots(self, volumes: Sequence[VolumeRef], name: str, *, cause: Cause) -> None:
        """Snapshot several volumes at one point in time, all or none visible."""
        with self._changing():
            for volume in volumes:
                if not self.has_volume(volume):
                    raise StorageError(Reason.NOT_FOUND, f"volume {volume.name} has no directory")
            stages = {volume: self._stage() for volume in volumes}
            placed: list[VolumeRef] = []
            try:
                with self._fenced(*map(self.volume_root, volumes), strict=True):
                    for volume, stage in stages.items():
                        tree.clone_tree(self.volume_root(volume), stage, reflink=self.reflink)
                for stage in stages.values():
                    if self.seals:
                        tree.seal(stage, top=False)
                for volume, stage in stages.items():
                    with self._open_snapshot_dir(volume) as directory:
                        os.rename(stage, os.path.join(directory, name))
                        placed.append(volume)
                        self._seal(os.path.join(directory, name), True)
                for volume in volumes:
                    self._observer(Change("snapshot_create", volume.svm, volume.name, snapshot=name), cause)
            except BaseException:
                for volume in placed:
                    self.delete_snapshot(volume, name, cause=cause)
                raise
            finally:
                for stage in stages.values():
                    tree.remove_tree(stage, sealed=self.seals)

    def rename_snapshot(self, volume: VolumeRef, name: str, new_name: str, *, cause: Cause) -> None:
        """Give a snapshot another name."""
        with self._changing(), self._open_snapshot_dir(volume) as directory:
            old, new = os.path.join(directory, name), os.path.join(directory, new_name)
            self._seal(old, False)
            os.rename(old, new)
            self._seal(new, True)
            self._observer(
                Change("snapshot_rename", volume.svm, volume.name, snapshot=name, detail={"name": new_name}), cause
            )

    def delete_snapshot(self, volume: VolumeRef, name: str, *, cause: Cause) -> None:
        """Remove a snapshot: out of sight at once, its files afterwards."""
        stage = self._stage()
        with self._changing():
            with self._open_snapshot_dir(volume) as directory:
                path = os.path.join(directory, name)
                if not os.path.isdir(path):
                    raise StorageError(Reason.NOT_FOUND, f"snapshot {name} is not there")
                self._seal(path, False)
                os.rename(path, stage)
            tree.remove_tree(stage, sealed=self.seals)
            self._observer(Change("snapshot_delete", volume.svm, volume.name, snapshot=name), cause)

    def snapshot_names(self, volume: VolumeRef) -> list[str]:
        """Return the names of the snapshots that are there."""
        directory = os.path.join(self.volume_root(volume), tree.SNAPSHOT_DIR)
        return sorted(os.listdir(directory)) if os.path.isdir(directory) else []

    def revert(self, volume: VolumeRef, snapshot: str, *, cause: Cause) -> None:
        """Make the live files of a volume equal to a snapshot's; newer snapshots are the caller's business."""
        source = os.path.join(self.volume_root(volume), tree.SNAPSHOT_DIR, snapshot)
        if not os.path.isdir(source):
            raise StorageError(Reason.NOT_FOUND, f"snapshot {snapshot} is not there")
        with self._changing():
            with self._intended("revert", source, volume, ""), self._fenced(self.volume_root(volume), strict=False):
                tree.revert_tree(source, self.volume_root(volume), reflink=self.reflink)
            self._observer(Change("volume_revert", volume.svm, volume.name, snapshot=snapshot), cause)

    # -- files --------------------------------------------------------------------------------------------------

    def create_file(
        self,
        volume: VolumeRef,
        path: str,
        size: int,
        *,
        parents: bool,
        op: str,
        detail: Mapping[str, object],
        cause: Cause,
    ) -> None:
        """Make an empty, sparse file of ``size`` bytes; ``parents`` makes the directories above it, too."""
        self._writable(volume, path)
        root, names = self.locate(volume, path)
        with self._changing():
            if parents:
                os.makedirs(os.path.join(root, *names[:-1]), exist_ok=True)
            with self.entry(volume, path) as (parent, name):
                if exists(parent, name):
                    raise StorageError(Reason.EXISTS, f"{path}: file exists")
                fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=parent)
                try:
                    os.ftruncate(fd, size)
                finally:
                    os.close(fd)
            self._observer(Change(op, volume.svm, volume.name, path="/".join(names), detail=detail), cause)

    def resize_file(
        self, volume: VolumeRef, path: str, size: int, *, op: str, detail: Mapping[str, object], cause: Cause
    ) -> None:
        """Give a file another size in bytes, keeping its inode."""
        with self._changing(), self._writing(volume, path) as fd:
            os.ftruncate(fd, size)
            self._observer(Change(op, volume.svm, volume.name, path=path, detail=detail), cause)

    def write_file(
        self,
        volume: VolumeRef,
        path: str,
        data: bytes,
        *,
        offset: int,
        op: str,
        detail: Mapping[str, object],
        cause: Cause,
    ) -> None:
        """Write bytes into a file at an offset."""
        with self._changing(), self._writing(volume, path) as fd:
            os.pwrite(fd, data, offset)
            self._observer(Change(op, volume.svm, volume.name, path=path, detail=detail), cause)

    def clone_file(
        self,
        volume: VolumeRef,
        source: str,
        target: str,
        *,
        snapshot: str | None,
        overwrite: bool,
        keep_inode: bool,
        op: str,
        cause: Cause,
        size: int | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Give ``target`` the content and attributes of ``source`` (in a snapshot, or live), in constant time.

        Paths are relative to the volume. Without ``overwrite`` an existing target is refused; with it the target
        keeps its inode, or is replaced, as ``keep_inode`` says. ``size`` in bytes, when not the source's.
        """
        self._writable(volume, target)
        with self._changing():
            stage = self._stage()
            try:
                with self.regular_file(volume, source, snapshot) as fd:
                    self._capture(fd, stage, live=snapshot is None)
                if size is not None:
                    os.truncate(stage, size)
                self._commit(volume, stage, target, overwrite=overwrite, keep_inode=keep_inode)
            finally:
                tree.remove_tree(stage, sealed=False)
            self._observer(
                Change(
                    op,
                    volume.svm,
                    volume.name,
                    path="/".join(tree.split_path(target)),
                    snapshot=snapshot,
                    detail={"source": source, **(detail or {})},
                ),
                cause,
            )

    def keep_file(self, volume: VolumeRef, path: str) -> str:
        """Keep a live file's content and attributes as they are now, for `put_kept`; return what it is kept as."""
        stage = self._stage()
        with self._changing(), self.regular_file(volume, path, None) as fd:
            self._capture(fd, stage, live=True)
        return stage

    def put_kept(
        self, volume: VolumeRef, kept: str, target: str, *, op: str, detail: Mapping[str, object], cause: Cause
    ) -> None:
        """Overwrite a file, which keeps its inode, with what `keep_file` kept; that is gone afterwards."""
        self._writable(volume, target)
        with self._changing():
            try:
                self._commit(volume, kept, target, overwrite=True, keep_inode=True)
            finally:
                tree.remove_tree(kept, sealed=False)
            place = "/".join(tree.split_path(target))
            self._observer(Change(op, volume.svm, volume.name, path=place, detail=detail), cause)

    def clone_ranges(
        self,
        volume: VolumeRef,
        source: str,
        target: str,
        ranges: Sequence[tuple[int, int, int]],
        *,
        snapshot: str | None,
        keep_inode: bool,
        op: str,
        cause: Cause,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Overwrite parts of an existing file: ``ranges`` are (source offset, target offset, length) in bytes."""
        self._writable(volume, target)
        with self._changing():
            stage = self._stage()
            try:
                with self.regular_file(volume, target, None) as fd:
                    self._capture(fd, stage, live=True)
                with self.regular_file(volume, source, snapshot) as reader, open(stage, "r+b") as writer:
                    for start, target_start, length in ranges:
                        try:
                            copy_range(
                                reader,
                                writer.fileno(),
                                start=start,
                                target_start=target_start,
                                length=length,
                                reflink=self.reflink,
                            )
                        except OSError as exc:
                            raise StorageError(Reason.INVALID, f"{target}: {exc.strerror}") from exc
                self._commit(volume, stage, target, overwrite=True, keep_inode=keep_inode)
            finally:
                tree.remove_tree(stage, sealed=False)
            self._observer(
                Change(
                    op,
                    volume.svm,
                    volume.name,
                    path="/".join(tree.split_path(target)),
                    snapshot=snapshot,
                    detail={"ranges": [list(item) for item in ranges], **(detail or {})},
                ),
                cause,
            )

    def rename_file(
        self,
        volume: VolumeRef,
        path: str,
        new_path: str,
        *,
        cause: Cause,
        op: str = "file_rename",
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Rename a file or directory inside its volume; an existing target is refused."""
        self._writable(volume, path)
        self._writable(volume, new_path)
        with self._changing(), self.entry(volume, path) as (parent, name), self.entry(volume, new_path) as (there, new):
            lstat(parent, name, path)
            if exists(there, new):
                raise StorageError(Reason.EXISTS, f"{new_path}: file exists")
            os.rename(name, new, src_dir_fd=parent, dst_dir_fd=there)
            told = {"path": new_path, **(detail or {})}
            self._observer(Change(op, volume.svm, volume.name, path=path, detail=told), cause)

    def delete_file(
        self,
        volume: VolumeRef,
        path: str,
        *,
        recurse: bool,
        cause: Cause,
        op: str = "file_delete",
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Remove a file, an empty directory, or with ``recurse`` a whole directory."""
        self._writable(volume, path)
        with self._changing(), self.entry(volume, path) as (parent, name):
            if stat.S_ISDIR(lstat(parent, name, path).st_mode):
                fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
                try:
                    if os.listdir(fd) and not recurse:
                        raise StorageError(Reason.NOT_EMPTY, f"{path}: directory not empty")
                finally:
                    os.close(fd)
                stage = self._stage()
                os.rename(name, stage, src_dir_fd=parent)
                tree.remove_tree(stage, sealed=False)
            else:
                os.unlink(name, dir_fd=parent)
            self._observer(Change(op, volume.svm, volume.name, path=path, detail=detail), cause)

    # -- recovery -----------------------------------------------------------------------------------------------

    def recover(self, known: Mapping[VolumeRef, Iterable[str]]) -> dict[VolumeRef, set[str]]:
        """Complete or remove what an interruption left half, and seal again.

        ``known`` names the snapshots that the array's state holds; trees it does not know are removed. Returns the
        snapshots that really are there.
        """
        with self._changing():
            for intent in sorted(self._intents.glob("*.json")):
                self._complete(json.loads(intent.read_text(encoding="utf-8")))
                intent.unlink()
            for leftover in [*self._tmp.iterdir(), *self._intents.iterdir()]:
                tree.remove_tree(str(leftover), sealed=self.seals)
            return {volume: self._recover_volume(volume, set(names)) for volume, names in known.items()}

    def _recover_volume(self, volume: VolumeRef, names: set[str]) -> set[str]:
        present = set(self.snapshot_names(volume))
        for name in present - names:
            self.delete_snapshot(volume, name, cause={})
        for name in present & names:
            self._seal(os.path.join(self.volume_root(volume), tree.SNAPSHOT_DIR, name), True)
        self._seal_snapshot_dir(self.volume_root(volume), True)
        return present & names

    def _complete(self, intent: Mapping[str, str]) -> None:
        source, root, names = intent["source"], intent["root"], tree.split_path(intent["path"])
        if not os.path.lexists(source):
            return
        with contextlib.suppress(FileNotFoundError):
            if intent["kind"] == "revert":
                tree.revert_tree(source, root, reflink=self.reflink)
                return
            with tree.open_parent(root, names) as parent:
                tree.overwrite_file(source, f"/proc/self/fd/{parent}/{names[-1]}", reflink=self.reflink)

    @contextlib.contextmanager
    def _intended(self, kind: str, source: str, volume: VolumeRef, path: str) -> Iterator[None]:
        """Write down what is about to be overwritten, so that a crash in the middle can be completed."""
        intent = self._intents / f"{uuid.uuid4().hex}.json"
        draft = intent.with_suffix(".new")
        words = {"kind": kind, "source": source, "root": self.volume_root(volume), "path": path}
        draft.write_text(json.dumps(words), encoding="utf-8")
        os.rename(draft, intent)
        try:
            yield
        except (OSError, StorageError):
            intent.unlink()
            raise
        intent.unlink()

    # -- helpers ------------------------------------------------------------------------------------------------

    def _capture(self, source: int, stage: str, *, live: bool) -> None:
        fence = self._fenced(f"/proc/self/fd/{source}", strict=True) if live else contextlib.nullcontext()
        with fence, open(stage, "xb") as writer:
            copy_whole(source, writer.fileno(), reflink=self.reflink)
        _copy_fd_attributes(source, stage)

    def _commit(self, volume: VolumeRef, stage: str, target: str, *, overwrite: bool, keep_inode: bool) -> None:
        with self.entry(volume, target) as (parent, name):
            if not exists(parent, name):
                os.link(stage, name, dst_dir_fd=parent)
                return
            if not overwrite:
                raise StorageError(Reason.EXISTS, f"{target}: file exists")
            if not stat.S_ISREG(lstat(parent, name, target).st_mode):
                raise StorageError(Reason.NOT_A_FILE, f"{target}: not a regular file")
            if not keep_inode:
                with self._fenced(strict=False):
                    os.rename(stage, name, dst_dir_fd=parent)
                return
            place = f"/proc/self/fd/{parent}/{name}"
            with self._intended("overwrite", stage, volume, target), self._fenced(place, strict=False):
                tree.overwrite_file(stage, place, reflink=self.reflink)

    def _seal(self, path: str, on: bool) -> None:
        if self.seals:
            set_immutable(path, on)

    def _seal_snapshot_dir(self, root: str, on: bool) -> None:
        path = os.path.join(root, tree.SNAPSHOT_DIR)
        if os.path.isdir(path):
            self._seal(path, on)

    @contextlib.contextmanager
    def _open_snapshot_dir(self, volume: VolumeRef) -> Iterator[str]:
        root = self.volume_root(volume)
        directory = os.path.join(root, tree.SNAPSHOT_DIR)
        if not os.path.isdir(directory):
            raise StorageError(Reason.NOT_FOUND, f"{root} has no snapshot directory")
        self._seal(directory, False)
        try:
            yield directory
        finally:
            self._seal(directory, True)


def _nobody(change: Change, cause: Mapping[str, str]) -> None:
    del change, cause


def _copy_fd_attributes(source: int, target: str) -> None:
    info = os.fstat(source)
    with contextlib.suppress(PermissionError):
        os.chown(target, info.st_uid, info.st_gid)
    os.chmod(target, stat.S_IMODE(info.st_mode))
    with contextlib.suppress(OSError):
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
