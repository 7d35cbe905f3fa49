# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guests of a host in one pass: from libvirt, or from the XML files when its daemon cannot answer."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._guest_words import N, Named
from ansible_collections.kvmsnap.ontap.plugins.module_utils._isolated import outcome_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import (
    NO_DOMAIN,
    Domain,
    DomainState,
    Host,
    LibvirtError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import (
    MAX_XML,
    DomainXmlError,
    GuestXml,
    parse_guest,
    without_passwords,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problem_codes import problem_of
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Problem

Source = Literal["libvirt", "config_dir", "mapping", "backup"]
Unknown = Literal["fail", "ignore"]

_GLOB = "*?["


@dataclass(frozen=True)
class Guest:
    """A guest of this host. ``definition`` is the one in effect, ``xml`` the one to keep (without passwords)."""

    name: str
    uuid: str
    state: DomainState
    persistent: bool
    autostart: bool
    managed_save: bool
    source: Source
    definition: GuestXml
    xml: str


def guests_of(host: Host) -> tuple[list[Guest], list[Problem]]:
    """Return the guests that libvirt knows, and a problem for each definition that cannot be read.

    A guest that vanishes while it is looked at is left out; what fails with one is no matter of the others'. Raises
    :class:`LibvirtError` when libvirt itself is away.
    """
    guests: list[Guest] = []
    problems: list[Problem] = []
    for domain in host.domains():
        found = outcome_of(partial(_guest, domain), what=f"look at guest {domain.name}")
        if isinstance(found, Guest):
            guests.append(found)
        elif isinstance(found, DomainXmlError):
            problems.append(problem_of("definition-unreadable", found.message, guest=domain.name))
        elif isinstance(found, LibvirtError) and not host.alive:
            raise found
        elif not isinstance(found, LibvirtError) or found.code != NO_DOMAIN:
            problems.append(problem_of("guest-unreadable", found.message, guest=domain.name))
    return guests, problems


def guests_in_files(config_dir: Path) -> tuple[list[Guest], list[Problem]]:
    """Return the guests whose XML lies in libvirt's directory; that does not show what runs.

    Raises :class:`InputError` when the directory cannot be read; a file that cannot is a problem.
    """
    guests: list[Guest] = []
    problems: list[Problem] = []
    try:
        files = sorted(path for path in config_dir.iterdir() if path.suffix == ".xml")
        started = {path.name for path in _listed(config_dir / "autostart")}
    except OSError as exc:
        raise InputError(f"Failed to read the guests' definitions in {config_dir}: {exc.strerror}") from exc
    for path in files:
        try:
            guests.append(_guest_in(path, autostart=path.name in started))
        except (OSError, DomainXmlError, UnicodeDecodeError) as exc:
            problems.append(problem_of("definition-unreadable", f"Failed to use {path}: {exc}", guest=path.stem))
    return guests, problems


def as_planned(guests: Iterable[Guest], planned: Mapping[str, str]) -> list[Guest]:
    """Return the guests as if those of ``planned`` (uuid to XML) had these definitions; unknown ones are off.

    Raises ``DomainXmlError``.
    """
    known = {guest.uuid: guest for guest in guests}
    for uuid, xml in planned.items():
        now = known.get(uuid)
        known[uuid] = replace(now, definition=parse_guest(xml), xml=xml) if now else _planned(xml)
    return list(known.values())


def select(guests: Iterable[N], *, wanted: Sequence[str], exclude: Sequence[str], unknown: Unknown = "fail") -> list[N]:
    """Return the guests that one of ``wanted`` calls by name, glob or uuid, and none of ``exclude`` does.

    Raises :class:`InputError` for a name or uuid that no guest has, naming the guests there are, unless such are to be
    ignored; :func:`unmatched` tells of them then.
    """
    known = list(guests)
    if not wanted:
        raise InputError("The list of guests is empty; name at least one guest, or '*' for all")
    missing = [word for word in _matchless(known, wanted) if not _is_glob(word)]
    if missing and unknown == "fail":
        there = ", ".join(guest.name for guest in known) or "none"
        one = len(missing) == 1
        raise InputError(
            f"{'Guest' if one else 'Guests'} {', '.join(map(repr, missing))} {'is' if one else 'are'} not known here;"
            f" the guests of this host are: {there}",
            guests=missing,
        )
    uuids = frozenset(guest.uuid for guest in known)
    return [guest for guest in known if _is_any_of(guest, wanted, uuids) and not _is_any_of(guest, exclude, uuids)]


def unmatched(guests: Iterable[Named], *, wanted: Sequence[str]) -> list[Problem]:
    """Return a problem for each name, uuid and glob that matches no guest (``*`` alone may)."""
    return [
        problem_of("no-guest-matches", f"No guest of this host matches {word!r}")
        if _is_glob(word)
        else problem_of("guest-not-found", f"guest {word}: this host has no such guest", guest=word)
        for word in _matchless(list(guests), wanted)
        if word != "*"
    ]


def _guest(domain: Domain) -> Guest:
    state = domain.state()
    persistent = domain.persistent()
    inactive = domain.xml(inactive=True) if persistent else None
    actual = domain.xml() if state.active or inactive is None else inactive
    return Guest(
        name=domain.name,
        uuid=domain.uuid,
        state=state,
        persistent=persistent,
        autostart=persistent and domain.autostart(),
        managed_save=persistent and domain.managed_save(),
        source="libvirt",
        definition=parse_guest(actual),
        xml=inactive or actual,
    )


def _planned(xml: str) -> Guest:
    definition = parse_guest(xml)
    return Guest(
        name=definition.name,
        uuid=definition.uuid,
        state=DomainState("shutoff", "it is not defined", None),
        persistent=True,
        autostart=False,
        managed_save=False,
        source="backup",
        definition=definition,
        xml=xml,
    )


def _guest_in(path: Path, *, autostart: bool) -> Guest:
    with path.open("rb") as stream:
        content = stream.read(MAX_XML + 1)
    definition = parse_guest(content)
    return Guest(
        name=definition.name,
        uuid=definition.uuid,
        state=DomainState("unknown", "libvirt did not answer", None),
        persistent=True,
        autostart=autostart,
        managed_save=False,
        source="config_dir",
        definition=definition,
        xml=without_passwords(content.decode("utf-8")),
    )


def _matchless(guests: Sequence[Named], wanted: Sequence[str]) -> list[str]:
    uuids = frozenset(guest.uuid for guest in guests)
    return [word for word in dict.fromkeys(wanted) if not any(_is_any_of(guest, (word,), uuids) for guest in guests)]


def _listed(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []


def _is_glob(word: str) -> bool:
    return any(char in word for char in _GLOB)


def _is_any_of(guest: Named, words: Sequence[str], uuids: Collection[str]) -> bool:
    return any(_named(guest, word, uuids) for word in words)


def _named(guest: Named, word: str, uuids: Collection[str]) -> bool:
    """Tell whether a word means a guest; the uuid of a guest means no other one that has it for a name."""
    if word.lower() in uuids:
        return word.lower() == guest.uuid
    if word == guest.name:
        return True
    return _is_glob(word) and fnmatch.fnmatchcase(guest.name, word)
