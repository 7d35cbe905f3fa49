# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader of a backup in another host's catalog keeps it from being deleted there, or says that nothing does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

import ground as tools
from kvmground import Ground
from kvmground.ground import SVM
from kvmground.playbooks import UNREACHABLE, Playbooks, Played
from kvmlab.process import wait_until

OWNER, READER = "hv0", "hv-00"
GUEST, VOLUME = "p1", "kvm_vol1"
BACKUP = "hv1-leased_20261121020000"
CLONE = "/storage/file/clone"
UNPROTECTED = f"Backup {BACKUP} is not protected against deletion while it is read"
OLDEST = pytest.param("sanity-2.16", id="oldest ansible-core", marks=pytest.mark.long)
# Both inventory names are one machine; the owner's libvirt is another one, so that the guest is the reader's alone.
URI = f"{{{{ 'test:///default' if inventory_hostname == '{OWNER}' else 'qemu:///system' }}}}"


class Site:
    """A private host that stands for two: the owner of a backup, and the one that reads it."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.playbooks = Playbooks(ground, hosts=(OWNER, READER))
        self.catalog = ground.seen(ground.catalog)
        self.own_catalog = self.playbooks.work / f"catalog-{READER}"

    @property
    def leases(self) -> list[dict[str, Any]]:
        """Return the leases in the owner's catalog."""
        return [json.loads(path.read_text()) for path in (self.catalog / "leases").glob("*/*.json")]

    def clone(self, name: str, *, venv: str | None = None, **variables: Any) -> Played:
        """Copy the guest on the reader's host out of the owner's catalog."""
        asked = {
            "kvm_libvirt_uri": URI,
            "kvm_clone_host": READER,
            "kvm_clone_name": name,
            "kvm_clone_guest": GUEST,
            "kvm_clone_backup_id": BACKUP,
            "kvm_clone_catalog_host": OWNER,
            **variables,
        }
        core = tools.ensure_venv(venv) if venv else None
        return self.playbooks.run("kvmsnap.ontap.clone", asked, core=core)

    def restore(self, *, check: bool = False, **variables: Any) -> Played:
        """Restore the guest on the reader's host out of the owner's catalog."""
        asked = {
            "kvm_libvirt_uri": URI,
            "kvm_restore_vm_list": GUEST,
            "kvm_restore_stop": "destroy",
            "kvm_restore_backup_id": BACKUP,
            "kvm_restore_catalog_host": OWNER,
            **variables,
        }
        return self.playbooks.run("kvmsnap.ontap.restore", asked, check=check)

    def take_away(self, name: str) -> None:
        """Take a copy away again."""
        asked: dict[str, Any] = {"name": name, "state": "absent", "catalog_dir": str(self.own_catalog)}
        outcome = self.ground.module("kvm_vm_clone", **asked)
        assert not outcome.failed, outcome.msg

    def forget(self) -> None:
        """Let the reader's catalog be as if it had never read the backup."""
        self.ground.run(["rm", "-rf", self.own_catalog])


@pytest.fixture(scope="module", name="site")
def _site() -> Iterator[Site]:
    """One guest, and a backup of it in the owner's catalog."""
    with Ground.beside("leases") as ground:
        ground.guests.add_still(GUEST, VOLUME)
        ground.back_up(BACKUP)
        yield Site(ground)


@contextmanager
def standing_still(site: Site, reading: Future[Played]) -> Iterator[None]:
    """Wait until the array was asked for a clone of a file, for which it takes its time."""

    def asked() -> bool:
        return any(each["hits"] for each in site.ground.control.faults())

    try:
        wait_until(lambda: asked() or reading.done(), seconds=240, what="the request")
        assert asked(), reading.result().stdout
        yield
    finally:
        site.ground.control.clear_faults()


def warned(played: Played) -> bool:
    """Say whether the run warned that nothing keeps the backup; warnings are broken into lines."""
    return UNPROTECTED in " ".join(played.stdout.split())


