# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From paths to volumes: the decisions by tables, the looks on real files, the array simulated."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import resolve
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import Mount, parse_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.resolve import (
    FileFacts,
    HostFiles,
    HostStorage,
    NfsPlace,
    fitting,
    look_at,
    place_of,
    storage_of,
    storages,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import ArrayAccess, Client
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.network import Lif
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.volumes import Volume
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline
from ontapsim import testing

MOUNTS = parse_mounts((Path(__file__).parent / "kvm-host.mountinfo").read_text(encoding="utf-8"))

LIF = Lif("c1", "svm1-nfs", "l1", "198.51.100.21", "svm1", "s1", ("data_nfs",), "up", True, "svm", "Default")
SECOND = replace(LIF, name="twin", uuid="l2", svm="svm9", svm_uuid="s9", ipspace="other")
CLUSTER = replace(LIF, name="mgmt", uuid="l3", svm=None, svm_uuid=None, scope="cluster")
LIFS = {LIF.address: (LIF,)}


def volume(name: str, junction: str | None, **more: Any) -> Volume:
    return Volume("c1", "svm1", "s1", name, f"v-{name}", junction=junction, **more)


VOLUMES = [
    volume("svm1_root", "/", is_svm_root=True),
    volume("kvm_vol1", "/kvm_vol1"),
    volume("kvm_nested", "/KVM_vol1/Nested"),
    volume("group", "/group", style="flexgroup"),
    volume("cache", "/cache", flexcache="cache"),
    volume("mirror", "/mirror", type="dp"),
    volume("off", "/off", state="offline"),
    volume("unmounted", None),
    Volume("c1", "svm9", "s9", "kvm_vol1", "v-other", junction="/kvm_vol1"),
]


def mount(source: str, point: str = "/mnt/x", root: str = "/", more: str = "vers=4.1,addr=198.51.100.21") -> Mount:
    return Mount.from_line(f"1 0 0:1 {root} {point} rw - nfs4 {source} rw,{more}")


def place(path: str, where: Mount | None = None) -> NfsPlace:
    where = where or mount("nas1:/kvm_vol1")
    source = where.nfs()
    assert source is not None
    return NfsPlace(path, where.remote_path(path), where, source)


def found(path: str, where: Mount) -> Any:
    return storage_of(place(path, where), ["198.51.100.21"], lifs=LIFS, volumes=VOLUMES)


@pytest.mark.parametrize(
    ("where", "path", "name", "inside", "mount_point", "mount_path"),
    [
        (mount("nas1:/kvm_vol1"), "/mnt/x/a.img", "kvm_vol1", "a.img", "/mnt/x", ""),
        (mount("nas1:/kvm_vol1"), "/mnt/x/d e/ü\n.img", "kvm_vol1", "d e/ü\n.img", "/mnt/x", ""),
        (mount("nas1:/kvm_vol1/guests"), "/mnt/x/d/a.img", "kvm_vol1", "guests/d/a.img", "/mnt/x", "guests"),
        (mount("nas1:/kvm_vol1", root="/guests"), "/mnt/x/a.img", "kvm_vol1", "guests/a.img", "/mnt/x", "guests"),
        (mount("nas1:/kvm_vol1"), "/mnt/x/nested/a.img", "kvm_nested", "a.img", "/mnt/x/nested", ""),
        (mount("nas1:/kvm_vol1/nested"), "/mnt/x/a.img", "kvm_nested", "a.img", "/mnt/x", ""),
        (mount("nas1:/"), "/mnt/x/kvm_vol1/nested/d/a.img", "kvm_nested", "d/a.img", "/mnt/x/kvm_vol1/nested", ""),
        (mount("nas1:/"), "/mnt/x/kvm_vol1/a.img", "kvm_vol1", "a.img", "/mnt/x/kvm_vol1", ""),
        (mount("nas1:/kvm_vol1"), "/mnt/x/nestedness/a.img", "kvm_vol1", "nestedness/a.img", "/mnt/x", ""),
        (mount("nas1:/kvm_vol1/a.img", "/srv/one.img"), "/srv/one.img", "kvm_vol1", "a.img", None, ""),
    ],
)
def test_place_to_volume(
    where: Mount, path: str, name: str, inside: str, mount_point: str | None, mount_path: str
) -> None:
    stored = found(path, where)
    assert isinstance(stored, HostStorage)
    assert (stored.volume, stored.path) == (name, inside)
    assert (stored.mount_point, stored.mount_path) == (mount_point, mount_path)
    assert (stored.svm, stored.svm_uuid, stored.controller, stored.kind) == ("svm1", "s1", "c1", "nfs")


@pytest.mark.parametrize(
    ("export", "code"),
    [
        ("/group", "flexgroup"),
        ("/cache", "flexcache"),
        ("/mirror", "volume-read-only"),
        ("/off", "volume-offline"),
        ("/elsewhere", "volume-is-svm-root"),
        ("/kvm_vol1/.snapshot/daily", "inside-snapshot"),
    ],
)
def test_volumes_that_do_not_fit(export: str, code: str) -> None:
    refusal = found("/mnt/x/a.img", mount(f"nas1:{export}"))
    assert isinstance(refusal, Problem)
    assert refusal.code == code


def test_load_sharing_copies_are_read_only_too() -> None:
    refusal = fitting(volume("ls", "/ls", type="ls"))
    assert refusal is not None
    assert refusal.code == "volume-read-only"


@pytest.mark.parametrize(
    ("addresses", "lifs", "code", "named"),
    [
        ([], LIFS, "unresolvable-server", "nas1"),
        (["192.0.2.1"], LIFS, "not-an-ontap-address", "nas1 (192.0.2.1)"),
        (["198.51.100.21"], {LIF.address: (CLUSTER,)}, "not-an-ontap-address", "nas1"),
        (["198.51.100.21"], {LIF.address: (LIF, SECOND)}, "ambiguous-address", "svm9 at c1 (IPspace other)"),
        (["198.51.100.21", "198.51.100.9"], {**LIFS, "198.51.100.9": (SECOND,)}, "ambiguous-address", "svm9"),
    ],
)
def test_servers(addresses: list[str], lifs: Any, code: str, named: str) -> None:
    refusal = storage_of(place("/mnt/x/a.img"), addresses, lifs=lifs, volumes=VOLUMES)
    assert isinstance(refusal, Problem)
    assert refusal.code == code
    assert named in refusal.message


def test_an_svm_without_a_volume_on_the_way() -> None:
    refusal = storage_of(place("/mnt/x/a.img"), ["198.51.100.21"], lifs=LIFS, volumes=VOLUMES[3:6])
    assert refusal == problem_of("no-volume-at-path", "SVM svm1 has no volume mounted on the way to /kvm_vol1/a.img")


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (FileFacts("/x", "/x", "missing", error="No such file or directory"), "image-missing"),
        (FileFacts("/etc", "/etc", "directory"), "not-a-file"),
        (FileFacts("/dev/null", "/dev/null", "other"), "not-a-file"),
        (FileFacts("/etc/hosts", "/etc/hosts", "file"), "local-file"),
        (FileFacts("/mnt/bound/a", "/mnt/bound/a", "file"), "local-file"),
        (FileFacts("/srv/btrfs/a", "/srv/btrfs/a", "file"), "local-file"),
        (FileFacts("/srv/cifs/a", "/srv/cifs/a", "file"), "unsupported-file-system"),
        (FileFacts("/srv/san/a", "/srv/san/a", "file"), "image-on-san-file-system"),
        (FileFacts("/dev/dm-1", "/dev/dm-1", "block", device="253:1"), "logical-volume"),
        (FileFacts("/dev/dm-3", "/dev/dm-3", "block", device="253:3"), "not-a-netapp-device"),
        (FileFacts("/dev/dm-4", "/dev/dm-4", "block", device="253:4"), "lun-partition"),
        (FileFacts("/dev/sda", "/dev/sda", "block", device="8:0"), "unsupported-block-device"),
    ],
)
def test_what_is_no_nfs(tmp_path: Path, facts: FileFacts, code: str) -> None:
    for device, uuid in (("253:1", "LVM-x"), ("253:3", "mpath-36001405"), ("253:4", "part1-mpath-36001405")):
        (tmp_path / "dev/block" / device / "dm").mkdir(parents=True)
        (tmp_path / "dev/block" / device / "dm" / "uuid").write_text(uuid, encoding="ascii")
    refusal = place_of(facts, MOUNTS, sysfs=tmp_path)
    assert isinstance(refusal, Problem)
    assert refusal.code == code


