# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection options of every module that talks to ONTAP."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation of ``controllers``."""

    DOCUMENTATION = r"""
options:
  controllers:
    description:
      - The ONTAP systems to talk to, one entry for each management LIF of a cluster or of an SVM.
      - The REST API is used. ONTAP 9.11.1 is the oldest release that is accepted.
      - Proxy variables and C(REQUESTS_CA_BUNDLE) in the environment are not used.
    type: list
    elements: dict
    required: true
    suboptions:
      hostname:
        description:
          - Name or address of the management LIF, without C(https://) and without a port.
          - A name must resolve on the host that runs the module. An IPv6 address may be given in brackets.
        type: str
        required: true
      port:
        description:
          - TCP port of the REST API.
        type: int
        default: 443
      username:
        description:
          - User of the system, allowed to use the application C(http).
          - Mutually exclusive with O(controllers[].cert_filepath).
        type: str
      password:
        description:
          - Password of O(controllers[].username).
        type: str
      cert_filepath:
        description:
          - Path of a client certificate (PEM) on the host that runs the module, to log in without a password.
        type: path
      key_filepath:
        description:
          - Path of the private key (PEM) of O(controllers[].cert_filepath), unless it stands in the same file.
        type: path
      validate_certs:
        description:
          - Whether the certificate of the system must be trusted and must name O(controllers[].hostname).
          - Switch this off only where nobody can come between the host and the system.
        type: bool
        default: true
      ca_path:
        description:
          - Path of the CA certificate (PEM), or of a directory of them, on the host that runs the module.
          - If not given, the CA certificates that the Python library C(requests) knows are used.
        type: path
      timeout:
        description:
          - Seconds to wait for the answer to one request.
        type: int
        default: 30
requirements:
  - python >= 3.9 on the host that runs the module
  - netapp-ontap >= 9.17.1 (a Python library) on the host that runs the module
"""
