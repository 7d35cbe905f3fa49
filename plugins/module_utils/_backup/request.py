# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup is asked for, read once from the options of ``kvm_vm_backup`` and ``kvm_backup_manifest``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, TypeVar

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedGuest, SavedVolume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import ManifestKey
from ansible_collections.kvmsnap.ontap.plugins.module_utils._consistency import CRASH, STRONGEST_FIRST
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.models import METHODS, HoldSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._hold.request import GuardedSettings
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._mapping import listed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.snapshots import SnapshotRequest, check_name
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import Options, directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import why_unreadable

T = TypeVar("T")


def read_records(
    records: Iterable[Mapping[str, Any]],
    read: Callable[[Mapping[str, Any]], T],
    *,
    option: str,
    source: str = "kvm_vm_discover",
) -> tuple[T, ...]:
    """Read what an option holds of the result of ``source``; raises :class:`InputError` that names the option."""
    try:
        return tuple(map(read, records))
    except (KeyError, TypeError, ValueError) as exc:
        message = f"Failed to read {option}: {why_unreadable(exc)}; give what {source} returned"
        raise InputError(message, option=option) from exc


def _methods(option: Mapping[str, Any]) -> dict[str, str]:
    """Read ``quiesce``; raises :class:`InputError` for a method that is none, since a slip would mean any."""
    for guest, method in option.items():
        if method not in METHODS:
            raise InputError(f"quiesce is {method!r} for {guest}; it can be {', '.join(METHODS)}", option="quiesce")
    return dict(option)


def _points(guest: str, given: Any) -> tuple[str, ...]:
    """Read the mount points of a guest, a list or a text with commas; raises :class:`InputError` for what is neither.

    No mount points would mean all of them.
    """
    points = given.split(",") if isinstance(given, str) else given if given is not None else ()
    if not isinstance(points, (list, tuple)) or not all(isinstance(point, str) for point in points):
        raise InputError(
            f"filesystems is {given!r} for {guest}; give its mount points, as a list or as a text with commas",
            option="filesystems",
        )
    return tuple(listed(points))


@dataclass(frozen=True)
class DiscoveredGuest:
    """A guest of a discovery, and what of it is to be saved: None for one that is not protected.

    ``nvram`` is the file with its UEFI variables; ``tpm`` says whether it has an emulated TPM.
    """

    name: str
    uuid: str
    saved: Optional[SavedGuest]
    nvram: Optional[str] = None
    tpm: bool = False

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> DiscoveredGuest:
        """Read one of the ``guests`` that ``kvm_vm_discover`` returns."""
        return cls(
            name=str(record["name"]),
            uuid=str(record["uuid"]),
            saved=SavedGuest.from_record(record) if record.get("protected") else None,
            nvram=str(record["nvram"]) if record.get("nvram") else None,
            tpm=bool(record.get("tpm")),
        )


@dataclass(frozen=True)
class BackupScope:
    """What a backup is to hold, as a discovery found it, and how its guests are held.

    ``reasons`` has the codes of the problems that leave a guest unprotected, by its name. ``methods`` and
    ``filesystems`` map a guest's name or uuid to a method and to mount points (``*`` in the former stands for all
    others); ``order`` are groups of names or uuids, the first one held first. ``key`` signs the index of the manifests.
    """

    owner: str
    policy: str
    guests: tuple[DiscoveredGuest, ...]
    volumes: tuple[SavedVolume, ...]
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    order: tuple[tuple[str, ...], ...] = ()
    filesystems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    key: Optional[ManifestKey] = None

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> BackupScope:
        """Read the options that both modules have; raises :class:`InputError`."""
        reasons: dict[str, tuple[str, ...]] = {}
        for problem in options["problems"]:
            if problem.get("severity") == "error" and problem.get("guest"):
                guest = str(problem["guest"])
                reasons[guest] = (*reasons.get(guest, ()), str(problem["code"]))
        return cls(
            owner=checked_id(options["owner"], what="owner"),
            policy=options["policy"],
            guests=read_records(options["guests"], DiscoveredGuest.from_record, option="guests"),
            volumes=read_records(options["volumes"], SavedVolume.from_record, option="volumes"),
            reasons=reasons,
            methods=_methods(options["quiesce"] or {}),
            order=tuple(tuple(map(str, group)) for group in options["order"]),
            filesystems={word: _points(word, points) for word, points in (options["filesystems"] or {}).items()},
            key=ManifestKey.from_options(options),
        )

    @property
    def protected(self) -> list[tuple[str, str]]:
        """Uuid and name of the guests that would be saved."""
        return [(guest.uuid, guest.name) for guest in self.guests if guest.saved is not None]

    @property
    def everyone(self) -> list[tuple[str, str]]:
        """Uuid and name of all guests of the discovery."""
        return [(guest.uuid, guest.name) for guest in self.guests]


_RECORDS: dict[str, Any] = {"type": "list", "elements": "dict"}
BACKUP_SCOPE: Options = {
    "policy": {"type": "str", "default": "manual"},
    "guests": _RECORDS,
    "volumes": _RECORDS,
    "problems": {**_RECORDS, "default": []},
    "quiesce": {"type": "dict", "default": {}},
    "order": {"type": "list", "elements": "list", "default": []},
    "filesystems": {"type": "dict", "default": {}},
    "consistency": {"type": "str", "choices": list(STRONGEST_FIRST), "default": CRASH},
    "other_hosts": {"type": "dict", "default": {}},
}
"""The argument spec of what both modules have on what a backup is to hold and to reach."""


@dataclass(frozen=True)
class BackupRequest:
    """What one backup is asked for: its snapshots, the level that guests are to reach, how guests are held.

    ``patience`` are the seconds to wait for another backup's end.
    """

    name: str
    root: Path
    scope: BackupScope
    wanted: SnapshotRequest
    asked: str
    below: str
    go_on: bool
    hold_settings: HoldSettings
    patience: float
    consistency_groups: str
    other_hosts: Mapping[str, Sequence[str]]
    array: ArrayAccess

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> BackupRequest:
        """Read the module's options; raises :class:`InputError`."""
        name = checked_id(options["backup_id"], what="backup_id")
        check_name(name, new=True)
        scope = BackupScope.from_options(options)
        return cls(
            name=name,
            root=directory(options, "catalog_dir"),
            scope=scope,
            wanted=SnapshotRequest.checked(
                name=name,
                owner=scope.owner,
                snapmirror_label=options["snapmirror_label"],
                expiry_time=options["expiry_time"],
            ),
            asked=options["consistency"],
            below=options["below_consistency"],
            go_on=options["on_failure"] == "continue",
            hold_settings=GuardedSettings.from_options(options),
            patience=float(options["concurrency_timeout"]) if options["concurrency"] == "wait" else 0.0,
            consistency_groups=options["consistency_groups"],
            other_hosts=options["other_hosts"],
            array=ArrayAccess.from_options(options),
        )