@pytest.mark.parametrize(("kind", "said"), [("directory", "/x is a directory"), ("other", "/x is no file")])
def test_what_it_is_instead_of_a_file(kind: str, said: str) -> None:
    refusal = place_of(FileFacts("/x", "/x", kind), MOUNTS)
    assert isinstance(refusal, Problem)
    assert refusal.message == said


def test_a_file_on_nfs() -> None:
    placed = place_of(FileFacts("/l", "/srv/bound/a.img", "file"), MOUNTS)
    assert isinstance(placed, NfsPlace)
    assert placed.remote_path == "/kvm_vol1/images/a.img"


# Looking


def test_look_at(tmp_path: Path) -> None:
    image = tmp_path / "new\nline ☃.img"
    image.write_bytes(b"x" * 42)
    link, hard = tmp_path / "link", tmp_path / "hard"
    link.symlink_to(image)
    os.link(image, hard)
    facts = look_at(str(link))
    assert (facts.realpath, facts.kind, facts.size) == (str(image), "file", 42)
    assert facts.identity == look_at(str(hard)).identity != ""
    assert look_at(str(tmp_path)).kind == "directory"
    assert look_at("/dev/null").kind == "other"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (str(tmp_path / "none"), str(loop), "/a\0b"):
        facts = look_at(path)
        assert (facts.kind, facts.size) == ("missing", None)
        assert facts.error


