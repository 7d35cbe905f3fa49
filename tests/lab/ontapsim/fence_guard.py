# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard of a fence: reads `hold <seconds> <pid>...` and `free` lines, and continues what was left stopped."""

import contextlib
import os
import select
import signal
import sys
import time


def _continue(pids: "list[int]") -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def main() -> None:
    """Run until the pipe on standard input closes."""
    held: list[int] = []
    deadline = 0.0
    pending = b""
    while True:
        wait = max(0.0, deadline - time.monotonic()) if held else None
        ready, _unused, _unused2 = select.select([sys.stdin.fileno()], [], [], wait)
        if not ready:
            _continue(held)
            held = []
            continue
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            _continue(held)
            return
        pending += data
        while b"\n" in pending:
            line, pending = pending.split(b"\n", 1)
            words = line.decode().split()
            if words[0] == "hold":
                deadline = time.monotonic() + float(words[1])
                held = [int(word) for word in words[2:]]
            else:
                held = []


if __name__ == "__main__":
    main()
