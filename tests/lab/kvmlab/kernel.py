# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fit the user-mode kernel's program to this machine's CPU.

The kernel hands its processes' floating point state back with ptrace(PTRACE_SETREGSET, NT_X86_XSTATE), in a buffer
whose length was fixed when the kernel was built: enough for AVX-512. The machine's kernel insists on the whole state
of its CPU, and CPUs with AMX have a longer one, so every process would die at its first instruction. The one
constant that tells the length is therefore set to what this machine wants. What lies behind the kernel's own
buffer is then read as AMX state and left aside, as the state's header says that AMX is not in use.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
from pathlib import Path

from .errors import LabError

BUILT_FOR = 2696
_PTRACE_TRACEME, _PTRACE_GETREGSET, _NT_X86_XSTATE = 0, 0x4204, 0x202
_LENGTH = BUILT_FOR.to_bytes(4, "little")
_SET_LENGTH_THEN_SETREGSET = re.compile(re.escape(_LENGTH) + re.escape(b"\xbf" + (0x4205).to_bytes(4, "little")))


class _Buffer(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def fitted(program: bytes, state_length: int) -> bytes:
    """Return the kernel's program for a CPU with ``state_length`` bytes of floating point state."""
    if state_length <= BUILT_FOR:
        return program
    places = [found.start() for found in _SET_LENGTH_THEN_SETREGSET.finditer(program)]
    if len(places) != 1:
        raise LabError(f"Failed to fit the user-mode kernel to this CPU: the constant occurs {len(places)} times")
    (place,) = places
    return program[:place] + state_length.to_bytes(4, "little") + program[place + len(_LENGTH) :]


def state_length() -> int:
    """Return the size in bytes of this machine's floating point state, as ptrace tells it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    libc.ptrace.restype = ctypes.c_long
    child = os.fork()
    if child == 0:
        libc.ptrace(_PTRACE_TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    try:
        os.waitpid(child, os.WUNTRACED)
        room = ctypes.create_string_buffer(1 << 16)
        state = _Buffer(ctypes.addressof(room), len(room))
        if libc.ptrace(_PTRACE_GETREGSET, child, _NT_X86_XSTATE, ctypes.addressof(state)) != 0:
            raise LabError(f"Failed to read the size of the CPU's state: {os.strerror(ctypes.get_errno())}")
        return int(state.length)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def install(source: Path, target: Path) -> None:
    """Write the program, fitted to this machine, to ``target``."""
    target.write_bytes(fitted(source.read_bytes(), state_length()))
    target.chmod(0o755)
