# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sanlun prints, in the forms that several releases of the Linux Host Utilities print it."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.programs import ProgramError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.sanlun import Sanlun, SanlunLun, ask_sanlun, parse

WWID = "3600a0980383143393124515873683561"
TABLE = """----------- --------- ---------- ------- ------------ ---------- ----------
            host      vserver            host:
dm-mp       path      path       /dev/   chan:        vserver    major:
state       state     type       node    id:lun       LIF        minor
----------- --------- ---------- ------- ------------ ---------- ----------
active      up        primary    sdq    15:0:5:0     lif_18      65:0
active      up        secondary  sdt    15:0:4:0     lif_20      65:48
"""
PLAIN = f"""
                    ONTAP Path: vs_sanboot:/vol/sanboot_169/lun
                           LUN: 0
                      LUN Size: 150g
                       Product: cDOT
                   Host Device: {WWID}
              Multipath Policy: service-time 0
                DM-MP Features: 3 queue_if_no_path pg_init_retries 50
              Hardware Handler: 1 alua
            Multipath Provider: Native
{TABLE}"""
ALIASED = f"""ONTAP Path: svm1:/vol/kvm_san1/q t/a:b
        LUN: 17
   LUN Size: 4g
    Product: cDOT
Host Device: mpatha({WWID})
Multipath Provider: Native
{TABLE}"""
OLDER = f"""
                    ONTAP Path: svm1:/vol/v/old
                           LUN: 3
                      LUN Size: 15g
                          Mode: C
                   Host Device: mpathb ({WWID})
{TABLE}"""
SEVEN_MODE = """
               Controller Path: filer1:/vol/vol0/lun1
                           LUN: 0
                      LUN Size: 15g
           Controller CF State: Cluster Enabled
            Controller Partner: filer2
                          Mode: 7
                   Host Device: 360a98000486e2f65576f2f7a5a4f6a31
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("no LUNs found\n", []),
        (PLAIN, [SanlunLun("vs_sanboot", "/vol/sanboot_169/lun", "cDOT", WWID, "")]),
        (ALIASED, [SanlunLun("svm1", "/vol/kvm_san1/q t/a:b", "cDOT", "mpatha", WWID)]),
        (OLDER, [SanlunLun("svm1", "/vol/v/old", "C", "mpathb", WWID)]),
        (
            ALIASED.replace(f"mpatha({WWID})", "lun(1)"),
            [SanlunLun("svm1", "/vol/kvm_san1/q t/a:b", "cDOT", "lun(1)", "")],
        ),
        (SEVEN_MODE, [SanlunLun("filer1", "/vol/vol0/lun1", "7", "360a98000486e2f65576f2f7a5a4f6a31", "")]),
        ("ONTAP Path: broken\nHost Device: x\n", []),
        ("ONTAP Path: svm1:/vol/v/l\n\nONTAP Path: svm1:/vol/v/m\nHost Device: m\n", [("svm1", "/vol/v/m")]),
        ("Host Device: before any path\n", []),
    ],
)
def test_what_is_read(text: str, expected: list[Any]) -> None:
    found = parse(text)
    assert [
        each if isinstance(wanted, SanlunLun) else (each.owner, each.path) for each, wanted in zip(found, expected)
    ] == expected
    assert len(found) == len(expected)


def test_several_luns_and_modes() -> None:
    found = parse(PLAIN + "\n\n" + SEVEN_MODE + ALIASED)
    assert [(each.label, each.seven_mode) for each in found] == [
        ("vs_sanboot:/vol/sanboot_169/lun", False),
        ("filer1:/vol/vol0/lun1", True),
        ("svm1:/vol/kvm_san1/q t/a:b", False),
    ]


@pytest.mark.parametrize(
    ("text", "name", "wwid", "found"),
    [
        (PLAIN, WWID, WWID, True),
        (PLAIN, "mpatha", WWID, True),
        (PLAIN, "mpatha", None, False),
        (ALIASED, "mpatha", WWID, True),
        (ALIASED, "other", WWID, True),
        (ALIASED, "mpatha", "odd", True),
        (ALIASED, "other", "odd", False),
        (ALIASED.replace("mpatha", "lun(1)"), "lun(1)", "odd", True),
        (ALIASED.replace(f"mpatha({WWID})", "lun(1)"), "lun(1)", WWID, True),
        (ALIASED.replace(f"mpatha({WWID})", "lun(1)"), "lun", WWID, False),
    ],
)
def test_devices_are_found_by_name_and_wwid(text: str, name: str, wwid: Optional[str], found: bool) -> None:
    assert bool(Sanlun("/usr/sbin/sanlun", tuple(parse(text))).of(name=name, wwid=wwid)) is found


def test_asking() -> None:
    asked: list[Any] = []

    def run(command: list[str], *, seconds: float) -> str:
        asked.append((command, seconds > 0))
        return PLAIN

    assert ask_sanlun(find=lambda *_args: None, run=run) == Sanlun()
    assert asked == []
    found = ask_sanlun(find=lambda *_args: "/opt/netapp/santools/sanlun", run=run)
    assert found == Sanlun("/opt/netapp/santools/sanlun", tuple(parse(PLAIN)))
    assert asked == [(["/opt/netapp/santools/sanlun", "lun", "show", "-p"], True)]


def test_one_that_fails_says_so() -> None:
    def fails(*_args: Any, **_how: Any) -> str:
        raise ProgramError("Failed to run sanlun: no")

    assert ask_sanlun(find=lambda *_args: "/s", run=fails) == Sanlun("/s", error="Failed to run sanlun: no")
