# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look for users says, and who is named first."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer, User, first_user

QEMU = User("process 7 (qemu)", "has it open", "Stop it.")


@pytest.mark.parametrize(
    ("answer", "verdict", "text"),
    [
        (Answer("locks"), "nothing found", "locks: nothing found"),
        (Answer("locks", impossible="no root"), "not possible here", "locks: not possible here, because no root"),
        (Answer("locks", (QEMU,)), "found", "locks: found process 7 (qemu) has it open"),
        (Answer("locks", (QEMU,), "no root"), "found", "locks: found process 7 (qemu) has it open"),
    ],
)
def test_a_user_that_was_seen_counts_whatever_else_could_not_be_seen(answer: Answer, verdict: str, text: str) -> None:
    assert (answer.verdict, str(answer)) == (verdict, text)


def test_the_first_user_is_named_with_the_look_that_found_it() -> None:
    found = Answer("guests", (QEMU, User("guest web1", "has it", "Stop it.")))
    assert first_user([Answer("locks"), found, Answer("processes", (QEMU,))]) == (found, QEMU)
    assert first_user([Answer("locks"), Answer("guests", impossible="no libvirt")]) is None
