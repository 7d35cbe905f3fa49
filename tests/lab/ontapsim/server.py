# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTPS: from a request's bytes to an `answer`, through authentication, faults, routing and rights."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import ssl
import time
import uuid
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

from aiohttp import web

from . import errors, rbac
from .areas import ROUTES
from .auth import Account, UnauthenticatedError, authenticate, scope_of
from .call import Answer, Call, parse_payload, parse_query, wants_links
from .config import Listener
from .errors import ApiError
from .faults import Fault, Late, changed
from .late import LateChange
from .router import Route, Router, split
from .simulator import Simulator
from .storage import StorageError

log = logging.getLogger("ontapsim")
_HEADERS = {
    "Server": "libzapid-httpd",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache,no-store,must-revalidate",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self'"
    " 'unsafe-inline'; img-src 'self' data:; frame-ancestors: 'self'",
    "Vary": "Accept-Encoding",
}
_UNAUTHORIZED = b"<!DOCTYPE html><html><head><title>401 Unauthorized</title></head><body>Unauthorized</body></html>\n"
_LARGEST_REQUEST = 4 << 20


class DropConnectionError(Exception):
    """The connection is to be cut without an answer."""


class Server:
    """The listeners of one simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._router = Router(ROUTES)
        self._numbers = itertools.count(1)
        self._run = uuid.uuid4().hex[:8]
        self._runners: list[web.ServerRunner] = []
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Open all listeners; the simulator's ``ports`` then have the real port of each address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.simulator.config.certificate, self.simulator.config.key)
        for listener in self.simulator.config.listeners:
            served = web.Server(self._handler(listener), request_factory=_large_request, access_log=None)
            runner = web.ServerRunner(served)
            await runner.setup()
            site = web.TCPSite(runner, listener.address, listener.port, ssl_context=context, reuse_address=True)
            await site.start()
            self._runners.append(runner)
            self.simulator.ports[listener.address] = runner.addresses[0][1]

    async def stop(self) -> None:
        """Close all listeners; an answer that trickles is not sent to its end."""
        self._stopping.set()
        for runner in self._runners:
            await runner.cleanup()

    def _handler(self, listener: Listener) -> Any:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._serve(request, self._scope(listener))

        return handle

    def _scope(self, listener: Listener) -> str | None:
        if listener.scope is not None:
            return listener.scope
        for lif in self.simulator.array.lifs:
            if lif.address == listener.address:
                return lif.svm or "*"
        return None

    async def _serve(self, request: web.BaseRequest, listener: str | None) -> web.StreamResponse:
        began, payload = time.monotonic(), await request.read()
        raw_path, _mark, raw_query = request.raw_path.partition("?")
        entry: dict[str, Any] = {
            "id": f"{self._run}-{next(self._numbers)}",
            "time": time.time(),
            "method": request.method,
            "path": raw_path,
            "query": raw_query,
            "user": None,
            "status": None,
            "client": request.headers.get("X-Dot-Client-App"),
            "body": payload.decode("utf-8", "replace"),
        }
        try:
            answer = await self._answer(request, entry, payload, listener)
        except DropConnectionError:
            if request.transport is not None:
                request.transport.abort()
            answer = Answer(0)
        entry["status"], entry["seconds"] = answer.status, round(time.monotonic() - began, 6)
        self.simulator.log_request(entry)
        if answer.status == 0:
            return web.Response(status=500)
        rendered = _render(answer, request.headers, head=request.method == "HEAD", now=self.simulator.clock.now())
        if not answer.pause:
            return rendered
        return await _trickled(request, rendered, answer.pause, until=self._stopping)

    async def _answer(
        self, request: web.BaseRequest, entry: dict[str, Any], payload: bytes, listener: str | None
    ) -> Answer:
        try:
            account = authenticate(
                self.simulator.config.accounts, request.headers.get("Authorization"), listener=listener
            )
        except UnauthenticatedError as exc:
            entry["user"] = str(exc) or None
            return Answer(401, _UNAUTHORIZED, {"WWW-Authenticate": 'Basic realm="Authorization Required"'}, "text/html")
        entry["user"] = account.name
        try:
            return await self._dispatch(request, entry, payload, account)
        except ApiError as exc:
            return self._refusal(exc)
        except StorageError as exc:
            return self._refusal(ApiError(errors.UNEXPECTED, str(exc)))
        except (DropConnectionError, asyncio.CancelledError):
            raise
        except Exception as exc:
            log.exception("a request failed by itself")
            return self._refusal(ApiError(errors.UNEXPECTED, f"An unexpected exception was encountered: {exc}"))

    def _refusal(self, error: ApiError) -> Answer:
        status = self.simulator.switches.status_of_code.get(error.code, error.status)
        return Answer(status, error.body(), dict(error.headers))

    async def _dispatch(
        self, request: web.BaseRequest, entry: dict[str, Any], payload: bytes, account: Account
    ) -> Answer:
        segments = split(entry["path"])
        faults = self.simulator.faults.hitting(request.method, entry["path"], account.name)
        for fault in faults:
            if fault.type == "drop_before":
                raise DropConnectionError
            if fault.type == "delay" and fault.options.get("where") != "job":
                await asyncio.sleep(float(fault.options.get("seconds", 0)))
            if fault.type in ("status", "burst"):
                return self._refusal(_injected(fault.options))
        if segments[:1] != ["api"]:
            raise errors.unknown_path()
        segments = segments[1:]
        call = Call(
            simulator=self.simulator,
            id=entry["id"],
            method=request.method,
            raw_path=entry["path"],
            raw_query=entry["query"],
            segments=segments,
            headers=request.headers,
            payload=payload,
            account=account,
            scope=scope_of(account, request.headers, self.simulator.array),
            faults=faults,
        )
        late = call.fault("late")
        answer = await (self._late(call, late) if late else self._route(call))
        if call.fault("drop_after"):
            raise DropConnectionError
        odd = call.fault("answer")
        return changed(answer, odd.options) if odd else answer

    async def _route(self, call: Call) -> Answer:
        if call.method == "OPTIONS":
            return Answer(200, b"", {"Allow": ", ".join(self._router.methods(call.segments, call.version))})
        route = self._prepared(call)
        return await route.handler(call)

    async def _late(self, call: Call, fault: Fault) -> Answer:
        change = LateChange(self.simulator, call, self._prepared(call), Late.from_options(fault.options), self._refusal)
        answer = await change.answer(lambda: _injected(fault.options))
        if answer is None:
            raise DropConnectionError
        return answer

    def _prepared(self, call: Call) -> Route:
        """Return the route of a request that its user may send, its path, parameters and body read."""
        verb = "GET" if call.method == "HEAD" else call.method
        route, call.path = self._router.find(verb, call.segments, call.version)
        command = route.command.format(cli=" ".join(call.segments[2:]))
        if not rbac.allows(self.simulator.role(call.account.role), call.method, call.segments, command):
            raise errors.forbidden()
        call.params = parse_query(call.raw_query)
        if not (route.multipart and call.multipart):
            call.body = parse_payload(call.payload, method=verb)
        return route


def _large_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """Return a request that may carry a LUN's data and the form around it."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_LARGEST_REQUEST)


