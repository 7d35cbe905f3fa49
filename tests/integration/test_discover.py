# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discovery on a real KVM host, and the mapping kept in an inventory that people maintain by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

HOST = "hv1"
EXPECTED = {
    ("web1", "svm1", "/vol/kvm_vol1/web1.img"),
    ("db1", "svm1", "/vol/kvm_vol1/db1.img"),
    ("db1", "svm1", "/vol/kvm_vol2/db1-data.qcow2"),
    ("sol1", "svm1", "/vol/kvm_vol2/sol1.img"),
}
BY_HAND = """\
---
# hv1, rack 4
rack: 4   # moved in May
greeting: "{{ motd | default('hello') }}"

# kept by discovery
kvm_vm_mapping: 'gone:svm1:/vol/kvm_vol1/gone.img;'   # do not edit
after: [1, 2]
"""


@pytest.fixture(name="inventory")
def _inventory(lab: Any, tmp_path: Path) -> Path:
    """Copy the lab's inventory to a directory of its own, so that what is kept there meets no other test."""
    place = tmp_path / "inventory"
    place.mkdir()
    return Path(shutil.copy(lab.inventory_path, place))


def test_guests_disks_and_volumes_are_found(lab: Any) -> None:
    journal = lab.control.journal()
    play = lab.playbook("discover")

    assert play.rc == 0, play.stdout
    assert play.stats[HOST]["changed"] == 0
    found = play.facts(HOST)["kvm_discovery"]
    mapped = {(entry["guest"], entry["controller"], entry["path"]) for entry in found["kvm_vm_mapping_list"]}
    assert mapped >= EXPECTED
    assert all(f"{guest}:{svm}:{path};" in found["kvm_vm_mapping"] for guest, svm, path in EXPECTED)
    assert {("svm1", "kvm_vol1"), ("svm1", "kvm_vol2")} <= {
        (volume["svm"], volume["volume"]) for volume in found["volumes"]
    }
    assert "protected" in play.stdout
    assert lab.control.journal() == journal


def test_the_mapping_is_kept_without_touching_the_rest(lab: Any, inventory: Path) -> None:
    kept = inventory.parent / "host_vars" / f"{HOST}.yml"
    kept.parent.mkdir()
    kept.write_text(BY_HAND, encoding="utf-8")
    kept.chmod(0o640)
    chosen = {"kvm_discover_guests": ["web1"], "kvm_discover_persist": True}
    written = BY_HAND.replace("'gone:svm1:/vol/kvm_vol1/gone.img;'", '"web1:svm1:/vol/kvm_vol1/web1.img;"')

    checked = lab.playbook("discover", inventory=inventory, extra_vars=chosen, check=True, diff=True)
    assert checked.stats[HOST]["changed"] == 1, checked.stdout
    assert "+kvm_vm_mapping: " in checked.stdout
    assert kept.read_text(encoding="utf-8") == BY_HAND

    first = lab.playbook("discover", inventory=inventory, extra_vars=chosen)
    assert first.rc == 0, first.stdout
    assert first.stats[HOST]["changed"] == 1
    assert kept.read_text(encoding="utf-8") == written
    assert kept.stat().st_mode & 0o777 == 0o640

    again = lab.playbook("discover", inventory=inventory, extra_vars=chosen)
    assert again.stats[HOST]["changed"] == 0, again.stdout
    assert kept.read_text(encoding="utf-8") == written
    drift = [problem["code"] for problem in again.facts(HOST)["kvm_discovery"]["problems"]]
    assert not [code for code in drift if "drift" in code or "mapping" in code]


def test_chosen_guests_are_kept_as_the_list_that_the_file_has(lab: Any, inventory: Path) -> None:
    place = inventory.parent / "host_vars" / HOST
    place.mkdir(parents=True)
    (place / "main.yml").write_text("rack: 4\n", encoding="utf-8")
    (place / "storage.yml").write_text("# mine\nkvm_vm_mapping: []\nlast: 1\n", encoding="utf-8")
    chosen = {"kvm_discover_guests": ["*1"], "kvm_discover_exclude": ["s*", "web*"], "kvm_backup_disks": "boot"}

    play = lab.playbook("discover", inventory=inventory, extra_vars={**chosen, "kvm_discover_persist": True})

    assert play.stats[HOST]["changed"] == 1, play.stdout
    text = (place / "storage.yml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {
        "kvm_vm_mapping": [{"guest": "db1", "controller": "svm1", "path": "/vol/kvm_vol1/db1.img"}],
        "last": 1,
    }
    assert text.startswith("# mine\nkvm_vm_mapping:\n  - ")
    assert (place / "main.yml").read_text(encoding="utf-8") == "rack: 4\n"
