# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST session with one ONTAP system, and the only place that imports the official client.

Of ``netapp_ontap`` the HostConnection is used for addresses, credentials and the session. Its own retries (they repeat
a DELETE), its query rewriting (it drops blank values) and its job polling (it loses error codes) are not.
"""

from __future__ import annotations

import email.utils
import json
import os
import re
import socket
import ssl
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Optional, TypeVar

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes, jobs
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    JobFailedError,
    JobGoneError,
    JobTimeoutError,
    NotOntapError,
    OntapDeniedError,
    OntapError,
    OntapLoginError,
    OntapTooOldError,
    OntapUnreachableError,
    OntapUntrustedError,
    OutcomeUnknownError,
    during,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import Params, query_string
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.shapes import odd_shape
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import (
    Outcome,
    may_have_begun,
    retry_after_seconds,
    verdict_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import check_numbers
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline, RetryPolicy, retrying

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
Version = tuple[int, int, int]

FLOOR: Version = (9, 11, 1)
PARALLEL_CALLS = 16
"""Calls of one kind that are sent to one system at once, unless every moment counts."""
OPEN_CONNECTIONS = 64
"""Connections kept open to one system, and thus the calls that may be under way at once."""
DEFAULT_BOUND = 300.0
"""Seconds that one call may take with all its re-runs and its job, when the caller sets no deadline."""
CONNECT_TIMEOUT = 10.0
LARGEST_ANSWER = 64 << 20
"""Bytes of an answer that are read: thousands of records have a tenth of that, and data comes in portions of 1 MB."""
FORM = "multipart/form-data"
"""How ONTAP sends data: a form with exactly one part."""

_ACCESS = {"GET": "readonly", "POST": "read_create", "PATCH": "read_modify", "DELETE": "all"}
_CLI = "/private/cli/"
_REASONLESS = frozenset({429, 500, 502, 503, 504})
_KEYS = ("uuid", "name")
"""What ONTAP tells of every record when it is asked for it."""
_PIECE = 1 << 16
_GRACE = 1.0
"""Seconds that a whole answer may take longer than the time in which it has to begin and go on."""
_LONGEST_MESSAGE = 1000


class MissingLibraryError(KvmsnapError):
    """A Python library is not installed for the interpreter that runs the module."""


@dataclass(frozen=True)
class Controller:
    """One entry of the ``controllers`` option: a cluster's or an SVM's management LIF and how to log in there.

    ``timeout`` is that of one request in seconds. ``hostname`` is without brackets, also for IPv6.
    """

    hostname: str
    port: int = 443
    username: Optional[str] = None
    password: Optional[str] = field(default=None, repr=False)
    cert_filepath: Optional[str] = None
    key_filepath: Optional[str] = None
    validate_certs: bool = True
    ca_path: Optional[str] = None
    timeout: int = 30

    @classmethod
    def from_option(cls, option: Mapping[str, Any]) -> Controller:
        """Read one entry of the option.

        :raises InputError: the host name is no name or address, or not exactly one way to log in is given.
        """
        given = {key: value for key, value in option.items() if value is not None}
        hostname = str(given.pop("hostname", "")).strip()
        if hostname.startswith("[") and hostname.endswith("]"):
            hostname = hostname[1:-1]
        action = f"use the controller {hostname!r}"
        if not hostname or any(char in hostname for char in "/@?#[]\\ \t\n") or hostname.count(":") == 1:
            reason = "hostname must be a name or an address alone, without https:// and without a port"
            raise InputError(f"Failed to {action}: {reason}", controller=hostname)
        controller = cls(hostname=hostname, **given)
        reasons = []
        if not 1 <= controller.port <= 65535:
            reasons.append(f"port is {controller.port} and must be 1 to 65535")
        if controller.timeout < 1:
            reasons.append(f"timeout is {controller.timeout} and must be at least 1 second")
        if reasons:
            raise InputError(f"Failed to {action}: {'; '.join(reasons)}", controller=hostname)
        by_password = bool(controller.username and controller.password)
        if by_password == bool(controller.cert_filepath):
            reason = "give either username and password or cert_filepath"
            raise InputError(f"Failed to {action}: {reason}", controller=hostname)
        return controller

    @property
    def name(self) -> str:
        """The host name, with the port where it is not 443."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return self.hostname if self.port == 443 else f"{host}:{self.port}"


