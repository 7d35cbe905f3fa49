# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How names resolve on this host: the truth from the resolver, its source from /etc/hosts and nsswitch.conf."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

HOSTS_FILE = "/etc/hosts"
DNS = "DNS"
ADDRESS = "address"

_DNS_SERVICES = ("dns", "resolve")
_DEFAULT_SERVICES = ("files", "dns")
_OWN_NAMES = ("localhost", "_gateway", "_outbound")


@dataclass(frozen=True)
class HostsFile:
    """The content of /etc/hosts: lower-case name -> addresses, and address -> the first name given to it."""

    by_name: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_address: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_text(cls, text: str) -> HostsFile:
        """Read the text of a hosts file (hosts(5)); lines that do not start with an address are passed over."""
        by_name: dict[str, tuple[str, ...]] = {}
        by_address: dict[str, str] = {}
        for line in text.splitlines():
            words = line.split("#", 1)[0].split()
            address = as_address(words[0]) if words else None
            if address is None:
                continue
            for name in words[1:]:
                known = by_name.get(_key(name), ())
                by_name[_key(name)] = known if address in known else (*known, address)
                by_address.setdefault(address, name)
        return cls(by_name, by_address)


@dataclass(frozen=True)
class NameService:
    """What decides on this host how a name is looked up: the hosts file and the services asked, in their order."""

    hosts: HostsFile
    services: tuple[str, ...]
    own_name: str

    @property
    def asks_dns(self) -> bool:
        """Whether DNS is among the services."""
        return any(service in _DNS_SERVICES for service in self.services)


@dataclass(frozen=True)
class ResolverAnswer:
    """What the resolver said: addresses for a name, the name for an address, or why there is none."""

    addresses: tuple[str, ...] = ()
    name: Optional[str] = None
    error: Optional[str] = None


@dataclass(frozen=True)
class Resolution:
    """How one name or address resolves here.

    ``source`` is ``/etc/hosts``, ``DNS``, another service of nsswitch.conf, several joined by "or" where the answer
    does not tell them apart, ``address`` for what needs no look-up, and empty when nothing answered. ``alias`` is the
    name that an address is known by.
    """

    name: str
    addresses: tuple[str, ...]
    source: str
    alias: Optional[str] = None
    error: Optional[str] = None


Lookup = Callable[[str], ResolverAnswer]


def as_address(text: str) -> Optional[str]:
    """Return the canonical form of an IPv4 or IPv6 address (in brackets or not, zone dropped), None for a name."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare.split("%", 1)[0]))
    except ValueError:
        return None


def parse_nsswitch(text: str) -> tuple[str, ...]:
    """Return the services of the ``hosts:`` line in their order, without the ``[…]`` actions (nsswitch.conf(5))."""
    for line in text.splitlines():
        database, colon, services = line.split("#", 1)[0].partition(":")
        if colon and database.strip() == "hosts":
            return tuple(re.sub(r"\[[^\]]*\]", " ", services).split())
    return _DEFAULT_SERVICES


def source_of(name: str, addresses: Iterable[str], service: NameService) -> str:
    """Tell which service gave these addresses for a name; several are joined by "or" where the answer fits them all.

    The hosts file ends the search when it has the name: what comes after it was not asked.
    """
    found = set(addresses)
    listed = set(service.hosts.by_name.get(_key(name), ()))
    possible: list[str] = []
    for each in service.services:
        if each == "files":
            if listed & found:
                possible.append(HOSTS_FILE)
                break
        elif each in _DNS_SERVICES:
            possible.append(DNS)
        elif _may_answer(each, name, service.own_name):
            possible.append(each)
    return " or ".join(dict.fromkeys(possible))


def why_missing(name: str, error: str, service: NameService) -> str:
    """Say which source lacks the name and what the resolver said."""
    listed = service.hosts.by_name.get(_key(name))
    in_file = f"{HOSTS_FILE} lists it as {', '.join(listed)}" if listed else f"{HOSTS_FILE} does not list it"
    if service.asks_dns:
        return f"{in_file}, DNS did not answer with an address ({error})"
    return f"{in_file}, DNS is not asked on this host (nsswitch.conf: {' '.join(service.services)}) ({error})"


def read_name_service(etc: Path = Path("/etc")) -> NameService:
    """Read what decides look-ups on this host; a file that is missing counts as empty."""
    hosts = HostsFile.from_text(_content_of(etc / "hosts"))
    return NameService(hosts, parse_nsswitch(_content_of(etc / "nsswitch.conf")), socket.gethostname())


def ask_system(name: str) -> ResolverAnswer:
    """Ask the resolver of this host for a name's addresses, or for an address's name (getaddrinfo, getnameinfo)."""
    address = as_address(name)
    try:
        if address is not None:
            return ResolverAnswer(name=socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0])
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        return ResolverAnswer(error=getattr(exc, "strerror", None) or str(exc))
    return ResolverAnswer(
        addresses=tuple(dict.fromkeys(as_address(str(item[4][0])) or str(item[4][0]) for item in found))
    )


def resolve(
    names: Iterable[str], *, service: NameService, timeout: float = 10.0, lookup: Lookup = ask_system
) -> dict[str, Resolution]:
    """Resolve all names at once and return the resolution of each; ``timeout`` (seconds) bounds them together.

    A resolver that hangs cannot be stopped, so each look-up has a thread of its own that nobody waits for.
    """
    answers: dict[str, ResolverAnswer] = {}
    wanted = list(dict.fromkeys(names))
    threads = [threading.Thread(target=_ask, args=(name, lookup, answers), daemon=True) for name in wanted]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    silent = ResolverAnswer(error=f"no answer within {timeout:g} s")
    return {name: resolution_of(name, answers.get(name, silent), service) for name in wanted}


def resolution_of(name: str, answer: ResolverAnswer, service: NameService) -> Resolution:
    """Judge one answer of the resolver."""
    address = as_address(name)
    if address is not None:
        return Resolution(name, (address,), ADDRESS, alias=answer.name or service.hosts.by_address.get(address))
    if not answer.addresses:
        return Resolution(name, (), "", error=answer.error or "no address")
    return Resolution(name, answer.addresses, source_of(name, answer.addresses, service))


def _ask(name: str, lookup: Lookup, answers: dict[str, ResolverAnswer]) -> None:
    answers[name] = lookup(name)


def _key(name: str) -> str:
    return name.rstrip(".").lower()


def _may_answer(service: str, name: str, own_name: str) -> bool:
    key = _key(name)
    if service == "myhostname":
        return key == _key(own_name) or key in _OWN_NAMES or key.endswith(".localhost")
    if service.startswith("mdns"):
        return key.endswith(".local")
    return service != "files"


def _content_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
