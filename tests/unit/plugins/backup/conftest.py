# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of whole backups share: a simulated array, and a host whose holds are made on libvirt's test driver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_site import Site
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import hold
from ontapsim import testing, tree
from ontapsim.testing import Running


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A simulated array for all tests."""
    with testing.start(tmp_path=tmp_path_factory.mktemp("array")) as running:
        yield running
    tree.remove_tree(running.state_dir, sealed=True)


@pytest.fixture
def sim(array: Running) -> Iterator[Running]:
    """The array without faults."""
    array.control.clear_faults()
    array.control.clear_requests()
    yield array
    array.control.settle()
    array.control.clear_faults()


@pytest.fixture
def guests() -> Iterator[Guests]:
    """Guests that go with the test."""
    made = Guests()
    yield made
    made.close()


@pytest.fixture
def site(
    sim: Running,
    guests: Guests,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    """A site, whose holds are made on libvirt's test driver."""
    made = Site(sim, guests, tmp_path, re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[-120:].strip("-"))
    monkeypatch.setattr(hold, "ground_of", lambda _options: made.ground())
    return made
