# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools of the host that end with 0 and print nonsense: values or a named error, whatever it is."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import multipath, reservations, sanlun

SANLUN = """\
controller(7mode/E-Series)/ device host lun
vserver(cDOT/FlashRay) lun-pathname filename adapter protocol size product
----------------------------------------------------------------
svm1 /vol/v/lun1 /dev/sdb host1 iSCSI 10g cDOT
             LUN Serial number: 80abc
"""
KEYS = """\
  PR generation=0x1
  Key=0x1234
    All target ports bit clear
    << Reservation holder >>
    scope: LU_SCOPE, type: Write Exclusive
    TransportID: iSCSI name: iqn.1994-05.com.redhat:x
"""
PATHS = "sdb|dm-1|running|ready\n##,##|8:16: cannot find block device\n"
PIECES = ("|", "\n", "9" * 400, "0x", "=", ":", "\x1b[2J", "\0")


def altered(text: str, chance: random.Random) -> str:
    """Return a text in which a few characters are others, are missing, or have something between them."""
    found = list(text)
    for _change in range(chance.randint(1, 12)):
        at = chance.randrange(len(found))
        found[at : at + 1] = chance.choice(([], [chance.choice(string.printable)], [found[at], chance.choice(PIECES)]))
    return "".join(found)


def paths_of(text: str) -> object:
    return multipath.ask_multipathd(find=lambda _name: "/sbin/multipathd", run=lambda *_command, **_how: text)


def is_told(read: Callable[[str], object], text: str) -> bool:
    """Tell whether it is read, or refused by an error that says something; any other error ends the test."""
    try:
        read(text)
    except KvmsnapError as exc:
        return bool(exc.message)
    return True


@pytest.mark.parametrize(
    ("read", "said"),
    [
        pytest.param(sanlun.parse, SANLUN, id="sanlun"),
        pytest.param(reservations.reserved_by, KEYS, id="who reserved"),
        pytest.param(reservations.registrants_of, KEYS, id="who is registered"),
        pytest.param(paths_of, PATHS, id="multipathd"),
    ],
)
def test_nonsense_is_a_value_or_a_named_error(read: Callable[[str], object], said: str) -> None:
    chance = random.Random(7)
    nonsense = [altered(said, chance) for _round in range(500)]
    assert [text for text in nonsense if not is_told(read, text)] == []
