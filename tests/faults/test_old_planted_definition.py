# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A definition that somebody put into a backup which another host hands over runs nothing and opens nothing here."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmground import Ground
from shown import shown

BACKUP = "hv1-daily_20261121020000"
VOLUME = "kvm_vol1"
GUEST = "p1"
EMULATOR = "/usr/bin/qemu-system-x86_64"
SCRIPT = """\
#!/bin/sh
echo "$0 $*" >> {marker}
exec {emulator} "$@"
"""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Return a private host with a guest and a backup of it."""
    with Ground.beside("planted") as found:
        found.guests.add_still(GUEST, VOLUME, running=False)
        found.back_up(BACKUP)
        yield found


def emulator(ground: Ground, module: str) -> Path:
    """Leave an emulator in the guest's volume, and return where; libvirt runs none twice that it has asked."""
    place = ground.volume(VOLUME) / f"emulator-{module}"
    script = ground.seen(place)
    script.write_text(SCRIPT.format(marker=marker(ground), emulator=EMULATOR), encoding="utf-8")
    script.chmod(0o755)
    return place


def marker(ground: Ground) -> Path:
    """Return the file in which the emulator tells that it was run."""
    return ground.places.run / "executed"


@pytest.fixture
def manifest(ground: Ground) -> Iterator[dict[str, Any]]:
    """Return the manifest of the backup, which no catalog has any more; the guest is not defined either."""
    backups = ground.seen(ground.catalog) / "backups"
    aside = backups.with_name("aside")
    backups.rename(aside)
    xml = ground.guests.domain(GUEST).XMLDesc(2)
    ground.guests.domain(GUEST).undefine()
    yield json.loads((aside / BACKUP / "manifest.json").read_text(encoding="utf-8"))
    shutil.rmtree(backups, ignore_errors=True)
    aside.rename(backups)
    marker(ground).unlink(missing_ok=True)
    for name in set(ground.guests.names()) - {GUEST}:
        ground.guests.domain(name).undefine()
    ground.guests.connection.defineXML(xml)


def planted(manifest: dict[str, Any], old: str, new: str) -> dict[str, str]:
    """Return the option for a manifest whose definitions were changed, by somebody who can compute its checksum."""
    record = {key: value for key, value in manifest.items() if key != "checksum"}
    for guest in record["guests"]:
        assert old in guest["xml"]
        guest["xml"] = guest["xml"].replace(old, new)
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    whole = {**record, "checksum": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"}
    return {"manifest": base64.b64encode(json.dumps(whole).encode("utf-8")).decode("ascii")}


def asked(module: str, given: dict[str, str]) -> dict[str, Any]:
    """Return the options of a module that would define the guest of the backup."""
    if module == "kvm_vm_clone":
        return {"name": "copy", "guest": GUEST, "backup_id": BACKUP, "backup_from": given}
    return {"guests": [GUEST], "backup_id": BACKUP, "backup_from": given, "define_missing": True}


@pytest.mark.parametrize("module", ["kvm_app_restore", "kvm_vm_clone"])
def test_an_emulator_in_the_volume_is_not_executed_in_check_mode(
    ground: Ground, manifest: dict[str, Any], module: str
) -> None:
    honest = ground.module(module, check=True, **asked(module, planted(manifest, EMULATOR, EMULATOR)))
    assert not honest.failed, honest.msg
    place = emulator(ground, module)
    given = planted(manifest, EMULATOR, str(place))
    outcome = ground.module(module, check=True, **asked(module, given))
    with shown("11.8: an emulator out of the volume is executed in check mode"):
        assert not marker(ground).exists()
    assert outcome.failed
    assert str(place) in outcome.msg


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("<serial type='file'><source path='/etc/cron.d/x'/></serial>", "/etc/cron.d"),
        ("<filesystem type='mount'><source dir='/'/><target dir='x'/></filesystem>", "devices/filesystem"),
        ("<disk type='file'><source file='/etc/shadow'/><target dev='vdz' bus='virtio'/></disk>", "/etc/shadow"),
        (
            "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/><product id='0x2'/></source></hostdev>",
            "usb",
        ),
        ("<rng model='virtio'><backend model='random'>/dev/sda</backend></rng>", "/dev/sda"),
    ],
    ids=["serial file", "shared root", "shadow", "host device", "random device"],
)
def test_what_reaches_out_is_refused_by_name_before_anything_is_defined(
    ground: Ground, manifest: dict[str, Any], part: str, named: str
) -> None:
    given = planted(manifest, "</devices>", f"{part}</devices>")
    planned = ground.module("kvm_app_restore", check=True, **asked("kvm_app_restore", given))
    made = ground.module("kvm_app_restore", **asked("kvm_app_restore", given))
    with shown("11.8: a planted definition reaches the host"):
        assert GUEST not in ground.guests.names()
        assert planned.failed
    for outcome in (planned, made):
        assert named in outcome.msg
        assert "definition-not-allowed" in json.dumps(outcome.result)
