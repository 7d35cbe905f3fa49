# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discovery of guests on LUNs: libvirt's test driver, a sysfs of the test, the simulated array over HTTPS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Optional

import pytest
from asked import discovery_options

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import SavedGuest
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import resolve
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.discovery import (
    DiscoveryRequest,
    HostProbes,
    discover,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import Daemon, PathState
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import FileFacts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.sanlun import Sanlun, SanlunLun
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.luns import wwid_of
from ontapsim import testing
from ontapsim.testclient import Api

HV1 = "iqn.2026-01.org.example:hv1"
IGROUPS = "/protocols/san/igroups"
PATHS = {"a": ("sdb", "sdc"), "b": ("sdd", "sde")}
NUMBERS = {"a": "253:0", "b": "253:1"}


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.Running]:
    """The sample array, whose LUN b is mapped to another host too, and a role that may not look at LUNs."""
    config = testing.sample()
    config["svms"][0]["volumes"][3]["luns"][1]["maps"].append({"igroup": "other", "lun_id": 9})
    blind = [each for each in testing.KVMSNAP_ROLE["privileges"] if "lun" not in each["path"]]
    config["roles"].append({"name": "nas_only", "privileges": blind})
    config["users"].append({"name": "nas_only", "password": "lab-Nas1", "role": "nas_only"})
    with testing.start(config, tmp_path_factory.mktemp("array")) as running:
        (running.volume_root("svm1", "kvm_vol1") / "c.img").write_bytes(b"x" * 1024)
        yield running


