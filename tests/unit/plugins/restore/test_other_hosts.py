# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What other hosts say of their guests' disks, and which hosts' initiators are no news then."""

from __future__ import annotations

from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.other_hosts import known_initiators, uses_of

INITIATORS = {"hv2": ["iqn.hv2", "0x500a098000000001"], "hv3": ["iqn.hv3"], "hv4": []}


def guests(**disk: Any) -> list[dict[str, Any]]:
    """What a host says of its one guest with one disk."""
    device = {"target": "vda", "type": "block", "source": "/dev/mapper/a", "path": "/dev/dm-1", "storage": None}
    return [{"name": "db2", "uuid": samples.DB.upper(), "state": "running", "disks": [{**device, **disk}]}]


def test_a_disk_is_told_with_its_guest_and_host() -> None:
    (use,) = uses_of({"hv2": guests(storage=samples.storage("san1", "luns/a")), "hv3": [], "hv4": None})
    assert (use.uuid, use.place) == (samples.DB, ("svm1-uuid", "san1-uuid", "luns/a"))
    assert str(use) == "guest db2 (vda) of host hv2, running"


def test_what_lies_below_a_disk_is_told_too() -> None:
    below = [samples.storage("vol1", "base.qcow2")]
    own, base = uses_of({"hv2": guests(storage=samples.storage("vol1", "top.qcow2"), backing_storage=below)})
    assert (own.place, own.below) == (("svm1-uuid", "vol1-uuid", "top.qcow2"), False)
    assert (base.place, base.below) == (("svm1-uuid", "vol1-uuid", "base.qcow2"), True)
    assert str(base) == "guest db2 (below vda) of host hv2, running"


@pytest.mark.parametrize("said", [["db2"], [{"name": "db2"}], guests(storage={"path": "a"}), 3])
def test_what_other_hosts_say_must_be_guests(said: Any) -> None:
    with pytest.raises(InputError, match="hv2"):
        uses_of({"hv2": said})


@pytest.mark.parametrize(
    ("disk", "known"),
    [
        ({"storage": samples.storage("san1", "luns/a")}, True),
        ({}, False),
        ({"path": None}, False),
        ({"type": "hostdev", "path": None, "source": "0:0:1:0"}, False),
        ({"type": "volume", "path": None, "source": "iscsi/unit:0:0:1"}, False),
        ({"type": "volume", "path": "/dev/dm-3"}, False),
        ({"type": "volume", "path": "/srv/images/a.img"}, True),
        ({"type": "file", "path": "/srv/images/a.img", "source": "/srv/images/a.img"}, True),
        ({"type": "block", "path": None, "source": ""}, True),
        ({"type": "network", "path": None, "source": "rbd:pool/a"}, True),
        ({"device": "cdrom", "path": None, "source": "/dev/sr0"}, True),
        ({"device": "cdrom", "path": None, "source": "/dev/sdb"}, False),
        ({"device": "disk", "path": None, "source": "/dev/sr0"}, False),
    ],
)
def test_a_host_that_cannot_place_a_device_may_use_any_lun(disk: dict[str, Any], known: bool) -> None:
    found = known_initiators(INITIATORS, uses_of({"hv2": guests(**disk), "hv3": []}))
    assert found == ([*INITIATORS["hv2"], "iqn.hv3"] if known else ["iqn.hv3"])
