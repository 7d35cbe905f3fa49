# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mappings of many hosts are kept at once; this needs no lab, only a control node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PLAYBOOK = str(Path(__file__).with_name("persist.yml"))
HOSTS = [f"hv{number}" for number in range(1, 5)]


@pytest.fixture(name="inventory")
def _inventory(tmp_path: Path) -> Path:
    place = tmp_path / "inventory"
    place.mkdir()
    (place / "hosts").write_text("\n".join(["[kvm_hosts]", *HOSTS]), encoding="utf-8")
    return place


def _kept(inventory: Path) -> dict[str, str]:
    place = inventory / "host_vars"
    return {
        str(path.relative_to(place)): path.read_text(encoding="utf-8") for path in place.rglob("*") if path.is_file()
    }


def _expected(host: str) -> str:
    return f'kvm_vm_mapping: "VM1:svm1:/vol/vol1/{host}.img;"\n'


def test_four_new_hosts_at_once(runner: Any, inventory: Path) -> None:
    checked = runner.playbook(PLAYBOOK, "--forks=4", inventory=inventory, check=True)
    assert all(checked.stats[host]["changed"] for host in HOSTS), checked.stdout
    assert not (inventory / "host_vars").exists()

    first = runner.playbook(PLAYBOOK, "--forks=4", inventory=inventory)
    assert first.rc == 0, first.stdout
    assert _kept(inventory) == {f"{host}.yml": f"---\n{_expected(host)}" for host in HOSTS}

    again = runner.playbook(PLAYBOOK, "--forks=4", inventory=inventory)
    assert sum(again.stats[host]["changed"] for host in HOSTS) == 0, again.stdout


def test_one_host_that_is_refused_stops_no_other(runner: Any, inventory: Path) -> None:
    place = inventory / "host_vars"
    (place / "hv2").mkdir(parents=True)
    (place / "hv1.yml").write_text("kvm_vm_mapping: &here VM9:svm1:/vol/a/b\nagain: *here\n", encoding="utf-8")
    (place / "hv2" / "a.yml").write_text(_expected("old"), encoding="utf-8")
    (place / "hv2" / "b.yml").write_text(_expected("old"), encoding="utf-8")
    (place / "hv3.yaml").write_text("kvm_vm_mapping: VM1:svm1:/vol/vol1/hv3.img\n", encoding="utf-8")
    before = _kept(inventory)

    play = runner.playbook(PLAYBOOK, inventory=inventory)

    assert play.rc != 0
    assert "anchor or an alias" in play.failures("hv1")[0]
    assert "all have it" in play.failures("hv2")[0]
    assert play.stats["hv3"]["changed"] == 0, "a mapping that means the same is left as it is written"
    assert _kept(inventory) == {**before, **{f"{host}.yml": f"---\n{_expected(host)}" for host in HOSTS[3:]}}


def test_a_named_directory_wins(runner: Any, inventory: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere" / "host_vars"
    extra = {"kvm_discover_host_vars_dir": str(place), "awx_job_id": 7}
    play = runner.playbook(PLAYBOOK, "--limit=hv1", inventory=inventory, extra_vars=extra)
    assert play.rc == 0, play.stdout
    assert (place / "hv1.yml").read_text(encoding="utf-8") == f"---\n{_expected('hv1')}"
    assert not (inventory / "host_vars").exists()


def test_an_inventory_of_awx_is_left_alone(runner: Any, inventory: Path) -> None:
    play = runner.playbook(PLAYBOOK, "--limit=hv1", inventory=inventory, extra_vars={"awx_job_id": 7})
    assert play.rc != 0
    assert "an inventory of AWX" in play.failures("hv1")[0]
    assert not (inventory / "host_vars").exists()
