# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shapes of answers that all areas share: collections, instances, and jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Callable
from urllib.parse import quote

from . import errors, paging
from .call import CONTROL_PARAMS, Answer, Call
from .errors import ApiError
from .fields import Record, Table, project
from .query import parse_filters, select_fields

Check = Callable[[], Any]
Work = Callable[[], Awaitable[None]]
Href = Callable[[Record], str]

_REFERENCES = {
    "svm": "/api/svm/svms/{uuid}",
    "volume": "/api/storage/volumes/{uuid}",
    "aggregates": "/api/storage/aggregates/{uuid}",
    "node": "/api/cluster/nodes/{uuid}",
    "junction_parent": "/api/storage/volumes/{uuid}",
    "parent_volume": "/api/storage/volumes/{uuid}",
    "snapshot_policy": "/api/storage/snapshot-policies/{uuid}",
}


def collection(call: Call, table: Table, records: Sequence[Record], href: Href) -> Answer:
    """Answer a GET of a collection out of all its records (nested, complete, in scope)."""
    given = {
        name: value
        for name, value in call.params.items()
        if name not in CONTROL_PARAMS and not name.startswith("start.")
    }
    filters = parse_filters(table, call.version, given)
    lenient = call.flag("ignore_unknown_fields", default=False)
    names = select_fields(
        table,
        call.version,
        call.params.get("fields"),
        instance=False,
        lenient=lenient,
        filtered=[item.name for item in filters],
    )
    call.return_timeout()
    order = paging.parse_order(table, call.version, call.params.get("order_by"))
    matching = [record for record in records if all(item.passes(record) for item in filters)]
    switches = call.simulator.switches
    page = paging.cut(matching, table, order, call.params, early=switches.page_size, empty_pages=switches.empty_pages)
    body: Record = {}
    if call.flag("return_records", default=True):
        body["records"] = [show(call, record, names, href) for record in page.records]
    body["num_records"] = len(page.records)
    links = {"self": {"href": call.raw_path + (f"?{call.raw_query}" if call.raw_query else "")}}
    headers = {}
    if page.next_query is not None:
        following = f"{call.raw_path}?{page.next_query}"
        links["next"] = {"href": following}
        headers["Link"] = f'<{following}>; rel="next"'
    if call.hal:
        body["_links"] = links
    return Answer(200, body, headers)


def instance(call: Call, table: Table, record: Record, href: Href) -> Answer:
    """Answer a GET of one record; filters are accepted as on collections, one that does not match is a 404."""
    given = {name: value for name, value in call.params.items() if name not in CONTROL_PARAMS}
    filters = parse_filters(table, call.version, given)
    if not all(item.passes(record) for item in filters):
        raise errors.missing()
    lenient = call.flag("ignore_unknown_fields", default=False)
    names = select_fields(
        table,
        call.version,
        call.params.get("fields"),
        instance=True,
        lenient=lenient,
        filtered=[item.name for item in filters],
    )
    return Answer(200, show(call, record, names, href))


def show(call: Call, record: Record, names: set[str], href: Href | None) -> Record:
    """Return the chosen part of a record, with links when the client wants them."""
    shown = project(record, names)
    if call.hal:
        _link_references(shown, record)
        if href is not None:
            shown["_links"] = {"self": {"href": href(record)}}
    return shown


def _link_references(shown: Record, full: Record) -> None:
    for key, value in shown.items():
        pairs = zip(value, full[key]) if isinstance(value, list) else [(value, full.get(key))]
        for part, whole in pairs:
            if not isinstance(part, dict) or not isinstance(whole, dict):
                continue
            _link_references(part, whole)
            if key in _REFERENCES and whole.get("uuid"):
                part["_links"] = {"self": {"href": _REFERENCES[key].format(uuid=whole["uuid"])}}


async def in_job(
    call: Call,
    *,
    check: Check,
    work: Work,
    svm: str | None,
    location: str | None = None,
    records: Sequence[Record] | None = None,
) -> Answer:
    """Run a change as a job and answer as ONTAP does: 202 with the job, or what ``return_timeout`` waited for.

    ``check`` raises ``ApiError`` for what the array's state forbids; it runs in the job, or before it when the switch
    ``check_in_job`` is off. ``location`` marks a POST that creates.
    """
    seconds = call.return_timeout()
    switches = call.simulator.switches
    if not switches.check_in_job:
        check()

    async def checked() -> None:
        check()
        await work()

    job = call.simulator.jobs.start(call, checked, svm=svm, location=location)
    body: Record = {"job": job_link(call, job.uuid)}
    if call.flag("return_records", default=False) and records is not None:
        body["num_records"], body["records"] = len(records), list(records)
    headers = {"Location": location} if location else {}
    ended = await call.simulator.jobs.wait(job.uuid, seconds) if seconds else False
    if not ended:
        return Answer(202, body, headers)
    if job.state == "failure" and switches.failure_in_wait == "error":
        error = ApiError(str(job.code), job.message)
        status = switches.status_of_code.get(error.code, error.status)
        return Answer(status, {**error.body(), **body})
    if call.version < (9, 13, 1):
        return Answer(202, body, headers)
    return Answer(201 if location else 200, body, headers)


def job_link(call: Call, uuid: str) -> Record:
    """Return a job as a reference."""
    link: Record = {"uuid": uuid}
    if call.hal:
        link["_links"] = {"self": {"href": f"/api/cluster/jobs/{uuid}"}}
    return link


def svm_reference(call: Call, name: str) -> Record:
    """Return an SVM as part of a record."""
    return {"name": name, "uuid": call.array.svms[name].uuid}


def encoded(segment: str) -> str:
    """Encode a name as one segment of a path."""
    return quote(segment, safe="").replace(".", "%2E") if segment in (".", "..") else quote(segment, safe="")


def check_identifiers(given: Mapping[str, Any], *, name: str, uuid: str, mismatch: str, kind: str) -> None:
    """Refuse a body whose ``<kind>.name`` and ``<kind>.uuid`` name different things."""
    if given.get(f"{kind}.uuid") not in (None, uuid) or given.get(f"{kind}.name") not in (None, name):
        raise ApiError(
            mismatch,
            f'The specified "{kind}.uuid" and "{kind}.name" do not refer to the same {kind}.',
            target=f"{kind}.uuid",
        )


def not_found(condition: bool, target: str = "uuid") -> None:
    """Refuse with 404 when ``condition`` holds."""
    if condition:
        raise errors.missing(target)
