# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup with its defaults on the oldest supported ansible-core, where a template of a count is a string."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import ground as tools
from kvmground import Ground
from kvmground.ground import SVM
from kvmground.playbooks import Playbooks
from shown import shown

HOST, GUEST, VOLUME = "hv0", "p1", "kvm_vol1"
BACKUP = "hv0-core_20261121020000"


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with one guest."""
    with Ground.beside("old-core") as found:
        found.guests.add_still(GUEST, VOLUME)
        yield found


@pytest.mark.long
def test_the_default_backup_is_made(ground: Ground) -> None:
    playbooks = Playbooks(ground, hosts=(HOST,))
    played = playbooks.run("kvmsnap.ontap.backup", {"kvm_backup_id": BACKUP}, core=tools.ensure_venv("sanity-2.16"))
    with shown("11.0: the default backup fails on ansible-core 2.16", operation="backup"):
        assert played.rc == 0, played.failures(HOST)[-1]
    assert BACKUP in ground.snapshots()[f"{SVM}:{VOLUME}"]
    assert ground.guests.state(GUEST).state == "running"