def connect(
    controller: Controller,
    *,
    policy: Optional[RetryPolicy] = None,
    clock: Optional[Clock] = None,
    deadline: Optional[Deadline] = None,
) -> Client:
    """Log in and return the client; the system's name and version are known from then on (``GET /cluster``).

    :raises MissingLibraryError: netapp-ontap cannot be imported. :raises InputError: a certificate file cannot be used.
    :raises OntapError: its subclasses tell wrong credentials, missing rights, an untrusted certificate, an unreachable
        system, something that is no ONTAP, and a release before 9.11.1 apart.
    """
    client = Client(controller, policy=policy or RetryPolicy(), clock=clock or Clock())
    try:
        client.identify(deadline=deadline)
    except BaseException:
        client.close()
        raise
    return client


@dataclass(frozen=True)
class ArrayAccess:
    """The ONTAP systems that a request names, how often a call is sent again, and the seconds of one step there."""

    controllers: tuple[Controller, ...]
    retry_count: int
    timeout: float
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ArrayAccess:
        """Read ``controllers``, ``retry_count`` and ``timeout``; raises :class:`InputError`."""
        check_numbers(options, {"retry_count": 0, "timeout": 1})
        if not options["controllers"]:
            raise InputError("Failed to reach any ONTAP system: the list of controllers is empty")
        controllers = tuple(map(Controller.from_option, options["controllers"]))
        return cls(controllers, options["retry_count"], options["timeout"])

    def deadline(self) -> Deadline:
        """Return the time for one step that begins now."""
        return Deadline.after(self.timeout, self.clock)

    @contextmanager
    def connected(self, deadline: Deadline) -> Iterator[list[Client]]:
        """Log in at every system, and out at the end; raises as ``connect`` does."""
        policy = RetryPolicy(retry_count=self.retry_count)
        with ExitStack() as stack:
            yield [
                stack.enter_context(connect(each, policy=policy, clock=deadline.clock, deadline=deadline))
                for each in self.controllers
            ]


