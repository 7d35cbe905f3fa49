# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A finding, and whom it is about."""

from __future__ import annotations

from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem, errors_of

FOUND = Problem("local-file", "error", "it lies on this host\x1b", "Move it.\x00")


def test_a_finding_hides_nothing() -> None:
    assert (FOUND.message, FOUND.remedy) == ("it lies on this host\\x1b", "Move it.\\x00")


def test_a_finding_becomes_that_of_a_guest_and_a_disk() -> None:
    assert FOUND.on("disk vda of guest web1", guest="web1", disk="vda").as_dict() == {
        "code": "local-file",
        "severity": "error",
        "message": "disk vda of guest web1: it lies on this host\\x1b",
        "remedy": "Move it.\\x00",
        "guest": "web1",
        "disk": "vda",
    }
    assert FOUND.on("guest web1", guest="web1").disk is None
    assert FOUND.guest is None


def test_only_errors_leave_something_unprotected() -> None:
    warning, note = (Problem("path-failed", severity, "m", "r") for severity in ("warning", "info"))
    second = Problem("network-disk", "error", "m", "r")
    assert errors_of([warning, FOUND, note, second]) == [FOUND, second]
