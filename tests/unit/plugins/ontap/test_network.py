# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LIFs: read from records, told apart where an address exists twice."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.network import Lif, lifs_by_address, normal_address

RECORD = {
    "uuid": "l1",
    "name": "svm1-nfs",
    "ip": {"address": "198.51.100.21"},
    "svm": {"name": "svm1", "uuid": "s1"},
    "services": ["data_core", "data_nfs"],
    "state": "up",
    "enabled": True,
    "scope": "svm",
    "ipspace": {"name": "Default"},
}


def test_a_record_as_ontap_writes_it() -> None:
    lif = Lif.from_record(RECORD, controller="c1")
    assert (lif.address, lif.svm, lif.svm_uuid, lif.ipspace, lif.serves_nfs) == (
        "198.51.100.21",
        "svm1",
        "s1",
        "Default",
        True,
    )


def test_a_lif_of_the_cluster_has_no_svm() -> None:
    lif = Lif.from_record({"uuid": "l2", "name": "mgmt", "ip": {"address": "198.51.100.10"}}, controller="c1")
    assert (lif.svm, lif.svm_uuid, lif.serves_nfs) == (None, None, False)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("198.51.100.21", "198.51.100.21"),
        ("2001:DB8:0:0::21", "2001:db8::21"),
        ("[2001:db8::21]", "2001:db8::21"),
        ("svm1-nfs", "svm1-nfs"),
    ],
)
def test_an_address_has_one_form(text: str, normal: str) -> None:
    assert normal_address(text) == normal


def test_an_address_in_two_ipspaces_shows() -> None:
    first = Lif.from_record(RECORD, controller="c1")
    again = Lif.from_record(RECORD, controller="svm1-mgmt")
    other = Lif.from_record({**RECORD, "uuid": "l9", "ipspace": {"name": "blue"}}, controller="c1")
    assert lifs_by_address([first, again, other]) == {"198.51.100.21": (first, other)}
