# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asynchronous work: jobs from queued to their end, and gone some minutes later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import unquote

from . import errors
from .errors import ApiError
from .model import Job, new_uuid
from .storage import StorageError

log = logging.getLogger("ontapsim")

if TYPE_CHECKING:
    from .call import Call
    from .simulator import Simulator


@dataclass
class Jobs:
    """Runs jobs on the event loop and keeps their records in the array's state."""

    simulator: Simulator
    _ended: dict[str, asyncio.Event] = field(default_factory=dict)
    _tasks: set[asyncio.Future[Any]] = field(default_factory=set)
    _hung: set[asyncio.Future[Any]] = field(default_factory=set)

    def start(
        self, call: Call, work: Callable[[], Awaitable[None]], *, svm: str | None, location: str | None = None
    ) -> Job:
        """Start a job for a request; faults that hit the request act on it, ``location`` is what it makes."""
        job = Job(
            uuid=new_uuid(),
            description=f"{call.method} {unquote(location or call.raw_path)}",
            svm=svm,
            start_time=self.simulator.clock.iso(),
        )
        self.simulator.array.jobs[job.uuid] = job
        self._ended[job.uuid] = asyncio.Event()
        self.simulator.save()
        self.background(self._run(job, call, work))
        return job

    def background(self, work: Awaitable[Any]) -> None:
        """Let work go on by itself, until the simulator stops."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self, seconds: float) -> int:
        """Wait for all work under way but that which hangs for ever; return how much of it is not done by then."""
        deadline = asyncio.get_running_loop().time() + seconds
        while going := self._tasks - self._hung:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return len(going)
            await asyncio.wait(going, timeout=min(left, 0.1))
        return 0

    async def wait(self, uuid: str, seconds: float) -> bool:
        """Wait for a job's end; False when it is still running after ``seconds``."""
        try:
            await asyncio.wait_for(self._ended[uuid].wait(), seconds)
            return True
        except asyncio.TimeoutError:
            return False

    def get(self, uuid: str) -> Job:
        """Return a job; one that ended too long ago is gone."""
        self.prune()
        job = self.simulator.array.jobs.get(uuid)
        if job is None:
            raise errors.missing()
        return job

    def prune(self) -> None:
        """Forget the jobs that ended too long ago."""
        now, keep = self.simulator.clock.now(), self.simulator.switches.job_keep_seconds
        jobs = self.simulator.array.jobs
        for uuid in [uuid for uuid, job in jobs.items() if job.ended is not None and now - job.ended >= keep]:
            del jobs[uuid]
            self._ended.pop(uuid, None)

    def recover(self) -> None:
        """End the jobs that a restart interrupted: with success where their effect had been saved."""
        for job in self.simulator.array.jobs.values():
            if job.ended is None:
                self._finish(
                    job,
                    None
                    if job.effective
                    else ApiError(errors.UNEXPECTED, "The job was interrupted by a restart of the controller."),
                )

    async def stop(self) -> None:
        """Cancel what still runs."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: Job, call: Call, work: Callable[[], Awaitable[None]]) -> None:
        switches = self.simulator.switches
        hang, fail = call.fault("job_hang"), call.fault("job_fail")
        delays = [fault.options for fault in call.faults if fault.type == "delay"]
        await asyncio.sleep(switches.job_queued_seconds)
        job.state = "running"
        late = sum(options.get("seconds", 0) for options in delays if options.get("where") == "job")
        await asyncio.sleep(switches.job_seconds + late)
        if hang and not hang.options.get("effect"):
            await self._hang(hang.options.get("seconds"))
        error: ApiError | None = None
        if not fail or fail.options.get("effect"):
            error = await self._effect(job, work)
        if switches.job_tail_seconds or hang:
            self.simulator.save()
            await asyncio.sleep(switches.job_tail_seconds)
        if hang and hang.options.get("effect"):
            await self._hang(hang.options.get("seconds"))
        if fail and error is None:
            error = ApiError(
                str(fail.options.get("code", errors.UNEXPECTED)), fail.options.get("message", "The job failed.")
            )
        self._finish(job, error)
        self.simulator.save()

    async def _effect(self, job: Job, work: Callable[[], Awaitable[None]]) -> ApiError | None:
        try:
            await work()
        except ApiError as exc:
            return exc
        except StorageError as exc:
            return ApiError(errors.UNEXPECTED, str(exc))
        except Exception as exc:
            log.exception("a job failed by itself")
            return ApiError(errors.UNEXPECTED, f"An unexpected exception was encountered: {exc}")
        job.effective = True
        return None

    async def _hang(self, seconds: float | None) -> None:
        if seconds is None:
            task = asyncio.current_task()
            assert task is not None
            self._hung.add(task)
            task.add_done_callback(self._hung.discard)
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(seconds)

    def _finish(self, job: Job, error: ApiError | None) -> None:
        job.state = "failure" if error else "success"
        job.message = error.message if error else "success"
        job.code = int(error.code) if error else 0
        job.end_time, job.ended = self.simulator.clock.iso(), self.simulator.clock.now()
        if job.uuid in self._ended:
            self._ended[job.uuid].set()
