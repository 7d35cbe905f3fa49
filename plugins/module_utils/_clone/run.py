# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a guest from its options to its result: read, decide, act, tell. What ``kvm_vm_clone`` does."""

from __future__ import annotations

import os
import uuid as uuids
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import clone_record
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.clone_record import CloneRecord
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.imported_backup import BackupFrom
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import Manifest, SavedGuest, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import Trust
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.presence import Key, Places, locate, snapshots_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.selection import (
    LATEST,
    Chosen,
    chosen_backup,
    guest_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.volume_mounts import HostVolume, mounted_volumes
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.make import CloneFailedError, CopiedFile, Maker
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.network import network_problems
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.plan import (
    CloneRefusedError,
    CloneWorld,
    NewClone,
    described,
    lun_label,
    plan_clone,
    sources_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._clone.remove import (
    NotOursError,
    own_domain,
    places_of,
    still_there,
    take_away,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.guest_claim import claimed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_attach import San
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import own_initiators
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Host, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition import Edited
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_allowed import FIRMWARE_DIRECTORIES, checked
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.definition_copy import (
    CopyMark,
    CopySpec,
    copy_mark_of,
    copy_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import parse_guest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.host_fit import facts_of, host_problems
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.power import power_on
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import leased
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess, Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import JobFailedError, OntapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.lun_clone import list_igroups, own_igroup
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import Igroup, lun_maps
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.verdict import may_have_begun
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import check_numbers, directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem, errors_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.foreign_definition import (
    Allowed,
    not_allowed,
    site_of,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline


@dataclass(frozen=True)
class CloneProbes:
    """Where on this host a copy is made; tests bring their own."""

    mounted: Callable[[Sequence[Client], Iterable[SavedVolume], Deadline], dict[Key, HostVolume]] = mounted_volumes
    nvram: str = "/var/lib/libvirt/qemu/nvram"
    tpm: str = "/var/lib/libvirt/swtpm"
    firmware: tuple[str, ...] = FIRMWARE_DIRECTORIES
    san: San = field(default_factory=San)
    initiators: Callable[[], Sequence[str]] = own_initiators


@dataclass(frozen=True)
class CloneRequest:
    """Which copy is to be there, made of which guest of which backup and how, or is not to be there.

    ``given`` is a backup that was handed over. ``method`` is that of restores, ``start_timeout`` in seconds.
    ``allowed`` is what a definition that this host did not write may name.
    """

    present: bool
    name: str
    owner: str
    guest: Optional[str]
    backup_id: str
    given: Optional[BackupFrom]
    trust: Trust
    network: Optional[str]
    interfaces: str
    allowed: Allowed
    running: bool
    method: str
    start_timeout: int
    root: Path
    hold_dir: Path
    uri: str
    array: ArrayAccess

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> CloneRequest:
        """Read the module's options; raises :class:`InputError`. A copy that is to go need not be described."""
        check_numbers(options, {"start_timeout": 0})
        present = options["state"] == "present"
        name, owner = (checked_id(options[what], what=what) for what in ("name", "owner"))
        guest, network = options["guest"], options["network"]
        interfaces = options["interfaces"] or clone_record.NO_INTERFACES
        if present and not guest:
            raise InputError("guest is empty; name the guest of the backup to copy", option="guest")
        if present and network == "":
            raise InputError("network is empty; name one, or leave the option out for none", option="network")
        if present and network is not None and interfaces == clone_record.ORIGINAL:
            raise InputError(
                "network and interfaces=original exclude each other; the copy is on one network or on those that the"
                " original had. Nothing was made",
                option="interfaces",
            )
        return cls(
            present=present,
            name=name,
            owner=owner,
            guest=guest,
            backup_id=options["backup_id"],
            given=BackupFrom.from_option(options["backup_from"]),
            trust=Trust.from_options(options) if present else Trust(),
            network=network,
            interfaces=interfaces,
            allowed=Allowed.from_options(options),
            running=options["running"],
            method=options["method"],
            start_timeout=options["start_timeout"],
            root=directory(options, "catalog_dir"),
            hold_dir=directory(options, "hold_dir"),
            uri=options["uri"],
            array=ArrayAccess.from_options(options),
        )

    @property
    def original(self) -> str:
        """The guest to copy, which a request for a copy always names."""
        return self.guest or ""


@dataclass(frozen=True)
class CloneContext:
    """What a run works with: what is asked for, and the two connections."""

    request: CloneRequest
    host: Host
    clients: Sequence[Client]
    deadline: Deadline
    probes: CloneProbes

    @property
    def name(self) -> str:
        """The copy's name."""
        return self.request.name

    @property
    def root(self) -> Path:
        """Where the catalog is."""
        return self.request.root


@dataclass(frozen=True)
class Plan:
    """A copy that is to be made."""

    chosen: Chosen
    guest: SavedGuest
    record: CloneRecord
    definition: Edited
    mounts: Mapping[Key, HostVolume]
    remarks: tuple[Problem, ...]

    @property
    def notes(self) -> list[str]:
        """What the copy lacks of the original, and what else one should know."""
        origin = self.chosen.notes_on(self.guest.uuid, instead="the copy has new ones")
        return [*self.definition.notes, *(problem.message for problem in self.remarks), *origin]


def run(request: CloneRequest, *, check: bool, probes: Optional[CloneProbes] = None) -> dict[str, Any]:
    """Return the module's result, with ``check`` that of what would be done.

    Raises :class:`InputError`, :class:`CloneRefusedError` and :class:`NotOursError` before anything was touched, and
    :class:`CloneFailedError` when a copy could not be made.
    """
    act = _present if request.present else _absent
    lock = nullcontext() if check else clone_record.alone(request.root)
    with lock, _context(request, probes or CloneProbes()) as context:
        known = clone_record.load(request.root, context.name)
        own = _claimed(context, known.uuid) if known is not None and not check else nullcontext()
        with own:
            return act(context, check)


def _claimed(context: CloneContext, uuid: str) -> AbstractContextManager[None]:
    """Have the copy's guest, and never that of the original, for as long as it is made, started or removed."""
    return claimed(context.request.hold_dir, [(uuid, context.name)], purpose="clone", identity=context.name)


@contextmanager
def _context(request: CloneRequest, probes: CloneProbes) -> Iterator[CloneContext]:
    deadline, retry_count = request.array.deadline(), request.array.retry_count
    with request.array.connected(deadline) as clients, closing(connect(request.uri, retry_count=retry_count)) as host:
        yield CloneContext(request, host, clients, deadline, probes)


def _present(context: CloneContext, check: bool) -> dict[str, Any]:
    known = clone_record.load(context.root, context.name)
    if known is None:
        _refuse_taken(context)
    else:
        _refuse_other(context, known)
        if _whole(context, known):
            return _powered(context, known, check=check)
    plan = _plan(context, known)
    if check:
        return {**_result(context, known, plan.record, changed=True, notes=plan.notes), **plan.chosen.protection}
    if known is not None:
        _take_away(context, known, late=known.phase == "making")
    name, source = context.name, plan.record.mark.backup_id
    with _claimed(context, plan.record.uuid), leased(context.root, source, purpose="clone", identity=name):
        made = _made(context, plan)
    record = clone_record.load(context.root, context.name) or plan.record
    return {**_result(context, None, record, changed=True, notes=plan.notes, made=made), **plan.chosen.protection}


def _absent(context: CloneContext, check: bool) -> dict[str, Any]:
    known = clone_record.load(context.root, context.name)
    if known is None:
        _refuse_foreign(context)
        return _result(context, None, None, changed=False)
    _refuse_other(context, known)
    own_domain(context.host, known)
    if not check:
        _take_away(context, known, late=known.phase == "making")
    return _result(context, known, None, changed=True)


def _refuse_taken(context: CloneContext) -> None:
    """Refuse a name that a guest has of which no record is here."""
    domain = context.host.domain(name=context.name)
    if domain is None:
        return
    mark = copy_mark_of(domain.xml(inactive=domain.persistent()))
    whose = (
        f"a copy of {mark.guest} that {mark.owner} made, of which {context.root} knows nothing" if mark else "no copy"
    )
    raise InputError(
        f"Failed to make copy {context.name}: a guest of that name is defined, and it is {whose}; nothing was touched",
        guest=context.name,
    )


def _refuse_foreign(context: CloneContext) -> None:
    """Refuse to call a name absent that a guest has: there is no record that it is ours."""
    domain = context.host.domain(name=context.name)
    if domain is None:
        return
    mark = copy_mark_of(domain.xml(inactive=domain.persistent()))
    whose = f"made by {mark.owner} with another catalog than {context.root}" if mark else "no copy of ours"
    raise NotOursError(
        f"Refused to remove guest {context.name} ({domain.uuid}): it is {whose}; nothing was touched",
        guest=context.name,
    )


def _refuse_other(context: CloneContext, known: CloneRecord) -> None:
    """Refuse a copy of that name that is another one than the one that is meant."""
    request, mark = context.request, known.mark
    meant: list[tuple[str, str, bool]] = [
        ("owner", f"{mark.owner}, not {request.owner}", mark.owner == request.owner),
        ("backup", f"{mark.backup_id}, not {request.backup_id}", request.backup_id in (LATEST, mark.backup_id)),
        ("guest", f"{mark.guest}, not {request.guest}", request.guest is None or _is_copy_of(mark, request.guest)),
    ]
    if request.present:
        wanted, own = request.network, request.interfaces
        meant.append(("network", f"{known.network or 'none'}, not {wanted or 'none'}", known.network == wanted))
        meant.append(("choice of interfaces", f"{known.interfaces}, not {own}", known.interfaces == own))
    wrong = [f"its {what} is {found}" for what, found, fits in meant if not fits]
    if wrong:
        raise NotOursError(
            f"Refused to touch copy {context.name}: {'; '.join(wrong)}. Remove that one first, or choose another name",
            guest=context.name,
        )


def _is_copy_of(mark: CopyMark, word: str) -> bool:
    """Tell whether the guest that was copied is the one that a word means."""
    return word == mark.guest or word.lower() == mark.guest_uuid


def _whole(context: CloneContext, known: CloneRecord) -> bool:
    """Tell whether a copy was made to its end and is all there."""
    if known.phase != "made" or own_domain(context.host, known) is None:
        return False
    places = places_of(known, context.clients, deadline=context.deadline)
    return still_there(known, places, san=context.probes.san, deadline=context.deadline)


def _powered(context: CloneContext, known: CloneRecord, *, check: bool) -> dict[str, Any]:
    """Start a copy that is there and is to run; one that is not to run is left as it is."""
    domain = own_domain(context.host, known)
    start = context.request.running and domain is not None and not domain.state().active
    if start and domain is not None and not check:
        power_on(domain, state="running", timeout=context.request.start_timeout)
    return _result(context, known, known, changed=start)


def _take_away(context: CloneContext, known: CloneRecord, *, late: bool) -> None:
    """Take away what there is of a copy; ``late``: the array may make more of it yet, which the recovery finds."""
    if late:
        clone_record.save(context.root, known.late())
    timeout = context.request.array.timeout
    places = places_of(known, context.clients, deadline=Deadline.after(timeout))
    take_away(context.root, known, host=context.host, places=places, san=context.probes.san, timeout=timeout)


def _plan(context: CloneContext, known: Optional[CloneRecord]) -> Plan:
    request = context.request
    chosen = chosen_backup(
        context.root,
        known.mark.backup_id if known else request.backup_id,
        guests=[request.original],
        clients=context.clients,
        deadline=context.deadline,
        trust=request.trust,
        given=request.given,
    )
    manifest, guest = chosen.manifest, guest_of(chosen, request.original)
    places = locate(context.clients, manifest.volumes, deadline=context.deadline)
    snapshots = snapshots_of(places, manifest.volumes, deadline=context.deadline)
    mounts = context.probes.mounted(context.clients, manifest.volumes, context.deadline)
    uuid = str(uuids.uuid4())
    saved = parse_guest(guest.xml)
    record = plan_clone(
        manifest,
        guest,
        NewClone(
            name=context.name,
            uuid=uuid,
            owner=request.owner,
            network=request.network,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            nvram=f"{context.probes.nvram}/{clone_record.PREFIX}{uuid}_VARS.fd" if saved.nvram else None,
            tpm=f"{context.probes.tpm}/{uuid}" if saved.tpm else None,
            interfaces=request.interfaces,
        ),
        CloneWorld(
            snapshots={
                key: found[manifest.backup_id].uuid for key, found in snapshots.items() if manifest.backup_id in found
            },
            mounts=mounts,
            directories=_directories(manifest, guest, mounts),
            igroups=_igroups(context, guest, places),
        ),
    )
    definition = _definition(context, chosen, guest, record)
    problems = [
        *network_problems(context.host, record.network, guest=context.name),
        *host_problems(definition.xml, facts_of(context.host, definition.xml)),
    ]
    _refuse(context, guest, problems)
    return Plan(chosen, guest, record, definition, mounts, tuple(problems))


def _refuse(context: CloneContext, guest: SavedGuest, problems: Sequence[Problem]) -> None:
    if errors_of(problems):
        raise CloneRefusedError(
            f"Refused to copy guest {guest.name} to {context.name}, nothing was made: "
            + "; ".join(problem.message for problem in errors_of(problems)),
            problems=[problem.as_dict() for problem in problems],
            guest=guest.name,
        )


def _definition(context: CloneContext, chosen: Chosen, guest: SavedGuest, record: CloneRecord) -> Edited:
    """Return the copy's definition; one that this host's own runs did not write must pass the allow-list first."""
    spec = CopySpec(
        name=record.name,
        uuid=record.uuid,
        mark=record.mark,
        sources=sources_of(record),
        network=record.network,
        nvram=record.nvram,
        own_networks=record.interfaces == clone_record.ORIGINAL,
    )
    made = copy_of(guest.xml, spec)
    if chosen.origin.trusted:
        return made
    general = site_of(context.host, context.request.allowed)
    site = replace(
        general,
        disks=frozenset(source.path for source in spec.sources.values()),
        networks=general.networks | {name for name in (record.network,) if name},
        nvram=frozenset(path for path in (record.nvram,) if path),
        firmware=context.probes.firmware,
    )
    seen = checked(made.xml, site)
    _refuse(context, guest, not_allowed(guest.name, seen))
    return Edited(seen.xml, (*made.notes, *seen.notes))


def _igroups(context: CloneContext, guest: SavedGuest, places: Places) -> dict[str, Igroup]:
    """Return the igroup of this host alone, for each SVM that has LUNs of the guest."""
    luns = [disk.storage for disk in guest.saved_disks if disk.storage is not None and disk.storage.lun is not None]
    own = context.probes.initiators() if luns else ()
    found = {}
    for storage in {each.svm_uuid: each for each in luns}.values():
        place = places.get(storage.volume_key)
        if place is None:
            continue
        groups = list_igroups(place.client, place.volume.svm, deadline=context.deadline)
        originals = [each.lun.uuid for each in luns if each.lun and each.svm_uuid == storage.svm_uuid]
        maps = lun_maps(place.client, originals, deadline=context.deadline)
        igroup = own_igroup(groups, own, preferred={each.igroup_uuid for each in maps})
        if igroup is not None:
            found[storage.svm_uuid] = igroup
    return found


def _directories(manifest: Manifest, guest: SavedGuest, mounts: Mapping[Key, HostVolume]) -> set[tuple[Key, str]]:
    """Return the directories of the volumes that are still there, of those that the guest's files were in."""
    paths = {os.path.dirname(disk.storage.path) for disk in guest.saved_disks if disk.storage}
    for disk in guest.saved_disks:
        for layer in disk.backing:
            inside = (mount.inside(layer.path) for mount in mounts.values())
            paths.update(os.path.dirname(path) for path in inside if path)
    found = set()
    for volume in manifest.volumes:
        mount = mounts.get(volume.key)
        for path in paths:
            place = mount.on_host(path) if mount and path else None
            if place is not None and os.path.isdir(place):
                found.add((volume.key, path))
    return found


def _made(context: CloneContext, plan: Plan) -> list[CopiedFile]:
    """Make the copy and start it when it is to run; what was made of one that failed is taken away again."""
    request, record = context.request, plan.record
    plan.chosen.keep(context.root)
    maker = Maker(
        root=context.root,
        host=context.host,
        places=locate(context.clients, plan.chosen.manifest.volumes, deadline=context.deadline),
        manifest=plan.chosen.manifest,
        guest=plan.guest,
        method=request.method,
        timeout=request.array.timeout,
        mounts=plan.mounts,
        san=context.probes.san,
        initiators=context.probes.initiators() if record.luns else (),
    )
    try:
        record, made = maker.make(record, lambda now: _definition(context, plan.chosen, plan.guest, now).xml)
        domain = own_domain(context.host, record)
        if request.running and domain is not None:
            power_on(domain, state="running", timeout=request.start_timeout)
    except KvmsnapError as exc:
        fate = _taken_back(context, record, late=_may_appear(exc))
        raise CloneFailedError(f"{exc.message}. {fate}", **exc.fields) from exc
    return made


def _may_appear(exc: KvmsnapError) -> bool:
    """Tell whether the array may make more of a copy although it failed: only what it refused by itself never began."""
    return isinstance(exc, OntapError) and not isinstance(exc, JobFailedError) and may_have_begun(exc.outcome)


def _taken_back(context: CloneContext, record: CloneRecord, *, late: bool) -> str:
    """Take away what was made of a copy that failed; ``late``: the array may make more of it yet."""
    try:
        _take_away(context, clone_record.load(context.root, context.name) or record, late=late)
    except KvmsnapError as exc:
        return (
            f"Copy {context.name} is half made, and taking it away failed too ({exc.message}); run state=absent for it"
        )
    more = ". What the array may make of it yet is taken away by the playbook recover" if late else ""
    return f"What was made of copy {context.name} is gone again{more}"


def _result(
    context: CloneContext,
    before: Optional[CloneRecord],
    after: Optional[CloneRecord],
    *,
    changed: bool,
    notes: Sequence[str] = (),
    made: Sequence[CopiedFile] = (),
) -> dict[str, Any]:
    whole = before if before is not None and before.phase == "made" else None
    return {
        "changed": changed,
        "clone": _reported(context, after) if after is not None else None,
        "disks": [asdict(each) for each in made],
        "notes": list(notes),
        "diff": {"before": described(whole, context.name), "after": described(after, context.name)},
    }


def _reported(context: CloneContext, record: CloneRecord) -> dict[str, Any]:
    domain = context.host.domain(uuid=record.uuid)
    return {
        "name": record.name,
        "uuid": record.uuid,
        **asdict(record.mark),
        "network": record.network,
        "interfaces": record.interfaces,
        "state": domain.state().state if domain is not None else "absent",
        "disks": [
            {"target": item.target, "path": item.host_path, "storage": item.storage.label}
            for item in record.files
            if item.layer == 0
        ]
        + [{"target": lun.target, "path": lun.device, "storage": lun_label(lun)} for lun in record.luns],
    }
