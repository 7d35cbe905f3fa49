# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person and a playbook get of one thing that was left."""

from __future__ import annotations

from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.leftover import Leftover

LEFT = Leftover("hold", "h1", "its run is dead", "released", act=lambda: None, fault="no libvirt")


def test_a_result_tells_of_it_and_of_what_failed() -> None:
    told = {"kind": "hold", "name": "h1", "message": "its run is dead", "action": "released"}
    assert LEFT.as_dict() == {**told, "error": None}
    assert LEFT.as_dict(error="Failed to release") == {**told, "error": "Failed to release"}


def test_a_person_reads_one_line() -> None:
    assert LEFT.line == "hold h1: its run is dead"
