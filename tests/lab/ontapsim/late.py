# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes whose effect comes late: long after the request, whatever has become of its connection and its answer.

The request is judged and carried out when its time has come, with what is there then. One that had begun was judged
when it came, and needs its source no more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Callable

from . import errors
from .answers import job_link
from .call import Answer, Call
from .errors import ApiError
from .faults import Late
from .router import Route
from .storage import StorageError

if TYPE_CHECKING:
    from .simulator import Simulator

_LONGEST_JOB = 3600.0

Act = Callable[[], Awaitable[Answer]]


@dataclass
class Effect:
    """A late effect; times are seconds since the epoch, ``status`` is the answer that the effect came to."""

    request: str
    method: str
    path: str
    arrived: float
    due: float
    ended: float | None = None
    status: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the effect as the control port shows it."""
        return asdict(self)


@dataclass(frozen=True)
class LateChange:
    """A request that is carried out late; ``refuse`` turns an error into its answer."""

    simulator: Simulator
    call: Call
    route: Route
    late: Late
    refuse: Callable[[ApiError], Answer]

    async def answer(self, injected: Callable[[], ApiError]) -> Answer | None:
        """Begin, and return what is answered; None when the connection is to be cut."""
        late, simulator = self.late, self.simulator
        act = await self._begun() if late.begun else partial(self.route.handler, self.call)
        effect = Effect(self.call.id, self.call.method, self.call.raw_path, time.time(), time.time() + late.seconds)
        simulator.comes(effect)
        if late.answer == "now" and late.job == "running":
            return await self._in_job(effect, act)
        work = asyncio.ensure_future(self._carried_out(effect, act))
        simulator.jobs.background(work)
        if late.answer == "after":
            return await asyncio.shield(work)
        if late.answer == "now":
            return await self._answered_by_now()
        if late.seconds <= 0:
            await asyncio.shield(work)
        await asyncio.sleep(late.answer_seconds)
        return None if late.answer == "drop" else self.refuse(injected())

    async def _begun(self) -> Act:
        if self.route.begin is None:
            raise ApiError(errors.UNEXPECTED, f"what {self.call.method} {self.call.raw_path} does cannot have begun")
        return await self.route.begin(self.call)

    async def _in_job(self, effect: Effect, act: Act) -> Answer:
        async def work() -> None:
            answer = await self._carried_out(effect, act)
            if answer.status >= 400:
                error = answer.body["error"]
                raise ApiError(str(error["code"]), str(error["message"]))

        seconds = self.call.return_timeout() if "return_timeout" in self.call.params else 0
        job = self._job(work)
        ended = await self.simulator.jobs.wait(job, seconds) if seconds else False
        return Answer(200 if ended else 202, {"job": job_link(self.call, job)})

    async def _answered_by_now(self) -> Answer:
        if self.late.job == "none":
            return Answer(200, {})

        async def nothing() -> None:
            """End at once."""

        return Answer(202, {"job": job_link(self.call, self._job(nothing))})

    def _job(self, work: Any) -> str:
        """Start a job of its own for the request, untouched by its faults, and return its uuid."""
        unharmed = replace(self.call, faults=[])
        return self.simulator.jobs.start(unharmed, work, svm=self.call.scope, location=None).uuid

    async def _carried_out(self, effect: Effect, act: Act) -> Answer:
        """Wait, carry the request out to the end of its job, and return its answer, or the error that it came to."""
        await self.simulator.until_due(effect, self.late.seconds)
        try:
            answer = await self._to_its_end(act)
        except ApiError as exc:
            answer = self.refuse(exc)
        except StorageError as exc:
            answer = self.refuse(ApiError(errors.UNEXPECTED, str(exc)))
        effect.ended, effect.status = time.time(), answer.status
        return answer

    async def _to_its_end(self, act: Act) -> Answer:
        answer = await act()
        link = answer.body.get("job") if isinstance(answer.body, dict) else None
        job = self.simulator.array.jobs.get(link["uuid"]) if link else None
        if job is not None:
            await self.simulator.jobs.wait(job.uuid, _LONGEST_JOB)
            if job.state == "failure":
                raise ApiError(str(job.code), job.message)
        return answer
