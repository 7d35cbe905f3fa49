# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes of this host have something open."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.processes import is_regular, processes_answer

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what others have open")


@needs_root
def test_a_descriptor_that_does_not_answer_keeps_nobody_waiting(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    for pid, names in (("900001", ("3", "4")), ("900002", ("3",))):
        (proc / pid / "fd").mkdir(parents=True)
        for name in names:
            (proc / pid / "fd" / name).touch()
    released = threading.Event()
    hung = (proc / "900001" / "fd" / "3").stat().st_ino
    wanted = (proc / "900002" / "fd" / "3").stat().st_ino

    def matches(found: os.stat_result, _process: str) -> bool:
        if found.st_ino == hung:
            released.wait(60)
        return is_regular(found) and found.st_ino in (wanted, hung)

    try:
        answer = processes_answer(matches, "the disk", proc=proc, seconds=0.3)
        again = processes_answer(matches, "the disk", proc=proc, seconds=0.3, silent=1)
    finally:
        released.set()
    assert [user.who.split(" (")[0] for user in answer.users] == ["process 900002"]
    assert str(proc / "900001" / "fd" / "3") in answer.impossible
    assert again.verdict in ("found", "not possible here")
    assert again.impossible
