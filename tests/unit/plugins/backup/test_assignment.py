# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each guest belongs to exactly one host of the play, or nothing is touched."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.assignment import assign
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError

HOSTS = {
    "hv1": [{"name": "web1", "uuid": "u1"}, {"name": "twin", "uuid": "u2"}],
    "hv2": [{"name": "db1", "uuid": "u3"}, {"name": "twin", "uuid": "u4"}],
}


def test_each_host_gets_its_own_once() -> None:
    assert assign(["db1", "web1", "u1", "web1"], HOSTS) == {"hv1": ["u1"], "hv2": ["u3"]}


def test_a_uuid_tells_twins_apart() -> None:
    assert assign(["u4"], HOSTS) == {"hv1": [], "hv2": ["u4"]}


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
