# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease that a playbook writes into this host's catalog for a reader on another host: ``kvm_backup_lease``.

No process of this host stands behind such a lease: it lasts until it is removed or its time is over.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import store
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks import lease
from ansible_collections.kvmsnap.ontap.plugins.module_utils._locks.lease import Lease
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import directory

LONGEST_SECONDS = 7 * 86400
LONGEST_WORD = 255


@dataclass(frozen=True)
class LeaseRequest:
    """Which lease is ``wanted``, or wanted no more: the backup, the reader's host, for what, for how many seconds."""

    wanted: bool
    root: Path
    backup_id: str
    lease_id: str
    purpose: str
    identity: str
    reader: str
    seconds: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> LeaseRequest:
        """Read the module's options; raises :class:`InputError`."""
        seconds = int(options["seconds"])
        if not 0 < seconds <= LONGEST_SECONDS:
            raise InputError(
                f"seconds is {seconds}; a lease lasts from 1 to {LONGEST_SECONDS} seconds. Nothing was written",
                option="seconds",
            )
        words = {key: str(options[key] or "") for key in ("purpose", "identity", "reader")}
        for key, word in words.items():
            if len(word) > LONGEST_WORD:
                raise InputError(f"{key} is longer than {LONGEST_WORD} characters; nothing was written", option=key)
        wanted = options["state"] == "present"
        if wanted and not words["reader"]:
            raise InputError("reader is empty; name the host that reads. Nothing was written", option="reader")
        return cls(
            wanted=wanted,
            root=directory(options, "catalog_dir"),
            backup_id=checked_id(options["backup_id"], what="backup_id"),
            lease_id=checked_id(options["lease_id"], what="lease_id") if options["lease_id"] else secrets.token_hex(8),
            seconds=seconds,
            **words,
        )


def run(request: LeaseRequest, *, check: bool) -> dict[str, Any]:
    """Write or remove a lease and return the module's result; with ``check`` nothing is written.

    Raises :class:`CatalogError`, :class:`LeasedError` for a backup that is being deleted, and :class:`KvmsnapError`
    when the catalog cannot be written.
    """
    return _present(request, check) if request.wanted else _absent(request, check)


def _present(request: LeaseRequest, check: bool) -> dict[str, Any]:
    manifest = store.load(request.root, request.backup_id)
    if manifest is None:
        raise CatalogError(
            f"There is no backup {request.backup_id} in the catalog {request.root}; nothing was written",
            backup_id=request.backup_id,
        )
    now = time.time()
    wanted = Lease(
        lease_id=request.lease_id,
        name=request.backup_id,
        purpose=request.purpose,
        identity=request.identity,
        host=request.reader,
        since=_formatted(now),
        ends=now + request.seconds,
    )
    if not check:
        lease.grant(request.root, wanted)
    return {
        "changed": True,
        "lease_id": wanted.lease_id,
        "ends": _formatted(wanted.ends),
        "owner": manifest.owner,
        "owned": store.origin_of(request.root, request.backup_id).owned,
    }


def _absent(request: LeaseRequest, check: bool) -> dict[str, Any]:
    there = lease.is_written(request.root, request.backup_id, request.lease_id)
    if there and not check:
        lease.end(request.root, request.backup_id, request.lease_id)
    return {"changed": there, "lease_id": request.lease_id}


def _formatted(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="seconds")
