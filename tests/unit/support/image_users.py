# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real QEMUs, and their tools, that have an image open."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

WITHIN = 60


def make_image(path: Path, *, image_format: str = "raw", backing: Path | None = None, below: str = "raw") -> Path:
    """Make an image of 8 MiB, or an overlay."""
    over = ["-b", str(backing), "-F", below] if backing else []
    subprocess.run(["qemu-img", "create", "-q", "-f", image_format, *over, str(path), "8M"], check=True, timeout=WITHIN)
    return path


@contextmanager
def qemu(
    path: Path,
    *,
    image_format: str,
    readonly: bool = False,
    share: bool = False,
    locking: bool = True,
    start: Sequence[str] = (),
    seen_as: Path | None = None,
) -> Iterator[None]:
    """Run a QEMU with the image as its disk; it has run for a moment, and has the image open, when we begin.

    One that never ran does not have all its locks yet; one that runs on takes a processor. It is no child of ours.
    ``start`` is what it is started by, and ``seen_as`` where it has the image then, in a mount namespace of its own.
    """
    start = start or ["sh", "-c", '"$@"; true', "sh"]
    where = seen_as or path
    drive = f"if=none,id=d,format={image_format},file.driver=file,file.filename={where}"
    drive += f",read-only={'on' if readonly else 'off'}{'' if locking else ',file.locking=off'}"
    command = [*start, "qemu-system-x86_64", "-machine", "pc,accel=tcg", "-nodefaults", "-display", "none"]
    command += ["-S", "-m", "16"]
    device = f"virtio-blk-pci,drive=d{',share-rw=on' if share else ''}"
    process = subprocess.Popen(
        [*command, "-drive", drive, "-device", device, "-qmp", "stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        for name in ("", "qmp_capabilities", "cont", "stop"):
            _answered(process, name)
        yield
    finally:
        process.communicate(b'{"execute": "quit"}', timeout=WITHIN)


def _answered(process: subprocess.Popen[bytes], command: str) -> None:
    """Send a command over QMP and wait for its answer; nothing is sent for the greeting."""
    assert process.stdin is not None
    assert process.stdout is not None
    if command:
        process.stdin.write(json.dumps({"execute": command}).encode())
        process.stdin.flush()
    for line in process.stdout:
        said = json.loads(line)
        if "QMP" in said or "return" in said:
            return
        assert "event" in said, said
    process.wait(WITHIN)
    raise AssertionError(process.stderr.read() if process.stderr else "QEMU ended")


@contextmanager
def qemu_nbd(path: Path, *, image_format: str, readonly: bool = False) -> Iterator[int]:
    """Let qemu-nbd serve the image; it has it open when we begin."""
    pidfile, socket = path.with_suffix(".pid"), path.with_suffix(".sock")
    command = ["qemu-nbd", "--fork", "--persistent", "--pid-file", str(pidfile), "--socket", str(socket)]
    command += ["--format", image_format, *(["--read-only"] if readonly else []), str(path)]
    nowhere = subprocess.DEVNULL
    subprocess.run(command, check=True, timeout=WITHIN, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    pid = int(pidfile.read_text())
    ended = os.pidfd_open(pid)
    try:
        yield pid
    finally:
        signal.pidfd_send_signal(ended, signal.SIGTERM)
        os.close(ended)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Let a process that is no child of ours read the file; it has no lock."""
    command = ["sh", "-c", 'exec 3<"$1"; echo open; cat; true', "sh", str(path)]
    process = subprocess.Popen(
        ["sh", "-c", '"$@"; true', "sh", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield
    finally:
        process.communicate(b"", timeout=WITHIN)


@contextmanager
def looped(path: Path) -> Iterator[str]:
    """Put a loop device over the file and return its name."""
    device = subprocess.run(
        ["losetup", "--find", "--show", path], check=True, timeout=WITHIN, capture_output=True, text=True
    ).stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True, timeout=WITHIN)
