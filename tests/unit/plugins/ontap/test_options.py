# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options are those that the documentation tells."""

from __future__ import annotations

from typing import Any

import yaml

from ansible_collections.kvmsnap.ontap.plugins.doc_fragments.ontap import ModuleDocFragment
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.options import (
    controllers_argument,
    unanswered_argument,
    volume_options,
)


def told(options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the documentation and an argument spec both say of each option."""
    return {
        name: {key: option.get(key) for key in ("type", "default")} | {"required": option.get("required", False)}
        for name, option in options.items()
    }


def test_the_documentation_tells_of_each_connection_option() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]["controllers"]
    argument = controllers_argument()
    assert told({"controllers": argument}) == told({"controllers": documented})
    assert told(argument["options"]) == told(documented["suboptions"])
    assert controllers_argument(required=False)["required"] is False


def test_no_password_is_logged() -> None:
    assert controllers_argument()["options"]["password"]["no_log"] is True


def test_what_may_come_to_be_later_is_a_volume_with_its_uuid_and_a_job() -> None:
    argument = unanswered_argument()
    assert set(argument["options"]) == {*volume_options(), "job", "seen"}
    assert {name for name, option in argument["options"].items() if option.get("required")} == {
        "svm",
        "volume",
        "volume_uuid",
    }
    assert volume_options()["volume_uuid"] == {"type": "str"}, "it is a need of this option alone"
