# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""KVM_VM_MAPPING: which guest's disk lies where, as the plug-in's one-line string or as a list. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, Union

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError

_FIELDS = ("guest", "controller", "path")
_BLANKS = " \t\r\n"


@dataclass(frozen=True)
class MappingEntry:
    """One disk of one guest: ``controller`` is the SVM's name or an address (IPv6 without brackets)."""

    guest: str
    controller: str
    path: str

    @property
    def volume(self) -> str:
        """The volume's name, second part of ``/vol/<volume>/<path>``."""
        return self.path.split("/", 3)[2]

    @property
    def inner_path(self) -> str:
        """The path inside the volume, without a leading slash."""
        return self.path.split("/", 3)[3]

    def as_dict(self) -> dict[str, str]:
        """Return plain data for a module's result or a filter."""
        return asdict(self)

    def as_text(self) -> str:
        """Return the entry as it stands in the one-line form, without the closing ``;``."""
        controller = f"[{self.controller}]" if ":" in self.controller else self.controller
        return f"{self.guest}:{controller}:{self.path}"

    @property
    def writable(self) -> bool:
        """Whether the one-line form can hold the entry: names with its separators in them cannot be distinguished."""
        text = self.as_text()
        blank_ends = any(value != value.strip(_BLANKS) for value in (self.guest, self.controller, self.path))
        return not (blank_ends or ";" in text or ":" in self.guest)


def parse_mapping(value: Union[str, Iterable[Any], None]) -> list[MappingEntry]:
    """Read a mapping in either form; nothing at all gives an empty list.

    The string is ``VM1:s_c1:/vol/vol1/lun1;VM2:s_c2:/vol/vol2/lun2;`` (the plug-in's guidelines): blanks around the
    separators and a missing last ``;`` are tolerated, an IPv6 controller stands in brackets, a path may hold ``:``.
    The list holds ``{guest, controller, path}``. A guest may occur several times; its first entry is its boot disk.
    Raises :class:`InputError` naming the entry and its number.
    """
    if value is None:
        return []
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise InputError(f"The mapping must be a string or a list of entries, not {type(value).__name__}")
    return [_from_item(item, number) for number, item in enumerate(value, 1)]


def format_mapping(entries: Iterable[MappingEntry]) -> str:
    """Write the one-line form, each entry closed by ``;``; raises :class:`InputError` for what it cannot hold."""
    parts = []
    for number, entry in enumerate(entries, 1):
        if not entry.writable:
            why = "a ':' in the guest, a ';' or a blank at an end cannot be written in one line"
            _refuse(number, entry.as_text(), why)
        parts.append(f"{entry.as_text()};")
    return "".join(parts)


def parse_vm_list(value: Union[str, Iterable[Any]]) -> list[str]:
    """Read a list of guests, ``VM1, VM2`` or a YAML list, each once and in order; raises :class:`InputError`."""
    if isinstance(value, str):
        names = [name.strip(_BLANKS) for name in value.split(",")]
        if len(names) > 1 and not names[-1]:
            names.pop()
    elif isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise InputError(f"The list of guests must be a string or a list, not {type(value).__name__}")
    else:
        names = [item.strip(_BLANKS) if isinstance(item, str) else item for item in value]
    for number, name in enumerate(names, 1):
        if not isinstance(name, str):
            raise InputError(f"Guest {number} of the list is {name!r}, which is no name; put it in quotes")
    if not any(names):
        raise InputError("The list of guests is empty; name at least one guest")
    for number, name in enumerate(names, 1):
        if not name:
            raise InputError(f"Guest {number} of the list is empty")
    return list(dict.fromkeys(names))


def listed(values: Iterable[str]) -> list[str]:
    """Return the entries of a list option without blanks around them, and without empty ones.

    Ansible splits a text at each comma and leaves the blanks: ``a, b`` comes as ``a`` and `` b``, and an empty text as
    one entry that is empty.
    """
    return list(filter(None, (value.strip(_BLANKS) for value in values)))


def _from_text(text: str) -> list[MappingEntry]:
    parts = [part.strip(_BLANKS) for part in text.split(";")]
    if not parts[-1]:
        parts.pop()
    return [_entry(number, part, _fields(number, part)) for number, part in enumerate(parts, 1)]


def _fields(number: int, part: str) -> tuple[str, str, str]:
    if not part:
        _refuse(number, part, "it is empty")
    guest, colon, rest = part.partition(":")
    if not colon:
        _refuse(number, part, "the controller and the path are missing; write guest:controller:/vol/<volume>/<path>")
    rest = rest.lstrip(_BLANKS)
    if rest.startswith("["):
        match = re.match(r"\[([^\]]*)\][ \t\r\n]*:", rest)
        if not match:
            _refuse(number, part, "the controller's bracket is not closed and followed by ':' and a path")
        controller, path = match.group(1), rest[match.end() :]
        if not _is_ipv6(controller):
            _refuse(number, part, f"{controller!r} in brackets is no IPv6 address")
    else:
        controller, colon, path = rest.partition(":")
        if not colon:
            _refuse(number, part, "the path is missing; write guest:controller:/vol/<volume>/<path>")
    return guest.strip(_BLANKS), controller.strip(_BLANKS), path.strip(_BLANKS)


def _from_item(item: Any, number: int) -> MappingEntry:
    if isinstance(item, MappingEntry):
        item = item.as_dict()
    if not isinstance(item, Mapping):
        _refuse(number, item, f"it must have {', '.join(_FIELDS)}")
    unknown = sorted(str(key) for key in item if key not in _FIELDS)
    if unknown:
        _refuse(number, dict(item), f"unknown key {', '.join(unknown)}")
    values = []
    for field in _FIELDS:
        value = item.get(field)
        if not isinstance(value, str):
            _refuse(number, dict(item), f"the {field} is missing" if value is None else f"the {field} is no text")
        values.append(value)
    guest, controller, path = values
    if controller.startswith("[") and controller.endswith("]"):
        controller = controller[1:-1]
    return _entry(number, dict(item), (guest, controller, path))


def _entry(number: int, shown: Any, fields: tuple[str, str, str]) -> MappingEntry:
    for name, value in zip(_FIELDS, fields):
        if not value:
            _refuse(number, shown, f"the {name} is empty")
        if "\0" in value:
            _refuse(number, shown, f"the {name} holds a NUL character")
    guest, controller, path = fields
    if "/" in guest or "/" in controller:
        _refuse(number, shown, "neither guest nor controller may hold '/'")
    if ":" in controller and not _is_ipv6(controller):
        _refuse(number, shown, f"controller {controller!r} holds ':' and is no IPv6 address")
    steps = path.split("/")
    if len(steps) < 4 or steps[0] or steps[1] != "vol" or not steps[2]:
        hint = "; an IPv6 controller stands in brackets" if path.count(":") > 1 else ""
        _refuse(number, shown, f"the path {path!r} is not /vol/<volume>/<path>{hint}")
    if any(step in ("", ".", "..") for step in steps[2:]):
        _refuse(number, shown, f"the path {path!r} has an empty, '.' or '..' step")
    return MappingEntry(guest, controller, path)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _refuse(number: int, shown: Any, why: str) -> NoReturn:
    raise InputError(f"Entry {number} of the mapping, {shown!r}, cannot be used: {why}", entry=number)
