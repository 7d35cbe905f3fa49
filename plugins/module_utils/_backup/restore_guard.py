# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore asks of a guest beyond its discovery, before anything is planned."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup import journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.restore_plan import GuestNow
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import managed_save
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import Domain, connect


def looked_at(options: Mapping[str, Any], restore_id: str, guests: Mapping[str, GuestNow]) -> dict[str, GuestNow]:
    """Return the guests (by uuid) with what libvirt says of each when it is asked for it alone."""
    if not guests:
        return {}
    images = journal.images_of(Path(options["catalog_dir"]), restore_id)
    with closing(connect(options["uri"], retry_count=options["retry_count"])) as host:
        found = {uuid: host.domain(uuid=uuid) for uuid in guests}
        return {
            uuid: _looked_at(now, domain, options["uri"], images) if domain else now
            for uuid, domain, now in ((uuid, found[uuid], now) for uuid, now in guests.items())
        }


def _looked_at(now: GuestNow, domain: Domain, uri: str, images: Path) -> GuestNow:
    image = managed_save.image_of(uri, domain.name)
    if not managed_save.is_there(domain, image):
        return replace(now, managed_save=False)
    return replace(now, managed_save=True, save_hindrance=managed_save.hindrance(image, images))
