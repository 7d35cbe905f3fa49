# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that sign the index of a backup's manifests (HMAC-SHA256); they come with each run and are written nowhere."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError

LEAST_BYTES = 16
SIGNED, HASH, NONE = "signed", "hash", "none"
REQUIRE = (SIGNED, HASH, NONE)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class ManifestKey:
    """A key and the name by which an index tells which one signed it; the key itself is never shown."""

    key_id: str
    secret: bytes = field(repr=False)

    @classmethod
    def from_option(cls, option: Mapping[str, Any], *, what: str) -> ManifestKey:
        """Read ``{id, key}``, the key in base64; raises :class:`InputError`, which does not repeat the key."""
        key_id = str(option["id"])
        if not _ID.fullmatch(key_id):
            raise InputError(
                f"The id of {what} cannot be used: give 1 to 64 letters, digits and . _ - that begin with a letter or a"
                " digit",
                option=what,
            )
        try:
            secret = base64.b64decode(str(option["key"]), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) < LEAST_BYTES:
            raise InputError(
                f"The key {key_id} of {what} cannot be used: give at least {LEAST_BYTES} bytes in base64 (openssl rand"
                " -base64 32)",
                option=what,
            )
        return cls(key_id, secret)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Optional[ManifestKey]:
        """Read ``manifest_key``, the key to sign with, None when none was given; raises :class:`InputError`."""
        given = options.get("manifest_key")
        return cls.from_option(given, what="manifest_key") if given else None

    def mac(self, content: bytes) -> str:
        """Return the HMAC-SHA256 of ``content`` in hexadecimal digits."""
        return hmac.new(self.secret, content, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Trust:
    """What a manifest out of a snapshot must have to be believed, and the keys that are known."""

    require: str = HASH
    keys: tuple[ManifestKey, ...] = ()

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Trust:
        """Read ``manifest_require``, ``manifest_key`` and ``manifest_keys``; raises :class:`InputError`."""
        key, require = options.get("manifest_key"), options.get("manifest_require") or HASH
        keys = [ManifestKey.from_option(key, what="manifest_key")] if key else []
        keys += [ManifestKey.from_option(each, what="manifest_keys") for each in options.get("manifest_keys") or ()]
        if require == SIGNED and not keys:
            raise InputError(
                "manifest_require is signed, and no key was given (manifest_key, manifest_keys); nothing was touched",
                option="manifest_require",
            )
        return cls(require, tuple(keys))

    def verified(self, key_id: str, content: bytes, mac: str) -> Optional[bool]:
        """Return whether the key of that id gave ``mac`` for ``content``, None when no key of that id is known."""
        known = [key for key in self.keys if key.key_id == key_id]
        return any(hmac.compare_digest(key.mac(content), mac) for key in known) if known else None


def key_argument() -> dict[str, Any]:
    """Return the argument spec of the option ``manifest_key``."""
    inner = {"id": {"type": "str", "required": True}, "key": {"type": "str", "required": True, "no_log": True}}
    return {"manifest_key": {"type": "dict", "no_log": False, "options": inner}}


def trust_arguments() -> dict[str, Any]:
    """Return the argument spec of a module that reads manifests out of snapshots."""
    key = key_argument()
    return {
        **key,
        "manifest_keys": {**key["manifest_key"], "type": "list", "elements": "dict", "default": []},
        "manifest_require": {"type": "str", "choices": list(REQUIRE), "default": HASH},
    }
