# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on many guests at once, each worker with a libvirt connection of its own.

libvirt serves only a few calls of one connection at a time, and a call to a silent agent occupies its place until it is
given up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from types import TracebackType
from typing import Optional, TypeVar

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    NO_DOMAIN,
    Domain,
    DomainState,
    Host,
    LibvirtError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.limits import MAX_WORKERS, SPARE_WORKERS

T = TypeVar("T")
R = TypeVar("R")

MOST_WORKERS = MAX_WORKERS - SPARE_WORKERS
WARM_SECONDS = 60.0
_MEANWHILE = 0.1


class Worker:
    """One worker's way to libvirt; opened when it is first needed, and again when it broke."""

    def __init__(self, connect: Callable[[], Host]) -> None:
        self._connect = connect
        self._host: Optional[Host] = None
        self._domains: dict[str, Domain] = {}

    @property
    def alive(self) -> bool:
        """Whether there is a connection that stands."""
        return self._host is not None and self._host.alive

    def domain(self, uuid: str, name: str = "") -> Optional[Domain]:
        """Return a guest, None when libvirt does not know it; raises :class:`LibvirtError`."""
        return self.open().domain(uuid=uuid, name=name)

    def seen(self, uuid: str) -> Optional[tuple[Domain, DomainState]]:
        """Return a guest and its state now, None when libvirt does not know it; raises :class:`LibvirtError`.

        That is one question where its handle is known from before, as after :meth:`learn`.
        """
        host = self.open()
        domain = self._domains.get(uuid) or host.domain(uuid=uuid)
        if domain is None:
            return None
        self._domains[uuid] = domain
        try:
            return domain, domain.state()
        except LibvirtError as exc:
            if exc.code != NO_DOMAIN:
                raise
        return None

    def learn(self, uuids: Collection[str]) -> None:
        """Get the handles of these guests, as far as libvirt knows them."""
        host = self.open()
        self._domains.update({domain.uuid: domain for domain in host.domains() if domain.uuid in uuids})

    def open(self) -> Host:
        """Return a connection that stands; raises :class:`LibvirtError`."""
        if not self.alive:
            self.close()
        if self._host is None:
            self._host = self._connect()
        return self._host

    def close(self) -> None:
        """End the connection, and with it the handles that it gave."""
        host, self._host = self._host, None
        self._domains.clear()
        if host is not None:
            host.close()


class WorkerPool:
    """As many workers as there are guests, but no more than ``most``."""

    def __init__(self, connect: Callable[[], Host], *, size: int, most: int = MOST_WORKERS) -> None:
        self._connect = connect
        self.size = max(1, min(size, most))
        self._pool = ThreadPoolExecutor(self.size, thread_name_prefix="guest")
        self._own = threading.local()
        self._workers: list[Worker] = []

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        exc: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._pool.shutdown()
        for worker in self._workers:
            with suppress(KvmsnapError):
                worker.close()

    def warm(self, uuids: Collection[str]) -> None:
        """Open every worker's connection now and look these guests up; in the middle of the work nobody has to."""
        together = threading.Barrier(self.size)

        def open_one(worker: Worker, _number: int) -> None:
            try:
                worker.learn(uuids)
            except BaseException:
                together.abort()
                raise
            with suppress(threading.BrokenBarrierError):
                together.wait(WARM_SECONDS)

        self.each(range(self.size), open_one)

    def each(self, items: Iterable[T], work: Callable[[Worker, T], R]) -> list[R]:
        """Do the work on every item and return the results in order.

        All that have begun are waited for, also when one raises (then the first exception in order is raised) and
        when the wait is interrupted: whoever undoes the work must not overtake it.
        """
        return self.finish(self.begin(items, work))

    def begin(self, items: Iterable[T], work: Callable[[Worker, T], R]) -> list[Future[R]]:
        """Begin the work on every item, as far as there are workers."""
        return [self._pool.submit(self._do, work, item) for item in items]

    def wait(self, begun: Sequence[Future[R]], *, seconds: Optional[float]) -> None:
        """Wait for the end of what was begun, at most so long."""
        wait(begun, timeout=seconds)

    def finish(self, begun: Sequence[Future[R]], *, meanwhile: Optional[Callable[[], None]] = None) -> list[R]:
        """Return the results of what was begun, as :meth:`each` does; ``meanwhile`` is called again and again."""
        try:
            while meanwhile is not None and wait(begun, timeout=_MEANWHILE).not_done:
                meanwhile()
            wait(begun)
        except BaseException:
            for future in begun:
                future.cancel()
            wait(begun)
            raise
        return [future.result() for future in begun]

    def _do(self, work: Callable[[Worker, T], R], item: T) -> R:
        worker: Optional[Worker] = getattr(self._own, "worker", None)
        if worker is None:
            worker = self._own.worker = Worker(self._connect)
            self._workers.append(worker)
        return work(worker, item)
