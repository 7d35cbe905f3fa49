# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the file that holds, or should hold, a host's own variable, by the rules Ansible reads host_vars with."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.plugin_utils._yaml_text import (
    ABSENT,
    VAULT_HEADER,
    YamlTextError,
    get_key,
    templates_in,
)

EXTENSIONS = (".yml", ".yaml", ".json")
NEW_FILE_MODE = "0644"

_AWX = ("awx_job_id", "tower_job_id")


class HostVarsError(KvmsnapError):
    """The file for a host's variable cannot be determined."""


@dataclass(frozen=True)
class HostVarsFile:
    """The file for a variable: ``text`` is empty for one that does not exist yet, ``value`` is None without the key.

    ``mode`` is an octal string such as ``0644``.
    """

    path: Path
    text: str
    mode: str
    value: Any


def inventory_home(variables: Mapping[str, Any]) -> Path:
    """Return the ``host_vars`` directory beside the inventory source that a host comes from.

    ``variables`` are the host's: ``inventory_dir``, ``ansible_inventory_sources`` (Ansible reads host_vars beside
    those, not in the directories below them), and what AWX sets for a job. Raises :class:`HostVarsError` where there is
    none.
    """
    if any(name in variables for name in _AWX):
        raise HostVarsError(
            "Failed to find the inventory's directory: it is an inventory of AWX, and a file written in this job's"
            " container would be lost with it; keep the variable in AWX, or name a host_vars directory that lasts"
        )
    home = Path(str(variables.get("inventory_dir") or "")).resolve()
    given = [str(source) for source in variables.get("ansible_inventory_sources") or ()]
    directories = [_directory_of(Path(source).resolve()) for source in given if "," not in source]
    above = [each for each in directories if each == home or each in home.parents]
    if not variables.get("inventory_dir") or (given and not above):
        raise HostVarsError(
            "Failed to find the inventory's directory: the host comes from no inventory file (a list of hosts, or added"
            " during the run); name the host_vars directory"
        )
    return (above[0] if above else home) / "host_vars"


def find_file(directory: Path, *, host: str, key: str) -> HostVarsFile:
    """Return the file of ``host`` below a ``host_vars`` directory that holds ``key``, or the one it should go to.

    Ansible takes the first of ``<host>`` (a directory or a file), ``<host>.yml``, ``<host>.yaml`` and ``<host>.json``;
    in a directory it reads all files with these extensions or none. Without the key, a directory's ``main.yml`` is
    taken, a new host gets ``<host>.yml``. Encrypted files are passed over.

    Raises :class:`HostVarsError` when several files have the key, a file cannot be read or is no mapping, the key's
    value has a template in it, or the only place is encrypted.
    """
    if not host or host in (".", "..") or "/" in host or "\0" in host:
        raise HostVarsError(f"Failed to find the variables of host {host!r}: that is no file name", path=str(directory))
    places = (directory / host, *(directory / f"{host}{extension}" for extension in EXTENSIONS))
    existing = next((place for place in places if place.exists()), directory / f"{host}.yml")
    files = list(_files_below(existing)) if existing.is_dir() else [existing]
    texts = {path: _read(path) for path in files if path.exists()}
    values = {path: _value(path, text, key) for path, text in texts.items() if not text.startswith(VAULT_HEADER)}
    holders = [path for path, value in values.items() if value is not ABSENT]
    if len(holders) > 1:
        names = ", ".join(str(path) for path in holders)
        raise HostVarsError(
            f"Failed to tell where {key} of host {host} is kept: {names} all have it", path=str(existing)
        )
    chosen = holders[0] if holders else _home(existing, texts)
    if chosen in texts and chosen not in values:
        raise HostVarsError(
            f"Failed to tell where {key} of host {host} should go: {chosen} is encrypted with Ansible Vault; keep the"
            f" host's variables in a directory {directory / host}, with '{key}:' in an open file of it",
            path=str(chosen),
        )
    value = values.get(chosen, ABSENT)
    return HostVarsFile(chosen, texts.get(chosen, ""), _mode(chosen), None if value is ABSENT else value)


def _directory_of(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def _home(existing: Path, texts: dict[Path, str]) -> Path:
    if not existing.is_dir():
        return existing
    mains = [existing / f"main{extension}" for extension in EXTENSIONS[:2]]
    return next((path for path in mains if path in texts), mains[0])


def _files_below(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir(), key=lambda each: each.name):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir() and not path.suffix:
            yield from _files_below(path)
        elif path.is_file() and path.suffix in ("", *EXTENSIONS):
            yield path


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise HostVarsError(f"Failed to read {path}: {exc}", path=str(path)) from exc


def _value(path: Path, text: str, key: str) -> Any:
    try:
        found = templates_in(text, key)
        value = get_key(text, key)
    except YamlTextError as exc:
        raise HostVarsError(f"{exc.message} ({path})", path=str(path)) from exc
    if found:
        raise HostVarsError(
            f"Failed to use {key} in {path}: it is a template or has one in it, {found[0]}, which Ansible runs. If a"
            " discovery wrote it, a file or guest of that name is on the host: write !unsafe before the text, or remove"
            " the entry",
            path=str(path),
        )
    return value


def _mode(path: Path) -> str:
    try:
        return f"{stat.S_IMODE(path.stat().st_mode):04o}"
    except FileNotFoundError:
        return NEW_FILE_MODE
