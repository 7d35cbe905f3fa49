# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each guest belongs to exactly one host of the play, or nothing is touched."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.assignment import (
    Defined,
    DefinedGuest,
    assign,
    assign_into,
    defined_by,
    host_of_copy,
)

HOSTS = {
    "hv1": [DefinedGuest("web1", "u1"), DefinedGuest("twin", "u2")],
    "hv2": [DefinedGuest("db1", "u3"), DefinedGuest("twin", "u4")],
}


def test_what_a_discovery_told_is_read_by_host() -> None:
    told = {"hv1": [{"name": "web1", "uuid": "u1", "state": "running", "disks": []}], "hv2": []}
    assert defined_by(told) == {"hv1": (DefinedGuest("web1", "u1", "running"),), "hv2": ()}


def test_each_host_gets_its_own_once() -> None:
    assert assign(["db1", "web1", "u1", "web1"], HOSTS) == {"hv1": ["u1"], "hv2": ["u3"]}


def test_the_uuid_of_a_guest_means_no_other_that_has_it_for_a_name() -> None:
    hosts = {"hv1": [DefinedGuest("u3", "u9")], "hv2": [DefinedGuest("db1", "u3")]}
    assert assign(["u3", "u9"], hosts) == {"hv1": ["u9"], "hv2": ["u3"]}
    assert host_of_copy(["u3"], hosts, "") == "hv2"


def test_a_uuid_in_capitals_is_that_uuid_and_nobody_s_name() -> None:
    hosts = {"hv1": [DefinedGuest("U3", "u9")], "hv2": [DefinedGuest("db1", "u3")]}
    assert assign(["U3"], hosts) == {"hv1": [], "hv2": ["u3"]}
    assert assign(["U3", "db1", "u3"], hosts, "hv2") == {"hv1": [], "hv2": ["u3"]}
    assert host_of_copy(["U3"], hosts, "") == "hv2"


def test_a_uuid_tells_twins_apart() -> None:
    assert assign(["u4"], HOSTS) == {"hv1": [], "hv2": ["u4"]}


def cluster(*states: str) -> Defined:
    """Hosts that all define web1, which is in these states there."""
    return {f"hv{at}": [DefinedGuest("web1", "u1", state)] for at, state in enumerate(states, 1)}


@pytest.mark.parametrize("state", ["running", "paused", "crashed"])
@pytest.mark.parametrize("home", ["", "hv2"])
def test_a_guest_that_several_define_belongs_where_it_is_active(state: str, home: str) -> None:
    hosts = cluster("shutoff", state, "shutoff")
    assert assign(["web1", "u1"], hosts, home) == {"hv1": [], "hv2": ["u1"], "hv3": []}


@pytest.mark.parametrize(
    ("states", "home", "said"),
    [
        (("shutoff", "shutoff"), "", "web1 is defined on hv1, hv2; undefine it where it does not belong"),
        (("running", "shutoff", "running"), "", "web1 is defined on hv1, hv2, hv3 and not off on hv1, hv3; undefine"),
        (("running", "unknown"), "", "not off on hv1, hv2"),
        (("running", "shutoff"), "hv2", "web1 is defined on hv1, and hv2 is to have it"),
    ],
)
def test_a_guest_that_several_define_and_not_one_runs_is_refused(states: tuple[str, ...], home: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        assign(["web1"], cluster(*states), home)


def test_an_active_guest_of_the_same_name_only_is_another_one() -> None:
    hosts = {
        "hv1": [DefinedGuest("twin", "u2", "shutoff")],
        "hv2": [DefinedGuest("twin", "u4", "running")],
    }
    with pytest.raises(InputError, match="twin is defined on hv1, hv2; give its uuid"):
        assign(["twin"], hosts)


def test_faults_name_guest_and_hosts_all_at_once() -> None:
    with pytest.raises(InputError) as caught:
        assign(["twin", "ghost"], HOSTS)
    assert "twin is defined on hv1, hv2" in caught.value.message
    assert "ghost is defined on none of hv1, hv2" in caught.value.message


def test_a_guest_that_none_defines_goes_to_the_host_that_is_named() -> None:
    assert assign(["ghost", "web1", "ghost"], HOSTS, "hv1") == {"hv1": ["ghost", "u1"], "hv2": []}


def test_a_guest_of_another_host_than_the_named_one_is_refused_there() -> None:
    with pytest.raises(InputError, match="db1 is defined on hv2, and hv1 is to have it"):
        assign(["db1"], HOSTS, "hv1")


def test_a_named_host_must_be_one_of_the_play() -> None:
    with pytest.raises(InputError, match="hv9"):
        assign(["ghost"], HOSTS, "hv9")


@pytest.mark.parametrize(
    ("hosts", "share"),
    [
        (HOSTS, {"hv1": [], "hv2": ["old"]}),
        ({"hv1": cluster("shutoff")["hv1"], "hv2": [DefinedGuest("old", "u3")]}, {"hv1": [], "hv2": ["old"]}),
        (
            {
                "hv1": [DefinedGuest("db1", "u3", "shutoff")],
                "hv2": [DefinedGuest("db1", "u3", "running")],
            },
            {"hv1": [], "hv2": ["old"]},
        ),
    ],
)
def test_a_guest_is_restored_into_another_one_where_that_is(hosts: Defined, share: dict[str, list[str]]) -> None:
    assert assign_into(["old"], hosts, " U3 ") == share


@pytest.mark.parametrize(
    ("wanted", "into", "said"),
    [
        (["old", "db1"], "u3", "old, db1 into guest u3"),
        ([], "u3", "nothing into guest u3"),
        (["old"], "u9", "old into guest u9 .*guest u9 is defined on none of hv1, hv2"),
    ],
)
def test_a_guest_to_restore_into_is_one_and_known(wanted: list[str], into: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        assign_into(wanted, HOSTS, into)


@pytest.mark.parametrize(
    ("guest", "named", "host"),
    [
        ("web1", "", "hv1"),
        ("u3", "", "hv2"),
        ("u4", "", "hv2"),
        ("db1", "hv1", "hv2"),
        ("ghost", "hv2", "hv2"),
        ("twin", "hv2", "hv2"),
    ],
)
def test_the_host_that_defines_it_then_the_one_that_is_named(guest: str, named: str, host: str) -> None:
    assert host_of_copy([guest], HOSTS, named) == host


def test_the_only_host_gets_a_guest_that_nobody_defines() -> None:
    assert host_of_copy(["ghost"], {"hv1": []}, "") == "hv1"


@pytest.mark.parametrize(
    ("wanted", "named", "words"),
    [
        (["web1", "db1"], "", "one guest at a time"),
        ([], "", "nothing to a new name"),
        (["ghost"], "", "is defined on none of hv1, hv2"),
        (["twin"], "", "is defined on hv1, hv2"),
        (["web1"], "hv9", r"none of the play's hosts \(hv1, hv2\)"),
    ],
)
def test_what_the_hosts_do_not_tell_is_refused(wanted: list[str], named: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        host_of_copy(wanted, HOSTS, named)
