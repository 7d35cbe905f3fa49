# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests share: a simulated array, guests of libvirt's test driver, and the settings of their holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_site import Site
from hurried import Hurry
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.request import GuardedSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import jobs
from ontapsim import testing, tree
from ontapsim.testing import Running


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A simulated array for the tests of a file."""
    with testing.start(tmp_path=tmp_path_factory.mktemp("array")) as running:
        yield running
    tree.remove_tree(running.state_dir, sealed=True)


@pytest.fixture
def jobs_end_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at a job when one of the simulated array has ended: within some milliseconds."""
    monkeypatch.setattr(jobs, "FIRST_PAUSE", 0.005)


@pytest.fixture
def sim(array: Running, jobs_end_soon: None) -> Iterator[Running]:
    """The array without faults, with default switches, and nothing in its request log."""
    array.control.clear_faults()
    array.control.reset_switches()
    array.control.set_version("9.19.1")
    array.control.clear_requests()
    yield array
    array.control.settle()
    array.control.clear_faults()
    array.control.reset_switches()
    array.control.set_version("9.19.1")


@pytest.fixture
def guests() -> Iterator[Guests]:
    """Guests that go with the test."""
    made = Guests()
    yield made
    made.close()


@pytest.fixture
def settings(guests: Guests, tmp_path: Path) -> HoldSettings:
    """Where the holds of a test are made."""
    boot = tmp_path / "boot_id"
    boot.write_text("this-boot\n", encoding="ascii")
    holds, clock = tmp_path / "holds", Hurry(100.0).clock
    return HoldSettings(directory=holds, connect=guests.connect, retry_count=3, boot=str(boot), clock=clock)


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
    monkeypatch.setattr(GuardedSettings, "from_options", lambda _options: made.settings())
    return made


@pytest.fixture
def hurry(site: Site) -> Hurry:
    """A clock on which nobody at the site waits long, and an array whose fences fall as much sooner."""
    made = Hurry(100.0)
    site.clock = made.clock
    site.sim.control.set_switches(fence_time_factor=1 / 100)
    return made
