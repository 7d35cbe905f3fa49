# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``/protocols/san/lun-maps``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import errors
from ..answers import collection, instance, svm_reference
from ..call import Answer, Call
from ..errors import ApiError
from ..fields import Record, Table, parse_body
from ..model import Igroup, Lun, LunMap, Volume
from ..router import Route
from ..seed import free_number
from . import igroups, lun_names, luns

_HIGHEST = 4095

LUN_MAP = Table(
    """
svm.name                    string  post
svm.uuid                    string  post
lun.name                    string  post
lun.uuid                    string  post
lun.node.name               string
lun.node.uuid               string
igroup.name                 string  post
igroup.uuid                 string  post
igroup.os_type              aix|hpux|hyper_v|linux|netware|openvms|solaris|vmware|windows|xen
igroup.protocol             fcp|iscsi|mixed
igroup.initiators[]         string
logical_unit_number         integer post
reporting_nodes[].name      string  expensive since=9.10.1
reporting_nodes[].uuid      string  expensive since=9.10.1
""",
    key=("lun.uuid", "igroup.uuid"),
    default=("svm.name", "svm.uuid", "lun.name", "lun.uuid", "igroup.name", "igroup.uuid"),
)


async def get_maps(call: Call) -> Answer:
    """``GET /protocols/san/lun-maps``."""
    return collection(call, LUN_MAP, [_record(call, *item) for item in _maps(call)], _href)


async def get_map(call: Call) -> Answer:
    """``GET /protocols/san/lun-maps/{lun.uuid}/{igroup.uuid}``."""
    return instance(call, LUN_MAP, _record(call, *_find(call)), _href)


async def create_map(call: Call) -> Answer:
    """``POST /protocols/san/lun-maps``; without a number the igroup's lowest free one is taken."""
    call.only_params("return_timeout", "return_records")
    values = parse_body(LUN_MAP, call.body, call.version, method="POST")
    svm = call.svm(values)
    assert svm is not None
    for kind, code in (("lun", errors.MAP_WITHOUT_LUN), ("igroup", errors.MAP_WITHOUT_IGROUP)):
        if values.get(f"{kind}.uuid") is None and values.get(f"{kind}.name") is None:
            raise ApiError(code, f"Either `{kind}.uuid` or `{kind}.name` must be provided to create a LUN map.")
    _volume, lun = _lun(call, svm.name, values)
    igroup = _igroup(call, svm.name, values)
    first = call.simulator.config.san.first_number
    number = values.get("logical_unit_number")
    if number is not None and not first <= number <= _HIGHEST:
        raise errors.invalid_value(number, "logical_unit_number", f"{first}..{_HIGHEST}")
    luns.check_not_restoring(call, lun)
    if any(item.lun == lun.uuid and item.igroup == igroup.uuid for item in call.array.lun_maps):
        raise ApiError(errors.MAP_EXISTS, "The LUN is already mapped to the same initiator group.")
    if not any(lif.svm == svm.name and "data_iscsi" in lif.services for lif in call.array.lifs):
        raise ApiError(
            errors.NO_ISCSI_INTERFACE,
            f"Multiple nodes have no interface configured with the iSCSI protocol for SVM {svm.name}.",
        )
    new = LunMap(lun.uuid, igroup.uuid, free_number(call.array, igroup, first) if number is None else number)
    for initiator in call.array.initiators(igroup):
        seen = igroups.numbers_seen(call, svm.name, initiator)
        igroups.check_view(svm.name, [*seen, (new.lun, new.number)])
    if any(item.igroup == igroup.uuid and item.number == new.number for item in call.array.lun_maps):
        raise ApiError(errors.NUMBER_TAKEN, "The logical unit number is in use in the initiator group.")
    call.array.lun_maps.append(new)
    call.simulator.save()
    await call.simulator.san_changed()
    return Answer(201, None, {"Location": f"/api/protocols/san/lun-maps/{lun.uuid}/{igroup.uuid}"})


