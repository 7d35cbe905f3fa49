# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written down of a copy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from clone_plans import UUID, complete, planned

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import clone_record
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError


def test_names_of_a_manifest_do_not_become_paths() -> None:
    assert clone_record.file_name(UUID, "../v d/a", 0) == f"kvmsnap-clone-{UUID}-vda.img"


def test_a_record_survives_and_is_private(tmp_path: Path) -> None:
    record = replace(planned(complete()), network="drill")
    assert clone_record.load(tmp_path, "web1-copy") is None
    clone_record.save(tmp_path, record.at("made"))
    assert clone_record.load(tmp_path, "web1-copy") == record.at("made")
    path = tmp_path / "clones" / "web1-copy.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.rename(path.with_name("other.json"))
    with pytest.raises(CatalogError, match="that of copy web1-copy"):
        clone_record.load(tmp_path, "other")
    clone_record.forget(tmp_path, "other")
    clone_record.forget(tmp_path, "other")
    assert clone_record.load(tmp_path, "other") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{", ""),
        ("kvmsnap.clone/1", "kvmsnap.clone/9"),
        ('"phase": "making"', '"phase": "x"'),
        ('"owner"', '"x"'),
        ('"path": "kvmsnap', '"path": "../kvmsnap'),
    ],
)
def test_a_record_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, old: str, new: str) -> None:
    clone_record.save(tmp_path, planned(complete()))
    path = tmp_path / "clones" / "web1-copy.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises((CatalogError, InputError), match=r"web1-copy[.]json|as a path inside"):
        clone_record.load(tmp_path, "web1-copy")


def test_a_second_maker_is_kept_out(tmp_path: Path) -> None:
    refused = pytest.raises(CatalogError, match="Another copy is being made")
    with clone_record.alone(tmp_path), refused, clone_record.alone(tmp_path):
        pass
    with clone_record.alone(tmp_path):
        pass
