# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition that a guest gets is put together anew each time, out of what is there."""

from __future__ import annotations

from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.new_definition import AS_IS, NewDefinition

UUID = "7d1b8c6e-0f3c-4f0e-9a53-0d6a2f6f0001"


def definition(memory: int, path: str = "/mnt/vol1/web1.img") -> str:
    return (
        f"<domain type='kvm'><name>web1</name><uuid>{UUID}</uuid><memory>{memory}</memory><devices>"
        f"<disk type='file' device='disk'><source file='{path}'/><target dev='vda'/></disk></devices></domain>"
    )


def test_as_it_is_means_to_the_letter() -> None:
    new = NewDefinition("<domain>  <passwd/></domain>", AS_IS, notes=("without its password",))
    for existing in (None, definition(1)):
        assert new.out_of(existing).xml == "<domain>  <passwd/></domain>"
        assert new.out_of(existing).notes == ("without its password",)


def test_what_is_there_now_is_kept_or_replaced() -> None:
    now = definition(1, "/mnt/moved/web1.img")
    kept = NewDefinition(definition(2), "keep", targets=("vda",)).out_of(now).xml
    assert "<memory>1</memory>" in kept
    assert "/mnt/vol1/web1.img" in kept
    others = NewDefinition(definition(2), "keep", targets=()).out_of(now).xml
    assert "/mnt/moved/web1.img" in others
    replaced = NewDefinition(definition(2), "replace").out_of(now).xml
    assert "<memory>2</memory>" in replaced
    assert "<memory>2</memory>" in NewDefinition(definition(2), "keep").out_of(None).xml, "nothing is there to keep"


def test_what_the_backup_lacks_is_said_before_what_was_left_out() -> None:
    renamed = definition(1).replace("<name>web1<", "<name>web2<")
    notes = NewDefinition(definition(2), "replace", notes=("first",)).out_of(renamed).notes
    assert notes == ("first", "the guest keeps the name it has now; in the backup it was web1")
