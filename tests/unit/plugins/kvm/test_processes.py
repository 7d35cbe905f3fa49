# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes of this host, each known by its number and its start."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import processes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import Process, started_at


def test_a_process_is_known_by_its_start(sleeper: subprocess.Popen[bytes]) -> None:
    started = started_at(sleeper.pid)
    assert started is not None
    process = Process(sleeper.pid, started)
    assert process.running
    assert processes.end(Process(sleeper.pid, started - 1)), "that one is gone"
    assert process.running
    assert processes.end(process)
    assert sleeper.wait(5) == -signal.SIGTERM
    assert started_at(sleeper.pid) is None


def test_a_process_that_ignores_the_signal() -> None:
    program = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not processes.end(Process(process.pid, started_at(process.pid) or 0), timeout=0.1)
        process.kill()


def test_qemu_is_found_by_the_uuid_of_its_guest(tmp_path: Path) -> None:
    uuid = "6695eb01-f6a4-8304-79aa-97f2502e193f"
    stats = "42 (qemu (x) system) S " + " ".join(str(number) for number in range(4, 53))
    for pid, arguments in (("42", f"qemu\0-uuid\0{uuid.upper()}\0-x"), ("43", "sh\0-uuid"), ("44", "")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_text(arguments, encoding="ascii")
        (tmp_path / pid / "stat").write_text(stats, encoding="ascii")
    (tmp_path / "45").mkdir()
    (tmp_path / "version").write_text("", encoding="ascii")
    assert processes.qemu_processes(tmp_path) == {uuid: Process(42, 22)}


def test_a_uuid_that_two_qemus_have_tells_neither(tmp_path: Path) -> None:
    """The release of a hold would take another's end for that of its guest, and leave the guest held."""
    stats = "42 (qemu) S " + " ".join(str(number) for number in range(4, 53))
    for pid, name in (("42", "one"), ("43", "twin"), ("44", "twin")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_text(f"qemu\0-uuid\0{name}\0-x", encoding="ascii")
        (tmp_path / pid / "stat").write_text(stats, encoding="ascii")
    assert processes.qemu_processes(tmp_path) == {"one": Process(42, 22)}
