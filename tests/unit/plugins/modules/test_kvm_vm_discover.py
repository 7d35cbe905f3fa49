# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The discovery module as a user runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import running_module
from running_module import run, undocumented

from ansible_collections.kvmsnap.ontap.plugins.modules import kvm_vm_discover
from ontapsim import testing

DOMAIN = """<node><domain type='test'><name>g</name><uuid>00000000-0000-4000-8000-000000000001</uuid>
<memory>1024</memory><os><type>hvm</type></os><devices><disk type='file'><source file='{image}'/>
<target dev='vda' bus='virtio'/></disk></devices></domain></node>"""


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.Running]:
    """The sample array with one image."""
    with testing.start(None, tmp_path_factory.mktemp("array")) as running:
        (running.volume_root("svm1", "kvm_vol1") / "g.img").write_bytes(b"x" * 512)
        yield running


@pytest.fixture
def options(array: testing.Running, tmp_path: Path) -> dict[str, Any]:
    """The options of a run on a host with one guest on a local file."""
    image = tmp_path / "g.img"
    image.write_bytes(b"x" * 512)
    node = tmp_path / "node.xml"
    node.write_text(DOMAIN.format(image=image), encoding="utf-8")
    controller = {
        "hostname": "127.0.0.1",
        "port": array.port,
        "username": "kvmsnap",
        "password": "lab-Kvmsnap1",
        "ca_path": array.ca_pem,
    }
    return {"controllers": [controller], "uri": f"test://{node}", "retry_count": 0}


@pytest.mark.parametrize("check", [False, True])
def test_a_run(options: dict[str, Any], check: bool) -> None:
    result = run("kvm_vm_discover", options, check=check)
    assert result["changed"] is False
    (guest,) = result["guests"]
    assert (guest["name"], guest["protected"], guest["disks"][0]["size"]) == ("g", False, 512)
    assert {"local-file", "no-agent"} <= {problem["code"] for problem in result["problems"]}
    del result["invocation"]
    assert undocumented(kvm_vm_discover.RETURN, {**result, "changed": None}) == ["changed"]


def test_a_guest_of_another_host_is_ignored_when_asked(options: dict[str, Any]) -> None:
    result = run("kvm_vm_discover", {**options, "guests": ["g", "elsewhere"], "unknown_guests": "ignore"})
    assert [guest["name"] for guest in result["guests"]] == ["g"]
    (problem,) = [problem for problem in result["problems"] if problem["code"] == "guest-not-found"]
    assert (problem["severity"], problem["guest"]) == ("info", "elsewhere")


def test_a_given_mapping(options: dict[str, Any]) -> None:
    mapping = [{"guest": "g", "controller": "svm1", "path": "/vol/kvm_vol1/g.img"}]
    result = run("kvm_vm_discover", {**options, "auto_discovery": False, "mapping": mapping})
    assert result["guests"][0]["protected"] is False
    assert "mapping-format-unknown" in {problem["code"] for problem in result["problems"]}
    del result["invocation"], result["changed"]
    assert undocumented(kvm_vm_discover.RETURN, result) == []


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"guests": ["nobody"]}, "InputError", "Guest 'nobody' is not known here; the guests of this host are: g"),
        ({"guests": []}, "InputError", "list of guests is empty"),
        ({"mapping": "g:svm1"}, "InputError", "Entry 1 of the mapping"),
        ({"mapping": "g:svm1:/vol/v/../w/x"}, "InputError", "'..'"),
        ({"auto_discovery": False}, "InputError", "mapping is empty"),
        ({"config_dir": "/no/such", "uri": "qemu+unix:///system?socket=/no/such"}, "InputError", "/no/such"),
    ],
)
def test_bad_input_is_told(options: dict[str, Any], change: dict[str, Any], kind: str, message: str) -> None:
    result = run("kvm_vm_discover", {**options, **change})
    assert result["failed"] is True
    assert result["error_kind"] == kind
    assert message in result["msg"]


def test_a_missing_binding_is_told(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libvirt.py").write_text("raise ImportError('No module named libvirt')\n", encoding="ascii")
    monkeypatch.setattr(running_module, "COLLECTIONS", f"{tmp_path}:{running_module.COLLECTIONS}")
    result = run("kvm_vm_discover", options)
    assert result["error_kind"] == "LibvirtMissingError"
    assert "install libvirt's Python binding" in result["msg"]