class Client:
    """A logged-in session. Its methods may be called from ``OPEN_CONNECTIONS`` threads at once.

    Paths are those of the REST reference without ``/api``. Every method is bounded by ``deadline`` (default: 300 s) and
    raises ``OntapError`` or a subclass of it. Values of ``params`` are taken literally (``Expression`` for a query).
    """

    def __init__(self, controller: Controller, *, policy: RetryPolicy, clock: Clock) -> None:
        self.controller = controller
        # What the system is called in messages and results.
        self.name = controller.name
        self.policy = policy
        self.clock = clock
        self.cluster_name = ""
        self.cluster_uuid = ""
        self.version: Version = (0, 0, 0)
        self._skew = timedelta(0)
        self._ahead: Optional[tuple[float, float]] = None
        self._patience = 0.0
        self._well_at = clock.monotonic()
        self._verify = _verification(controller)
        self._origin, self._session = _open_session(controller, self._verify)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @contextmanager
    def patient(self, seconds: float) -> Iterator[None]:
        """Meanwhile, try again while the system is away or too busy to be read, until ``seconds`` after it was well.

        Such a re-run does not count as one of ``policy.retry_count``; the call's deadline bounds it as any other. For
        what must not be broken off because a controller fails over.
        """
        self._patience, before = seconds, self._patience
        try:
            yield
        finally:
            self._patience = before

    def at_least(self, version: Version) -> bool:
        """Tell whether the system runs ``version`` or a later one."""
        return self.version >= version

    def array_time(self) -> datetime:
        """Return the system's own clock, to the second, as its last answer allows to reckon it."""
        return datetime.now(timezone.utc) + self._skew

    @property
    def array_ahead(self) -> Optional[tuple[float, float]]:
        """By how many seconds the system's clock, since the epoch, is ahead of ``clock.monotonic()``: least and most.

        Between the two lies the truth, as the last answer with a ``Date`` (to the second) tells; None before there was
        any.
        """
        return self._ahead

    def identify(self, *, deadline: Optional[Deadline] = None) -> None:
        """Read the cluster's name and version.

        :raises OntapTooOldError: it is older than 9.11.1.
        """
        action = f"log in at {self.name}"
        try:
            record = self.get("/cluster", {"fields": "name,uuid,version"}, deadline=deadline)
        except OntapError as exc:
            raise during(exc, action) from exc
        version = record.get("version")
        if not isinstance(version, dict) or not all(key in version for key in ("generation", "major", "minor")):
            raise NotOntapError(action, f"{self._origin}/api/cluster tells no version", controller=self.name)
        try:
            self.version = (int(version["generation"]), int(version["major"]), int(version["minor"]))
        except (TypeError, ValueError, OverflowError) as exc:
            raise NotOntapError(action, f"{self._origin}/api/cluster tells no version", controller=self.name) from exc
        self.cluster_name = str(record.get("name", ""))
        self.cluster_uuid = str(record.get("uuid", ""))
        if not self.at_least(FLOOR):
            found, floor = (".".join(str(part) for part in each) for each in (self.version, FLOOR))
            reason = f"it runs ONTAP {found}, and {floor} or later is needed"
            raise OntapTooOldError(action, reason, controller=self.name, version=found)

    def get(self, path: str, params: Optional[Params] = None, *, deadline: Optional[Deadline] = None) -> dict[str, Any]:
        """Return the JSON object at ``path``; repeated when that may help."""
        return self._read("/api" + path + query_string(params or {}, filters=True), deadline or self._bound())

    def get_bytes(self, path: str, params: Params, *, deadline: Optional[Deadline] = None) -> bytes:
        """Return the data at ``path`` (a LUN), sent as the one part of a form; repeated when that may help."""
        target = "/api" + path + query_string(params, filters=False)
        bound = deadline or self._bound()
        return self._again(lambda: self._fetch(target, bound), bound)

    def records(
        self,
        path: str,
        params: Optional[Params] = None,
        *,
        fields: Sequence[str] = (),
        deadline: Optional[Deadline] = None,
    ) -> list[dict[str, Any]]:
        """Return all records of a collection, following ``_links.next`` verbatim through pages that may be empty.

        :raises ValueError: a filter value is empty or ``None``: it would match everything.
        """
        deadline = deadline or self._bound()
        target: Optional[str] = "/api" + path + query_string(params or {}, filters=True, fields=fields)
        seen: set[str] = set()
        found: list[dict[str, Any]] = []
        while target:
            seen.add(target)
            page = self._read(target, deadline)
            records = page.get("records") or []
            lacking = next((name for name in _KEYS if name in fields and not all(map(_has(name), records))), None)
            if lacking:
                reason = f"a record of its answer has no {lacking}"
                raise NotOntapError(f"list {path} at {self.name}", reason, controller=self.name, path=path)
            found.extend(records)
            target = ((page.get("_links") or {}).get("next") or {}).get("href")
            if target and (target in seen or not target.startswith("/api/")):
                reason = f"its pages do not end: the next one is {target}"
                raise NotOntapError(f"list {path} at {self.name}", reason, controller=self.name, path=path)
        return found

    def post(
        self,
        path: str,
        params: Optional[Params] = None,
        body: Optional[Mapping[str, Any]] = None,
        *,
        retry_safe: bool = False,
        fate: Optional[Callable[[], Optional[dict[str, Any]]]] = None,
        deadline: Optional[Deadline] = None,
    ) -> dict[str, Any]:
        """Create, and return the answer once its job, if it has one, succeeded.

        When the answer (or the job) got lost: ``fate`` is asked; what it returns is the result, and after ``None`` the
        request is sent again. Without ``fate`` it is sent again only when ``retry_safe`` (a repetition does no harm).
        An overloaded array (429, 503) is asked again; it may have done the work all the same, so ``fate`` is asked
        when it then refuses, or stays overloaded.

        :raises OutcomeUnknownError: the answer got lost and neither allowed to go on.
        :raises JobFailedError: with the job's code. :raises JobTimeoutError: it is still running at ``deadline``.
        """
        return self._change("POST", path, params, body or {}, retry_safe=retry_safe, fate=fate, deadline=deadline)

    def patch(
        self,
        path: str,
        params: Optional[Params] = None,
        body: Optional[Mapping[str, Any]] = None,
        *,
        retry_safe: bool = False,
        fate: Optional[Callable[[], Optional[dict[str, Any]]]] = None,
        deadline: Optional[Deadline] = None,
    ) -> dict[str, Any]:
        """Modify; otherwise as ``post``."""
        return self._change("PATCH", path, params, body or {}, retry_safe=retry_safe, fate=fate, deadline=deadline)

    def change_once(
        self,
        method: str,
        path: str,
        params: Optional[Params] = None,
        body: Optional[Mapping[str, Any]] = None,
        *,
        begun: Callable[[str], None],
        deadline: Optional[Deadline] = None,
    ) -> dict[str, Any]:
        """Send what overwrites (``POST`` or ``PATCH``) one single time, and return once its job, if any, succeeded.

        It is sent again only while no connection can be made. ``begun`` gets the uuid of its job before that is waited
        for, to be written down: by it a later run finds out whether the change has ended.

        :raises OutcomeUnknownError: it may be under way, or begin later: no answer, an answer that says neither yes nor
            no (429, 5xx, a copy under way), a job that has not ended at ``deadline`` or cannot be read.
        :raises JobFailedError: it has ended. :raises JobGoneError: it has ended, and how is not known.
        :raises OntapError: any other: it never began.
        """
        refuse_volume_revert(path, params or {}, body or {})
        target = "/api" + path + query_string(params or {}, filters=False)
        bound = deadline or self._bound()

        def unsent(exc: Exception) -> Optional[float]:
            return 0.0 if isinstance(exc, OntapError) and exc.outcome.fate == "not-sent" else None

        try:
            send = partial(self._send, method, target, body or {}, bound)
            answer = self._asked(send, unsent, bound)
        except OntapError as exc:
            if may_have_begun(exc.outcome) or isinstance(exc, NotOntapError):
                raise _unknown(exc) from exc
            raise
        return self._followed(answer, f"{method} {path} at {self.name}", begun, bound)

    def _followed(
        self, answer: dict[str, Any], action: str, begun: Callable[[str], None], deadline: Deadline
    ) -> dict[str, Any]:
        """Follow the jobs of a change that is never sent again."""
        uuids = jobs.job_uuids(answer)
        for uuid in uuids:
            begun(uuid)
        for uuid in uuids:
            try:
                jobs.wait(uuid, read=lambda path: self.get(path, deadline=deadline), action=action, deadline=deadline)
            except OntapError as exc:
                failure = during(exc, action, controller=self.name, job=uuid)
                if isinstance(exc, JobFailedError) or (isinstance(exc, JobGoneError) and exc.fields["seen"]):
                    raise failure from exc
                raise _unknown(failure) from exc
        return answer

    def job(self, uuid: str, *, deadline: Optional[Deadline] = None) -> Optional[jobs.Job]:
        """Return a job as it is now, None when the system does not know it (any more). :raises OntapError:"""
        bound = deadline or self._bound()
        return jobs.look(uuid, read=lambda path: self.get(path, deadline=bound))

    def delete(
        self,
        path: str,
        params: Optional[Params] = None,
        *,
        retry_safe: bool = False,
        fate: Optional[Callable[[], Optional[dict[str, Any]]]] = None,
        deadline: Optional[Deadline] = None,
    ) -> dict[str, Any]:
        """Delete; otherwise as ``post``."""
        return self._change("DELETE", path, params, None, retry_safe=retry_safe, fate=fate, deadline=deadline)

    def _bound(self) -> Deadline:
        return Deadline.after(DEFAULT_BOUND, self.clock)

    def _read(self, target: str, deadline: Deadline) -> dict[str, Any]:
        return self._again(lambda: self._send("GET", target, None, deadline), deadline)

    def _again(self, read: Callable[[], T], deadline: Deadline) -> T:
        def again(exc: Exception) -> Optional[float]:
            repeat = isinstance(exc, OntapError) and verdict_of(exc.outcome, change=False) == "repeat"
            return exc.outcome.retry_after if repeat and isinstance(exc, OntapError) else None

        return retrying(read, again=again, policy=self.policy, deadline=deadline, uncounted=self._is_waited_for)

    def _is_waited_for(self, exc: Exception, *, change: bool = False) -> bool:
        """Tell whether the system is away, or too busy to be read, and is not for longer than it is waited for."""
        away = self.clock.monotonic() - self._well_at
        return away < self._patience and (isinstance(exc, OntapUnreachableError) or not change)

    def _asked(self, send: Callable[[], T], again: Callable[[Exception], Optional[float]], deadline: Deadline) -> T:
        """Send a change, and again as ``again`` says."""
        uncounted = partial(self._is_waited_for, change=True)
        return retrying(send, again=again, policy=self.policy, deadline=deadline, uncounted=uncounted)

    def _change(
        self,
        method: str,
        path: str,
        params: Optional[Params],
        body: Optional[Mapping[str, Any]],
        *,
        retry_safe: bool,
        fate: Optional[Callable[[], Optional[dict[str, Any]]]],
        deadline: Optional[Deadline],
    ) -> dict[str, Any]:
        refuse_volume_revert(path, params or {}, body or {})
        target = "/api" + path + query_string(params or {}, filters=False)
        bound = deadline or self._bound()
        attempts = _Attempts(fate, retry_safe)

        def once() -> dict[str, Any]:
            try:
                return self._finish(self._send(method, target, body, bound), f"{method} {path} at {self.name}", bound)
            except JobTimeoutError:
                raise
            except OntapError as exc:
                settled = attempts.failed(exc)
                if settled is None:
                    raise
                return settled

        def again(exc: Exception) -> Optional[float]:
            if not isinstance(exc, OntapError) or isinstance(exc, (JobTimeoutError, OutcomeUnknownError)):
                return None
            return None if verdict_of(exc.outcome, change=True) == "final" else exc.outcome.retry_after

        try:
            return self._asked(once, again, bound)
        except (JobTimeoutError, OutcomeUnknownError):
            raise
        except OntapError as exc:
            settled = attempts.given_up(exc)
            if settled is None:
                raise
            return settled

    def _finish(self, answer: dict[str, Any], action: str, deadline: Deadline) -> dict[str, Any]:
        """Follow the jobs of an accepted change; when one cannot be followed, the change's fate is unknown."""
        try:
            for uuid in jobs.job_uuids(answer):
                jobs.wait(uuid, read=lambda path: self.get(path, deadline=deadline), action=action, deadline=deadline)
        except OntapError as exc:
            failure = during(exc, action, controller=self.name)
            if not isinstance(exc, JobFailedError):
                failure.outcome = Outcome("lost")
            raise failure from exc
        return answer

    def _send(self, method: str, target: str, body: Optional[Mapping[str, Any]], deadline: Deadline) -> dict[str, Any]:
        """Send one request and return the JSON object of a good answer."""
        response = self._exchange(method, target, body, deadline, accept="application/hal+json")
        return _body_of(response, self._about(method, target), controller=self.controller)

    def _fetch(self, target: str, deadline: Deadline) -> bytes:
        """Ask for data and return the bytes of a good answer."""
        response = self._exchange("GET", target, None, deadline, accept=FORM)
        about = self._about("GET", target)
        kind = response.headers.get("Content-Type", "")
        if response.status_code == 200 and kind.startswith(FORM):
            data = only_part(response.content, kind)
            if data is None:
                raise NotOntapError(about.action, "the answer is no form with one part", **about.fields)
            return data
        _body_of(response, about, controller=self.controller)
        reason = f"the answer is {kind or 'without a content type'}, not {FORM}"
        raise NotOntapError(about.action, reason, **about.fields)

    def _about(self, method: str, target: str) -> _About:
        """Return how errors tell of a request."""
        return _About(method, target.split("?", 1)[0][len("/api") :], self.name)

    def _exchange(
        self, method: str, target: str, body: Optional[Mapping[str, Any]], deadline: Deadline, *, accept: str
    ) -> _Answered:
        """Send one request and return whatever is answered; ``target`` goes onto the wire as it is.

        requests bounds the wait for each byte alone; here the whole answer is bounded, in time and in size.
        """
        import requests

        about = self._about(method, target)
        action, fields = about.action, about.fields
        remaining = deadline.remaining()
        if remaining <= 0:
            reason = "the time allowed is used up"
            raise OntapUnreachableError(action, reason, outcome=Outcome("not-sent"), cause="timeout", **fields)
        timeouts = (min(CONNECT_TIMEOUT, self.controller.timeout, remaining), min(self.controller.timeout, remaining))
        payload = None if body is None else json.dumps(body)
        headers = {"Accept": accept, **({"Content-Type": "application/json"} if payload else {})}
        request = self._session.prepare_request(
            requests.Request(method, self._origin + "/api", headers=headers, data=payload)
        )
        request.url = self._origin + target
        sent = self.clock.monotonic()

        def answered() -> _Answered:
            with self._session.send(
                request, timeout=timeouts, verify=self._verify, allow_redirects=False, proxies={}, stream=True
            ) as response:
                return _Answered(response.status_code, response.headers, *_body(response))

        seconds = min(sum(timeouts), remaining) + _GRACE
        try:
            response = bounded(answered, seconds=seconds, what=action)
        except OverdueError as exc:
            reason = f"no whole answer within {seconds:g} s"
            raise OntapUnreachableError(action, reason, outcome=Outcome("lost"), cause="timeout", **fields) from exc
        except (requests.exceptions.RequestException, OSError) as exc:
            raise _transport_error(exc, about, controller=self.controller, timeouts=timeouts) from exc
        if not response.whole:
            reason = f"its answer has more than {LARGEST_ANSWER} bytes"
            raise NotOntapError(action, reason, outcome=Outcome("lost"), **fields)
        received = self.clock.monotonic()
        if response.status_code not in _REASONLESS:
            self._well_at = received
        self._note_time(response.headers.get("Date"), sent, received)
        return response

    def _note_time(self, date: Optional[str], sent: float, received: float) -> None:
        """Keep what the system says of its time; a date that is none says nothing."""
        try:
            parsed = email.utils.parsedate_tz(date) if date else None
            if parsed is None:
                return
            second = email.utils.mktime_tz(parsed)
            skew = datetime.fromtimestamp(second, timezone.utc) - datetime.now(timezone.utc)
        except (ValueError, OverflowError, OSError, TypeError, IndexError):
            return
        self._skew = skew
        self._ahead = (second - received, second + 1 - sent)


