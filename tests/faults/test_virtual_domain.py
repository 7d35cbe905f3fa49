# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pacemaker's own agent (Debian's ``ocf:heartbeat:VirtualDomain``) wants to start a guest that is half restored.

The agent runs as Pacemaker runs it, by its action and its parameters; there is no cluster around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground
from kvmlab.images import ensure_resource_agents
from kvmlab.places import Places
from kvmlab.process import run, wait_until

GUEST, VOLUMES = "v1", ("kvm_vol1", "kvm_vol2")
BACKUP, RESTORE = "hv1-virtual_20261121020000", "virtual-domain"
OCF_SUCCESS, OCF_ERR_GENERIC = 0, 1


@dataclass(frozen=True)
class Agent:
    """The agent with one resource: the guest by a definition in a file."""

    ground: Ground
    root: Path
    config: Path

    def start(self) -> tuple[int, str]:
        """Run its action ``start`` and return the exit code, and what it said."""
        ocf = self.root / "usr" / "lib" / "ocf"
        given = {
            "OCF_ROOT": ocf,
            "OCF_FUNCTIONS_DIR": ocf / "lib" / "heartbeat",
            "OCF_RESOURCE_INSTANCE": "v1-vm",
            "OCF_RESOURCE_TYPE": "VirtualDomain",
            "OCF_RESKEY_config": self.config,
            "OCF_RESKEY_hypervisor": "qemu:///system",
            "OCF_RESKEY_CRM_meta_timeout": "60000",
            "HA_LOGFACILITY": "none",
        }
        # Processes of its own, none of them systemd: the agent would tell that of the machine about the guest.
        alone = ["unshare", "--pid", "--fork", "--mount-proc", "env", *(f"{key}={word}" for key, word in given.items())]
        program = ocf / "resource.d" / "heartbeat" / "VirtualDomain"
        done = run(self.ground.inside([*alone, program, "start"]), timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module", name="ground")
def _ground() -> Iterator[Ground]:
    """A private host with a guest of two disks and a backup of it."""
    with Ground.beside("virtual") as ground:
        ground.guests.add_still(GUEST, *VOLUMES)
        ground.back_up(BACKUP)
        yield ground


@pytest.fixture(name="agent")
def _agent(ground: Ground) -> Agent:
    config = ground.places.run / f"{GUEST}.xml"
    config.write_text(ground.guests.domain(GUEST).XMLDesc(2), encoding="utf-8")
    return Agent(ground, ensure_resource_agents(Places.from_environment().cache), config)


def one_is_aside(ground: Ground) -> bool:
    """Whether a disk has another name; only names are read, since the restore renames what is listed meanwhile."""
    return any(any(ground.seen(ground.volume(volume)).glob("*.kvmsnap-aside-*")) for volume in VOLUMES)


def contents(ground: Ground) -> dict[str, bytes]:
    """Return what lies in the volumes, by name, but for the backup's own directory."""
    roots = [ground.seen(ground.volume(volume)) for volume in VOLUMES]
    files = [(root.name, path) for root in roots for path in root.iterdir() if path.is_file()]
    return {f"{volume}/{path.name}": path.read_bytes() for volume, path in files}


def restore(ground: Ground) -> Any:
    asked: dict[str, Any] = {"guests": [GUEST], "backup_id": BACKUP, "restore_id": RESTORE, "stop": "destroy"}
    return ground.begin("kvm_app_restore", **asked)


@pytest.mark.long
def test_pacemaker_s_agent_cannot_start_a_guest_that_is_half_restored(ground: Ground, agent: Agent) -> None:
    domain = ground.guests.domain(GUEST)
    domain.destroy()
    for volume in VOLUMES:
        with ground.guests.image(GUEST, volume).open("r+b") as image:
            image.seek(65536)
            image.write(b"since the backup")
    rc, said = agent.start()
    assert (rc, ground.guests.domain(GUEST).isActive()) == (OCF_SUCCESS, 1), said
    ground.guests.connection.defineXML(agent.config.read_text(encoding="utf-8"))

    running = restore(ground)
    wait_until(lambda: one_is_aside(ground), seconds=60, what="a disk aside")
    running.kill()
    half = contents(ground)
    rc, said = agent.start()
    assert rc == OCF_ERR_GENERIC, said
    known = [each.name() for each in ground.guests.connection.listAllDomains()]
    assert GUEST not in known, "it undefines what it starts"
    assert contents(ground) == half

    refused = restore(ground).wait()
    assert [problem["code"] for problem in refused.result["problems"]] == ["guest-not-defined"]
    assert contents(ground) == half
    ground.guests.connection.defineXML(agent.config.read_text(encoding="utf-8"))
    done = restore(ground).wait()
    assert not done.failed, done.msg
    assert ground.guests.domain(GUEST).isActive()
    for volume in VOLUMES:
        saved = ground.guests.image(GUEST, volume, snapshot=BACKUP).read_bytes()
        assert ground.guests.image(GUEST, volume).read_bytes() == saved
