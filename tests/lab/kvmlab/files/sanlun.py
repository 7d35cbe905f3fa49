# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for the Linux Host Utilities: print LUNs in sanlun's documented forms, from what this host really sees.

What a host learns from the LUN itself (its path, the LIF's name) comes from a table beside it, which may lie.
usage: sanlun version | lun show [all] | lun show -d DEVICE | lun show -p [-v] [all | SVM | SVM:PATH]
"""

import json
import sys
from pathlib import Path

TABLE = Path("/etc/kvmlab/sanlun.json")
BLOCK = Path("/sys/block")
PREFIX = "3600a0980"
UNITS = ((1 << 40, "t"), (1 << 30, "g"), (1 << 20, "m"))


def read(path):
    return path.read_text(encoding="utf-8").strip()


def human(size):
    for unit, letter in UNITS:
        if size >= unit:
            number = size / unit
            return f"{number:.0f}{letter}" if number == int(number) else f"{number:.1f}{letter}"
    return str(size)


def table():
    return json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {"luns": {}, "lifs": {}}


def portal(disk):
    for part in (disk / "device").resolve().parents:
        if part.name.startswith("session"):
            (connection,) = part.glob("connection*")
            return read(connection / "iscsi_connection" / connection.name / "persistent_address")
    return ""


def path_of(disk):
    host, channel, target, lun = (disk / "device").resolve().name.split(":")
    state = read(disk / "device" / "state")
    return {
        "node": disk.name,
        "host": f"host{host}",
        "hctl": f"{host}:{channel}:{target}:{lun}",
        "lun": lun,
        "dev": read(disk / "dev"),
        "up": state == "running",
        "portal": portal(disk),
    }


def maps():
    """Yield each map of an ONTAP LUN: name, WWID, size in bytes, paths, path."""
    known = table()
    for entry in sorted(BLOCK.glob("dm-*"), key=lambda place: int(place.name[3:])):
        kind, _dash, wwid = read(entry / "dm" / "uuid").partition("-")
        if kind != "mpath" or not wwid.startswith(PREFIX) or wwid not in known["luns"]:
            continue
        disks = sorted(BLOCK / slave.name for slave in (entry / "slaves").iterdir())
        yield {
            "name": read(entry / "dm" / "name"),
            "wwid": wwid,
            "size": int(read(entry / "size")) * 512,
            "paths": [path_of(disk) for disk in disks],
            "path": known["luns"][wwid],
            "lifs": known["lifs"],
        }


def show_paths(found, verbose):
    device = found["name"] if found["name"] == found["wwid"] else f"{found['name']}({found['wwid']})"
    fields = [
        ("ONTAP Path", found["path"]),
        ("LUN", found["paths"][0]["lun"] if found["paths"] else "-"),
        ("LUN Size", human(found["size"])),
        ("Product", "cDOT"),
        ("Host Device", device),
        ("Multipath Policy", "service-time 0"),
    ]
    if verbose:
        fields += [("DM-MP Features", "0"), ("Hardware Handler", "0")]
    fields.append(("Multipath Provider", "Native"))
    print()
    for name, value in fields:
        print(f"{name:>30}: {value}")
    lifs = found["lifs"]
    if not verbose:
        line = "--------- ---------- ------- ------------ ----------------------------------------------"
        print(line)
        print("host      vserver")
        print("path      path       /dev/   host         vserver")
        print("state     type       node    adapter      LIF")
        print(line)
        for path in found["paths"]:
            state = "up" if path["up"] else "down"
            lif = lifs.get(path["portal"], path["portal"])
            print(f"{state:9} {'primary':10} {path['node']:7} {path['host']:12} {lif}")
        return
    line = "----------- --------- ---------- ------- ------------ ---------------- ----------"
    print(line)
    print("            host      vserver            host:")
    print("dm-mp       path      path       /dev/   chan:        vserver          major:")
    print("state       state     type       node    id:lun       LIF              minor")
    print(line)
    for path in found["paths"]:
        active, state = ("active", "up") if path["up"] else ("failed", "down")
        lif = lifs.get(path["portal"], path["portal"])
        row = f"{active:11} {state:9} {'primary':10} {path['node']:7} {path['hctl']:12} {lif:16} {path['dev']}"
        print(row)


def show_devices(device):
    print("controller(7mode/E-Series)/                           device     host               lun")
    print("vserver(cDOT/FlashRay)     lun-pathname               filename   adapter  protocol  size    product")
    print("-" * 101)
    for found in maps():
        svm, _colon, path = found["path"].partition(":")
        for entry in found["paths"]:
            node = f"/dev/{entry['node']}"
            if device in (None, node):
                row = f"{svm:26} {path:26} {node:10} {entry['host']:8} {'iSCSI':9} {human(found['size']):7} cDOT"
                print(row)


def main(words):
    if words == ["version"]:
        print("sanlun version 8.0.264.7216")
        return 0
    if words[:2] != ["lun", "show"]:
        print("usage: sanlun version | lun show [-p] [-v] [-d DEVICE] [all | SVM | SVM:PATH]", file=sys.stderr)
        return 1
    options = [word for word in words[2:] if word.startswith("-")]
    names = [word for word in words[2:] if not word.startswith("-") and word != "all"]
    if "-p" not in options:
        show_devices(names[0] if "-d" in options else None)
        return 0
    for found in maps():
        if not names or names[0] in (found["path"], found["path"].partition(":")[0]):
            show_paths(found, "-v" in options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
