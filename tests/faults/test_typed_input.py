# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people type, and what a job of AWX hands over as text: refused by name before anything is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ground as tools
from kvmground import Ground
from kvmground.playbooks import Playbooks

HOST, GUEST = "hv0", "p1"
OLDEST, NEWEST = "the oldest ansible-core", "the newest"
SECRET = "c2VjcmV0IG9mIHRoZSBzaXRl"
TYPED: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt variable": (
        {"kvm_restore_backup": "hv0-daily_20261121020000"},
        "The role kvm_restore does not know kvm_restore_backup, which hv0 has",
    ),
    "a misspelt variable of what is believed": (
        {"kvm_manifest_requires": "signed"},
        "The role kvm_restore does not know kvm_manifest_requires, which hv0 has",
    ),
    "an old name of a variable": (
        {"kvm_restore_undo": True},
        (
            "hv0 has variables with old names. kvm_restore_undo is now kvm_restore_state: undone or restored"
            " (docs/upgrade.md). Nothing was done."
        ),
    ),
    "another place for the locks on guests": (
        {"kvm_hold_dir": "/run/elsewhere/holds"},
        "kvm_hold_dir is now gone: hold records and the locks on guests lie in /run/kvmsnap on every host",
    ),
    "a number for a name": ({"kvm_restore_vm_list": 101}, "kvm_restore_vm_list is 101 on hv0; name the guests"),
    "false for a name": ({"kvm_restore_vm_list": False}, "kvm_restore_vm_list is false on hv0; name the guests"),
    "no name": ({"kvm_restore_vm_list": ""}, "kvm_restore_vm_list is empty on hv0; name the guests"),
    "a number for the name of a restore": (
        {"kvm_restore_id": 4711, "kvm_restore_state": "undone"},
        "kvm_restore_id is 4711 on hv0, and must be a text; put it in quotes. Nothing was touched.",
    ),
    "a blank for the name of a restore": ({"kvm_restore_id": None, "kvm_restore_state": "undone"}, "kvm_restore_id"),
    "a time below zero": ({"kvm_restore_unknown_wait": "-1"}, "unknown_wait is -1; give a number of seconds"),
    "more seconds than Ansible takes": (
        {"sc_agent_timeout": "99999999999"},
        "sc_agent_timeout is 99999999999 s on hv0; it bounds each step of the restore and must be 600 or higher, and",
    ),
    "a blank in a survey": ({"kvm_restore_as": None}, "kvm_restore_as"),
    "no directory": ({"kvm_catalog_dir": ""}, "catalog_dir is ''; give an absolute path"),
    "a directory below that of the module": (
        {"kvm_catalog_dir": "kvmsnap"},
        "catalog_dir is 'kvmsnap'; give an absolute",
    ),
    "no word of those": ({"kvm_manifest_require": "Signed"}, "must be one of: signed, hash, none, got: Signed"),
    "a key alone": ({"kvm_manifest_key": SECRET}, "kvm_manifest_key"),
    "a key that is no base64": (
        {"kvm_manifest_key": {"id": "2026", "key": f"{SECRET}!"}},
        "The key 2026 of manifest_key cannot be used",
    ),
}


PART = ((OLDEST, "a misspelt variable"), (OLDEST, "an old name of a variable"))
"""The cases that stand for the others."""


@pytest.fixture(scope="module")
def playbooks() -> Iterator[Playbooks]:
    """Return the playbooks of a private host with one guest and without a backup."""
    with Ground.beside("typed") as ground:
        ground.guests.add_still(GUEST, "kvm_vol1")
        yield Playbooks(ground, hosts=(HOST,))


def test_a_pattern_that_names_no_host_is_no_success(playbooks: Playbooks) -> None:
    core = tools.ensure_venv("sanity-2.16")
    played = playbooks.run("kvmsnap.ontap.backup", {"kvm_hosts_pattern": "hv9"}, core=core)
    assert played.rc != 0
    assert played.failures("localhost") == [
        "No host of the inventory matches 'hv9' (kvm_hosts_pattern; without it, the group kvm_hosts). Nothing was done."
    ]


@pytest.mark.long
@pytest.mark.parametrize("core", [OLDEST, NEWEST])
@pytest.mark.parametrize("pattern", [f"{HOST},hv9", [HOST, "hv9"]])
def test_a_pattern_of_which_a_part_names_no_host_is_no_success(playbooks: Playbooks, core: str, pattern: Any) -> None:
    chosen: Path | None = tools.ensure_venv("sanity-2.16") if core == OLDEST else None
    played = playbooks.run("kvmsnap.ontap.list", {"kvm_hosts_pattern": pattern}, core=chosen)
    assert played.rc != 0
    assert f"No host of the inventory matches 'hv9', a part of '{HOST},hv9'" in " ".join(played.stdout.split())


