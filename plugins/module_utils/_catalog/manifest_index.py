# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of a backup's manifests: which host's manifest each volume carries, by SHA-256. Pure.

The index lies beside the manifests in each volume, and the comment of the snapshots has the SHA-256 of its bytes
(``_catalog/comment``). So whoever can write into a volume, and not to the array, can alter neither without being seen.
With a key it has an HMAC-SHA256 over its own bytes without the HMAC, too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import ManifestError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import ManifestKey
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ids import checked_id
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import why_unreadable

SCHEMA = "kvmsnap.index/1"
MAX_BYTES = 1 << 20
MAX_PARTS = 2048
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_TEXT = 512


def index_name(backup_id: str) -> str:
    """Return the name of the index file in ``.kvmsnap``."""
    return f"{backup_id}.json"


def part_name(backup_id: str, host: str) -> str:
    """Return the name of a host's manifest in ``.kvmsnap``; short, whatever the names of both are."""
    return f"{backup_id}@{hashlib.sha256(host.encode('utf-8')).hexdigest()[:16]}.json"


@dataclass(frozen=True)
class Part:
    """What one host has in one volume; ``sha256`` is that of its manifest there, None when the volume carries none."""

    host: str
    svm_uuid: str
    volume_uuid: str
    volume: str
    sha256: Optional[str]

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Part:
        """Read a part out of an index or an option. :raises KeyError, TypeError, ValueError, InputError:"""
        digest = record["sha256"]
        if digest is not None and not _SHA256.fullmatch(_checked_text(digest)):
            raise ValueError("sha256")
        return cls(
            host=checked_id(_checked_text(record["host"]), what="host"),
            svm_uuid=_checked_text(record["svm_uuid"]),
            volume_uuid=_checked_text(record["volume_uuid"]),
            volume=_checked_text(record["volume"]),
            sha256=digest,
        )

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the volume: its SVM's and its own uuid."""
        return (self.svm_uuid, self.volume_uuid)

    @property
    def label(self) -> str:
        """The part, for people."""
        return f"the manifest of {self.host} on {self.volume}"


@dataclass(frozen=True)
class Signature:
    """Which key signed an index, and the HMAC in hexadecimal digits."""

    key_id: str
    hmac_sha256: str

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Signature:
        """Read the signature of an index. :raises KeyError, TypeError, ValueError:"""
        if not _SHA256.fullmatch(_checked_text(record["hmac_sha256"])):
            raise ValueError("hmac_sha256")
        return cls(_checked_text(record["key_id"]), record["hmac_sha256"])


@dataclass(frozen=True)
class ManifestIndex:
    """All manifests of one backup; ``owner`` and ``run_id`` are those of its snapshots' comment."""

    backup_id: str
    owner: str
    run_id: str
    parts: tuple[Part, ...]
    signature: Optional[Signature] = None

    @property
    def signed_bytes(self) -> bytes:
        """What a key signs: the index without a signature."""
        return _dumped(replace(self, signature=None))

    def signed(self, key: Optional[ManifestKey]) -> ManifestIndex:
        """Return the index signed with a key, or as it is when there is none."""
        return self if key is None else replace(self, signature=Signature(key.key_id, key.mac(self.signed_bytes)))

    def dump(self) -> bytes:
        """Return the bytes of the index file; the same parts give the same bytes on every host."""
        return _dumped(self)


def made_index(backup_id: str, *, owner: str, run_id: str, parts: tuple[Part, ...]) -> ManifestIndex:
    """Return the index of these parts, whatever their order; raises :class:`KvmsnapError` for one too large."""
    ordered = tuple(sorted(set(parts), key=lambda each: (each.host, each.key)))
    if len({(each.host, each.key) for each in ordered}) < len(ordered):
        raise KvmsnapError(f"Failed to make the index of backup {backup_id}: a host has two manifests on one volume")
    index = ManifestIndex(backup_id, owner, run_id, ordered)
    if len(ordered) > MAX_PARTS or len(index.dump()) > MAX_BYTES // 2:
        raise KvmsnapError(
            f"Failed to make the index of backup {backup_id}: {len(ordered)} manifests are too many for one point in"
            " time. Nothing was held; make several backups"
        )
    return index


def digest_of(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def is_index(content: bytes) -> bool:
    """Tell whether a file is an index, by its schema; it may still be no good one."""
    if len(content) > MAX_BYTES:
        return False
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("schema") == SCHEMA


def parse_index(content: bytes, *, where: str) -> ManifestIndex:
    """Read an index; ``where`` names the file in errors. Raises :class:`ManifestError`."""
    try:
        if len(content) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        record = json.loads(content)
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        if not isinstance(record["parts"], list) or len(record["parts"]) > MAX_PARTS:
            raise ValueError(f"parts is no list of at most {MAX_PARTS}")
        given = record["signature"]
        index = ManifestIndex(
            backup_id=checked_id(_checked_text(record["backup_id"]), what="backup_id"),
            owner=checked_id(_checked_text(record["owner"]), what="owner"),
            run_id=_checked_text(record["run_id"]),
            parts=tuple(Part.from_record(each) for each in record["parts"]),
            signature=None if given is None else Signature.from_record(given),
        )
        if index.dump() != content:
            raise ValueError("it has more than an index has, or in another form")
    except KvmsnapError as exc:
        raise ManifestError(f"Failed to read index {where}: {exc.message}", path=where) from exc
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as exc:
        raise ManifestError(f"Failed to read index {where}: {why_unreadable(exc)[:200]}", path=where) from exc
    return index


def _dumped(index: ManifestIndex) -> bytes:
    text = json.dumps({"schema": SCHEMA, **asdict(index)}, indent=1, sort_keys=True, ensure_ascii=True)
    return f"{text}\n".encode("ascii")


def _checked_text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise ValueError("a field is no short text on one line")
    return value
