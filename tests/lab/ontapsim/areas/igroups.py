# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/protocols/san/igroups`` with their initiators, and ``/protocols/san/iscsi/services``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from .. import errors
from ..answers import collection, instance, svm_reference
from ..call import Answer, Call
from ..errors import ApiError
from ..fields import Record, Table, parse_body
from ..model import Igroup, new_uuid
from ..router import Route
from ..seed import add_igroup

_DEEPEST = 3
"""Layers of nested igroups."""

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,96}")
_INITIATOR = re.compile(r"iqn\.\d{4}-\d{2}\.[^\s:]+(:\S*)?|eui\.[0-9A-Fa-f]{16}|([0-9A-Fa-f]{2}:){7}[0-9A-Fa-f]{2}")

IGROUP = Table(
    """
uuid                            string
name                            string  post patch
svm.name                        string  post
svm.uuid                        string  post
os_type                         aix|hpux|hyper_v|linux|netware|openvms|solaris|vmware|windows|xen post patch
protocol                        fcp|iscsi|mixed post
comment                         string  post patch since=9.9.1
delete_on_unmap                 boolean since=9.8
supports_igroups                boolean since=9.9.1
initiators[].name               string
initiators[].igroup.name        string  since=9.9.1
initiators[].igroup.uuid        string  since=9.9.1
igroups[].name                  string  expensive since=9.9.1
igroups[].uuid                  string  expensive since=9.9.1
parent_igroups[].name           string  expensive since=9.9.1
parent_igroups[].uuid           string  expensive since=9.9.1
lun_maps[].logical_unit_number  integer expensive
lun_maps[].lun.name             string  expensive
lun_maps[].lun.uuid             string  expensive
lun_maps[].lun.node.name        string  expensive
""",
    key=("uuid",),
    default=("uuid", "name"),
)

INITIATOR = Table(
    """
igroup.name     string
igroup.uuid     string
name            string post
comment         string since=9.9.1
""",
    key=("name",),
    default=("igroup.uuid", "name"),
)

SERVICE = Table(
    """
svm.name        string
svm.uuid        string
enabled         boolean
target.name     string
target.alias    string
""",
    key=("svm.uuid",),
    default=("svm.uuid", "svm.name"),
)


async def get_igroups(call: Call) -> Answer:
    """``GET /protocols/san/igroups``."""
    return collection(call, IGROUP, [_record(call, item) for item in _visible(call)], _href)


async def get_igroup(call: Call) -> Answer:
    """``GET /protocols/san/igroups/{uuid}``."""
    return instance(call, IGROUP, _record(call, _find(call, "uuid")), _href)


async def create_igroup(call: Call) -> Answer:
    """``POST /protocols/san/igroups``."""
    call.only_params("return_timeout", "return_records")
    plain = {key: value for key, value in call.body.items() if key not in ("initiators", "igroups")}
    values = parse_body(IGROUP, plain, call.version, method="POST")
    initiators = _initiators(call.body.get("initiators"))
    svm = call.svm(values)
    assert svm is not None
    for name in ("name", "os_type"):
        if values.get(name) is None:
            raise errors.required(name)
    _check_name(call, svm.name, values["name"])
    spec = {
        "name": values["name"],
        "os_type": values["os_type"],
        "protocol": values.get("protocol", "mixed"),
        "comment": values.get("comment") or "",
        "initiators": initiators,
    }
    if call.body.get("igroups") is not None:
        spec["igroups"] = [child.uuid for child in _children(call, svm.name, spec)]
    _check_os_type(call, svm.name, initiators, values["os_type"])
    igroup = add_igroup(call.array, svm.name, spec, identity=new_uuid())
    await _changed(call)
    return Answer(201, None, {"Location": f"/api/protocols/san/igroups/{igroup.uuid}"})


async def modify_igroup(call: Call) -> Answer:
    """``PATCH /protocols/san/igroups/{uuid}``: name, operating system and comment."""
    call.only_params("return_timeout")
    igroup = _find(call, "uuid")
    values = parse_body(IGROUP, call.body, call.version, method="PATCH")
    if values.get("name") not in (None, igroup.name):
        _check_name(call, igroup.svm, values["name"])
    for name, value in values.items():
        setattr(igroup, name, value)
    await _changed(call)
    return Answer(200)


