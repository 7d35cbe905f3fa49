#!/usr/bin/python
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module: whether a KVM host and its storage are ready for backups and restores."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kvm_preflight_info
short_description: Check whether a KVM host and its ONTAP storage are ready for backups and restores
version_added: 0.1.0
description:
  - Looks at names, tools, libraries, libvirt, directories, credentials, rights and clocks, and returns each finding
    with what to do about it. Only reads, on the host and on ONTAP.
  - Every controller, every server of an NFS mount and the host's own name must resolve on the KVM host. The answer of
    the host's resolver counts; the module derives from C(/etc/hosts) and C(/etc/nsswitch.conf) which
    source gave it. Addresses given instead of names are accepted.
  - Rights are tried by reading each kind of object that the collection uses. What would change the array is not tried
    and is returned as such, with the commands that grant it.
author:
  - The kvmsnap.ontap authors (@kvmsnap)
extends_documentation_fragment:
  - kvmsnap.ontap.ontap
  - kvmsnap.ontap.attributes
  - kvmsnap.ontap.attributes.actiongroup_ontap
  - kvmsnap.ontap.catalog
  - kvmsnap.ontap.hold
  - kvmsnap.ontap.libvirt
  - kvmsnap.ontap.libvirt.files
  - kvmsnap.ontap.retry
options:
  config_dir:
    description: Directory of the guests' XML files, as C(KVM_VM_CONFIG_DIR) of the Snap Creator plug-in.
  catalog_dir:
    description: Directory of the catalog on the KVM host. It need not exist yet.
  hold_dir:
    description: Directory of the records of held guests, as in M(kvmsnap.ontap.kvm_vm_quiesce). It need not exist yet.
  sc_agent_timeout:
    description: Seconds that a whole operation may take, as C(SC_AGENT_TIMEOUT). The plug-in's rule is 600 or higher.
    type: int
    default: 600
  retry_count:
    description:
      - How often a failed command that may be repeated safely is run again, as C(KVM_CMD_RETRY_COUNT).
      - Applies to the calls of this module as well.
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: The module changes nothing.
"""

EXAMPLES = r"""
- name: Check the host and the storage
  kvmsnap.ontap.kvm_preflight_info:
    controllers:
      - hostname: cluster1.example.com
        username: kvmsnap
        password: "{{ vault_ontap_password }}"
        ca_path: /etc/kvmsnap/ca.pem
  register: preflight

- name: Stop on errors
  ansible.builtin.assert:
    that: preflight.ok
    fail_msg: "{{ preflight.summary | join('\n') }}"
"""

RETURN = r"""
ok:
  description: Whether no finding with severity V(error) failed.
  returned: success
  type: bool
findings:
  description: The findings, failed ones first, errors before warnings.
  returned: success
  type: list
  elements: dict
  contains:
    check:
      description:
        - The kind of check, a stable word.
        - One of V(sc-agent-timeout), V(retry-count), V(controller-name), V(nfs-server-name), V(nfs-server-lif),
          V(host-name), V(multipath), V(multipathd), V(multipath-paths), V(multipath-wwid), V(libvirt), V(version),
          V(host-tool), V(config-dir), V(catalog-dir), V(catalog-space), V(hold-dir), V(directory-mode),
          V(directory-answer), V(volume-directory), V(controller-connection), V(controller-tls), V(controller-login),
          V(ontap-version), V(clock-skew) and V(controller-right).
      returned: success
      type: str
      sample: controller-name
    object:
      description: What was looked at.
      returned: success
      type: str
      sample: cluster1.example.com
    ok:
      description: Whether it is as it should be.
      returned: success
      type: bool
    severity:
      description: V(error), V(warning) or V(info). V(info) when it is as it should be.
      returned: success
      type: str
    message:
      description: What was found.
      returned: success
      type: str
      sample: 198.51.100.10
    source:
      description: Where the answer comes from, such as V(/etc/hosts) or V(DNS) for a name. May be empty.
      returned: success
      type: str
      sample: /etc/hosts
    remedy:
      description: What to do about it. Empty when it is as it should be, and was looked at in full.
      returned: success
      type: str
summary:
  description: The findings in lines for people.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._module import AnsibleModule
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.options import controllers_argument
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import CATALOG, HOLD, LIBVIRT, LIBVIRT_FILES, RETRY
from ansible_collections.kvmsnap.ontap.plugins.module_utils._preflight import probe
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import presentable


def argument_spec() -> dict[str, Any]:
    """Return the module's argument spec."""
    return {
        "controllers": controllers_argument(),
        **LIBVIRT,
        **LIBVIRT_FILES,
        **CATALOG,
        **HOLD,
        "sc_agent_timeout": {"type": "int", "default": 600},
        **RETRY,
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        request = probe.PreflightRequest.from_options(module.params)
        module.exit_json(**presentable(probe.examine(request, ansible_version=module.ansible_version)))
    except KvmsnapError as exc:
        module.fail_json(**exc.as_result())


if __name__ == "__main__":
    main()
