# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead-man timer: how it is armed and disarmed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt
import pytest
from virt import URI, Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import deadman
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.deadman import DeadMan
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.hold import hold, release
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import HoldRequest, HoldSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.timer_record import (
    TimerError,
    read_timer,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import processes

RUNNING, PAUSED = libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_PAUSED


def take(settings: HoldSettings, *uuids: str) -> Any:
    return hold([HoldRequest("", uuid, "auto") for uuid in uuids], "h1", settings, check=False, go_on=False)


# Arming


@pytest.fixture
def record(settings: HoldSettings) -> Path:
    """The record of a hold that holds nothing."""
    settings.directory.mkdir(mode=0o700)
    return settings.directory / "h1.json"


def guard(settings: HoldSettings, **more: Any) -> DeadMan:
    return DeadMan(URI, boot=settings.boot, **{"systemd": Path("/nonexistent"), **more})


def test_a_process_that_was_killed_is_replaced(settings: HoldSettings, record: Path) -> None:
    guard(settings).arm(record)
    first = read_timer(record.with_suffix(".timer"))
    assert first is not None
    assert first.process is not None
    assert processes.end(first.process, number=signal.SIGKILL)
    guard(settings).arm(record)
    second = read_timer(record.with_suffix(".timer"))
    assert second is not None
    assert second.token != first.token
    assert deadman.watches(second)
    guard(settings).disarm(record)
    assert not deadman.watches(second)


def test_the_armed_process_fires(guests: Guests, settings: HoldSettings) -> None:
    """In a process of its own the test driver has guests of its own, of which the record knows none."""
    uuid = guests.add("sol")
    settings = replace(settings, guard=guard(settings, deadline=1.0, margin=0.0))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    Path(settings.boot).write_text(boot, encoding="ascii")
    held = take(settings, uuid)
    assert held["timer"]["kind"] == "process"
    path = settings.directory / "h1.timer"
    end = time.monotonic() + 10
    while not (timer := read_timer(path)) or not timer.error:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert 1.0 <= (timer.fired_at or 0) - timer.armed_at < 2.0
    assert "libvirt does not know it any more" in (timer.error or "")
    assert release("h1", settings, check=False)["fired"] is True
    assert not deadman.watches(timer)


SYSTEMD_RUN = """#!{python}
import json, sys
open({log!r}, "a").write(json.dumps(sys.argv[1:]) + chr(10))
{then}
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of systemd that write down what they are asked; the file ``systemd-run`` can be replaced."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("systemd-run", "systemctl"):
        (programs / name).write_text(
            SYSTEMD_RUN.format(python=sys.executable, log=str(tmp_path / f"{name}.log"), then="print('active')"),
            encoding="ascii",
        )
        (programs / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return programs


def asked(tmp_path: Path, name: str) -> list[list[str]]:
    log = tmp_path / f"{name}.log"
    return [json.loads(line) for line in log.read_text(encoding="ascii").splitlines()] if log.exists() else []


def test_a_transient_unit_where_systemd_runs(
    settings: HoldSettings, record: Path, systemd: Path, tmp_path: Path
) -> None:
    guard(settings, systemd=tmp_path).arm(record)
    timer = read_timer(record.with_suffix(".timer"))
    assert timer is not None
    (command,) = asked(tmp_path, "systemd-run")
    unit = deadman.unit_name(record)
    assert unit.startswith("kvmsnap-hold-h1-")
    assert (timer.kind, timer.unit, timer.pid) == ("systemd", unit, None)
    assert f"--unit={unit}" in command
    assert {"--timer-property=AccuracySec=100ms", "--timer-property=RemainAfterElapse=no", "--collect"} <= {*command}
    assert "--on-active=15500ms" in command, "it starts before its moment, and waits for that itself"
    program = command[command.index("--") + 1 :]
    assert program[0] == sys.executable
    assert program[2:] == ["watch", str(record.with_suffix(".timer")), timer.token]
    assert Path(program[1]).is_file()
    assert deadman.watches(timer)
    guard(settings, systemd=tmp_path).disarm(record)
    assert asked(tmp_path, "systemctl")[-1] == ["stop", f"{unit}.timer", f"{unit}.service"]


def test_a_unit_starts_in_time_for_the_guest_that_is_let_go_first(
    guests: Guests, settings: HoldSettings, systemd: Path, tmp_path: Path
) -> None:
    settings = replace(settings, guard=guard(settings, systemd=tmp_path, deadline=60.0), vss_deadline=20.0)
    take(settings, guests.add("lin", agent=Inside()), guests.add("who", agent=Inside(mounts_fail=True)))
    (command,) = asked(tmp_path, "systemd-run")
    assert "--on-active=5500ms" in command
    release("h1", settings, check=False)


def test_a_process_where_systemd_refuses(settings: HoldSettings, record: Path, systemd: Path, tmp_path: Path) -> None:
    (systemd / "systemd-run").write_text("#!/bin/sh\necho no bus >&2; exit 1\n", encoding="ascii")
    guard(settings, systemd=tmp_path).arm(record)
    timer = read_timer(record.with_suffix(".timer"))
    assert timer is not None
    assert timer.kind == "process"
    assert "systemd-run ended with 1: no bus" in (timer.remark or "")
    guard(settings).disarm(record)


def test_nothing_is_left_when_it_cannot_be_armed(
    settings: HoldSettings, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TimerError, match="Failed to arm the dead-man timer: false ended with 1"):
        guard(settings).arm(record)
    assert not record.with_suffix(".timer").exists()
    assert list((settings.directory / "timer").iterdir()) == []


def test_units_of_different_directories_and_strange_names_do_not_meet(tmp_path: Path) -> None:
    names = {
        deadman.unit_name(tmp_path / place / f"{name}.json") for place in "ab" for name in ("h+1", "h_1", "x" * 200)
    }
    assert len(names) == 6
    assert all(len(name) < 200 and not set(name) & set("+ /") for name in names)


def test_the_program_is_the_same_every_time_and_needs_nothing_else(tmp_path: Path) -> None:
    first = deadman.program()
    assert deadman.program() == first
    path = tmp_path / "program.pyz"
    path.write_bytes(first)
    alone = [sys.executable, "-I", str(path), "try"]
    assert subprocess.run(alone, cwd="/", env={}, timeout=60, check=False).returncode == 0
    with zipfile.ZipFile(path, "a") as brought:
        for name, text in deadman._sources(deadman.__name__):
            inside = f"{name.replace('.', '/')}.py"
            if inside not in brought.namelist():
                brought.writestr(inside, text)
    again = (
        f"import sys; sys.path.insert(0, {str(path)!r})\n"
        "from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold import deadman\n"
        "sys.stdout.buffer.write(deadman.program())"
    )
    packed = [sys.executable, "-I", "-c", again]
    made = subprocess.run(packed, cwd="/", env={}, timeout=60, check=True, capture_output=True).stdout
    assert made == first, "Ansible brings modules in an archive, too"


@pytest.mark.parametrize("content", ["{", '{"schema": "other"}', '{"schema": "kvmsnap.timer/1"}'])
def test_an_unreadable_timer_is_told_and_does_not_keep_a_hold(
    guests: Guests, settings: HoldSettings, content: str
) -> None:
    uuid = guests.add("sol")
    take(settings, uuid)
    path = settings.directory / "h1.timer"
    path.write_text(content, encoding="ascii")
    with pytest.raises(TimerError):
        read_timer(path)
    told = release("h1", replace(settings, guard=guard(settings)), check=False)
    assert (told["fired"], told["timer"]) == (False, None)
    assert guests.state(uuid)[0] == RUNNING
    assert not path.exists()


# Processes


def test_a_process_of_its_own(settings: HoldSettings, record: Path) -> None:
    guard(settings).arm(record)
    timer = read_timer(record.with_suffix(".timer"))
    assert timer is not None
    assert timer.process is not None
    try:
        assert timer.fires_at - timer.armed_at == pytest.approx(30.5)
        assert timer.armed_at <= time.monotonic()
        assert deadman.watches(timer)
        assert os.getsid(timer.process.pid) != os.getsid(0)
        links = {os.readlink(f"/proc/{timer.process.pid}/fd/{number}") for number in range(3)}
        assert links == {"/dev/null"}
        assert os.readlink(f"/proc/{timer.process.pid}/cwd") == "/"
        (program,) = (settings.directory / "timer").iterdir()
        assert stat.S_IMODE(program.stat().st_mode) == 0o600
        assert stat.S_IMODE(program.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(record.with_suffix(".timer").stat().st_mode) == 0o600
        guard(settings, deadline=99.0).arm(record)
        assert read_timer(record.with_suffix(".timer")) == timer, "holding again does not prolong the hold"
    finally:
        guard(settings).disarm(record)
    assert not timer.process.running
    assert not record.with_suffix(".timer").exists()
    guard(settings).disarm(record)
