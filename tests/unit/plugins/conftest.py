# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests share: a simulated array, guests of libvirt's test driver, and the settings of their holds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from backup_site import Site
from clone_bench import BACKUP, SINCE, THEN, Bench, login, qemu_img
from hurried import Hurry
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate import processes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.request import GuardedSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import jobs
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import read_snapshot
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import VolumeRef, find_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
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
    array.control.hasten()
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


@pytest.fixture(scope="session")
def bench_array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One simulated array for all copies."""
    with testing.start(tmp_path=tmp_path_factory.mktemp("bench")) as running:
        yield running
    tree.remove_tree(running.state_dir, sealed=True)


@pytest.fixture(scope="session")
def saved(bench_array: Running) -> dict[str, str]:
    """The volume as it was in the backup, written over since; the uuids of volume and snapshot."""
    lun = bench_array.volume_root("svm1", "kvm_san1") / "luns" / "a"
    lun.write_bytes(THEN.ljust(lun.stat().st_size, b"\0"))
    root = bench_array.volume_root("svm1", "kvm_vol1")
    (root / "web1").mkdir()
    (root / "web1.img").write_bytes(THEN)
    (root / "base.img").write_bytes(THEN * 2)
    qemu_img("create", "-q", "-f", "qcow2", "-b", str(root / "base.img"), "-F", "raw", str(root / "web1" / "top.qcow2"))
    bench_array.control.add_snapshot("svm1", "kvm_vol1", BACKUP)
    bench_array.control.add_snapshot("svm1", "kvm_san1", BACKUP)
    lun.write_bytes(SINCE.ljust(lun.stat().st_size, b"\0"))
    for path in ("web1.img", "base.img", "web1/top.qcow2"):
        (root / path).write_bytes(SINCE)
    controller = Controller.from_option(login(bench_array))
    with connect(controller, policy=RetryPolicy()) as client:
        found = find_volumes([client], [VolumeRef("svm1", "kvm_vol1"), VolumeRef("svm1", "kvm_san1")])
        snapshots = [
            read_snapshot(client, volume, name=BACKUP, deadline=Deadline.after(10.0)) for _client, volume in found
        ]
    known = {"svm": found[0][1].svm_uuid}
    for (_client, volume), snapshot in zip(found, snapshots):
        assert snapshot is not None
        known.update({volume.name: volume.uuid, f"{volume.name} snapshot": snapshot.uuid})
    return known


@pytest.fixture
def idle_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process but this one has a file open, so that nobody waits for a look at thousands; the gate's tests look."""
    monkeypatch.setattr(processes, "_processes", lambda _proc: iter(()))


@pytest.fixture
def bench(
    bench_array: Running, saved: dict[str, str], tmp_path: Path, idle_host: None, jobs_end_soon: None
) -> Iterator[Bench]:
    """A host whose array is without faults; no copy outlives its test."""
    bench_array.control.clear_faults()
    bench_array.control.reset_switches()
    guests = Guests()
    made = Bench(bench_array, saved, guests, tmp_path)
    before = made.world()
    yield made
    bench_array.control.clear_faults()
    bench_array.control.reset_switches()
    with suppress(KvmsnapError):
        made.absent(guest=None)
    guests.close()
    made.guests = Guests()
    after = made.world()
    made.guests.close()
    for path in set(after["files"]) - set(before["files"]):
        Path(path).unlink()
    assert {**after, "guests": set(after["guests"])} == {**before, "guests": set(before["guests"])}


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the test."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()
