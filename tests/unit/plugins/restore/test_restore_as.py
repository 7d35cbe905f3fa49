# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Table of the host on which a guest is brought back under a new name."""

from __future__ import annotations

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.restore_as import host_beside

HOSTS = {
    "hv1": [{"name": "web1", "uuid": "u1"}, {"name": "twin", "uuid": "u2"}],
    "hv2": [{"name": "db1", "uuid": "u3"}, {"name": "twin", "uuid": "u4"}],
}


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
    assert host_beside([guest], HOSTS, named) == host


def test_the_only_host_gets_a_guest_that_nobody_defines() -> None:
    assert host_beside(["ghost"], {"hv1": []}, "") == "hv1"


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
        host_beside(wanted, HOSTS, named)