async def delete_igroup(call: Call) -> Answer:
    """``DELETE /protocols/san/igroups/{uuid}``."""
    call.only_params("return_timeout", "allow_delete_while_mapped")
    igroup = _find(call, "uuid")
    forced = call.flag("allow_delete_while_mapped", default=False)
    if not forced and any(item.igroup == igroup.uuid for item in call.array.lun_maps):
        raise ApiError(
            errors.IGROUP_MAPPED,
            "The initiator group is mapped to one or more LUNs and `allow_delete_while_mapped` has not been specified.",
        )
    del call.array.igroups[igroup.uuid]
    call.array.drop_maps()
    await _changed(call)
    return Answer(200)


async def get_initiators(call: Call) -> Answer:
    """``GET /protocols/san/igroups/{igroup.uuid}/initiators``."""
    igroup = _find(call, "igroup.uuid")
    records = [{"igroup": {"name": igroup.name, "uuid": igroup.uuid}, "name": name} for name in igroup.initiators]
    return collection(call, INITIATOR, records, _initiator_href)


async def add_initiator(call: Call) -> Answer:
    """``POST /protocols/san/igroups/{igroup.uuid}/initiators``."""
    call.only_params("return_timeout", "return_records")
    igroup = _find(call, "igroup.uuid")
    values = parse_body(INITIATOR, call.body, call.version, method="POST")
    if values.get("name") is None:
        raise ApiError(errors.INITIATORS_MISSING, "Initiators must be supplied.", target="name")
    (name,) = _initiators([{"name": values["name"]}])
    if igroup.igroups:
        raise _either()
    if name in igroup.initiators:
        raise ApiError(errors.INITIATOR_THERE, "A supplied initiator is already in the initiator group.", target="name")
    _check_os_type(call, igroup.svm, [name], igroup.os_type)
    above = [item for item in call.array.igroups.values() if _holds(call, item, igroup)]
    shown = [pair for item in above for pair in _numbers(call, item)]
    check_view(igroup.svm, [*numbers_seen(call, igroup.svm, name), *shown])
    igroup.initiators.append(name)
    await _changed(call)
    path = f"/api/protocols/san/igroups/{igroup.uuid}/initiators/{quote(name, safe='')}"
    return Answer(201, None, {"Location": path})


async def remove_initiator(call: Call) -> Answer:
    """``DELETE /protocols/san/igroups/{igroup.uuid}/initiators/{name}``."""
    call.only_params("return_timeout", "allow_delete_while_mapped")
    igroup = _find(call, "igroup.uuid")
    if call.path["name"] not in igroup.initiators:
        raise errors.missing("name")
    forced = call.flag("allow_delete_while_mapped", default=False)
    if not forced and _numbers(call, igroup):
        raise ApiError("1254319", "The initiator group is mapped to one or more LUNs.", target="name")
    igroup.initiators.remove(call.path["name"])
    await _changed(call)
    return Answer(200)


async def get_services(call: Call) -> Answer:
    """``GET /protocols/san/iscsi/services``: of the SVMs that have an iSCSI interface."""
    return collection(call, SERVICE, _services(call), _service_href)


async def get_service(call: Call) -> Answer:
    """``GET /protocols/san/iscsi/services/{svm.uuid}``."""
    for item in _services(call):
        if item["svm"]["uuid"] == call.path["svm.uuid"]:
            return instance(call, SERVICE, item, _service_href)
    raise errors.missing("svm.uuid")


def numbers_seen(call: Call, svm: str, initiator: str) -> list[tuple[str, int]]:
    """Return the LUNs (by uuid) and numbers that an initiator sees of an SVM, by all its igroups."""
    known = [item for item in call.array.igroups.values() if item.svm == svm]
    groups = [item for item in known if initiator in call.array.initiators(item)]
    return [pair for group in groups for pair in _numbers(call, group)]


