# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/storage/luns/{lun.uuid}/attributes``: names and values that are kept with a LUN."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from .. import errors
from ..answers import collection, instance, svm_reference
from ..call import Answer, Call
from ..errors import ApiError
from ..fields import Record, Table, parse_body
from ..model import Lun, Volume
from ..router import Route

SINCE = (9, 10, 1)
_LONGEST = 4091

ATTRIBUTE = Table(
    """
lun.uuid        string
lun.name        string
svm.name        string
svm.uuid        string
name            string post
value           string post patch
""",
    key=("name",),
    default=("lun.uuid", "lun.name", "name"),
)


def parse(call: Call, given: Any) -> dict[str, str]:
    """Return the attributes of a POST body's ``attributes``; raises ``ApiError``."""
    if given is None:
        return {}
    if call.version < SINCE:
        raise errors.unexpected_argument("attributes")
    if not isinstance(given, list):
        raise ApiError(errors.ARRAY_EXPECTED, 'Field "attributes" must be an array', target="attributes")
    result: dict[str, str] = {}
    for item in given:
        name, value = _pair(item if isinstance(item, dict) else {})
        if name in result:
            raise ApiError(errors.ATTRIBUTE_TWICE, "A name for an attribute was duplicated.", target="attributes.name")
        result[name] = value
    return result


def _pair(item: Record) -> tuple[str, str]:
    name, value = item.get("name"), item.get("value")
    if not isinstance(name, str) or not isinstance(value, str) or not name or not value or len(item) != 2:
        raise ApiError(errors.ATTRIBUTE_INCOMPLETE, "An incomplete attribute name/value pair was supplied.")
    if len(name.encode()) + len(value.encode()) > _LONGEST:
        raise ApiError(
            errors.ATTRIBUTE_TOO_LARGE,
            "The combined sizes of an attribute name and value are too large.",
            target="name",
        )
    return name, value


async def get_attributes(call: Call) -> Answer:
    """``GET``: all attributes of a LUN."""
    volume, lun = call.lun(call.path["lun.uuid"])
    return collection(call, ATTRIBUTE, [_record(call, volume, lun, name) for name in lun.attributes], _href)


async def get_attribute(call: Call) -> Answer:
    """``GET`` of one attribute."""
    volume, lun = _find(call)
    return instance(call, ATTRIBUTE, _record(call, volume, lun, call.path["name"]), _href)


async def create_attribute(call: Call) -> Answer:
    """``POST``: one attribute more."""
    call.only_params("return_timeout", "return_records")
    volume, lun = call.lun(call.path["lun.uuid"])
    name, value = _pair(parse_body(ATTRIBUTE, call.body, call.version, method="POST"))
    if name in lun.attributes:
        raise ApiError(errors.ATTRIBUTE_TWICE, "A name for an attribute was duplicated.", target="name")
    lun.attributes[name] = value
    call.simulator.save()
    return Answer(201, None, {"Location": _href(_record(call, volume, lun, name))})


async def modify_attribute(call: Call) -> Answer:
    """``PATCH``: another value."""
    call.only_params("return_timeout")
    _volume, lun = _find(call)
    values = parse_body(ATTRIBUTE, call.body, call.version, method="PATCH")
    name, value = _pair({"name": call.path["name"], "value": values.get("value")})
    lun.attributes[name] = value
    call.simulator.save()
    return Answer(200)


async def delete_attribute(call: Call) -> Answer:
    """``DELETE``: one attribute."""
    call.only_params("return_timeout")
    _volume, lun = _find(call)
    del lun.attributes[call.path["name"]]
    call.simulator.save()
    return Answer(200)


def _find(call: Call) -> tuple[Volume, Lun]:
    volume, lun = call.lun(call.path["lun.uuid"])
    if call.path["name"] not in lun.attributes:
        raise errors.missing("name")
    return volume, lun


def _href(record: Record) -> str:
    return f"/api/storage/luns/{record['lun']['uuid']}/attributes/{quote(record['name'], safe='')}"


def _record(call: Call, volume: Volume, lun: Lun, name: str) -> Record:
    return {
        "lun": {"uuid": lun.uuid, "name": volume.lun_name(lun)},
        "svm": svm_reference(call, volume.svm),
        "name": name,
        "value": lun.attributes[name],
    }


_PATH = "/storage/luns/{lun.uuid}/attributes"
ROUTES = [
    Route("GET", _PATH, get_attributes, "lun show", since=SINCE),
    Route("POST", _PATH, create_attribute, "lun modify", since=SINCE),
    Route("GET", _PATH + "/{name}", get_attribute, "lun show", since=SINCE),
    Route("PATCH", _PATH + "/{name}", modify_attribute, "lun modify", since=SINCE),
    Route("DELETE", _PATH + "/{name}", delete_attribute, "lun modify", since=SINCE),
]
