# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which other hosts the array gives a LUN to, asked of the simulated array before the LUN is overwritten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.answers import Answer
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.array_users import MAPS, RESERVATIONS, array_answers
from ansible_collections.kvmsnap.ontap.plugins.module_utils._gate.targets import Claim, LunTarget
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy
from ontapsim.testing import Running

LUN = "/vol/kvm_san1/luns/a"
INITIATOR = "iqn.2026-01.org.example:hv1"


@pytest.fixture
def client(sim: Running) -> Iterator[Client]:
    """A client of the least-privilege user."""
    option = {"hostname": "127.0.0.1", "port": sim.port, "username": "kvmsnap", "password": "lab-Kvmsnap1"}
    controller = Controller.from_option({**option, "ca_path": sim.ca_pem})
    with connect(controller, policy=RetryPolicy(first_delay=0.01, max_delay=0.02)) as logged_in:
        yield logged_in


@pytest.fixture
def uuid(client: Client) -> str:
    """The uuid of a LUN that is mapped to one igroup."""
    (record,) = client.records("/storage/luns", {"name": LUN})
    return str(record["uuid"])


def asked(client: Client, uuid: str | None, claim: Claim) -> dict[str, Answer]:
    answers = array_answers(LunTarget(LUN, uuid, None), claim, client, deadline=Deadline.after(30.0))
    return {answer.look: answer for answer in answers}


def test_a_host_that_was_not_asked_and_has_the_lun_is_a_user(client: Client, uuid: str) -> None:
    found = asked(client, uuid, Claim(frozenset()))
    (user,) = found[MAPS].users
    assert str(user) == f"the array gives the LUN to {INITIATOR}, too"
    assert "kvm_restore_disks_unused_elsewhere" in user.remedy
    assert found[RESERVATIONS].verdict == "not possible here"
    assert found[RESERVATIONS].impossible == "this host has no device of the LUN"


def test_one_that_was_asked_is_none(client: Client, uuid: str) -> None:
    assert asked(client, uuid, Claim(frozenset(), initiators=(INITIATOR,)))[MAPS].verdict == "nothing found"


def test_a_lun_that_is_not_there_is_given_to_nobody(client: Client) -> None:
    assert asked(client, None, Claim(frozenset()))[MAPS] == Answer(MAPS)


def test_what_a_person_says_of_other_hosts_is_told_as_that(client: Client, uuid: str) -> None:
    found = asked(client, uuid, Claim(frozenset(), unused_elsewhere=True))
    assert [(each.verdict, each.impossible) for each in found.values()] == [
        ("not possible here", "a person said that no other host uses it (disks_unused_elsewhere)")
    ] * 2


def test_an_array_that_does_not_tell_makes_the_look_impossible(sim: Running, client: Client, uuid: str) -> None:
    sim.control.add_fault(
        "status",
        match={"method": "GET", "path": "/protocols/san/lun-maps"},
        status=403,
        code="6",
        message="not allowed",
    )
    found = asked(client, uuid, Claim(frozenset()))[MAPS]
    assert (found.verdict, found.users) == ("not possible here", ())
    assert "not allowed" in found.impossible
