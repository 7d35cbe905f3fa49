# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request on its way: what came in, in which version and scope, and what goes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from . import errors
from .errors import ApiError
from .faults import Fault
from .fields import Version
from .model import Array, Lun, Svm, Volume

if TYPE_CHECKING:
    from .auth import Account
    from .simulator import Simulator

CONTROL_PARAMS = {
    "fields",
    "order_by",
    "max_records",
    "offset",
    "return_records",
    "return_timeout",
    "ignore_unknown_fields",
    "pretty",
}


@dataclass
class Answer:
    """What goes out; ``body`` is JSON data, or bytes with their ``content_type``.

    ``pause``: so many seconds pass before each of its bytes.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    pause: float = 0.0


@dataclass
class Call:
    """A request that has passed authentication. ``scope`` is the SVM it is bound to, None for the whole cluster."""

    simulator: Simulator
    id: str
    method: str
    raw_path: str
    raw_query: str
    segments: list[str]
    headers: Mapping[str, str]
    payload: bytes
    account: Account
    scope: str | None
    path: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def array(self) -> Array:
        """Return what the array knows."""
        return self.simulator.array

    @property
    def version(self) -> Version:
        """Return the version that the array has now."""
        return self.simulator.version

    @property
    def hal(self) -> bool:
        """Say whether the answer has ``_links``: not when the client asks for plain JSON."""
        return wants_links(self.headers.get("Accept", "*/*"))

    @property
    def multipart(self) -> bool:
        """Say whether the body is a form instead of JSON."""
        return self.headers.get("Content-Type", "").lower().startswith("multipart/form-data")

    @property
    def san_optimized(self) -> bool:
        """Say whether the cluster is an All SAN Array."""
        return self.array.san_optimized or self.simulator.switches.san_optimized

    @property
    def disaggregated(self) -> bool:
        """Say whether the cluster is an ASA r2."""
        return self.array.disaggregated or self.simulator.switches.disaggregated

    @property
    def cause(self) -> dict[str, str]:
        """Name this request for the journal."""
        return {"request": self.id, "user": self.account.name}

    def fault(self, kind: str) -> Fault | None:
        """Return the first fault of a kind that hit this request."""
        return next((item for item in self.faults if item.type == kind), None)

    def licensed(self, name: str) -> bool:
        """Say whether a licence is installed, as far as this request is concerned."""
        if any(item.type == "license" and item.options.get("name") == name for item in self.faults):
            return False
        return self.simulator.switches.licenses.get(name, False)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean query parameter."""
        text = self.params.get(name)
        if text is None:
            return default
        if text.lower() not in ("true", "false"):
            raise errors.invalid_value(text, name, "boolean")
        return text.lower() == "true"

    def return_timeout(self) -> int:
        """Return how many seconds a changing request waits for its job."""
        text = self.params.get("return_timeout", "0")
        if not text.isdigit() or int(text) > 120:
            raise errors.invalid_value(text, "return_timeout", "integer")
        return int(text)

    def only_params(self, *allowed: str) -> None:
        """Refuse query parameters other than those named and ``pretty``."""
        for name in self.params:
            if name not in allowed and name != "pretty":
                raise errors.unexpected_argument(name)

    def visible_svm(self, name: str) -> bool:
        """Say whether an SVM is in this request's scope."""
        return self.scope in (None, name)

    def volumes(self) -> list[Volume]:
        """Return the volumes in scope."""
        return [item for item in self.array.volumes.values() if self.visible_svm(item.svm)]

    def volume(self, uuid: str) -> Volume:
        """Return a volume of the path; one that is not there is refused as the switch says."""
        volume = self.array.volumes.get(uuid)
        if volume is None or not self.visible_svm(volume.svm):
            if self.simulator.switches.unknown_volume_code == errors.VOLUME_INVALID:
                raise ApiError(
                    errors.VOLUME_INVALID, "A volume with the specified UUID was not found.", target="volume.uuid"
                )
            raise errors.missing("volume.uuid")
        return volume

    def lun(self, uuid: str) -> tuple[Volume, Lun]:
        """Return a LUN of the path and its volume; one that is not there is refused with 404."""
        for volume in self.volumes():
            for lun in volume.luns:
                if lun.uuid == uuid:
                    return volume, lun
        raise ApiError(errors.LUN_UUID_NOT_FOUND, "The specified LUN was not found.", status=404, target="uuid")

    def svm(self, values: Mapping[str, Any], *, needed: bool = True) -> Svm | None:
        """Return the SVM that ``svm.name`` and ``svm.uuid`` of a body name, or that the request is bound to."""
        name, uuid = values.get("svm.name"), values.get("svm.uuid")
        if name is None and uuid is None and self.scope is not None:
            return self.array.svms[self.scope]
        if name is None and uuid is None:
            if needed:
                raise ApiError(
                    errors.SVM_MISSING,
                    'No SVM was specified. Either "svm.name" or "svm.uuid" must be supplied.',
                    target="svm.name",
                )
            return None
        found = [item for item in self.array.svms.values() if name in (None, item.name) and uuid in (None, item.uuid)]
        if not found:
            if name in self.array.svms:
                raise ApiError(
                    errors.SVM_MISMATCH,
                    'The specified "svm.uuid" and "svm.name" do not refer to the same SVM.',
                    target="svm.uuid",
                )
            raise ApiError(errors.SVM_NOT_FOUND, f'SVM "{name or uuid}" does not exist.', target="svm.name")
        if not self.visible_svm(found[0].name):
            raise ApiError(
                errors.CONFLICTING_FIELD,
                f'The SVM "{found[0].name}" of the body is not the one that the request is bound to, "{self.scope}".',
                target="svm.name",
            )
        return found[0]


def wants_links(accept: str) -> bool:
    """Say whether an ``Accept`` header asks for links: hypertext or anything, but not plain JSON alone."""
    for part in accept.split(","):
        media = part.split(";")[0].strip().lower()
        if media in ("application/hal+json", "*/*", "application/*"):
            return True
        if media == "application/json":
            return False
    return True


def parse_query(raw: str) -> dict[str, str]:
    """Read a query string; a parameter that occurs twice is refused."""
    params: dict[str, str] = {}
    for part in raw.split("&"):
        if not part:
            continue
        name, sign, value = part.partition("=")
        name = unquote_plus(name)
        if not sign:
            raise ApiError("262248", f'The value "{name}" is missing an assignment operator', target=name)
        if name in params:
            raise ApiError(errors.TWICE, f'Field "{name}" was specified twice', target=name)
        params[name] = unquote_plus(value)
    return params


def parse_payload(payload: bytes, *, method: str) -> dict[str, Any]:
    """Read a request body; only POST and PATCH may have more than ``{}``."""
    if not payload.strip():
        return {}
    try:
        body = json.loads(payload, object_pairs_hook=_unique)
    except ValueError as exc:
        raise ApiError(errors.INVALID_JSON, f"Invalid JSON input: {exc}") from exc
    if not isinstance(body, dict):
        raise ApiError(errors.INVALID_JSON, "Invalid JSON input: an object is expected")
    if method not in ("POST", "PATCH") and body:
        raise ApiError(errors.BODY_NOT_ALLOWED, f"The request body is not allowed on {method}")
    return body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise ApiError(errors.JSON_TWICE, f'Property "{name}" was specified twice', target=name)
        result[name] = value
    return result
