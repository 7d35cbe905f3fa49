# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers, each with a connection of its own, and a pool of them."""

from __future__ import annotations

import threading
from concurrent.futures import wait
from typing import Any

import pytest
from virt import Guests, Inside

from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import workers as crew_module
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    LibvirtError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.workers import Worker, WorkerPool


def test_a_lane_opens_again_when_its_connection_broke(guests: Guests) -> None:
    uuid = guests.add("g")
    opened: list[Any] = []

    def open_one() -> Any:
        opened.append(guests.connect())
        return opened[-1]

    worker = Worker(open_one)
    assert worker.domain(uuid) is not None
    assert worker.domain(uuid) is not None
    assert len(opened) == 1
    opened[0]._connection = _Dead(opened[0]._connection)
    assert worker.domain(uuid) is not None
    assert len(opened) == 2
    worker.close()


def test_a_lane_asks_for_the_state_alone_where_it_knows_the_handle(guests: Guests) -> None:
    uuid, other = guests.add("g"), guests.add("h")
    opened: list[Any] = []

    def open_one() -> Any:
        opened.append(guests.connect())
        return opened[-1]

    worker = Worker(open_one)
    worker.learn([uuid])
    (host,) = opened
    lookups: list[str] = []
    look_up = host.domain
    host.domain = lambda *, uuid: lookups.append(uuid) or look_up(uuid=uuid)
    raw = guests.domain(uuid)
    for change in (raw.suspend, raw.destroy, raw.create):
        change()
        found = worker.seen(uuid)
        assert found is not None
        number = guests.domain(uuid).ID()
        assert (found[0].name, found[1].domain_id) == ("g", number if number >= 0 else None)
    assert lookups == []
    assert worker.seen(other) is not None
    assert worker.seen(other) is not None
    assert lookups == [other]
    raw.destroy()
    raw.undefine()
    assert worker.seen(uuid) is None
    assert worker.seen("77777777-7777-4777-8777-777777777777") is None
    host._connection = _Dead(host._connection)
    assert worker.seen(other) is not None
    assert len(opened) == 2, "a handle of a broken connection is no use"
    worker.close()


class _Dead:
    """A connection whose daemon went away."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def isAlive(self) -> int:  # noqa: N802 - libvirt's name
        return 0

    def close(self) -> None:
        self._real.close()


def test_an_interrupted_crew_lets_what_began_come_to_its_end(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go = threading.Event(), threading.Event()
    done: list[int] = []
    waits: list[Any] = []

    def work(_worker: Worker, number: int) -> None:
        began.set()
        go.wait(30)
        done.append(number)

    def interrupted(futures: Any) -> Any:
        waits.append(futures)
        if len(waits) == 1:
            began.wait(30)
            raise KeyboardInterrupt
        go.set()
        return wait(futures)

    monkeypatch.setattr(crew_module, "wait", interrupted)
    with WorkerPool(guests.connect, size=1) as pool, pytest.raises(KeyboardInterrupt):
        pool.each([1, 2, 3], work)
    assert done == [1]


def test_a_crew_does_all_work_before_it_raises(guests: Guests) -> None:
    uuids = [guests.add(f"g{n}", agent=Inside()) for n in range(5)]
    done: list[str] = []

    def work(worker: Worker, uuid: str) -> str:
        domain = worker.domain(uuid)
        assert domain is not None
        if domain.name == "g1":
            raise LibvirtError("no")
        done.append(domain.name)
        return domain.name

    with WorkerPool(guests.connect, size=3) as pool:
        with pytest.raises(LibvirtError, match="no"):
            pool.each(uuids, work)
        assert sorted(done) == ["g0", "g2", "g3", "g4"]
        assert pool.each(uuids[2:], work) == ["g2", "g3", "g4"]
