# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible inventory of the lab: one KVM host, and the array as that host reaches it."""

from __future__ import annotations

import json
import shlex
from typing import Any

from . import topology
from .host import Host


def host_entry(host: Host) -> dict[str, Any]:
    """Return a host's variables."""
    return {
        "ansible_host": topology.HOST_ADDRESS,
        "ansible_port": host.port,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(host.places.private_key),
        "ansible_ssh_args": "-F none",
        "ansible_ssh_common_args": shlex.join(host.ssh_options),
        "ansible_ssh_pipelining": True,
        "ansible_python_interpreter": topology.PYTHON_ON_HOST,
    }


def inventory(host: Host) -> dict[str, Any]:
    """Return the inventory as a dictionary."""
    return {
        "kvm_hosts": {
            "hosts": {topology.HOST: host_entry(host)},
            "vars": {
                "kvm_controllers": [
                    {
                        "hostname": "cluster1",
                        "username": topology.REST_USER,
                        "password": topology.REST_PASSWORD,
                        "ca_path": topology.CA_ON_HOST,
                    }
                ]
            },
        }
    }


def inventory_text(host: Host) -> str:
    """Return the inventory as YAML (JSON is YAML, and needs no library)."""
    return json.dumps(inventory(host), indent=2) + "\n"