async def delete_map(call: Call) -> Answer:
    """``DELETE /protocols/san/lun-maps/{lun.uuid}/{igroup.uuid}``."""
    call.only_params("return_timeout")
    call.array.lun_maps.remove(_find(call)[0])
    call.simulator.save()
    await call.simulator.san_changed()
    return Answer(200)


def _maps(call: Call) -> list[tuple[LunMap, Volume, Lun, Igroup]]:
    homes = {lun.uuid: (volume, lun) for volume, lun in call.array.luns() if call.visible_svm(volume.svm)}
    return [
        (item, *homes[item.lun], call.array.igroups[item.igroup]) for item in call.array.lun_maps if item.lun in homes
    ]


def _find(call: Call) -> tuple[LunMap, Volume, Lun, Igroup]:
    volume, _ignored = call.lun(call.path["lun.uuid"])
    igroup = call.array.igroups.get(call.path["igroup.uuid"])
    if igroup is None or igroup.svm != volume.svm:
        raise ApiError(
            errors.MAP_NO_IGROUP, "The specified initiator group does not exist.", status=404, target="igroup.uuid"
        )
    for found in _maps(call):
        if found[0].lun == call.path["lun.uuid"] and found[0].igroup == igroup.uuid:
            return found
    raise ApiError(errors.MAP_MISSING, "The specified LUN map does not exist.", status=404)


def _lun(call: Call, svm: str, values: Mapping[str, Any]) -> tuple[Volume, Lun]:
    uuid, name = values.get("lun.uuid"), values.get("lun.name")
    if name is not None and lun_names.parse(name, "lun.name").snapshot is not None:
        raise ApiError(
            errors.LUN_IN_SNAPSHOT, "The operation is not allowed on a LUN in a snapshot.", target="lun.name"
        )
    for volume, lun in call.array.luns():
        if volume.svm == svm and uuid in (None, lun.uuid) and name in (None, volume.lun_name(lun)):
            return volume, lun
    raise ApiError(errors.MAP_NO_LUN, "The specified LUN does not exist.", target="lun.uuid" if uuid else "lun.name")


def _igroup(call: Call, svm: str, values: Mapping[str, Any]) -> Igroup:
    uuid, name = values.get("igroup.uuid"), values.get("igroup.name")
    for igroup in call.array.igroups.values():
        if igroup.svm == svm and uuid in (None, igroup.uuid) and name in (None, igroup.name):
            return igroup
    raise ApiError(
        errors.MAP_NO_IGROUP,
        "The specified initiator group does not exist.",
        target="igroup.uuid" if uuid else "igroup.name",
    )


def _href(record: Record) -> str:
    return f"/api/protocols/san/lun-maps/{record['lun']['uuid']}/{record['igroup']['uuid']}"


def _record(call: Call, item: LunMap, volume: Volume, lun: Lun, igroup: Igroup) -> Record:
    """Return a map as a whole; ONTAP documents its ``igroup.initiators`` as the group's members, nested ones apart."""
    nodes = [{"name": name, "uuid": call.array.node_uuids[name]} for name in call.array.nodes]
    return {
        "svm": svm_reference(call, volume.svm),
        "lun": {"name": volume.lun_name(lun), "uuid": lun.uuid, "node": nodes[0]},
        "igroup": {
            "name": igroup.name,
            "uuid": igroup.uuid,
            "os_type": igroup.os_type,
            "protocol": igroup.protocol,
            "initiators": list(igroup.initiators),
        },
        "logical_unit_number": item.number,
        "reporting_nodes": nodes,
    }


_PATH = "/protocols/san/lun-maps"
ROUTES = [
    Route("GET", _PATH, get_maps, "lun mapping show"),
    Route("POST", _PATH, create_map, "lun mapping create"),
    Route("GET", _PATH + "/{lun.uuid}/{igroup.uuid}", get_map, "lun mapping show"),
    Route("DELETE", _PATH + "/{lun.uuid}/{igroup.uuid}", delete_map, "lun mapping delete"),
]