def test_a_file_system_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    never = threading.Event()

    def hang(path: str) -> FileFacts:
        asked.append(path)
        if path.startswith("/mnt/kvm_vol1/"):
            never.wait(30)
        return FileFacts(path, path, "file", 1)

    monkeypatch.setattr(resolve, "look_at", hang)
    files = HostFiles(lambda: MOUNTS, timeout=0.1)
    refusal = files.look("/mnt/kvm_vol1/a.img")
    assert refusal == problem_of("mount-not-responding", "the file system at /mnt/kvm_vol1 did not answer within 0.1 s")
    assert files.look("/mnt/kvm_vol1/../kvm_vol1/b.img") == refusal
    assert isinstance(files.look("/mnt/kvm_vol2/a.img"), FileFacts)
    assert isinstance(files.look("/mnt/kvm_vol2/a.img"), FileFacts)
    assert asked == ["/mnt/kvm_vol1/a.img", "/mnt/kvm_vol2/a.img"]
    never.set()


def test_mounts_are_read_after_the_look(tmp_path: Path) -> None:
    """The look itself may mount something (an automount, a nested junction)."""
    lines = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw", f"2 1 0:9 / {tmp_path} rw - nfs4 nas1:/v rw,vers=4.1,addr=1.2.3.4"]
    now = [parse_mounts(lines[0])]
    files = HostFiles(lambda: now[0])
    image = tmp_path / "a.img"
    image.touch()
    facts = files.look(str(image))
    assert isinstance(facts, FileFacts)
    now[0] = parse_mounts("\n".join(lines))
    assert isinstance(files.place(facts), NfsPlace)


