# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that sign an index: which are refused, which fit, and that none is ever shown."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import ManifestKey, Trust
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError

SECRET = b"sixteen bytes ok"


def option(secret: bytes = SECRET, key_id: str = "k1") -> dict[str, str]:
    return {"id": key_id, "key": base64.b64encode(secret).decode("ascii")}


def test_a_key_signs_and_verifies_and_is_not_shown() -> None:
    key = ManifestKey.from_options({"manifest_key": option()})
    assert key is not None
    mac = key.mac(b"content")
    # printf content | openssl dgst -sha256 -hmac 'sixteen bytes ok'
    assert mac == "05a6d8e56b11bc6bc88ffeddf6170a173938c7f550b8ec307a6f4e39ae7b5d9b"

    trust = Trust.from_options({"manifest_key": option(), "manifest_keys": [], "manifest_require": "signed"})
    assert trust.verified("k1", b"content", mac) is True
    assert trust.verified("k1", b"another", mac) is False
    assert trust.verified("k2", b"content", mac) is None
    assert SECRET.decode() not in repr(key) + repr(trust)


def test_older_keys_verify_too_and_one_id_may_stand_for_two() -> None:
    older = ManifestKey("k1", b"y" * 16)
    trust = Trust.from_options({"manifest_key": option(), "manifest_keys": [option(b"y" * 16)]})
    assert trust.verified("k1", b"content", older.mac(b"content")) is True
    assert trust.verified("k1", b"content", ManifestKey("k1", b"z" * 16).mac(b"content")) is False


@pytest.mark.parametrize(
    "given",
    [
        option(b"fifteen bytes!!"),
        option(b""),
        {"id": "k1", "key": "not base64 at all"},
        {"id": "k1", "key": "é" * 30},
        option(key_id=""),
        option(key_id="a b"),
        option(key_id="-k"),
        option(key_id="k" * 65),
        option(key_id="k\n"),
    ],
)
@pytest.mark.parametrize("where", ["manifest_key", "manifest_keys"])
def test_a_key_that_cannot_be_used_is_refused_and_not_repeated(given: dict[str, str], where: str) -> None:
    options: dict[str, Any] = {"manifest_key": None, "manifest_keys": []}
    options[where] = given if where == "manifest_key" else [given]
    with pytest.raises(InputError, match=f"of {where} cannot be used") as caught:
        Trust.from_options(options)
    assert given["key"] == "" or given["key"] not in caught.value.message


def test_signatures_cannot_be_required_without_a_key() -> None:
    with pytest.raises(InputError, match="no key was given"):
        Trust.from_options({"manifest_key": None, "manifest_keys": [], "manifest_require": "signed"})
    assert Trust.from_options({}) == Trust("hash", ())
