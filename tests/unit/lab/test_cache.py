# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image cache: what a key depends on, and that nothing half-built is ever used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvmlab.images import cache


def part(source: Path, build: Callable[[Path], None], *, words: tuple[str, ...] = ("release",)) -> cache.Part:
    return cache.Part("part", [source], words, build)


def write(target: Path) -> None:
    (target / "image").write_text("complete")


@pytest.fixture(name="source")
def _source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    (source / "etc").mkdir(parents=True)
    (source / "etc" / "file").write_text("one")
    return source


def test_the_key_follows_names_contents_and_words(source: Path) -> None:
    keys = {part(source, write).key, part(source, write, words=("other",)).key}
    (source / "etc" / "file").write_text("two")
    keys.add(part(source, write).key)
    (source / "etc" / "file").rename(source / "etc" / "renamed")
    keys.add(part(source, write).key)
    assert len(keys) == 4


def test_the_key_ignores_what_python_leaves(source: Path) -> None:
    before = part(source, write).key
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "x.pyc").write_bytes(b"")
    assert part(source, write).key == before


def test_a_part_is_built_once(source: Path, tmp_path: Path) -> None:
    built: list[Path] = []
    parts = [part(source, lambda target: (built.append(target), write(target))[1])]
    for _time in range(2):
        cache.build(tmp_path / "cache", parts)
    assert len(built) == 1
    assert (parts[0].place(tmp_path / "cache") / "image").read_text() == "complete"
    assert cache.missing(tmp_path / "cache", parts) == []


def test_a_failed_build_leaves_nothing_that_counts(source: Path, tmp_path: Path) -> None:
    def fail(target: Path) -> None:
        write(target)
        raise RuntimeError("out of space")

    failing = [part(source, fail)]
    with pytest.raises(RuntimeError, match="out of space"):
        cache.build(tmp_path / "cache", failing)
    assert cache.missing(tmp_path / "cache", failing) == failing
    cache.build(tmp_path / "cache", [part(source, write)])
    assert sorted(entry.name for entry in (tmp_path / "cache").iterdir()) == [f"part-{failing[0].key}"]


def test_a_draft_of_a_killed_build_is_not_used(source: Path, tmp_path: Path) -> None:
    draft = tmp_path / "cache" / f"{cache.DRAFT}part"
    draft.mkdir(parents=True)
    (draft / "half").write_text("")
    wanted = part(source, write)
    cache.build(tmp_path / "cache", [wanted])
    assert not draft.exists()
    assert [entry.name for entry in wanted.place(tmp_path / "cache").iterdir()] == ["image"]


def test_pruning_keeps_todays_images_and_what_is_not_an_image(source: Path, tmp_path: Path) -> None:
    wanted = part(source, write)
    cache.build(tmp_path / "cache", [wanted])
    for name in ("part-0123456789abcdef", "apt"):
        (tmp_path / "cache" / name).mkdir()
    cache.prune(tmp_path / "cache", [wanted])
    assert sorted(entry.name for entry in (tmp_path / "cache").iterdir()) == ["apt", f"part-{wanted.key}"]
