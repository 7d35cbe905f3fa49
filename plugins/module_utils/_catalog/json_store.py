# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A record of the catalog as a JSON file of its own: written whole or not at all, and read with its schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional, TypeVar

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.store import CatalogError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import is_locked, private_directory, write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import why_unreadable

T = TypeVar("T")


def read(path: Path, parse: Callable[[Mapping[str, Any]], T], *, schema: str, what: str) -> Optional[T]:
    """Return what ``parse`` makes of a record, None where there is no file.

    ``what`` names the record in the message. Raises :class:`CatalogError`, also for whatever ``parse`` finds odd.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != schema:
            raise CatalogError(f"Failed to read {what}: its schema is {record['schema']!r}", path=str(path))
        return parse(record)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise CatalogError(f"Failed to read {what}: {why_unreadable(exc)}", path=str(path)) from exc


def write(path: Path, record: Any, *, schema: str, what: str) -> None:
    """Write a dataclass as a record of the catalog, durably; raises :class:`CatalogError`."""
    data = json.dumps({"schema": schema, **asdict(record)}, indent=1, sort_keys=True) + "\n"
    try:
        private_directory(path.parent)
        write_private(path, data.encode("utf-8"))
    except OSError as exc:
        raise CatalogError(f"Failed to write {what}: {exc}", path=str(path)) from exc


def locked_now(path: Path) -> bool:
    """Say whether somebody holds a lock file of the catalog; raises :class:`CatalogError`."""
    try:
        return is_locked(path)
    except OSError as exc:
        raise CatalogError(f"Failed to look at {path}: {exc.strerror}", path=str(path)) from exc
