# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names resolve by the resolver; the source is told from the hosts file and the order of services."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import names
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.names import (
    HostsFile,
    NameService,
    Resolution,
    ResolverAnswer,
    as_address,
    ask_system,
    parse_nsswitch,
    read_name_service,
    resolution_of,
    resolve,
    source_of,
    why_missing,
)

HOSTS = """
127.0.0.1 localhost
198.51.100.10\tcluster1.example.com  Cluster1 # the array
::1 localhost ip6-localhost
fd00:0:0::21 svm1-nfs
198.51.100.21 svm1-nfs
198.51.100.10 cluster1
# 198.51.100.99 nobody
not-an-address word
198.51.100.30
"""


def _service(services: str, own: str = "hv1") -> NameService:
    return NameService(HostsFile.from_text(HOSTS), tuple(services.split()), own)


def test_the_hosts_file_is_read_as_the_system_reads_it() -> None:
    hosts = HostsFile.from_text(HOSTS)
    assert hosts.by_name["cluster1"] == ("198.51.100.10",)
    assert hosts.by_name["svm1-nfs"] == ("fd00::21", "198.51.100.21")
    assert hosts.by_name["localhost"] == ("127.0.0.1", "::1")
    assert hosts.by_address["198.51.100.10"] == "cluster1.example.com"
    assert not {"nobody", "word"} & set(hosts.by_name)


@pytest.mark.parametrize(
    ("text", "services"),
    [
        ("hosts: files dns\n", ("files", "dns")),
        ("passwd: files\nhosts:\tfiles mdns4_minimal [NOTFOUND=return] dns # x\n", ("files", "mdns4_minimal", "dns")),
        ("hosts: resolve [!UNAVAIL=return SUCCESS=merge] files\n", ("resolve", "files")),
        ("# hosts: nis\n", ("files", "dns")),
        ("", ("files", "dns")),
        ("hosts:\n", ()),
    ],
)
def test_the_services_are_read_in_their_order(text: str, services: tuple[str, ...]) -> None:
    assert parse_nsswitch(text) == services


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("198.51.100.10", "198.51.100.10"),
        ("[fd00:0::1]", "fd00::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("cluster1", None),
        ("", None),
        ("198.51.100", None),
    ],
)
def test_addresses_are_told_from_names(text: str, address: str) -> None:
    assert as_address(text) == address


@pytest.mark.parametrize(
    ("services", "name", "addresses", "source"),
    [
        ("files dns", "cluster1", ["198.51.100.10"], "/etc/hosts"),
        ("files dns", "CLUSTER1.Example.com.", ["198.51.100.10"], "/etc/hosts"),
        ("files dns", "other", ["198.51.100.77"], "DNS"),
        ("dns files", "cluster1", ["198.51.100.99"], "DNS"),
        ("dns files", "cluster1", ["198.51.100.10"], "DNS or /etc/hosts"),
        ("files libvirt dns", "other", ["198.51.100.77"], "libvirt or DNS"),
        ("files mdns4_minimal dns", "other", ["198.51.100.77"], "DNS"),
        ("files mdns4_minimal dns", "printer.local", ["198.51.100.77"], "mdns4_minimal or DNS"),
        ("resolve files", "other", ["198.51.100.77"], "DNS"),
        ("files resolve dns", "other", ["198.51.100.77"], "DNS"),
        ("files dns myhostname", "hv1", ["198.51.100.101"], "DNS or myhostname"),
        ("files myhostname", "hv1", ["198.51.100.101"], "myhostname"),
        ("files dns myhostname", "other", ["198.51.100.77"], "DNS"),
        ("files", "other", ["198.51.100.77"], ""),
    ],
)
def test_the_source_follows_the_order_of_services(services: str, name: str, addresses: list[str], source: str) -> None:
    assert source_of(name, addresses, _service(services)) == source


def test_what_is_missing_is_said() -> None:
    error = "Name or service not known"
    assert why_missing("other", error, _service("files dns")) == (
        "/etc/hosts does not list it, DNS did not answer with an address (Name or service not known)"
    )
    assert "DNS is not asked on this host (nsswitch.conf: files)" in why_missing("other", error, _service("files"))
    assert why_missing("cluster1", error, _service("dns")).startswith("/etc/hosts lists it as 198.51.100.10, ")


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        (
            "cluster1",
            ResolverAnswer(addresses=("198.51.100.10",)),
            Resolution("cluster1", ("198.51.100.10",), "/etc/hosts"),
        ),
        (
            "198.51.100.10",
            ResolverAnswer(error="Name or service not known"),
            Resolution("198.51.100.10", ("198.51.100.10",), "address", alias="cluster1.example.com"),
        ),
        (
            "[fd00::99]",
            ResolverAnswer(name="array6"),
            Resolution("[fd00::99]", ("fd00::99",), "address", alias="array6"),
        ),
        ("other", ResolverAnswer(error="no luck"), Resolution("other", (), "", error="no luck")),
        ("other", ResolverAnswer(), Resolution("other", (), "", error="no address")),
    ],
)
def test_an_answer_is_judged(name: str, answer: ResolverAnswer, expected: Resolution) -> None:
    assert resolution_of(name, answer, _service("files dns")) == expected


def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()

    def lookup(name: str) -> ResolverAnswer:
        if name == "slow":
            release.wait(30)
        return ResolverAnswer(addresses=("198.51.100.77",))

    found = resolve(["slow", "fast", "fast"], service=_service("files dns"), timeout=0.2, lookup=lookup)
    release.set()
    assert found["slow"].error == "no answer within 0.2 s"
    assert found["fast"].addresses == ("198.51.100.77",)
    assert list(found) == ["slow", "fast"]


def test_the_system_is_asked_for_names_and_addresses() -> None:
    assert {"127.0.0.1", "::1"} & set(ask_system("localhost").addresses)
    assert ask_system("does-not-exist.invalid").error
    assert ask_system("a" * 70 + ".invalid").error
    reverse = ask_system("192.0.2.1")
    assert reverse.name is None
    assert reverse.error


def test_the_files_of_the_host_are_read(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(HOSTS, encoding="utf-8")
    (tmp_path / "nsswitch.conf").write_text("hosts: dns files\n", encoding="utf-8")
    service = read_name_service(tmp_path)
    assert service.hosts.by_name["cluster1"] == ("198.51.100.10",)
    assert service.services == ("dns", "files")
    assert service.own_name == socket.gethostname()
    assert service.asks_dns
    bare = read_name_service(tmp_path / "none")
    assert (bare.hosts, bare.services) == (HostsFile(), names._DEFAULT_SERVICES)
