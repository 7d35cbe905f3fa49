# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy is taken away, and nothing that is not provably part of it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clone_bench import (
    NAME,
    REMOVALS,
    Bench,
    KilledError,
    dying,
)

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import (
    clone_record,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone import remove
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.remove import NotOursError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import InUseError


def test_a_guest_that_only_has_the_name_is_not_touched(bench: Bench) -> None:
    bench.back_up()
    bench.guests.add(NAME)
    before = bench.world()
    with pytest.raises(InputError, match="a guest of that name is defined, and it is no copy"):
        bench.present()
    with pytest.raises(NotOursError, match="no copy of ours"):
        bench.absent()
    assert bench.world() == before


def test_a_copy_whose_mark_was_taken_away_is_somebody_s_own(bench: Bench) -> None:
    bench.back_up()
    bench.present()
    xml = bench.domain().XMLDesc(0)
    bench.guests.connection.defineXML(re.sub("<metadata.*</metadata>", "", xml, flags=re.DOTALL))
    before = bench.world()
    with pytest.raises(NotOursError, match="carries no mark of ours"):
        bench.absent()
    with pytest.raises(NotOursError, match="carries no mark of ours"):
        bench.present()
    assert bench.world() == before
    bench.guests.connection.defineXML(xml)


def test_a_file_that_another_guest_uses_is_not_removed(bench: Bench) -> None:
    bench.back_up()
    path = bench.present()["clone"]["disks"][0]["path"]
    other = bench.guests.connection.defineXML(
        "<domain type='test'><name>other</name><memory>1024</memory><os><type>hvm</type></os><devices>"
        f"<disk type='file' device='disk'><source file='{path}'/><target dev='vda'/></disk></devices></domain>"
    )
    before = bench.world()
    with pytest.raises(InUseError, match=r"Refused to remove .*: guest other \(.*\), shutoff, has it as its disk vda"):
        bench.absent()
    assert bench.world() == before
    other.undefine()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("room", "step"), REMOVALS, ids=[step for _room, step in REMOVALS])
def test_a_removal_that_is_killed_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, room: Any, step: str, when: str
) -> None:
    bench.back_up(bench.chain(), bench.lun("vdb"))
    before = bench.world()
    bench.present(running=True)
    with monkeypatch.context() as patched:
        patched.setattr(room, step, dying(getattr(room, step), when=when))
        with pytest.raises(KilledError):
            bench.absent()
    assert bench.absent()["changed"] is ((step, when) != ("forget", "after"))
    assert bench.world() == before


def test_a_file_that_the_host_does_not_see_is_not_called_removed(bench: Bench) -> None:
    bench.back_up()
    path = bench.file(bench.present())
    known = clone_record.load(bench.root, NAME)
    assert known is not None
    elsewhere = tuple(replace(each, host_path=f"/no/such/place/{path.name}") for each in known.files)
    clone_record.save(bench.root, replace(known, files=elsewhere))
    with pytest.raises(KvmsnapError, match="the array still has it"):
        bench.absent()
    clone_record.save(bench.root, known)
    bench.absent()
    assert not path.exists()


def test_a_lun_that_the_array_gives_to_another_host_stays_with_all_of_its_copy(bench: Bench) -> None:
    bench.back_up(bench.lun())
    bench.present()
    before, own = bench.world(), bench.probes
    bench.probes = replace(own, san=replace(bench.san, initiators=lambda: ["iqn.2026-01.org.example:hv9"]))
    with pytest.raises(InUseError, match=r"gives the LUN to iqn.2026-01.org.example:hv1, too"):
        bench.absent()
    assert bench.world() == before
    bench.probes = own
    bench.absent()


def test_a_lun_that_was_replaced_is_not_touched(bench: Bench) -> None:
    bench.back_up(bench.lun())
    bench.present()
    known = clone_record.load(bench.root, NAME)
    assert known is not None
    clone_record.save(bench.root, known.with_lun(replace(known.luns[0], serial="AAAAAAAAAAAA")))
    before = bench.world()
    with pytest.raises(NotOursError, match="the copy's was AAAAAAAAAAAA"):
        bench.absent()
    assert bench.world() == before
    clone_record.save(bench.root, known)


def test_a_host_is_let_look_anew_without_a_trace(tmp_path: Path) -> None:
    os.utime(tmp_path, (0, 0))
    remove.look_anew(str(tmp_path / "made on the array.img"))
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime > 0
