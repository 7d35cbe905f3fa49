# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pieces of argument specs, their doc fragments, and directories and numbers as people type them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.kvmsnap.ontap.plugins.doc_fragments import (
    backup_scope,
    catalog,
    foreign_definition,
    hold,
    libvirt,
    retry,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils import _options
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BACKUP_SCOPE
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import check_numbers, directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.foreign_definition import (
    FOREIGN_DEFINITION,
)

PIECES = {
    "backup_scope": (backup_scope.ModuleDocFragment.DOCUMENTATION, BACKUP_SCOPE),
    "catalog": (catalog.ModuleDocFragment.DOCUMENTATION, _options.CATALOG),
    "foreign_definition": (foreign_definition.ModuleDocFragment.DOCUMENTATION, FOREIGN_DEFINITION),
    "hold": (hold.ModuleDocFragment.DOCUMENTATION, _options.HOLD),
    "hold.agent": (hold.ModuleDocFragment.AGENT, _options.HOLD_AGENT),
    "hold.deadline": (hold.ModuleDocFragment.DEADLINE, _options.HOLD_DEADLINE),
    "libvirt": (libvirt.ModuleDocFragment.DOCUMENTATION, _options.LIBVIRT),
    "libvirt.files": (libvirt.ModuleDocFragment.FILES, _options.LIBVIRT_FILES),
    "retry": (retry.ModuleDocFragment.DOCUMENTATION, _options.RETRY),
}


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_is_what_its_doc_fragment_tells(piece: str) -> None:
    text, spec = PIECES[piece]
    told: dict[str, dict[str, Any]] = yaml.safe_load(text)["options"]
    for each in told.values():
        assert each.pop("description")
    assert told == spec


def test_a_directory_is_an_absolute_path() -> None:
    assert directory({"hold_dir": "/run/kvmsnap/holds"}, "hold_dir") == Path("/run/kvmsnap/holds")


@pytest.mark.parametrize("text", ["", " ", ".", "run/holds", " /run/holds", "/run/holds\n", "/run/ho\0lds"])
def test_what_leads_elsewhere_for_each_process_is_refused_by_name(text: str) -> None:
    with pytest.raises(InputError, match=r"^hold_dir is '.*'; give an absolute path, or leave it out") as caught:
        directory({"hold_dir": text}, "hold_dir")
    assert caught.value.fields == {"option": "hold_dir"}


@pytest.mark.parametrize("value", [None, 0, 0.5, 2147483647])
def test_a_number_within_its_bounds_or_none_at_all_passes(value: float | None) -> None:
    check_numbers({"settle": value}, {"settle": 0})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (-1, "-1; it must be at least 0"),
        (float("nan"), "nan; it must be at least 0"),
        (float("-inf"), "-inf; it must be at least 0"),
        (float("inf"), "inf; it must be at most 2147483647"),
        (2**31, "2147483648; it must be at most 2147483647"),
        (10**30, "1e+30; it must be at most 2147483647"),
    ],
)
def test_a_number_that_no_limit_can_be_is_refused_by_name(value: float, why: str) -> None:
    with pytest.raises(InputError) as caught:
        check_numbers({"settle": value}, {"settle": 0})
    assert caught.value.message == f"settle is {why}"
    assert caught.value.fields == {"option": "settle"}


def test_an_option_may_have_a_most_of_its_own() -> None:
    with pytest.raises(InputError, match="safety_days is 999999; it must be at most 36500"):
        check_numbers({"safety_days": 999999}, {"safety_days": 0}, {"safety_days": 36500})