class Host:
    """A KVM host with two LUNs as /dev/mapper/a and /dev/mapper/b, and an NFS mount."""

    def __init__(self, root: Path, array: testing.Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.array = array
        self.domains: list[str] = []
        self.sanlun = Sanlun()
        self.daemon = Daemon(
            paths={name: PathState(name, "active", "running", "ready") for both in PATHS.values() for name in both}
        )
        self.serials = {name: self.lun(name)["serial_number"] for name in PATHS}
        for name in PATHS:
            self.map(name, int(self.lun(name)["space"]["size"]))
        self.nfs = root / "nfs"
        self.nfs.mkdir()
        (self.nfs / "c.img").write_bytes(b"x" * 1024)
        self.look_at = resolve.look_at
        monkeypatch.setattr(resolve, "look_at", self._look)

    def lun(self, name: str) -> dict[str, Any]:
        """Return what the array says of a LUN."""
        return Api(self.array).records(f"/storage/luns?name=/vol/kvm_san1/luns/{name}&fields=*")[0]

    def map(self, name: str, size: int) -> None:
        """Make a multipath map in sysfs."""
        node = self.root / "sys" / "dev" / "block" / NUMBERS[name]
        (node / "dm").mkdir(parents=True, exist_ok=True)
        (node / "dm" / "uuid").write_text(f"mpath-{wwid_of(self.serials[name])}\n", encoding="ascii")
        (node / "dm" / "name").write_text(f"{name}\n", encoding="ascii")
        (node / "size").write_text(f"{size // 512}\n", encoding="ascii")
        for path in PATHS[name]:
            (self.root / "sys" / "block" / path).mkdir(parents=True, exist_ok=True)
            (node / "slaves").mkdir(exist_ok=True)
            if not (node / "slaves" / path).exists():
                (node / "slaves" / path).symlink_to(self.root / "sys" / "block" / path)
        if name == "a" and not (node.parent / "8:16").exists():
            (node.parent / "8:16").symlink_to(self.root / "sys" / "block" / "sdb")

    def guest(self, name: str, *devices: str) -> None:
        """Define a running guest."""
        uuid = f"00000000-0000-4000-8000-{len(self.domains):012}"
        self.domains.append(
            f"<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>1024</memory><os><type>hvm</type></os>"
            f"<devices>{''.join(devices)}</devices></domain>"
        )

    def discover(self, user: str = "kvmsnap", password: str = "lab-Kvmsnap1", **more: Any) -> dict[str, Any]:
        """Run the discovery; its result must be plain data."""
        node, mountinfo = self.root / "node.xml", self.root / "mountinfo"
        node.write_text(f"<node>{''.join(self.domains)}</node>", encoding="utf-8")
        mountinfo.write_text(
            "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
            f"2 1 0:9 / {self.nfs} rw - nfs4 nas:/kvm_vol1 rw,vers=4.1,addr=198.51.100.21\n",
            encoding="utf-8",
        )
        login = {"hostname": "127.0.0.1", "port": self.array.port, "username": user, "password": password}
        controller = {**login, "ca_path": self.array.ca_pem, "validate_certs": True, "timeout": 30}
        options = discovery_options(controller, self.root, **{"uri": f"test://{node}", **more})
        initiators = tuple(options.pop("known_initiators", ()))
        probes = HostProbes(
            str(mountinfo),
            self.root / "sys",
            multipathd=lambda: self.daemon,
            sanlun=lambda: self.sanlun,
            initiators=lambda: (HV1,),
        )
        request = replace(DiscoveryRequest.from_options(options), known_initiators=initiators)
        found = discover(request, probes).as_result()
        assert json.loads(json.dumps(found)) == found
        return found

    def _look(self, path: str) -> FileFacts:
        name = path.rpartition("/")[2]
        if path == "/dev/sdb":
            return FileFacts(path, path, "block", device="8:16")
        if path.startswith("/dev/") and name in NUMBERS:
            return FileFacts(path, f"/dev/dm-{NUMBERS[name][-1]}", "block", device=NUMBERS[name])
        return self.look_at(path)


@pytest.fixture
def host(tmp_path: Path, array: testing.Running, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with two LUNs and no guest yet."""
    return Host(tmp_path, array, monkeypatch)


def on_lun(name: str, target: str = "vda", *, device: str = "disk", more: str = "") -> str:
    return (
        f"<disk type='block' device='{device}'><driver name='qemu' type='raw'/><source dev='/dev/mapper/{name}'/>"
        f"<target dev='{target}' bus='virtio'/>{more}</disk>"
    )


def on_nfs(path: Path, target: str = "vdb") -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>"
        f"<target dev='{target}' bus='virtio'/></disk>"
    )


def codes(found: dict[str, Any], severity: Optional[str] = None) -> list[tuple[str, Optional[str], Optional[str]]]:
    return [
        (problem["code"], problem["guest"], problem["disk"])
        for problem in found["problems"]
        if problem["code"] != "no-agent" and severity in (None, problem["severity"])
    ]


def protected(found: dict[str, Any]) -> dict[str, bool]:
    return {guest["name"]: guest["protected"] for guest in found["guests"]}


@pytest.mark.parametrize("device", ["disk", "lun"])
def test_a_mixed_guest(host: Host, device: str) -> None:
    host.guest("mix1", on_lun("a", device=device), on_nfs(host.nfs / "c.img"))
    found = host.discover()
    assert codes(found) == []
    (guest,) = found["guests"]
    storage = guest["disks"][0]["storage"]
    lun, serial = host.lun("a"), host.serials["a"]
    assert {key: storage[key] for key in ("kind", "svm", "volume", "path", "mount_point", "nfs_source")} == {
        "kind": "lun",
        "svm": "svm1",
        "volume": "kvm_san1",
        "path": "luns/a",
        "mount_point": None,
        "nfs_source": None,
    }
    assert storage["lun"] == {
        "uuid": lun["uuid"],
        "serial": serial,
        "wwid": wwid_of(serial),
        "size": 8 << 20,
        "os_type": lun["os_type"],
        "device": "/dev/mapper/a",
    }
    assert guest["disks"][0]["size"] == 8 << 20
    assert [(each["volume"], each["junction"], each["mount_point"]) for each in found["volumes"]] == [
        ("kvm_san1", None, None),
        ("kvm_vol1", "/kvm_vol1", str(host.nfs)),
    ]
    assert found["kvm_vm_mapping"] == "mix1:svm1:/vol/kvm_san1/luns/a;mix1:svm1:/vol/kvm_vol1/c.img;"
    saved = SavedGuest.from_record(guest)
    assert [disk.storage.lun is not None for disk in saved.saved_disks if disk.storage] == [True, False]


def test_who_else_sees_a_lun_is_told(host: Host) -> None:
    host.guest("san2", on_lun("a"), on_lun("b", "vdb"))
    found = host.discover()
    assert codes(found) == [("lun-mapped-elsewhere", "san2", "vdb")]
    assert protected(found) == {"san2": True}
    assert "iqn.2026-01.org.example:elsewhere (other)" in found["problems"][-1]["message"]


def test_a_host_in_a_nested_igroup_is_told(host: Host, request: pytest.FixtureRequest) -> None:
    api = Api(host.array)
    spec = {"svm": {"name": "svm1"}, "os_type": "linux", "protocol": "iscsi"}
    third = {"name": "iqn.2026-01.org.example:hv3"}
    for name, more in (("hv3", {"initiators": [third]}), ("site", {"igroups": [{"name": "hv3"}]})):
        made = api.request("POST", IGROUPS, json={**spec, "name": name, **more}).headers["Location"]
        path = f"{made.removeprefix('/api')}?allow_delete_while_mapped=true"
        request.addfinalizer(partial(api.ok, "DELETE", path))
    shown = {"svm": spec["svm"], "lun": {"name": "/vol/kvm_san1/luns/a"}, "igroup": {"name": "site"}}
    api.ok("POST", "/protocols/san/lun-maps", shown)
    host.guest("san1", on_lun("a"))
    found = host.discover()
    assert codes(found) == [("lun-mapped-elsewhere", "san1", "vda")]
    assert "iqn.2026-01.org.example:hv3 (site)" in found["problems"][-1]["message"]


def test_initiators_that_are_known_are_no_news(host: Host) -> None:
    host.guest("san2", on_lun("b", "vdb"))
    assert codes(host.discover(known_initiators=["iqn.2026-01.org.example:elsewhere"])) == []
    found = host.discover(known_initiators=["iqn.2026-01.org.example:hv3"])
    assert codes(found) == [("lun-mapped-elsewhere", "san2", "vdb")]
    assert found["initiators"] == [HV1]


def test_the_calls_do_not_grow_with_the_luns(host: Host) -> None:
    for name, devices in (("one", [on_lun("a")]), ("two", [on_lun("b"), on_nfs(host.nfs / "c.img")])):
        host.guest(name, *devices)
    host.array.control.clear_requests()
    host.discover()
    paths = [request["path"] for request in host.array.control.requests()]
    looked_up = ("/api/storage/luns", "/api/protocols/san/lun-maps", "/api/protocols/san/igroups")
    assert [paths.count(each) for each in looked_up] == [1, 1, 1]


def test_sanlun_agrees_lies_and_fails(host: Host) -> None:
    for name in PATHS:
        host.guest(f"san-{name}", on_lun(name))
    entries = [
        SanlunLun("svm1", f"/vol/kvm_san1/luns/{name}", "cDOT", name, wwid_of(host.serials[name])) for name in PATHS
    ]
    host.sanlun = Sanlun("/usr/sbin/sanlun", tuple(entries))
    assert codes(host.discover()) == [("lun-mapped-elsewhere", "san-b", "vda")]
    host.sanlun = Sanlun("/usr/sbin/sanlun", (entries[1],))
    found = host.discover()
    assert codes(found, "warning") == [("sanlun-device-unknown", "san-a", "vda")]
    assert protected(found) == {"san-a": True, "san-b": True}
    lie = SanlunLun("svm1", "/vol/kvm_san1/luns/b", "cDOT", "a", wwid_of(host.serials["a"]))
    host.sanlun = Sanlun("/usr/sbin/sanlun", (lie, entries[1]))
    found = host.discover()
    assert codes(found, "error") == [("sanlun-disagrees", "san-a", "vda")]
    assert protected(found) == {"san-a": False, "san-b": True}
    host.sanlun = Sanlun("/usr/sbin/sanlun", error="Failed to run sanlun")
    found = host.discover()
    assert codes(found, "warning") == [("sanlun-failed", None, None)]
    assert protected(found) == {"san-a": True, "san-b": True}


def test_without_the_right_the_guests_on_nfs_are_still_protected(host: Host) -> None:
    host.guest("san1", on_lun("a"))
    host.guest("web1", on_nfs(host.nfs / "c.img", "vda"))
    found = host.discover("nas_only", "lab-Nas1")
    assert codes(found) == [("luns-unreadable", "san1", "vda")]
    assert protected(found) == {"san1": False, "web1": True}


def test_paths(host: Host) -> None:
    host.guest("san1", on_lun("a"))
    host.daemon = Daemon(
        paths={"sdb": host.daemon.paths["sdb"], "sdc": PathState("sdc", "failed", "running", "faulty")}
    )
    found = host.discover()
    assert (codes(found), protected(found)) == ([("path-failed", "san1", "vda")], {"san1": True})
    host.daemon = Daemon(queueing=frozenset({"dm-0"}))
    found = host.discover()
    assert (codes(found, "error"), protected(found)) == ([("no-working-path", "san1", "vda")], {"san1": False})
    host.daemon = Daemon(error="Failed to run /usr/sbin/multipathd show paths: refused")
    assert codes(host.discover(), "error") == [("multipathd-not-running", "san1", "vda")]


def test_a_lun_that_was_grown_needs_a_rescan(host: Host) -> None:
    host.guest("san1", on_lun("a"))
    host.map("a", 4 << 20)
    assert codes(host.discover(), "error") == [("lun-size-differs", "san1", "vda")]


def test_two_guests_on_one_lun(host: Host) -> None:
    host.guest("one", on_lun("a"))
    host.guest("two", on_lun("a", more="<shareable/>"))
    found = host.discover(guests=["one"])
    assert codes(found, "error") == [("lun-used-by-several-guests", "one", "vda")]
    host.domains.clear()
    for name in ("one", "two"):
        host.guest(name, on_lun("a", more="<shareable/>"))
    assert protected(host.discover()) == {"one": True, "two": True}


def test_a_guest_on_a_path_of_the_lun_is_a_user_of_it(host: Host) -> None:
    host.guest("one", on_lun("a"))
    host.guest("other", on_lun("b"))
    host.guest("two", on_lun("sdb").replace("/mapper/", "/"))
    found = host.discover(guests=["one", "other"])
    assert codes(found, "error") == [("lun-used-by-several-guests", "one", "vda")]
    assert protected(found) == {"one": False, "other": True}


# Given mappings


def test_a_given_mapping_of_luns_and_files(host: Host) -> None:
    host.guest("mix1", on_lun("a"), on_nfs(host.nfs / "c.img"))
    mapping = "mix1:svm1:/vol/kvm_san1/luns/a;mix1:svm1:/vol/kvm_vol1/c.img;"
    found = host.discover(mapping=mapping, auto_discovery=False)
    assert codes(found) == []
    assert protected(found) == {"mix1": True}
    assert found["kvm_vm_mapping"] == mapping
    assert [disk["storage"]["kind"] for disk in found["guests"][0]["disks"]] == ["lun", "nfs"]
    assert found["guests"][0]["disks"][0]["storage"]["lun"]["device"] == "/dev/mapper/a"
    assert codes(host.discover(mapping=mapping)) == []


def test_given_luns_that_cannot_be_saved(host: Host) -> None:
    host.guest("san1", on_lun("a"))
    found = host.discover(mapping="san1:svm1:/vol/kvm_san1/luns/none", auto_discovery=False)
    assert codes(found) == [("mapping-unknown-path", "san1", "disk1")]
    found = host.discover(mapping="san1:svm1:/vol/kvm_san1/luns/b", auto_discovery=False)
    assert codes(found) == [("mapping-format-unknown", "san1", "disk1")]
    assert (found["guests"][0]["disks"][0]["type"], found["guests"][0]["disks"][0]["size"]) == ("block", 4 << 20)
    host.map("a", 4 << 20)
    found = host.discover(mapping="san1:svm1:/vol/kvm_san1/luns/a", auto_discovery=False)
    assert codes(found) == [("lun-size-differs", "san1", "vda"), ("mapping-format-unknown", "san1", "disk1")]
    found = host.discover("nas_only", "lab-Nas1", mapping="san1:svm1:/vol/kvm_san1/luns/a", auto_discovery=False)
    assert ("luns-unreadable", "san1", "disk1") in codes(found)
