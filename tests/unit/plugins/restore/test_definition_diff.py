# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed in a definition since the backup is in the plan; nothing is refused for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.definition_diff import since, with_changes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import GuestNow, GuestRestore, RestorePlan


def definition(memory: int = 1024, live: str = "") -> str:
    return (
        f"<domain type='kvm'{live}><name>web1</name><uuid>{samples.WEB}</uuid><memory unit='MiB'>{memory}</memory>"
        "<devices/></domain>"
    )


@pytest.mark.parametrize(
    ("saved", "now", "lines", "note"),
    [
        (definition(), definition(), [], ""),
        (definition(live=" id='7'"), definition(), [], ""),
        (
            definition(),
            definition(2048),
            ['-  <memory unit="MiB">1024</memory>', '+  <memory unit="MiB">2048</memory>'],
            "its definition changed since the backup and stays as it is now",
        ),
        ("", definition(), [], "is not known"),
        ("<domain/>", definition(), [], "is not known"),
        ("<!DOCTYPE domain [<!ENTITY a 'b'>]><domain>&a;</domain>", definition(), [], "is not known"),
        (definition(), "no xml", [], "is not known"),
    ],
)
def test_what_changed_is_told_from_then_to_now(saved: str, now: str, lines: list[str], note: str) -> None:
    found, notes = since(saved, now)
    assert [line for line in found if line[0] in "+-"] == lines
    assert len(notes) == bool(note)
    assert all(note in each for each in notes)


def test_the_plan_shows_the_change_as_data_and_as_text() -> None:
    saved = replace(SavedGuest.from_record(samples.guest()), xml=definition())
    manifest = replace(samples.manifest(), guests=(saved,))
    plan = RestorePlan(samples.BACKUP, "r1", (GuestRestore("web1", samples.WEB, "shutoff", "shutoff", ()),))
    now = GuestNow("web1", samples.WEB, "shutoff", False, True, (), xml=definition(2048))
    made = with_changes(plan, manifest, {samples.WEB: now})
    assert '+  <memory unit="MiB">2048</memory>' in made.as_dict()["guests"][0]["changes"]
    assert 'definition, then and now: -  <memory unit="MiB">1024</memory>' in made.after()