# The array


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[testing.Running]:
    """The sample array, with an address that exists in two IPspaces."""
    config = testing.sample()
    config["svms"][1]["lifs"].append({"name": "twin", "address": "198.51.100.21", "ipspace": "tenant"})
    config["svms"][1]["lifs"].append({"name": "six", "address": "2001:db8::22"})
    with testing.start(config, tmp_path_factory.mktemp("array")) as running:
        yield running


def option(array: testing.Running, username: str, password: str) -> dict[str, Any]:
    return {
        "hostname": "127.0.0.1",
        "port": array.port,
        "username": username,
        "password": password,
        "ca_path": array.ca_pem,
        "validate_certs": True,
        "timeout": 30,
    }


def access(options: list[dict[str, Any]]) -> ArrayAccess:
    return ArrayAccess.from_options({"controllers": options, "retry_count": 0, "timeout": 60})


@pytest.fixture
def clients(array: testing.Running) -> Iterator[list[Client]]:
    """A session of the least-privilege user."""
    options = [option(array, "kvmsnap", "lab-Kvmsnap1")]
    with access(options).connected(Deadline.after(60)) as opened:
        yield opened


def test_one_call_for_addresses_and_one_for_volumes(array: testing.Running, clients: list[Client]) -> None:
    fabric_b = mount("nas1:/kvm_vol1", more="vers=4.1,addr=203.0.113.21")
    six = mount("[2001:DB8::22]:/kvm_vol3", more="vers=4.1,addr=2001:db8:0::22")
    named = mount("nas2:/kvm_vol3", more="vers=3")
    twin = mount("nas1:/kvm_vol1")
    places = [place(f"/mnt/x/guest{n}.img", fabric_b) for n in range(20)]
    places += [place("/mnt/x/a", six), place("/mnt/x/a", named), place("/mnt/x/a", twin)]
    asked: list[str] = []

    def addresses_of(server: str) -> list[str]:
        asked.append(server)
        return ["198.51.100.22"]

    array.control.clear_requests()
    stored = storages(clients, places, addresses_of=addresses_of)
    calls = [request["path"] for request in array.control.requests()]
    assert calls == ["/api/network/ip/interfaces", "/api/storage/volumes"]
    assert asked == ["nas2"]
    assert all(isinstance(stored[each], HostStorage) for each in places[:22])
    assert {each.volume for each in stored.values() if isinstance(each, HostStorage)} == {"kvm_vol1", "kvm_vol3"}
    refusal = stored[places[22]]
    assert isinstance(refusal, Problem)
    assert refusal.code == "ambiguous-address"
    assert "svm1" in refusal.message
    assert "IPspace tenant" in refusal.message


def test_no_place_no_call(array: testing.Running, clients: list[Client]) -> None:
    array.control.clear_requests()
    assert storages(clients, [], addresses_of=lambda _server: []) == {}
    assert array.control.requests() == []


def test_two_ways_to_one_svm_are_not_ambiguous(array: testing.Running) -> None:
    options = [option(array, "kvmsnap", "lab-Kvmsnap1"), option(array, "vsadmin", "lab-Vsadmin1")]
    where = place("/mnt/x/a.img", mount("nas1:/kvm_vol1/nested", more="vers=4.1,addr=203.0.113.21"))
    with access(options).connected(Deadline.after(60)) as opened:
        stored = storages(opened, [where], addresses_of=lambda _server: [])
    storage = stored[where]
    assert isinstance(storage, HostStorage)
    assert (storage.volume, storage.path) == ("kvm_nested", "a.img")


def test_the_svm_s_own_account_resolves_the_ambiguity(array: testing.Running) -> None:
    options = [option(array, "vsadmin", "lab-Vsadmin1")]
    where = place("/mnt/x/a.img", mount("nas1:/kvm_vol1"))
    with access(options).connected(Deadline.after(60)) as opened:
        storage = storages(opened, [where], addresses_of=lambda _server: [])[where]
    assert isinstance(storage, HostStorage)
    assert storage.svm == "svm1"
