# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SAN's pieces that need no lab: paths, the log-in, names of devices, and the stand-in for sanlun."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from kvmlab.san import FORMS, SANLUN_SOURCE, ScsiPath, alias_of, forget_script, login_script

WWID = "3600a0980383044317845346b5a396142"
LIFS = {"198.51.100.31": "svm1_iscsi_a", "203.0.113.31": "svm1_iscsi_b"}


@pytest.mark.parametrize(
    ("line", "works"),
    [
        (f"{WWID} sda active ready", True),
        (f"{WWID} sda failed faulty", False),
        (f"{WWID} sda active faulty", False),
        (f"{WWID} sda undef ready", False),
        (f"{WWID} sda active i/o pending", False),
    ],
)
def test_a_path_works_when_map_and_check_say_so(line: str, works: bool) -> None:
    path = ScsiPath.from_line(line)
    assert (path.wwid, path.disk, path.works) == (WWID, "sda", works)


def test_every_form_names_the_one_device() -> None:
    alias = alias_of("/vol/kvm_san1/dir/san1")
    named = {form: text.format(wwid=WWID, naa=WWID[1:], alias=alias, node="/dev/dm-3") for form, text in FORMS.items()}
    assert named["mapper"] == f"/dev/mapper/{WWID}"
    assert named["alias"] == "/dev/mapper/san1"
    assert named["dm"] == "/dev/dm-3"
    assert named["wwn"] == f"/dev/disk/by-id/wwn-0x{WWID[1:]}"
    assert all(name.startswith("/dev/") and "{" not in name for name in named.values())


@pytest.mark.parametrize("there", [[], ["198.51.100.31:3260"], ["198.51.100.31:3260", "203.0.113.31:3260"]])
def test_only_portals_without_a_session_are_logged_in_to(tmp_path: Path, there: list[str]) -> None:
    portals = ["198.51.100.31:3260", "203.0.113.31:3260"]
    shown = "\n".join(f"tcp: [1] {portal},1 iqn.1992-08.com.netapp:sn.1:vs.2 (non-flash)" for portal in there)
    log = tmp_path / "log"
    for name, body in (("systemctl", ""), ("iscsiadm", f"[ $2 != session ] || echo '{shown}'")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{body}\n')
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", login_script(portals)], env=environment, check=True, timeout=20)
    asked = log.read_text().splitlines()
    assert asked[0] == "systemctl start multipathd.service iscsid.service"
    assert [line.split()[4] for line in asked if line.endswith("--login")] == [
        portal for portal in portals if portal not in there
    ]


def test_the_removal_of_a_map_is_a_script() -> None:
    assert subprocess.run(["bash", "-n", "-c", forget_script(WWID)], check=False, timeout=20).returncode == 0


@pytest.fixture(name="sanlun")
def _sanlun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The stand-in on a host with one map of two paths, the second one offline."""
    spec = importlib.util.spec_from_file_location("sanlun", SANLUN_SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    block, devices = tmp_path / "block", tmp_path / "devices"
    node = block / "dm-0"
    (node / "dm").mkdir(parents=True)
    (node / "slaves").mkdir()
    (node / "dm" / "uuid").write_text(f"mpath-{WWID}\n")
    (node / "dm" / "name").write_text(f"{WWID}\n")
    (node / "size").write_text(f"{64 * 2048}\n")
    for number, (disk, state, address) in enumerate(
        (("sda", "running", "198.51.100.31"), ("sdb", "transport-offline", "203.0.113.31"))
    ):
        session = devices / f"host{number}" / f"session{number + 1}"
        device = session / f"target{number}:0:0" / f"{number}:0:0:1"
        device.mkdir(parents=True)
        (device / "state").write_text(f"{state}\n")
        connection = session / f"connection{number + 1}:0" / "iscsi_connection" / f"connection{number + 1}:0"
        connection.mkdir(parents=True)
        (connection / "persistent_address").write_text(f"{address}\n")
        (block / disk).mkdir()
        (block / disk / "device").symlink_to(device)
        (block / disk / "dev").write_text(f"8:{number * 16}\n")
        (node / "slaves" / disk).symlink_to(block / disk)
    (block / "sda" / "dm").mkdir()
    table = tmp_path / "sanlun.json"
    table.write_text(json.dumps({"luns": {WWID: "svm1:/vol/kvm_san1/san1"}, "lifs": LIFS}))
    monkeypatch.setattr(module, "BLOCK", block)
    monkeypatch.setattr(module, "TABLE", table)
    return module


def test_sanlun_prints_the_path_and_where_it_leads(sanlun: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert sanlun.main(["lun", "show", "-p"]) == 0
    said = capsys.readouterr().out
    fields = dict(re.findall(r"^ +([A-Z][\w -]+): (.*)$", said, re.MULTILINE))
    assert fields["ONTAP Path"] == "svm1:/vol/kvm_san1/san1"
    assert (fields["LUN"], fields["LUN Size"], fields["Product"]) == ("1", "64m", "cDOT")
    assert (fields["Host Device"], fields["Multipath Provider"]) == (WWID, "Native")
    rows = [line.split() for line in said.splitlines() if re.search(r"\bsd[a-z]\b", line)]
    assert rows == [
        ["up", "primary", "sda", "host0", "svm1_iscsi_a"],
        ["down", "primary", "sdb", "host1", "svm1_iscsi_b"],
    ]


def test_sanlun_prints_an_alias_and_its_wwid(
    sanlun: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "block" / "dm-0" / "dm" / "name").write_text("san1\n")
    sanlun.main(["lun", "show", "-p", "-v", "svm1:/vol/kvm_san1/san1"])
    said = capsys.readouterr().out
    assert f"Host Device: san1({WWID})\n" in said
    assert re.search(r"^failed +down +primary +sdb +1:0:0:1 +svm1_iscsi_b +8:16$", said, re.MULTILINE)


def test_sanlun_prints_a_row_for_each_device(sanlun: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    sanlun.main(["lun", "show"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[3:]]
    assert [(len(row), row[2]) for row in rows] == [(7, "/dev/sda"), (7, "/dev/sdb")]
    assert rows[0][:2] == ["svm1", "/vol/kvm_san1/san1"]
    sanlun.main(["lun", "show", "-d", "/dev/sdb"])
    assert "/dev/sda" not in capsys.readouterr().out


@pytest.mark.parametrize(("size", "said"), [(64 << 20, "64m"), (3 << 29, "1.5g"), (120 << 30, "120g"), (512, "512")])
def test_sanlun_prints_sizes_as_people_do(sanlun: ModuleType, size: int, said: str) -> None:
    assert sanlun.human(size) == said


def test_sanlun_knows_its_version_and_nothing_else(sanlun: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert sanlun.main(["version"]) == 0
    assert re.match(r"sanlun version \S+\n", capsys.readouterr().out)
    assert sanlun.main(["fcp", "show", "adapter"]) == 1
