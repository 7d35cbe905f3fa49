# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is delegated to the control node never becomes root there, though the play does on the KVM hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmground import Ground
from kvmground.playbooks import Playbooks
from shown import shown

VOLUME = "kvm_vol1"
HOST = "hv0"
# It tells the commands that it runs that they have become somebody else, as sudo does.
BECOME = """\
#!/bin/sh
while [ "$1" != /bin/sh ]; do shift; done
BECAME=root exec "$@"
"""
PLAY = """\
- hosts: kvm_hosts
  gather_facts: false
  {become}
  roles: [kvmsnap.ontap.kvm_backup]
"""
TASKS = """\
- name: Tell whether this became somebody else
  ansible.builtin.shell: 'echo "tasks ${{BECAME:-nobody}}" >> {told}'
  changed_when: true
"""


@pytest.fixture(scope="module")
def playbooks() -> Iterator[Playbooks]:
    """Return a way to run playbooks on a private host with one guest."""
    with Ground.beside("become") as ground:
        ground.guests.add_still("p1", VOLUME)
        found = Playbooks(ground, hosts=(HOST,))
        # The tests run as root already, and becoming oneself is left out unless it is asked for.
        config = "[privilege_escalation]\nbecome_allow_same_user = true\n"
        (found.work / "none.cfg").write_text(config, encoding="utf-8")
        yield found


@pytest.mark.parametrize(
    "become", ["become: true", "vars: {ansible_become: true}"], ids=["by keyword", "by a variable of all hosts"]
)
@pytest.mark.parametrize("form", ["command", "tasks"])
def test_a_hook_on_the_control_node_does_not_become_root(playbooks: Playbooks, form: str, become: str) -> None:
    work = playbooks.work
    told, play, tasks, tool = (work / name for name in ("told", "play.yml", "hook.yml", "become"))
    told.unlink(missing_ok=True)
    play.write_text(PLAY.format(become=become), encoding="utf-8")
    tasks.write_text(TASKS.format(told=told), encoding="utf-8")
    tool.write_text(BECOME, encoding="utf-8")
    tool.chmod(0o755)
    hooks = {"before_quiesce": [{**hook_of(form, told, tasks), "where": where} for where in ("host", "control")]}
    played = playbooks.run(
        str(play), {"kvm_backup_guests": ["p1"], "kvm_backup_hooks": hooks, "ansible_become_exe": str(tool)}
    )
    assert played.rc == 0, played.stdout
    on_host, on_control = told.read_text(encoding="utf-8").splitlines()
    assert on_host == f"{form} root"
    with shown("11.7: a hook on the control node inherits become"):
        assert on_control == f"{form} nobody"


def hook_of(form: str, told: Path, tasks: Path) -> dict[str, str]:
    """Return a hook that tells whether it became somebody else, as a command or as tasks."""
    if form == "tasks":
        return {"tasks": str(tasks)}
    return {"command": f"sh -c 'echo \"command ${{BECAME:-nobody}}\" >> {told}'"}