@pytest.mark.parametrize("venv", [None, OLDEST])
def test_a_backup_stays_while_another_host_reads_it(site: Site, venv: str | None) -> None:
    name = f"copy-{venv or 'now'}"
    known = site.catalog / "backups" / BACKUP
    lost, volumes = site.catalog / "lost", site.ground.discovered()["volumes"]
    site.ground.control.add_fault("delay", match={"method": "POST", "path": CLONE, "count": 1}, seconds=8)
    with ThreadPoolExecutor() as pool:
        reading: Future[Played] = pool.submit(site.clone, name, venv=venv)
        with standing_still(site, reading):
            (lease,) = site.leases
            assert (lease["host"], lease["purpose"], lease["identity"]) == (READER, "clone", name)
            # Without its manifest the snapshot is an orphan, which the recovery on the owner's host would remove.
            known.rename(lost)
            try:
                asked = {"owner": "hv1", "orphans": "absent", "grace_period": 0, "volumes": volumes}
                removal = site.ground.module("kvm_leftovers", **asked)
            finally:
                lost.rename(known)
        played = reading.result(timeout=300)
    assert f"it is read by clone {name} on {READER}" in removal.msg
    assert BACKUP in site.ground.snapshots()[f"{SVM}:{VOLUME}"]
    assert played.rc == 0, played.stdout
    assert played.facts(READER)["kvm_clone_result"]["leased"] is True
    assert not warned(played)
    assert site.leases == []
    site.take_away(name)


@pytest.mark.long
def test_a_check_writes_no_lease(site: Site) -> None:
    site.forget()
    before = sorted(str(path) for path in site.catalog.rglob("*"))
    shown = site.restore(check=True)
    assert shown.rc == 0, shown.stdout
    assert shown.facts(READER)["kvm_restore_result"]["leased"] is True
    assert sorted(str(path) for path in site.catalog.rglob("*")) == before
    assert not site.own_catalog.exists()


@pytest.mark.long
def test_a_restore_lets_go_though_it_fails(site: Site) -> None:
    refused = site.restore(kvm_restore_disks=["vdz"], kvm_restore_id="no-such-disk")
    assert refused.rc != 0
    assert "vdz" in refused.failures(READER)[-1]
    assert site.leases == []
    done = site.restore(kvm_restore_id="leased")
    assert done.rc == 0, done.stdout
    assert done.facts(READER)["kvm_restore_result"]["leased"] is True
    assert site.leases == []


@pytest.mark.long
def test_where_no_lease_can_be_written_the_reader_says_so(site: Site) -> None:
    site.forget()
    place = site.catalog / "leases"
    aside = place.with_name("leases-aside")
    if place.exists():
        place.rename(aside)
    place.write_text("in the way")
    try:
        played = site.restore(kvm_restore_id="no-lease")
    finally:
        place.unlink()
        if aside.exists():
            aside.rename(place)
    assert played.rc == 0, played.stdout
    assert played.facts(READER)["kvm_restore_result"]["leased"] is False
    assert warned(played)


@pytest.mark.long
def test_where_the_owner_is_out_of_reach_what_was_read_before_is_used_and_said_to_be_unprotected(site: Site) -> None:
    site.forget()
    nowhere = site.restore(kvm_restore_catalog_host=UNREACHABLE)
    assert nowhere.rc != 0
    assert f"The catalog of {UNREACHABLE} does not have backup {BACKUP}" in nowhere.failures(READER)[-1]
    assert site.restore(kvm_restore_id="first").rc == 0
    played = site.restore(kvm_restore_id="second", kvm_restore_catalog_host=UNREACHABLE)
    assert played.rc == 0, played.stdout
    assert played.facts(READER)["kvm_restore_result"]["leased"] is False
    assert warned(played)


@pytest.mark.long
def test_a_backup_that_is_being_deleted_is_not_read(site: Site) -> None:
    lock = site.ground.catalog / "leases" / f"{BACKUP}.lock"
    before = site.ground.guests.image(GUEST, VOLUME).read_bytes()
    ready = site.catalog / "leases" / "ready"
    keep = f"mkdir -p {lock.parent}; exec flock {lock} sh -c 'touch {lock.parent}/ready; sleep 120'"
    with ThreadPoolExecutor() as pool:
        holding = pool.submit(site.ground.run, ["timeout", "90", "sh", "-c", keep], timeout=120, check=False)
        wait_until(ready.exists, seconds=30, what="the lock of whoever deletes")
        played = site.restore(kvm_restore_id="too-late")
        ready.unlink()
        holding.result(timeout=150)
    assert played.rc != 0
    assert "it is being deleted" in played.failures(READER)[-1]
    assert site.ground.guests.image(GUEST, VOLUME).read_bytes() == before
