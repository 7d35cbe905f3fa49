# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fitting the user-mode kernel and the guests' modules."""

from __future__ import annotations

import struct

import pytest

from kvmlab.errors import LabError
from kvmlab.images.guest import SIGNATURE_MAGIC, without_signature
from kvmlab.kernel import BUILT_FOR, fitted, state_length

LENGTH = struct.pack("<I", BUILT_FOR)
SETREGSET = b"\xbf\x05\x42\x00\x00"
PROGRAM = b"head" + LENGTH + b"\xbf\x04\x42\x00\x00" + b"middle" + LENGTH + SETREGSET + b"tail"


@pytest.mark.parametrize("length", [832, BUILT_FOR])
def test_a_cpu_it_was_built_for_needs_no_change(length: int) -> None:
    assert fitted(PROGRAM, length) == PROGRAM


def test_only_the_length_that_is_set_changes() -> None:
    changed = fitted(PROGRAM, 11008)
    assert changed == PROGRAM.replace(LENGTH + SETREGSET, struct.pack("<I", 11008) + SETREGSET)
    assert changed.count(LENGTH) == 1


@pytest.mark.parametrize("program", [b"another build", PROGRAM + PROGRAM])
def test_a_kernel_that_looks_different_is_refused(program: bytes) -> None:
    with pytest.raises(LabError, match="Failed to fit the user-mode kernel"):
        fitted(program, 11008)


def test_this_machine_tells_its_length() -> None:
    assert state_length() >= 512


def test_a_module_loses_its_signature_and_nothing_else() -> None:
    signature = b"S" * 300
    trailer = struct.pack(">BBBBBxxxI", 0, 0, 2, 0, 0, len(signature))
    assert without_signature(b"module" + signature + trailer + SIGNATURE_MAGIC) == b"module"
    assert without_signature(b"module") == b"module"