def check_view(svm: str, seen: Iterable[tuple[str, int]]) -> None:
    """Raise ``ApiError`` when one initiator would see a LUN twice, or one number for two LUNs."""
    luns, numbers = Counter(lun for lun, _number in seen), Counter(number for _lun, number in seen)
    if any(count > 1 for count in luns.values()):
        raise ApiError(
            errors.INITIATOR_MAPPED_TWICE, f"An initiator of SVM {svm} would be mapped to the same LUN more than once."
        )
    if any(count > 1 for count in numbers.values()):
        raise ApiError(
            errors.NUMBER_TAKEN,
            f"An initiator of SVM {svm} would have the same logical unit identifier for multiple LUN maps.",
        )


def _numbers(call: Call, igroup: Igroup) -> list[tuple[str, int]]:
    return [(item.lun, item.number) for item in call.array.lun_maps if item.igroup == igroup.uuid]


def _visible(call: Call) -> list[Igroup]:
    return [item for item in call.array.igroups.values() if call.visible_svm(item.svm)]


def _find(call: Call, name: str) -> Igroup:
    for item in _visible(call):
        if item.uuid == call.path[name]:
            return item
    raise ApiError(errors.IGROUP_MISSING, "The initiator group does not exist.", status=404, target=name)


def _initiators(given: Any) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise ApiError(errors.ARRAY_EXPECTED, 'Field "initiators" must be an array', target="initiators")
    names = [str(item.get("name", "")) for item in given]
    for name in names:
        if not _INITIATOR.fullmatch(name):
            raise ApiError(
                errors.INITIATOR_NAME_INVALID, f'The initiator name "{name}" is invalid.', target="initiators.name"
            )
    return names


def _children(call: Call, svm: str, spec: Record) -> list[Igroup]:
    """Return the igroups that a new one names in ``igroups``; raises ``ApiError``."""
    given = call.body["igroups"]
    if call.version < (9, 9, 1):
        raise errors.unexpected_argument("igroups")
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise ApiError(errors.ARRAY_EXPECTED, 'Field "igroups" must be an array', target="igroups")
    if given and spec["initiators"]:
        raise _either()
    found = [_child(call, svm, item) for item in given]
    for child in found:
        if child.os_type != spec["os_type"]:
            raise ApiError(
                errors.IGROUP_CHILD_OS_TYPE,
                "A supplied child initiator group has an operating system type that differs from the parent's.",
            )
        if child.protocol != spec["protocol"] and spec["protocol"] != "mixed":
            raise ApiError(
                errors.IGROUP_CHILD_PROTOCOL,
                "A supplied child initiator group has a protocol that differs from the parent initiator group.",
            )
        if _depth(call, child) >= _DEEPEST:
            raise ApiError(errors.IGROUP_TOO_DEEP, "A child igroup would exceed the maximum allowable depth.")
    names = Counter(name for child in found for name in call.array.initiators(child))
    if any(count > 1 for count in names.values()):
        raise ApiError(
            errors.IGROUP_CHILD_INITIATOR,
            "A supplied child initiator group contains an initiator that is already owned by another initiator group"
            " in the hierarchy.",
        )
    return found


def _child(call: Call, svm: str, given: Record) -> Igroup:
    name, uuid = given.get("name"), given.get("uuid")
    for item in call.array.igroups.values():
        if (name, uuid) != (None, None) and item.svm == svm and name in (None, item.name) and uuid in (None, item.uuid):
            return item
    raise ApiError(errors.MAP_NO_IGROUP, "The supplied child initiator group does not exist.", target="igroups")


def _depth(call: Call, igroup: Igroup) -> int:
    return 1 + max((_depth(call, item) for item in _nested(call, igroup)), default=0)


def _nested(call: Call, igroup: Igroup) -> list[Igroup]:
    return [call.array.igroups[uuid] for uuid in igroup.igroups if uuid in call.array.igroups]


def _holds(call: Call, igroup: Igroup, other: Igroup) -> bool:
    return igroup is other or any(_holds(call, item, other) for item in _nested(call, igroup))


def _either() -> ApiError:
    return ApiError(
        errors.INITIATORS_AND_IGROUPS,
        "Initiators and child initiator groups were both supplied, but only one option is allowed.",
    )


