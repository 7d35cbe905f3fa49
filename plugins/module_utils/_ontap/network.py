# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LIFs: which SVM answers at an address."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.query import any_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline

_FIELDS = (
    "uuid",
    "name",
    "ip.address",
    "svm.name",
    "svm.uuid",
    "services",
    "state",
    "enabled",
    "scope",
    "ipspace.name",
)


@dataclass(frozen=True)
class Lif:
    """One logical interface. ``svm`` and ``svm_uuid`` are ``None`` for one of the cluster's own."""

    controller: str
    name: str
    uuid: str
    address: str
    svm: Optional[str]
    svm_uuid: Optional[str]
    services: tuple[str, ...]
    state: str
    enabled: bool
    scope: str
    ipspace: Optional[str]

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, controller: str) -> Lif:
        """Read a record of ``GET /network/ip/interfaces``."""
        svm = record.get("svm") or {}
        return cls(
            controller=controller,
            name=str(record["name"]),
            uuid=str(record["uuid"]),
            address=normal_address(str((record.get("ip") or {}).get("address", ""))),
            svm=svm.get("name"),
            svm_uuid=svm.get("uuid"),
            services=tuple(str(service) for service in record.get("services") or ()),
            state=str(record.get("state", "up")),
            enabled=bool(record.get("enabled", True)),
            scope=str(record.get("scope", "svm")),
            ipspace=(record.get("ipspace") or {}).get("name"),
        )

    @property
    def serves_nfs(self) -> bool:
        """Whether NFS clients are served here."""
        return "data_nfs" in self.services


def normal_address(text: str) -> str:
    """Return an address in its one canonical form; what is no address comes back as it is."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return text


def find_lifs(client: Client, addresses: Iterable[str], *, deadline: Optional[Deadline] = None) -> list[Lif]:
    """Return the LIFs with one of ``addresses`` (in any notation), in one call; none asked, none returned.

    Source: ``GET /network/ip/interfaces``. :raises OntapError:
    """
    wanted = {normal_address(address) for address in addresses}
    if not wanted:
        return []
    params = {"ip.address": any_of(wanted)}
    records = client.records("/network/ip/interfaces", params, fields=_FIELDS, deadline=deadline)
    lifs = [Lif.from_record(record, controller=client.name) for record in records]
    return [lif for lif in lifs if lif.address in wanted]


def lifs_by_address(lifs: Iterable[Lif]) -> dict[str, tuple[Lif, ...]]:
    """Return the LIFs of each address; pure.

    More than one under an address means that the address exists in several IPspaces or on several systems: which SVM
    answers a client does not follow from the address. The same LIF found through two entries counts once.
    """
    by_address: dict[str, dict[str, Lif]] = {}
    for lif in lifs:
        by_address.setdefault(lif.address, {}).setdefault(lif.uuid, lif)
    return {address: tuple(found.values()) for address, found in by_address.items()}
