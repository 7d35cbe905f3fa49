# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options of every module that talks to ONTAP; the doc fragment ``kvmsnap.ontap.ontap`` tells them."""

from __future__ import annotations

from typing import Any, get_args

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.files import Method


def controllers_argument(*, required: bool = True) -> dict[str, Any]:
    """Return the ``controllers`` entry of an argument spec."""
    return {
        "type": "list",
        "elements": "dict",
        "required": required,
        "options": {
            "hostname": {"type": "str", "required": True},
            "port": {"type": "int", "default": 443},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "cert_filepath": {"type": "path"},
            "key_filepath": {"type": "path", "no_log": False},
            "validate_certs": {"type": "bool", "default": True},
            "ca_path": {"type": "path"},
            "timeout": {"type": "int", "default": 30},
        },
        "required_together": [("username", "password")],
        "required_by": {"key_filepath": "cert_filepath"},
        "required_one_of": [("username", "cert_filepath")],
        "mutually_exclusive": [("username", "cert_filepath")],
    }


def method_argument() -> dict[str, Any]:
    """Return the ``method`` entry of an argument spec: how the array brings a file or LUN out of a snapshot."""
    return {"type": "str", "choices": ["auto", *get_args(Method)], "default": "auto"}


def volume_options() -> dict[str, Any]:
    """Return the suboptions that name a volume."""
    return {
        "svm": {"type": "str", "required": True},
        "volume": {"type": "str", "required": True},
        "volume_uuid": {"type": "str"},
        "controller": {"type": "str"},
    }


def unanswered_argument() -> dict[str, Any]:
    """Return the option that names snapshots which may come to be later."""
    options = {
        **volume_options(),
        "volume_uuid": {"type": "str", "required": True},
        "job": {"type": "str"},
        "seen": {"type": "bool", "default": False},
    }
    return {"type": "list", "elements": "dict", "default": [], "options": options}
