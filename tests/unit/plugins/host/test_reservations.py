# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose a persistent reservation on a LUN is, by what mpathpersist and sg_persist print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import reservations
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.lun_device import DeviceError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.reservations import Registrant

DEVICE = "/dev/mapper/lun1"
OWN, OTHER = "iqn.1994-05.com.redhat:hv1", "iqn.1994-05.com.redhat:hv2"
OWN_PORT, OTHER_PORT = "21:00:00:e0:8b:05:05:04", "21:00:00:e0:8b:05:05:99"

NONE = "  PR generation=0x0, there is NO reservation held \n"
HELD = "  PR generation=0x2, Reservation follows:\n   Key = 0x123abc\n  scope = LU_SCOPE, type = Write Exclusive\n"
SHARED = HELD.replace("Write Exclusive", "Write Exclusive, registrants only")
SG_HELD = """  NETAPP    LUN C-Mode        9161
  Peripheral device type: disk
  PR generation=0x2, Reservation follows:
    Key=0x123abc
    scope: LU_SCOPE,  type: Exclusive Access
"""


def mpath(*registered: tuple[str, str, bool]) -> str:
    """READ FULL STATUS as mpathpersist prints it: key, iSCSI name, holder."""
    text = "  PR generation=0x2\n"
    for key, name, holder in registered:
        text += f"   Key = {key}\n      All target ports bit clear\n      Relative port address: 0x1\n"
        if holder:
            text += "      << Reservation holder >>\n      scope = LU_SCOPE, type = Write Exclusive\n"
        else:
            text += "      not reservation holder\n"
        text += f"      Transport Id of initiator:\n   iSCSI transport\n   iSCSI name: {name}\n"
    return text


def sg(*registered: tuple[str, str, bool]) -> str:
    """READ FULL STATUS as sg_persist prints it for Fibre Channel: key, WWPN, holder."""
    text = "  NETAPP    LUN C-Mode        9161\n  Peripheral device type: disk\n  PR generation=0x2\n"
    for key, port, holder in registered:
        text += f"    Key={key}\n      All target ports bit clear\n      Relative port address: 0x401\n"
        text += "      << Reservation holder >>\n" if holder else "      not reservation holder\n"
        text += f"      Transport Id of initiator:\n        FCP-2 World Wide Name:\n 00     {port.replace(':', ' ')}\n"
    return text


class Lun:
    """A LUN that is asked by programs; what is not given does not answer."""

    def __init__(self, **said: Optional[str]) -> None:
        self.said = said

    def run(self, arguments: Sequence[str]) -> bytes:
        name = arguments[0]
        if name == "multipathd":
            assert arguments == ["multipathd", "getprkey", "map", "lun1"]
            key = "own"
        else:
            assert arguments[1] == "--in"
            assert arguments[3] == DEVICE
            key = f"{name}_{'held' if arguments[2] == '--read-reservation' else 'status'}"
        said = self.said.get(key)
        if said is None:
            raise DeviceError(f"Failed to run {name}: it is not installed on this host")
        return said.encode()


MINE, THEIRS = ("0x123abc", f"{OWN},i,0x00023d000001", True), ("0x123abc", f"{OTHER},i,0x00023d000001", True)
BESIDE = ("0x7", OTHER, False)


@pytest.mark.parametrize(
    ("lun", "foreign", "says"),
    [
        (Lun(), None, ""),
        (Lun(mpathpersist_held=NONE), None, ""),
        (Lun(mpathpersist_held=HELD, mpathpersist_status=mpath(MINE)), False, "by this host"),
        (Lun(mpathpersist_held=HELD, mpathpersist_status=mpath(THEIRS)), True, f"by other hosts: {OTHER}"),
        (Lun(mpathpersist_held=HELD, mpathpersist_status=mpath(BESIDE, MINE)), False, "by this host"),
        (Lun(mpathpersist_held=SHARED, mpathpersist_status=mpath(BESIDE, MINE)), True, OTHER),
        (Lun(mpathpersist_held=SHARED, mpathpersist_status=mpath(MINE)), False, "by this host"),
        (Lun(sg_persist_held=SG_HELD, sg_persist_status=sg(("0x123abc", OWN_PORT, True))), False, "by this host"),
        (
            Lun(sg_persist_held=SG_HELD, sg_persist_status=sg(("0x123abc", OTHER_PORT, True))),
            True,
            "210000e08b050599",
        ),
        (Lun(mpathpersist_held=HELD, mpathpersist_status=mpath()), True, "is unknown"),
        (Lun(mpathpersist_held=HELD), True, "(key 0x123abc), and the host that holds it is unknown"),
        (Lun(mpathpersist_held=HELD, own="0x0000000000123abc\n"), False, "by this host"),
        (Lun(mpathpersist_held=SHARED, own="0x123abc\n"), True, "is unknown"),
        (Lun(mpathpersist_held=HELD, own="0x9\n"), True, "is unknown"),
        (Lun(mpathpersist_held=HELD, own="none\n"), True, "is unknown"),
        (
            Lun(mpathpersist_held=HELD, mpathpersist_status=mpath(("0x123abc", "?", True)), own="0x123abc"),
            False,
            "by this host",
        ),
    ],
)
def test_whose_a_reservation_is(lun: Lun, foreign: Optional[bool], says: str) -> None:
    own = [OWN, "0x210000e08b050504"]
    held = reservations.reservation_on(DEVICE, own, run=lun.run)
    assert (None if held is None else held.foreign) == foreign
    if held is not None:
        assert held.text.startswith(f"a persistent reservation is held on {DEVICE} (key 0x123abc)")
        assert says in held.text


def test_registrants_are_told_apart() -> None:
    assert reservations.registrants_of(mpath(BESIDE, MINE)) == (
        Registrant("0x7", OTHER, holder=False),
        Registrant("0x123abc", OWN, holder=True),
    )
    assert reservations.registrants_of("  PR generation=0x0, there are NO registered reservation keys\n") == ()
