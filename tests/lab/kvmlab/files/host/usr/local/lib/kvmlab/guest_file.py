# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print a file of a guest, read through the guest agent's file calls.

usage: python3 guest_file.py GUEST PATH
"""

import base64
import json
import sys

import libvirt
import libvirt_qemu

CHUNK = 1 << 20
SECONDS = 20


def call(domain, command, **arguments):
    request = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, request, SECONDS, 0))["return"]


def main(guest, path):
    domain = libvirt.open("qemu:///system").lookupByName(guest)
    handle = call(domain, "guest-file-open", path=path, mode="r")
    try:
        while True:
            part = call(domain, "guest-file-read", handle=handle, count=CHUNK)
            sys.stdout.buffer.write(base64.b64decode(part["buf-b64"]))
            if part["eof"]:
                return
    finally:
        call(domain, "guest-file-close", handle=handle)


main(*sys.argv[1:])
