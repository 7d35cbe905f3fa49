# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same call for many things at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import PARALLEL_CALLS

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(
    call: Callable[[T], R], items: Iterable[T], *, at_once: int = PARALLEL_CALLS
) -> list[Union[R, BaseException]]:
    """Run ``call`` on every item, a thread each up to ``at_once``; return values or exceptions, in order."""
    items = list(items)
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=min(len(items), at_once)) as pool:
        futures = [pool.submit(call, item) for item in items]
    return [future.exception() or future.result() for future in futures]


def values(results: Iterable[Union[R, BaseException]]) -> list[R]:
    """Return the values, or raise the first exception among them."""
    good: list[R] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        good.append(result)
    return good
