# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUNs over iSCSI: what a real tgtd, that of the lab's array image, serves after each change."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kvmlab.array import Array
from ontapsim.san import Target, Unit
from ontapsim.testclient import Api
from ontapsim.testing import Running, sample, start
from ontapsim.tgt import Portal, Tgt, parse_targets

HV1, ELSEWHERE = "iqn.2026-01.org.example:hv1", "iqn.2026-01.org.example:elsewhere"


@dataclass
class Daemon:
    """A tgtd of its own with a control socket and two portals."""

    array: Array
    socket: Path
    portals: list[Portal]
    process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """Return the command that speaks to it."""
        return self.array.target_program("tgtadm", control=self.socket)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = subprocess.Popen(
            [
                *self.array.target_program("tgtd", control=self.socket),
                *["-f", "--iscsi", f"portal={self.portals[0]}"],
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        words = [*self.command, "--mode", "sys", "--op", "show"]
        while subprocess.run(words, capture_output=True, check=False, timeout=20).returncode:
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=20)

    def show(self, mode: str = "target") -> str:
        """Return what it serves."""
        words = [*self.command, "--lld", "iscsi", "--mode", mode, "--op", "show"]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout

    def units(self) -> dict[str, dict[int, tuple[str, str]]]:
        """Return the serials and files by number, by target's name."""
        return {
            name: {
                number: (unit["SCSI SN"], unit["Backing store path"]) for number, unit in sorted(served.units.items())
            }
            for name, served in parse_targets(self.show()).items()
        }


def _free_ports() -> list[int]:
    """Return two ports that are free; the same one might be given twice to who asks for one after the other."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in (one, other)]


@pytest.fixture
def daemon(lab: Any, tmp_path: Path) -> Iterator[Daemon]:
    """A running tgtd of the lab's array image, with the first of its two portals."""
    portals = [Portal("127.0.0.1", port) for port in _free_ports()]
    daemon = Daemon(lab.array, tmp_path / "tgtd", portals)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


@pytest.fixture
def units(tmp_path: Path) -> list[Unit]:
    """Two units with files of 8 and 4 MiB."""
    found = []
    for number, (serial, size) in enumerate([("80D1xE4kZ9aB", 8), ("w$J7N+Q?=/]z", 4)], 1):
        file = tmp_path / f"lun{number}"
        file.write_bytes(b"")
        os.truncate(file, size << 20)
        found.append(Unit(number, str(file), serial))
    return found


def test_it_serves_what_it_is_told(daemon: Daemon, units: list[Unit]) -> None:
    tgt = Tgt(daemon.command, daemon.portals)
    first, second = Target("iqn.a:1", (HV1,), tuple(units)), Target("iqn.a:2", (ELSEWHERE,), (units[1],))
    tgt.reconcile([first, second])
    assert sorted(line.split()[1] for line in daemon.show("portal").splitlines()) == sorted(
        f"{portal},1" for portal in daemon.portals
    )
    both = {1: (units[0].serial, units[0].file), 2: (units[1].serial, units[1].file)}
    assert daemon.units() == {"iqn.a:1": both, "iqn.a:2": {2: both[2]}}
    assert parse_targets(daemon.show())["iqn.a:1"].initiators == {HV1}
    before = daemon.show()
    assert units[0].wwid in before
    tgt.reconcile([first, second])
    Tgt(daemon.command, daemon.portals).reconcile([first, second])
    assert daemon.show() == before
    tgt.reconcile([replace(first, initiators=(ELSEWHERE,), units=(units[0],))])
    assert daemon.units() == {"iqn.a:1": {1: both[1]}}
    assert parse_targets(daemon.show())["iqn.a:1"].initiators == {ELSEWHERE}
    tgt.reconcile([])
    assert daemon.units() == {}


def test_a_unit_follows_its_lun(daemon: Daemon, units: list[Unit], tmp_path: Path) -> None:
    tgt, unit = Tgt(daemon.command, daemon.portals), units[0]

    def shown(wanted: Unit) -> dict[str, str]:
        tgt.reconcile([Target("iqn.a:1", (HV1,), (wanted,))])
        return parse_targets(daemon.show())["iqn.a:1"].units[1]

    assert shown(unit)["Size"].startswith("8 MB")
    os.truncate(unit.file, 16 << 20)
    assert shown(unit)["Size"].startswith("17 MB")
    assert (shown(replace(unit, online=False))["Online"], shown(unit)["Online"]) == ("No", "Yes")
    os.rename(unit.file, tmp_path / "moved")
    assert shown(replace(unit, file=str(tmp_path / "moved")))["Backing store path"] == str(tmp_path / "moved")
    other = shown(replace(units[1], number=1))
    assert (other["SCSI SN"], other["SCSI ID"]) == (units[1].serial, units[1].wwid)
    assert other["Removable media"] == "No"


@pytest.fixture
def served(daemon: Daemon, tmp_path: Path) -> Iterator[Running]:
    """A simulator whose LUNs ``daemon`` serves."""
    portals = [{"address": portal.address, "port": portal.port} for portal in daemon.portals]
    with start({**sample(), "san": {"tgtadm": daemon.command, "portals": portals}}, tmp_path) as running:
        yield running


def test_maps_by_rest_are_seen(served: Running, daemon: Daemon) -> None:
    api, root = Api(served), served.volume_root("svm1", "kvm_san1")
    assert served.control.health()["san"] is None
    (service,) = api.records("/protocols/san/iscsi/services?fields=target.name")
    own = service["target"]["name"]
    luns = {item["path"]: item for item in served.control.luns()}
    assert daemon.units()[own] == {
        1: (luns["luns/a"]["serial"], str(root / "luns/a")), 2: (luns["luns/b"]["serial"], str(root / "luns/b")),
    }  # fmt: skip
    (other,) = daemon.units().keys() - {own}
    body = {"svm": {"name": "svm1"}, "lun": {"uuid": luns["luns/a"]["uuid"]}, "igroup": {"name": "other"}}
    assert api.refused("POST", "/protocols/san/lun-maps", {**body, "logical_unit_number": 0})[1] == "262197"
    location = api.request("POST", "/protocols/san/lun-maps", json=body).headers["Location"]
    assert daemon.units()[other] == {1: (luns["luns/a"]["serial"], str(root / "luns/a"))}
    api.ok("PATCH", f"/storage/luns/{luns['luns/a']['uuid']}", {"space": {"size": 32 << 20}})
    assert parse_targets(daemon.show())[other].units[1]["Size"].startswith("34 MB")
    api.ok("DELETE", location[4:])
    assert daemon.units()[other] == {}
    api.ok("DELETE", f"/storage/luns/{luns['luns/b']['uuid']}?allow_delete_while_mapped=true")
    new = served.control.replace_lun("svm1", "kvm_san1", "luns/a")
    assert daemon.units()[own] == {1: (new["serial"], str(root / "luns/a"))}


def test_all_is_served_again_after_a_restart(served: Running, daemon: Daemon) -> None:
    before = daemon.units()
    daemon.stop()
    served.control.change_lun("svm1", "kvm_san1", "luns/a", comment="c")
    assert "tgtadm" in served.control.health()["san"]
    daemon.start()
    assert daemon.units() == {}
    served.control.serve_luns()
    assert (daemon.units(), served.control.health()["san"]) == (before, None)
    served.stop()
    served.start()
    assert daemon.units() == before
