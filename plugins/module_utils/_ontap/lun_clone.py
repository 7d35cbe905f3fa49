# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A LUN of its own out of a snapshot, shown to this host alone, and taken away again.

Such a LUN is known as ours by its name and its comment together: no other one is ever mapped, unmapped or deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import codes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import OntapError, during
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import in_snapshot, relative_path
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_restore import LunNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import (
    IGROUP_FIELDS,
    Igroup,
    LunMap,
    initiator_key,
    lun_maps,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import any_of, segment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

FIRST_NUMBER = 1
LAST_NUMBER = 254
"""Numbers that every host bus adapter scans."""

_FIELDS = ("uuid", "name", "comment", "space.size", "serial_number", "os_type", "location.volume.uuid")
_MAP_FIELDS = ("lun.uuid", "lun.name", "igroup.uuid", "igroup.name", "logical_unit_number")


class ForeignLunError(OntapError):
    """A LUN of the name that is meant is somebody else's."""


def list_igroups(client: Client, svm: str, *, deadline: Optional[Deadline] = None) -> list[Igroup]:
    """Return the igroups of an SVM. Source: ``GET /protocols/san/igroups``. :raises OntapError:"""
    try:
        found = client.records("/protocols/san/igroups", {"svm.name": svm}, fields=IGROUP_FIELDS, deadline=deadline)
    except OntapError as exc:
        raise during(exc, f"list the igroups of {svm} at {client.name}", svm=svm) from exc
    return [Igroup.from_record(record) for record in found]


def own_igroup(igroups: Iterable[Igroup], own: Collection[str], *, preferred: Collection[str] = ()) -> Optional[Igroup]:
    """Return the igroup that holds initiators of this host and no other's; pure.

    One of those ``preferred`` (uuids: those to which the original is mapped, so that its paths work) comes first, then
    the one with most initiators. A group of a whole cluster of hosts never serves, and neither does one without
    initiators.
    """
    ours = {initiator_key(name) for name in own}
    fitting = [
        group for group in igroups if group.initiators and {initiator_key(name) for name in group.initiators} <= ours
    ]
    return min(
        fitting, key=lambda group: (group.uuid not in preferred, -len(group.initiators), group.name), default=None
    )


def free_number(taken: Collection[int], last: int) -> Optional[int]:
    """Return the number after ``last`` that is not taken, beginning anew at the end; None when all are; pure.

    Numbers go round, so that one is used again as late as possible: a path that a host has forgotten to delete would
    lead to the next LUN of its number.
    """
    count = LAST_NUMBER - FIRST_NUMBER + 1
    start = max(last, FIRST_NUMBER - 1) + 1 - FIRST_NUMBER
    numbers = (FIRST_NUMBER + (start + step) % count for step in range(count))
    return next((number for number in numbers if number not in taken), None)


def numbers_taken(
    client: Client, igroup: Igroup, groups: Iterable[Igroup], *, deadline: Optional[Deadline] = None
) -> set[int]:
    """Return the numbers under which LUNs are shown to any initiator of an igroup, by whichever of its SVM's groups.

    Source: ``GET /protocols/san/lun-maps``. :raises OntapError:
    """
    ours = {initiator_key(name) for name in igroup.initiators}
    near = [group.uuid for group in groups if ours & {initiator_key(name) for name in group.initiators}]
    try:
        records = client.records(
            "/protocols/san/lun-maps", {"igroup.uuid": any_of(near)}, fields=_MAP_FIELDS, deadline=deadline
        )
    except OntapError as exc:
        raise during(exc, f"list the maps of igroup {igroup.name} at {client.name}") from exc
    maps = [LunMap.from_record(record) for record in records]
    return {each.logical_unit_number for each in maps if each.logical_unit_number is not None}


def find_clone(
    client: Client, volume: Volume, path: str, *, comment: str, deadline: Optional[Deadline] = None
) -> Optional[LunNow]:
    """Return the clone at a path of its volume, None when there is none.

    :raises ForeignLunError: the LUN there has another comment. :raises OntapError:
    """
    name = _name(volume, path)
    try:
        params = {"location.volume.uuid": volume.uuid, "name": name}
        records = client.records("/storage/luns", params, fields=_FIELDS, deadline=deadline)
    except OntapError as exc:
        raise during(exc, f"look for LUN {volume.svm}:{name}", svm=volume.svm, volume=volume.name) from exc
    found = next((lun for lun in map(LunNow.from_record, records) if lun.name == name), None)
    if found is not None and found.comment != comment:
        reason = f"its comment is {found.comment!r}, not {comment!r}: it is somebody else's"
        raise ForeignLunError(f"use LUN {volume.svm}:{name}", reason, svm=volume.svm, volume=volume.name)
    return found


def clone_lun(
    client: Client,
    volume: Volume,
    *,
    snapshot: str,
    source: str,
    path: str,
    comment: str,
    deadline: Optional[Deadline] = None,
) -> LunNow:
    """Make a LUN out of another one's state in a snapshot; it gets a serial of its own, and is mapped to nobody.

    A lost answer is met by looking for what it would have made. Source: ``POST /storage/luns``.

    :raises InputError: a path cannot be used. :raises OntapError:
    """
    name = _name(volume, path)
    body = {
        "svm": {"name": volume.svm},
        "name": name,
        "comment": comment,
        "clone": {"source": {"name": f"/vol/{volume.name}/{in_snapshot(snapshot, source)}"}},
    }

    def there() -> Optional[dict[str, Any]]:
        return {} if find_clone(client, volume, path, comment=comment, deadline=deadline) else None

    try:
        client.post("/storage/luns", None, body, fate=there, deadline=deadline)
    except OntapError as exc:
        action = f"clone LUN {source} out of snapshot {snapshot} of {volume.label} to {name}"
        raise during(exc, action, svm=volume.svm, volume=volume.name, snapshot=snapshot) from exc
    made = find_clone(client, volume, path, comment=comment, deadline=deadline)
    if made is None:
        raise OntapError(f"find LUN {volume.svm}:{name}", "it is not there although it was made")
    return made


def map_clone(
    client: Client, volume: Volume, lun: LunNow, igroup: Igroup, *, number: int, deadline: Optional[Deadline] = None
) -> None:
    """Show a clone to an igroup under a number; one that is shown so already is no error.

    Source: ``POST /protocols/san/lun-maps``. :raises OntapError:
    """
    body = {
        "svm": {"name": volume.svm},
        "lun": {"uuid": lun.uuid},
        "igroup": {"uuid": igroup.uuid},
        "logical_unit_number": number,
    }

    def there() -> Optional[dict[str, Any]]:
        maps = lun_maps(client, [lun.uuid], deadline=deadline)
        return {} if any(each.igroup_uuid == igroup.uuid for each in maps) else None

    if there() is not None:
        return
    try:
        client.post("/protocols/san/lun-maps", None, body, fate=there, deadline=deadline)
    except OntapError as exc:
        raise during(exc, f"map LUN {lun.name} to igroup {igroup.name} as {number}", svm=volume.svm) from exc


def remove_clone(client: Client, lun: LunNow, *, deadline: Optional[Deadline] = None) -> None:
    """Unmap a clone from everybody and delete it; what is gone already is no error.

    Source: ``DELETE /protocols/san/lun-maps/{lun.uuid}/{igroup.uuid}``, ``DELETE /storage/luns/{uuid}``.

    :raises OntapError:
    """
    for each in lun_maps(client, [lun.uuid], deadline=deadline):
        _gone(client, f"/protocols/san/lun-maps/{segment(lun.uuid)}/{segment(each.igroup_uuid)}", lun, deadline)
    _gone(client, f"/storage/luns/{segment(lun.uuid)}", lun, deadline)


def _gone(client: Client, target: str, lun: LunNow, deadline: Optional[Deadline]) -> None:
    try:
        client.delete(target, retry_safe=True, deadline=deadline)
    except OntapError as exc:
        if not exc.has_code(*codes.NO_SUCH_LUN, codes.NO_SUCH_MAP):
            raise during(exc, f"remove LUN {lun.name} (DELETE {target})") from exc


def _name(volume: Volume, path: str) -> str:
    return f"/vol/{volume.name}/{relative_path(path)}"