@dataclass(frozen=True)
class _About:
    """What errors tell of a request: ``path`` is that below ``/api``, ``controller`` its name."""

    method: str
    path: str
    controller: str

    @property
    def action(self) -> str:
        """How a message names it."""
        return f"{self.method} {self.path} at {self.controller}"

    @property
    def fields(self) -> dict[str, Any]:
        """Its machine fields."""
        return {"method": self.method, "path": self.path, "controller": self.controller}


@dataclass(frozen=True)
class _Answered:
    """What came back for one request; ``whole``: its content was not too large to be read to its end."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes
    whole: bool


def _body(response: requests.Response) -> tuple[bytes, bool]:
    """Read the body of an answer; return it, and whether it is all."""
    pieces, size = [], 0
    for piece in response.iter_content(_PIECE):
        size += len(piece)
        if size > LARGEST_ANSWER:
            return b"", False
        pieces.append(piece)
    return b"".join(pieces), True


def _has(name: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda record: bool(record.get(name))


def only_part(content: bytes, content_type: str) -> Optional[bytes]:
    """Return what the only part of a ``multipart/form-data`` body holds, byte by byte; None when it is no such body."""
    boundary = re.search(r'boundary="?([^";]+)"?', content_type)
    if boundary is None:
        return None
    line = b"--" + boundary[1].strip().encode("latin-1")
    begin = content.find(b"\r\n\r\n")
    end = content.find(b"\r\n" + line, begin + 2)
    if begin < 0 or end < 0 or not content.startswith(line) or not content[end + 2 :].startswith(line + b"--"):
        return None
    return content[begin + 4 : end]


def refuse_volume_revert(path: str, params: Params, body: Iterable[str]) -> None:
    """Refuse what would put a whole volume back to a snapshot; nothing in this collection may ever send it.

    ``PATCH /storage/volumes/{uuid}?restore_to.snapshot…`` without ``restore_to.path`` does, and so does the CLI's
    ``volume snapshot restore``. ``body`` are the keys of the request's body.

    :raises ValueError: the request is one of these.
    """
    keys = [*params, *body]
    to_snapshot = "restore_to" in keys or any(key.startswith("restore_to.snapshot") for key in keys)
    one_file = str(params.get("restore_to.path") or "").strip("/")
    by_cli = path.startswith(_CLI) and path.strip("/").endswith("volume/snapshot/restore")
    if by_cli or (to_snapshot and not one_file):
        raise ValueError(f"{path} with these values would put the whole volume back to a snapshot")


def _verification(controller: Controller) -> bool | str:
    """Return what requests takes as ``verify``, after trying whether the CA file can be read at all."""
    if not controller.validate_certs:
        return False
    if not controller.ca_path:
        return True
    try:
        if os.path.isdir(controller.ca_path):
            ssl.create_default_context(capath=controller.ca_path)
        else:
            ssl.create_default_context(cafile=controller.ca_path)
    except OSError as exc:
        message = f"Failed to use ca_path {controller.ca_path} of controller {controller.name}: {exc}"
        raise InputError(message, controller=controller.name, path=controller.ca_path) from exc
    return controller.ca_path


def _open_session(controller: Controller, verify: bool | str) -> tuple[str, requests.Session]:
    try:
        from netapp_ontap.host_connection import HostConnection
        from requests.adapters import HTTPAdapter
    except ImportError as exc:
        message = (
            f"Failed to import the Python library netapp-ontap with {sys.executable}: {exc}."
            " Install netapp-ontap 9.17.1 or later for this interpreter on the host that runs the module"
        )
        raise MissingLibraryError(message, library="netapp-ontap", exception=traceback.format_exc()) from exc
    if controller.cert_filepath:
        for path in filter(None, (controller.cert_filepath, controller.key_filepath)):
            if not os.access(path, os.R_OK):
                message = f"Failed to use the client certificate of controller {controller.name}: cannot read {path}"
                raise InputError(message, controller=controller.name, path=path)
        login: dict[str, Any] = {
            "cert": controller.cert_filepath,
            "key": controller.key_filepath or controller.cert_filepath,
        }
    else:
        login = {"username": _octets(controller.username), "password": _octets(controller.password)}
    connection: Any = HostConnection(controller.hostname, port=controller.port, **{"verify": verify, **login})
    session = connection.session
    session.trust_env = False
    session.mount(connection.origin, HTTPAdapter(pool_maxsize=OPEN_CONNECTIONS, max_retries=0))
    return connection.origin, session


def _octets(text: Optional[str]) -> bytes:
    """Return the UTF-8 octets: requests would refuse what Latin-1 cannot hold."""
    return (text or "").encode()


def _body_of(response: _Answered, about: _About, *, controller: Controller) -> dict[str, Any]:
    """Return the JSON object of a good answer, or raise the error that the answer is.

    The CLI pass-through may tell an error with a good status; what is read may have an ``error`` of its own (a job's).
    """
    try:
        answer = json.loads(response.content) if response.content.strip() else {}
    except (ValueError, RecursionError):
        answer = None
    error = answer.get("error") if isinstance(answer, dict) else None
    good = 200 <= response.status_code < 300 and (not error or about.method == "GET")
    if isinstance(answer, dict) and good:
        odd = None if about.path.startswith(_CLI) else odd_shape(answer)
        if odd:
            reason = f"its answer is not one of ONTAP: {odd}"
            outcome = _unless_done(Outcome("answered", response.status_code), about)
            raise NotOntapError(about.action, reason, outcome=outcome, **about.fields)
        return answer
    error = error if isinstance(error, dict) else {}
    raise _answered_error(response, error, about, controller=controller)


def _answered_error(
    response: _Answered, error: Mapping[str, Any], about: _About, *, controller: Controller
) -> OntapError:
    action, status = about.action, response.status_code
    code = str(error["code"])[:_LONGEST_MESSAGE] if "code" in error else None
    outcome = Outcome("answered", status, code, retry_after_seconds(response.headers.get("Retry-After")))
    details: dict[str, Any] = {**about.fields, "http_status": status, "ontap_code": code}
    if status == 401:
        which = f"user name or password of user {controller.username}"
        if controller.cert_filepath:
            which = f"client certificate {controller.cert_filepath}"
        return OntapLoginError(action, f"the system does not accept the {which}", outcome=outcome, **details)
    if code in codes.DENIALS or (status == 403 and code is None):
        reason = _denial(controller, about.method, about.path)
        said = f"; ONTAP says: {_message(error)}" if error.get("message") else ""
        return OntapDeniedError(action, reason + said, outcome=outcome, **details)
    if code is not None:
        said = _message(error).rstrip(".")
        target = f", field {str(error['target'])[:_LONGEST_MESSAGE]}" if error.get("target") else ""
        return OntapError(action, f"{said} (ONTAP code {code}{target})", outcome=outcome, **details)
    if status in _REASONLESS:
        return OntapError(action, f"the system answers HTTP {status} without a reason", outcome=outcome, **details)
    kind = response.headers.get("Content-Type", "no content type").split(";")[0]
    reason = f"the answer (HTTP {status}, {kind}) is not that of an ONTAP REST API; check hostname and port"
    return NotOntapError(action, reason, outcome=_unless_done(outcome, about), **details)


def _message(error: Mapping[str, Any]) -> str:
    return str(error.get("message", ""))[:_LONGEST_MESSAGE]


def _unless_done(outcome: Outcome, about: _About) -> Outcome:
    """Return the outcome; a change that was answered well, if not readably, may have been made: its answer is lost."""
    done = outcome.http_status is not None and 200 <= outcome.http_status < 300
    return Outcome("lost", outcome.http_status) if done and about.method != "GET" else outcome


def _denial(controller: Controller, method: str, path: str) -> str:
    who = f"user {controller.username}" if controller.username else "the certificate's user"
    if path.startswith(_CLI):
        command = path[len(_CLI) :].replace("/", " ")
        return f"{who} may not run '{command}'; this needs a traditional role with that command, a REST role cannot"
    return f"{who} may not {method} this path; its role needs {_ACCESS[method]} or more on /api{path}"


def _transport_error(
    exc: BaseException, about: _About, *, controller: Controller, timeouts: tuple[float, float]
) -> OntapError:
    """Tell apart by class, along the chain of causes, what requests wraps into a few."""
    import requests
    import urllib3

    chain = list(_chain(exc))
    action, fields = about.action, about.fields

    def holds(*classes: type[BaseException]) -> Optional[BaseException]:
        return next((each for each in chain if isinstance(each, classes)), None)

    untrusted = holds(ssl.SSLCertVerificationError)
    if untrusted is not None:
        why = getattr(untrusted, "verify_message", "") or str(untrusted)
        reason = (
            f"the certificate of {controller.name} is not trusted ({why}); name its CA in ca_path,"
            " or switch validate_certs off"
        )
        return OntapUntrustedError(action, reason, outcome=Outcome("untrusted"), cause="certificate", **fields)
    unsent = Outcome("not-sent")
    if holds(socket.gaierror):
        reason = f"the name {controller.hostname} does not resolve on this host; add it to DNS or /etc/hosts"
        return OntapUnreachableError(action, reason, outcome=unsent, cause="name", **fields)
    if holds(urllib3.exceptions.NewConnectionError):
        refused = holds(ConnectionRefusedError)
        reason = f"nothing listens on port {controller.port} (connection refused)" if refused else _innermost(chain)
        return OntapUnreachableError(
            action, reason, outcome=unsent, cause="refused" if refused else "network", **fields
        )
    if holds(requests.exceptions.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError):
        reason = f"no connection to port {controller.port} within {timeouts[0]:g} s"
        return OntapUnreachableError(action, reason, outcome=unsent, cause="timeout", **fields)
    lost = Outcome("lost")
    if holds(requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError):
        reason = f"no answer within {timeouts[1]:g} s"
        return OntapUnreachableError(action, reason, outcome=lost, cause="timeout", **fields)
    if holds(ssl.SSLError, requests.exceptions.SSLError):
        reason = f"TLS fails: {_innermost(chain)}"
        return OntapUnreachableError(action, reason, outcome=lost, cause="tls", **fields)
    reason = f"the connection broke: {_innermost(chain)}"
    return OntapUnreachableError(action, reason, outcome=lost, cause="network", **fields)


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield the exception and all that it wraps, from the outside in."""
    todo: list[Any] = [exc]
    seen: set[int] = set()
    while todo:
        each = todo.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo.extend([getattr(each, "reason", None), each.__cause__, each.__context__, *each.args])


def _innermost(chain: Sequence[BaseException]) -> str:
    return str(chain[-1]) or type(chain[-1]).__name__


@dataclass
class _Attempts:
    """What is known of the attempts at one change: whether one got lost, and whether an overloaded array refused one.

    An overload may have had its effect all the same.
    """

    fate: Optional[Callable[[], Optional[dict[str, Any]]]]
    retry_safe: bool
    lost: bool = False
    busy: bool = False

    def failed(self, exc: OntapError) -> Optional[dict[str, Any]]:
        """Return what was found of an attempt that failed, None when nothing was. :raises OutcomeUnknownError:"""
        verdict = verdict_of(exc.outcome, change=True)
        self.lost = self.lost or verdict == "unknown"
        in_doubt = self.lost or (self.busy and verdict == "final")
        if in_doubt and not self.fate and not self.retry_safe:
            raise _unknown(exc) from exc
        self.busy = self.busy or (verdict == "repeat" and exc.outcome.fate == "answered")
        return _ask(self.fate, exc) if self.fate and in_doubt else None

    def given_up(self, exc: OntapError) -> Optional[dict[str, Any]]:
        """Return what was found after the last attempt, None when it failed. :raises OutcomeUnknownError:"""
        in_doubt = self.lost or (self.busy and self.fate is not None)
        if not in_doubt or verdict_of(exc.outcome, change=True) == "final":
            return None
        settled = _ask(self.fate, exc) if self.fate else None
        if settled is None:
            raise _unknown(exc) from exc
        return settled


def _ask(fate: Callable[[], Optional[dict[str, Any]]], exc: OntapError) -> Optional[dict[str, Any]]:
    """Return what ``fate`` finds; when it cannot look, the change must not be sent again."""
    try:
        return fate()
    except OntapError as blind:
        raise _unknown(exc) from blind


def _unknown(exc: OntapError) -> OutcomeUnknownError:
    reason = f"{exc.reason}; whether the change took effect is unknown"
    return OutcomeUnknownError(exc.action, reason, outcome=Outcome("lost"), **exc.fields)
