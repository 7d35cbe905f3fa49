# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUNs over iSCSI: what is read of ``tgtadm``, and what happens when it does not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from ontapsim.san import NoTarget, SanError, Target, Unit
from ontapsim.tgt import Served, Tgt, parse_targets

HV1 = "iqn.2026-01.org.example:hv1"
SHOWN = """\
Target 1: iqn.1992-08.com.netapp:sn.aa:vs.3
    System information:
        Driver: iscsi
        State: ready
    I_T nexus information:
        I_T nexus: 1
            Initiator: iqn.2026-01.org.example:hv1 alias: hv1
            Connection: 0
                IP Address: 10.77.1.1
    LUN information:
        LUN: 0
            Type: controller
            SCSI SN: beaf10
            Backing store path: None
        LUN: 3
            Type: disk
            SCSI SN: w$J7N+Q?=/]z
            Size: 67 MB, Block size: 512
            Online: No
            Backing store path: /lab/a
    Account information:
    ACL information:
        10.0.0.1
        iqn.2026-01.org.example:hv1
Target 2: iqn.1992-08.com.netapp:sn.bb:vs.3
    I_T nexus information:
        I_T nexus: 2
            Initiator: iqn.2026-01.org.example:hv1 alias: hv1
    LUN information:
    ACL information:
"""


def test_what_tgtadm_prints_is_read() -> None:
    assert parse_targets(SHOWN) == {
        "iqn.1992-08.com.netapp:sn.aa:vs.3": Served(
            1,
            {"10.0.0.1", HV1},
            {
                3: {
                    "Type": "disk",
                    "SCSI SN": "w$J7N+Q?=/]z",
                    "Size": "67 MB, Block size: 512",
                    "Online": "No",
                    "Backing store path": "/lab/a",
                }
            },
        ),
        "iqn.1992-08.com.netapp:sn.bb:vs.3": Served(2),
    }


def test_a_wwid_is_made_of_the_serial() -> None:
    assert Unit(0, "/x", "wOj7N$QPt5OO").wwid == "3600a0980774f6a374e24515074354f4f"
    assert Unit(0, "/x", "81C91$QXsh5a").wwid == "3600a0980383143393124515873683561"


def test_without_a_target_nothing_happens(tmp_path: Path) -> None:
    file = tmp_path / "lun"
    NoTarget().reconcile([Target("t", (), (Unit(0, str(file), "s"),))])
    assert not file.exists()


@pytest.mark.parametrize("command", [["/none/tgtadm"], ["false"]])
def test_a_target_that_does_not_answer_is_told(command: list[str]) -> None:
    with pytest.raises(SanError, match=command[0]):
        Tgt(command, []).reconcile([])
