# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare all that two files hold, read past the caches of this host, and reckon the SHA-256 of it."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import progressing
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.content import direct

BLOCK_BYTES = 1 << 20
_ALIGNMENT = 4096
_ZEROES = bytes(BLOCK_BYTES)


@dataclass(frozen=True)
class Comparison:
    """What came of it: the offset of the first byte that differs, or None and the SHA-256 of what both hold."""

    difference: Optional[int]
    sha256: str = ""


def compare_files(one: str, other: str, *, stalled_after: float) -> Comparison:
    """Compare two files to their last byte.

    It takes as long as it takes; when nothing can be read for ``stalled_after`` seconds, :class:`OverdueError` is
    raised. A difference in size is one at the shorter one's end. Raises :class:`OSError`.
    """
    what = f"compare {other} with {one}"
    return progressing(lambda step: _compared(one, other, step), seconds=stalled_after, what=what)


def _compared(one: str, other: str, step: Callable[[], None]) -> Comparison:
    digest = hashlib.sha256()
    with direct(one) as first, direct(other) as second, mmap.mmap(-1, BLOCK_BYTES) as buffer:
        sizes = os.fstat(first).st_size, os.fstat(second).st_size
        if sizes[0] != sizes[1]:
            return Comparison(min(sizes))
        for offset, length, is_hole in _stretches(first, second, sizes[0], buffer):
            if is_hole:
                digest.update(_ZEROES[:length])
            else:
                expected = buffer[:length]
                found = _read(second, offset, length, buffer)
                if found != expected:
                    return Comparison(offset + _first_difference(expected, found))
                digest.update(expected)
            step()
    return Comparison(None, digest.hexdigest())


def _stretches(first: int, second: int, size: int, buffer: mmap.mmap) -> Iterator[tuple[int, int, bool]]:
    """Yield offset and length of what follows, and whether it is a hole in both files.

    What is none was read from the first file into the buffer. Holes are looked for at the beginning and behind a block
    of zeroes only: asking costs a request on NFS 4.2, and on older versions there are none.
    """
    offset, ask = 0, True
    while offset < size:
        data = min(_next_data(first, offset, size), _next_data(second, offset, size)) if ask else offset
        end = size if data >= size else data // _ALIGNMENT * _ALIGNMENT
        while offset < end:
            length = min(BLOCK_BYTES, end - offset)
            yield offset, length, True
            offset += length
        if offset < size:
            length = min(BLOCK_BYTES, size - offset)
            ask = _read(first, offset, length, buffer) == _ZEROES[:length]
            yield offset, length, False
            offset += length


def _next_data(descriptor: int, offset: int, size: int) -> int:
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as exc:
        return size if exc.errno == errno.ENXIO else offset


def _read(descriptor: int, offset: int, length: int, buffer: mmap.mmap) -> bytes:
    """Read so many bytes, fewer only where the file ends; a server may give out less at a time."""
    done = 0
    with memoryview(buffer) as view:
        while done < length:
            count = os.preadv(descriptor, [view[done:]], offset + done)
            if not count:
                break
            done += count
    return buffer[: min(done, length)]


def _first_difference(one: bytes, other: bytes) -> int:
    return next((at for at, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), min(len(one), len(other)))