async def _trickled(
    request: web.BaseRequest, whole: web.Response, pause: float, *, until: asyncio.Event
) -> web.StreamResponse:
    """Send an answer byte by byte, until the other side has enough of it or the simulator stops."""
    response = web.StreamResponse(status=whole.status, headers={**whole.headers, "Connection": "close"})
    body = whole.body if isinstance(whole.body, bytes) else b""
    response.content_length = len(body)
    try:
        await response.prepare(request)
        for at in range(len(body)):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(until.wait(), pause)
                break
            await response.write(body[at : at + 1])
        await response.write_eof()
    except ConnectionError:
        log.info("nobody waited for the end of an answer")
    return response


def _injected(options: Mapping[str, Any]) -> ApiError:
    status = int(options.get("status", 503))
    headers = {str(key): str(value) for key, value in options.get("headers", {}).items()}
    if "retry_after" in options:
        headers["Retry-After"] = str(options["retry_after"])
    default = {429: errors.TOO_MANY_REQUESTS, 503: "8", 404: errors.NOT_FOUND, 403: errors.PERMISSION_DENIED}
    code = str(options.get("code", default.get(status, errors.UNEXPECTED)))
    return ApiError(code, options.get("message", "Injected by the laboratory."), status=status, headers=headers)


def _render(answer: Answer, headers: Mapping[str, str], *, head: bool, now: float) -> web.Response:
    if isinstance(answer.body, bytes):
        body, kind = answer.body, answer.content_type or "text/plain"
    else:
        body = json.dumps(answer.body, indent=2).encode() if answer.body is not None else b"{\n}"
        hal = wants_links(headers.get("Accept", "*/*"))
        kind = "application/hal+json" if hal and answer.status < 400 else "application/json"
    return web.Response(
        status=answer.status,
        body=b"" if head else body,
        headers={**_HEADERS, "Date": formatdate(now, usegmt=True), **answer.headers, "Content-Type": kind},
    )
