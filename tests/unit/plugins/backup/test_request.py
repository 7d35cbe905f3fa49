# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup is asked for, as its modules' options say it."""

from __future__ import annotations

from typing import Any

import pytest
import samples

from ansible_collections.kvmsnap.ontap.plugins.module_utils._backup.request import BackupScope
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError


def options(**changes: Any) -> dict[str, Any]:
    """The options that both modules of a backup have."""
    return {
        "owner": "hv1",
        "policy": "daily",
        "guests": [samples.guest(), samples.guest("off", "OFF-UUID", protected=False)],
        "volumes": [samples.volume("vol1")],
        "problems": [],
        "quiesce": {"*": "auto"},
        "order": [["web1"], ["off"]],
        "filesystems": {"web1": ["/srv"]},
        "manifest_key": None,
        **changes,
    }


def test_what_a_discovery_found_is_read_once() -> None:
    problems = [
        {"severity": "error", "guest": "off", "code": "local-file"},
        {"severity": "error", "guest": "off", "code": "no-agent"},
        {"severity": "warning", "guest": "web1", "code": "iso-attached"},
        {"severity": "error", "guest": None, "code": "libvirt-unreachable"},
    ]
    scope = BackupScope.from_options(options(problems=problems))
    assert scope.protected == [(samples.WEB, "web1")]
    assert scope.everyone == [(samples.WEB, "web1"), ("OFF-UUID", "off")]
    assert scope.reasons == {"off": ("local-file", "no-agent")}
    assert (scope.order, scope.filesystems) == ((("web1",), ("off",)), {"web1": ("/srv",)})
    assert scope.key is None


@pytest.mark.parametrize("typed", ["/srv,/var", "/srv, /var,", [" /srv", "/var "]])
def test_mount_points_may_be_a_text(typed: Any) -> None:
    assert BackupScope.from_options(options(filesystems={"web1": typed})).filesystems == {"web1": ("/srv", "/var")}


def test_a_guest_that_is_not_protected_need_not_be_told_in_full() -> None:
    (off,) = BackupScope.from_options(options(guests=[{"name": "off", "uuid": "u", "protected": False}])).guests
    assert (off.saved, off.nvram, off.tpm) == (None, None, False)


@pytest.mark.parametrize(
    ("change", "option", "message"),
    [
        ({"owner": "../x"}, "owner", "owner '../x' cannot be used"),
        ({"guests": [{"name": "web1"}]}, "guests", "Failed to read guests: it has no 'uuid'; give"),
        ({"guests": ["web1"]}, "guests", "Failed to read guests: "),
        (
            {"volumes": [{"svm": "svm1"}]},
            "volumes",
            "Failed to read volumes: its 'controller' is missing or is no text; give",
        ),
        (
            {"guests": [samples.guest(disks=[samples.disk(storage={**samples.storage(), "kind": "lun"})])]},
            "guests",
            "Failed to read guests: a storage of kind 'lun' lacks the identity of a LUN",
        ),
        ({"manifest_key": {"id": "k1", "key": "c2hvcnQ="}}, "manifest_key", "give at least 16 bytes"),
        ({"quiesce": {"*": "agnet"}}, "quiesce", "quiesce is 'agnet' for *; it can be auto, agent, suspend,"),
        ({"quiesce": {"web1": None}}, "quiesce", "quiesce is None for web1; it can be auto, agent, suspend,"),
        ({"filesystems": {"web1": 5}}, "filesystems", "filesystems is 5 for web1; give its mount points"),
        ({"filesystems": {"web1": False}}, "filesystems", "filesystems is False for web1; give its mount points"),
        ({"filesystems": {"web1": {"/srv": 1}}}, "filesystems", "for web1; give its mount points"),
        ({"filesystems": {"web1": ["/srv", None]}}, "filesystems", "for web1; give its mount points"),
    ],
)
def test_what_cannot_be_used_is_refused(change: dict[str, Any], option: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        BackupScope.from_options(options(**change))
    assert message in caught.value.message
    assert caught.value.fields.get("option") == option
