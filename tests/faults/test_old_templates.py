# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of files and guests that are templates run nothing on the control node, whatever role shows or keeps them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from xml.sax.saxutils import escape

import pytest

import ground as tools
from kvmground import Ground
from kvmground.playbooks import Playbooks
from shown import shown

VOLUME = "kvm_vol1"
HOST = "hv0"
MARKER = "run-on-the-control-node"
HOSTILE = f'{{{{lookup("pipe","touch {MARKER}")}}}}'
LATER = """\
- hosts: kvm_hosts
  gather_facts: false
  tasks:
    - name: Use the mapping as any playbook would
      ansible.builtin.debug:
        msg: "{{ kvm_vm_mapping }}"
"""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest and an image whose names are templates, beside an honest one."""
    with Ground.beside("templates") as found:
        found.guests.add_still("honest", VOLUME)
        xml = found.guests.domain("honest").XMLDesc(2)
        image = f"{HOSTILE}.img"
        content = found.guests.image("honest", VOLUME).read_bytes()
        (found.seen(found.volume(VOLUME)) / image).write_bytes(content)
        xml = xml.replace("<name>honest</name>", f"<name>{escape(HOSTILE)}</name>")
        xml = xml.replace("honest.img", escape(image))
        uuid = found.guests.domain("honest").UUIDString()
        xml = xml.replace(uuid, f"{uuid[:-4]}0bad")
        found.guests.connection.defineXML(xml).create()
        yield found


@pytest.fixture(scope="module")
def played(ground: Ground) -> Playbooks:
    """Return a way to run playbooks there."""
    return Playbooks(ground, hosts=(HOST,))


@pytest.fixture
def playbooks(played: Playbooks) -> Iterator[Playbooks]:
    """Return that, with nothing kept and nothing run yet."""
    yield played
    shutil.rmtree(played.work / "host_vars", ignore_errors=True)
    for marker in played.work.rglob(MARKER):
        marker.unlink()


def ran(playbooks: Playbooks) -> bool:
    """Whether the template was run, wherever its command found itself."""
    return any(playbooks.work.rglob(MARKER))


@pytest.mark.parametrize("form", ["text", "list"])
@pytest.mark.parametrize("core", [None, "sanity-2.16"], ids=["usual core", "oldest core"])
@pytest.mark.usefixtures("ground")
def test_a_mapping_that_is_kept_runs_nothing_later(playbooks: Playbooks, form: str, core: str | None) -> None:
    venv = tools.ensure_venv(core) if core else None
    kept = playbooks.work / "host_vars" / f"{HOST}.yml"
    if form == "list":
        kept.parent.mkdir()
        kept.write_text("kvm_vm_mapping: []\n", encoding="utf-8")
    played = playbooks.run("kvmsnap.ontap.discover", {"kvm_discover_persist": True}, core=venv)
    with shown("11.0: what was discovered cannot be kept on ansible-core 2.16"):
        assert played.rc == 0, played.stdout
    assert MARKER in kept.read_text(encoding="utf-8")
    later = playbooks.work / "later.yml"
    later.write_text(LATER, encoding="utf-8")
    playbooks.run(str(later), {}, core=venv)
    playbooks.run("kvmsnap.ontap.discover", {"kvm_discover_persist": True}, core=venv)
    with shown("11.7: a file name in a volume becomes code on the control node"):
        assert not ran(playbooks)
    again = playbooks.run("kvmsnap.ontap.discover", {"kvm_discover_persist": True}, core=venv)
    assert again.rc == 0, again.stdout


@pytest.mark.parametrize("mode", ["module", pytest.param("tasks", marks=pytest.mark.long)])
@pytest.mark.parametrize("core", [None, "sanity-2.16"], ids=["usual core", "oldest core"])
def test_no_playbook_runs_a_name_that_it_shows_or_hands_on(
    ground: Ground, playbooks: Playbooks, mode: str, core: str | None
) -> None:
    """No assertion is marked: the old commit runs nothing here either, as far as its playbooks come on each core."""
    venv = tools.ensure_venv(core) if core else None
    uuid = ground.guests.domain(HOSTILE).UUIDString()
    backup = f"hv0-{mode}_{'20261122' if core else '20261121'}020000"
    wanted = {"kvm_restore_vm_list": [uuid], "kvm_restore_backup_id": backup}
    copy = {"kvm_clone_name": f"copy-{mode}-{core}", "kvm_clone_guest": uuid, "kvm_clone_backup_id": backup}
    for playbook, variables in (
        ("preflight", {"kvm_preflight_fail": False}),
        ("backup", {"kvm_backup_id": backup, "kvm_backup_mode": mode, "kvm_backup_consistency": "crash-consistent"}),
        ("backup", {"kvm_backup_id": backup}),
        ("backup", {"kvm_backup_id": f"{backup}1", "kvm_backup_mode": mode, "kvm_backup_consistency": "offline"}),
        ("list", {}),
        ("restore", {**wanted, "kvm_restore_stop": "destroy"}),
        ("restore", {**wanted, "kvm_restore_as": f"as-{mode}-{core}"}),
        ("clone", copy),
        ("clone", {**copy, "kvm_clone_state": "absent"}),
        ("recover", {"kvm_recover_orphans": "keep"}),
    ):
        played = playbooks.run(f"kvmsnap.ontap.{playbook}", variables, core=venv)
        weaker = variables.get("kvm_backup_consistency") == "offline"
        assert (played.rc != 0) is weaker, played.stdout
        assert not ran(playbooks), f"{playbook} {variables}"
