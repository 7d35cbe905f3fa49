# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cache of directories: each is built aside and renamed when complete, so a half-built one is never trusted."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..progress import say, step

DRAFT = ".draft-"


@dataclass(frozen=True)
class Part:
    """One cached directory: its name, the files and words it is made from, and how it is built."""

    name: str
    sources: Sequence[Path]
    words: Sequence[str]
    build: Callable[[Path], None]

    @property
    def key(self) -> str:
        """Return the hash of everything the part is built from, file names and contents alike."""
        return fingerprint(self.sources, self.words)

    def place(self, cache: Path) -> Path:
        """Return where the complete part lies or will lie."""
        return cache / f"{self.name}-{self.key}"


def fingerprint(sources: Sequence[Path], words: Sequence[str] = ()) -> str:
    """Return a short hash of words and of files, directories with all below them, by names and contents."""
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    for source in sources:
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(str(file.relative_to(source.parent)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def missing(cache: Path, parts: Sequence[Part]) -> list[Part]:
    """Return the parts that are not in the cache."""
    return [part for part in parts if not part.place(cache).is_dir()]


def build(cache: Path, parts: Sequence[Part]) -> None:
    """Build what is missing, all parts at once; drafts that a killed build left are removed first."""
    cache.mkdir(parents=True, exist_ok=True)
    for draft in cache.glob(f"{DRAFT}*"):
        shutil.rmtree(draft)
    with ThreadPoolExecutor(max_workers=len(parts) or 1) as pool:
        for done in [pool.submit(_build_one, cache, part) for part in missing(cache, parts)]:
            done.result()


def prune(cache: Path, parts: Sequence[Part]) -> None:
    """Remove the cached directories that no part of today would use."""
    wanted = {part.place(cache).name for part in parts}
    names = {part.name for part in parts}
    for entry in cache.iterdir():
        if entry.name not in wanted and entry.name.rpartition("-")[0] in names:
            say(f"removing the outdated image {entry.name}")
            shutil.rmtree(entry)


def _build_one(cache: Path, part: Part) -> None:
    draft = cache / f"{DRAFT}{part.name}"
    draft.mkdir()
    with step(f"building the {part.name} image"):
        part.build(draft)
    draft.rename(part.place(cache))
