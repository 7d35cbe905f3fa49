# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulator per test, a client for it, and a directory on a file system that shares blocks where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ontapsim import tree
from ontapsim.reflink import supports_reflink
from ontapsim.testclient import Api
from ontapsim.testing import Running, start

_SECONDS = 60


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[Running]:
    """A running simulator with the sample configuration."""
    with start(None, tmp_path) as running:
        yield running


@pytest.fixture
def api(sim: Running) -> Api:
    """A client of `sim` as the cluster's administrator."""
    return Api(sim)


@pytest.fixture(scope="module")
def shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A client of a simulator that all tests of a module share: for those that change nothing."""
    with start(None, tmp_path_factory.mktemp("shared")) as running:
        yield Api(running)


@pytest.fixture(scope="session")
def reflink_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory whose files can share blocks: the temporary one, or a small XFS mounted for the session."""
    base = tmp_path_factory.mktemp("reflink")
    if supports_reflink(str(base)):
        yield base
        return
    if os.geteuid() != 0 or shutil.which("mkfs.xfs") is None:
        pytest.skip("no file system here shares blocks between files, and none can be made")
    image, place = base / "disk", base / "mount"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(512 << 20)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True, timeout=_SECONDS)
    mounted = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, check=False, timeout=_SECONDS)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a file system here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True, timeout=_SECONDS)
        image.unlink()


@pytest.fixture(params=["plain", "reflink"])
def engine_root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A fresh directory for an engine, once on any file system and once on one that shares blocks."""
    place = tmp_path
    if request.param == "reflink":
        place = request.getfixturevalue("reflink_root") / tmp_path.name
        place.mkdir()
    yield place
    tree.unseal(str(place))