def _check_name(call: Call, svm: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ApiError(errors.IGROUP_NAME_INVALID, "An invalid initiator group name was supplied.", target="name")
    if call.array.igroup_named(svm, name) is not None:
        raise ApiError(errors.IGROUP_EXISTS, "An initiator group with the same name already exists.", target="name")


def _check_os_type(call: Call, svm: str, initiators: Iterable[str], os_type: str) -> None:
    for igroup in call.array.igroups.values():
        if igroup.svm == svm and igroup.os_type != os_type and set(initiators) & set(igroup.initiators):
            raise ApiError(
                errors.IGROUP_OS_CONFLICT,
                "An initiator is already in another initiator group with a conflicting operating system type.",
            )


async def _changed(call: Call) -> None:
    call.simulator.save()
    await call.simulator.san_changed()


def _href(record: Record) -> str:
    return f"/api/protocols/san/igroups/{record['uuid']}"


def _initiator_href(record: Record) -> str:
    return f"/api/protocols/san/igroups/{record['igroup']['uuid']}/initiators/{quote(record['name'], safe='')}"


def _service_href(record: Record) -> str:
    return f"/api/protocols/san/iscsi/services/{record['svm']['uuid']}"


def _record(call: Call, igroup: Igroup) -> Record:
    maps = {item.lun: item.number for item in call.array.lun_maps if item.igroup == igroup.uuid}
    return {
        "uuid": igroup.uuid,
        "name": igroup.name,
        "svm": svm_reference(call, igroup.svm),
        "os_type": igroup.os_type,
        "protocol": igroup.protocol,
        "comment": igroup.comment or None,
        "delete_on_unmap": False,
        "supports_igroups": not igroup.initiators,
        "initiators": [
            {"name": name} if home is igroup else {"name": name, "igroup": {"name": home.name, "uuid": home.uuid}}
            for name, home in call.array.members(igroup)
        ],
        "igroups": [{"name": item.name, "uuid": item.uuid} for item in _nested(call, igroup)],
        "parent_igroups": [
            {"name": item.name, "uuid": item.uuid}
            for item in call.array.igroups.values()
            if igroup.uuid in item.igroups
        ],
        "lun_maps": [
            {
                "logical_unit_number": maps[lun.uuid],
                "lun": {"name": volume.lun_name(lun), "uuid": lun.uuid, "node": {"name": call.array.nodes[0]}},
            }
            for volume, lun in call.array.luns()
            if lun.uuid in maps
        ],
    }


def _services(call: Call) -> list[Record]:
    names = {lif.svm for lif in call.array.lifs if lif.svm and "data_iscsi" in lif.services}
    return [
        {
            "svm": svm_reference(call, svm.name),
            "enabled": svm.state == "running",
            "target": {"name": call.array.target_name(svm.name), "alias": svm.name},
        }
        for svm in call.array.svms.values()
        if svm.name in names and call.visible_svm(svm.name)
    ]


_PATH = "/protocols/san/igroups"
_SERVICES = "/protocols/san/iscsi/services"
ROUTES = [
    Route("GET", _PATH, get_igroups, "lun igroup show"),
    Route("POST", _PATH, create_igroup, "lun igroup create"),
    Route("GET", _PATH + "/{uuid}", get_igroup, "lun igroup show"),
    Route("PATCH", _PATH + "/{uuid}", modify_igroup, "lun igroup modify"),
    Route("DELETE", _PATH + "/{uuid}", delete_igroup, "lun igroup delete"),
    Route("GET", _PATH + "/{igroup.uuid}/initiators", get_initiators, "lun igroup show"),
    Route("POST", _PATH + "/{igroup.uuid}/initiators", add_initiator, "lun igroup add"),
    Route("DELETE", _PATH + "/{igroup.uuid}/initiators/{name}", remove_initiator, "lun igroup remove"),
    Route("GET", _SERVICES, get_services, "vserver iscsi show"),
    Route("GET", _SERVICES + "/{svm.uuid}", get_service, "vserver iscsi show"),
]