@pytest.mark.parametrize("core", [pytest.param(OLDEST, marks=pytest.mark.long), NEWEST])
def test_a_word_of_the_extra_variables_that_belongs_to_none_is_not_lost(playbooks: Playbooks, core: str) -> None:
    """What Ansible makes of ``-e "kvm_backup_guests=p1, p2"``: two variables, of which nobody reads the second."""
    chosen: Path | None = tools.ensure_venv("sanity-2.16") if core == OLDEST else None
    played = playbooks.run("kvmsnap.ontap.backup", {"kvm_backup_guests": f"{GUEST},", "_raw_params": "p2"}, core=chosen)
    assert played.rc != 0
    assert "'p2' in the extra variables (-e) belongs to no variable" in " ".join(played.failures("localhost"))


@pytest.mark.long
@pytest.mark.parametrize("core", [OLDEST, NEWEST])
@pytest.mark.parametrize("pattern", ["", None, [HOST], f"{HOST},!hv9", f"kvm_hosts,&{HOST}"])
def test_a_pattern_may_be_blank_a_list_and_take_away_what_is_not_there(
    playbooks: Playbooks, core: str, pattern: Any
) -> None:
    chosen: Path | None = tools.ensure_venv("sanity-2.16") if core == OLDEST else None
    played = playbooks.run("kvmsnap.ontap.list", {"kvm_hosts_pattern": pattern}, core=chosen)
    assert played.rc == 0, played.stdout


@pytest.mark.long
def test_a_host_that_is_none_of_the_play_is_no_success(playbooks: Playbooks) -> None:
    asked = {"kvm_clone_name": "copy1", "kvm_clone_guest": GUEST, "kvm_clone_host": "hv9"}
    played = playbooks.run("kvmsnap.ontap.clone", asked)
    assert played.rc != 0
    assert "kvm_clone_host is 'hv9' and the play has the hosts hv0;" in " ".join(played.failures(HOST))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"kvm_clone_backup_id": None},
            (
                "kvm_clone_backup_id, given to hv0, must not be null, as for a question of a survey that was left"
                " blank. Leave it out, or give it a value. Nothing was made."
            ),
        ),
        (
            {"kvm_clone_network": 7},
            "kvm_clone_network is 7 on hv0, and must be a text; put it in quotes. Nothing was made.",
        ),
    ],
    ids=["null", "number"],
)
def test_a_copy_of_what_is_no_text_is_refused(playbooks: Playbooks, given: dict[str, Any], said: str) -> None:
    played = playbooks.run("kvmsnap.ontap.clone", {"kvm_clone_name": "copy1", "kvm_clone_guest": GUEST, **given})
    assert played.rc != 0
    assert said in " ".join(played.failures(HOST))


@pytest.mark.long
@pytest.mark.parametrize("name", ["x" * 201, "my backup", "../x", "hv0\n"])
def test_what_cannot_be_the_name_of_a_backup_is_refused_by_name(playbooks: Playbooks, name: str) -> None:
    played = playbooks.run("kvmsnap.ontap.backup", {"kvm_backup_id": name})
    assert played.rc != 0
    shown = name.replace("\n", "\\n")
    assert f"'{shown}' cannot be the name of a backup (kvm_backup_id" in " ".join(played.failures(HOST))


@pytest.mark.long
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kvm_backup_hold_deadline": "inf"}, "hold_deadline is inf; it must be at most"),
        ({"kvm_backup_hold_deadline": "nan"}, "hold_deadline is nan; it must be at least 1"),
        ({"kvm_backup_id": None}, "kvm_backup_id, given to hv0, must not be null, as for a question of a survey"),
        ({"kvm_backup_policy": 7}, "kvm_backup_policy is 7 on hv0, and must be a text; put it in quotes."),
        (
            {"kvm_backup_hooks": {"after_resume": [{"command": "true", "timeout": "0"}]}},
            "kvm_backup_hooks has a timeout of 0 on hv0; give each hook a number of seconds, 1 or more.",
        ),
        ({"kvm_backup_quiesce": {"*": "agnet"}}, "quiesce is 'agnet' for *; it can be auto, agent,"),
    ],
)
def test_a_backup_that_cannot_be_meant_so_is_refused(playbooks: Playbooks, given: dict[str, Any], said: str) -> None:
    played = playbooks.run("kvmsnap.ontap.backup", given)
    assert played.rc != 0, played.stdout
    assert said in " ".join(" ".join(played.failures(HOST)).split())


@pytest.mark.parametrize(
    ("core", "case"),
    [
        pytest.param(core, case, marks=() if (core, case) in PART else pytest.mark.long)
        for core in (OLDEST, NEWEST)
        for case in TYPED
    ],
)
def test_it_is_refused_by_name(playbooks: Playbooks, core: str, case: str) -> None:
    given, said = TYPED[case]
    chosen: Path | None = tools.ensure_venv("sanity-2.16") if core == OLDEST else None
    played = playbooks.run("kvmsnap.ontap.restore", {"kvm_restore_vm_list": GUEST, **given}, core=chosen)
    assert played.rc != 0, played.stdout
    assert said in " ".join(" ".join(played.failures(HOST)).split())
    assert SECRET not in played.stdout
