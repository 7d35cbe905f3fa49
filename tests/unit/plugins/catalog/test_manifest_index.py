# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The index of a backup's manifests: the same bytes everywhere, and nothing but an index is read as one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest import ManifestError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_index import (
    MAX_BYTES,
    MAX_PARTS,
    ManifestIndex,
    Part,
    is_index,
    made_index,
    parse_index,
    part_name,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.manifest_key import ManifestKey, Trust
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError

RUN = "0f8fad5b-d9cb-469f-a165-70867728950e"
FIRST = Part("hv1", "svm1-uuid", "vol1-uuid", "svm1:vol1", "ab" * 32)
SECOND = Part("hv2", "svm1-uuid", "vol1-uuid", "svm1:vol1", "cd" * 32)
BARE = Part("hv1", "svm1-uuid", "san1-uuid", "svm1:san1", None)
KEY = ManifestKey("k1", b"x" * 16)


def index(*parts: Part) -> ManifestIndex:
    return made_index("hv1-daily", owner="hv1", run_id=RUN, parts=parts or (FIRST, SECOND, BARE))


def test_each_host_makes_the_same_bytes_whatever_the_order() -> None:
    assert index(FIRST, SECOND, BARE).dump() == index(BARE, SECOND, FIRST, FIRST).dump()
    assert index().signed(KEY).dump() == index(SECOND, BARE, FIRST).signed(KEY).dump()


@pytest.mark.parametrize("made", [index(), index().signed(KEY), index(BARE)])
def test_what_is_written_is_read(made: ManifestIndex) -> None:
    assert is_index(made.dump())
    assert parse_index(made.dump(), where="x") == made


def test_a_signature_is_over_the_index_without_it() -> None:
    signed = index().signed(KEY)
    assert signed.signature is not None
    assert signed.signed_bytes == index().dump()
    trust = Trust("signed", (KEY,))
    assert trust.verified("k1", signed.signed_bytes, signed.signature.hmac_sha256) is True
    other = replace(signed, run_id=RUN.replace("0", "1"))
    assert trust.verified("k1", other.signed_bytes, signed.signature.hmac_sha256) is False


def test_two_manifests_of_one_host_on_one_volume_are_refused() -> None:
    with pytest.raises(KvmsnapError, match="a host has two manifests on one volume"):
        index(FIRST, replace(FIRST, sha256="cd" * 32))


def test_more_than_an_index_holds_is_refused_before_the_hold() -> None:
    many = tuple(replace(FIRST, host=f"hv{number}") for number in range(MAX_PARTS + 1))
    with pytest.raises(KvmsnapError, match=r"are too many for one point in time\. Nothing was held"):
        index(*many)


@pytest.mark.parametrize("host", ["hv1", "h" * 200, "index"])
def test_a_file_s_name_is_short_and_no_index_s(host: str) -> None:
    name = part_name("b" * 200, host)
    assert name != f"{'b' * 200}.json"
    assert len(f".{name}.{'0' * 16}") <= 255
    assert part_name("b", host) != part_name("b", f"{host}x")


def record(**changes: Any) -> bytes:
    """The index with other fields."""
    return json.dumps({**json.loads(index().dump()), **changes}, indent=1, sort_keys=True).encode("ascii") + b"\n"


def with_part(**changes: Any) -> bytes:
    found = json.loads(index().dump())["parts"]
    return record(parts=[{**found[0], **changes}, *found[1:]])


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "no json": b"{",
    "no text": b"\xff\xfe",
    "a list": b"[]",
    "deep": b"[" * 200_000,
    "deep in a field": record(owner=0).replace(b'"owner": 0', b'"owner": ' + b"[" * 100_000 + b"]" * 100_000),
    "a long number": record(run_id=0).replace(b'"run_id": 0', b'"run_id": ' + b"9" * 5000),
    "large": b" " * (MAX_BYTES + 1),
    "another schema": record(schema="kvmsnap.index/9"),
    "no parts": record(parts=None),
    "parts of no kind": record(parts=["x"]),
    "too many parts": record(parts=[{}] * (MAX_PARTS + 1)),
    "no signature": record(signature="x"),
    "a signature of another kind": record(signature={"key_id": "k", "hmac_sha256": "é" * 64}),
    "a key id of no kind": record(signature={"key_id": ["k"], "hmac_sha256": "ab" * 32}),
    "one more field": record(more=1),
    "another form": json.dumps(json.loads(index().dump())).encode("ascii"),
    "a field twice": index().dump().replace(b'"owner"', b'"owner": "hv9",\n "owner"'),
    "an id that leaves": record(backup_id="../x"),
    "an owner that leaves": record(owner="../x"),
    "a host that leaves": with_part(host="../../x"),
    "a host of no kind": with_part(host=5),
    "a sum of another length": with_part(sha256="ab"),
    "a sum of no kind": with_part(sha256=["ab" * 32]),
    "lines in a label": with_part(volume="a\nb"),
    "escapes in a label": with_part(volume="\x1b[2J"),
    "a long label": with_part(volume="x" * 600),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_index_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(ManifestError, match=r"^Failed to read index here: ") as caught:
        parse_index(content, where="here")
    assert len(caught.value.message) < 600
    assert caught.value.message.isprintable()


def test_an_index_is_read_up_to_one_mebibyte() -> None:
    most = index().dump().ljust(1 << 20)
    assert is_index(most)
    assert not is_index(most + b" ")
    with pytest.raises(ManifestError, match=r"in another form$"):
        parse_index(most, where="here")
    with pytest.raises(ManifestError, match=r"larger than 1048576 bytes$"):
        parse_index(most + b" ", where="here")


@pytest.mark.parametrize("schema", ["kvmsnap.index/2", None, 1])
def test_another_schema_is_named_before_anything_else(schema: object) -> None:
    with pytest.raises(ManifestError, match=r"^Failed to read index here: its schema is not kvmsnap\.index/1$"):
        parse_index(record(schema=schema, parts=None), where="here")


@pytest.mark.parametrize("act", [is_index])
def test_asking_whether_it_is_one_ends_with_an_answer(act: Callable[[bytes], bool]) -> None:
    assert [name for name, content in HOSTILE.items() if act(content) not in (True, False)] == []
    assert act(b'{"schema": "kvmsnap.manifest/1"}') is False
