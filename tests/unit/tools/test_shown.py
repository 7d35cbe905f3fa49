# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the marked assertion of a fault writes down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shown import RECORD, shown


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "shown.jsonl"
    monkeypatch.setenv(RECORD, str(path))
    return path


def lines(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]


def test_an_assertion_that_holds(record: Path, request: pytest.FixtureRequest) -> None:
    with shown("11.1: a fault"):
        pass
    assert [line["what"] for line in lines(record)] == ["reached", "held"]
    assert {line["fault"] for line in lines(record)} == {"11.1: a fault"}
    assert {line["test"] for line in lines(record)} == {request.node.nodeid}


def test_an_assertion_that_fails_still_fails_the_test(record: Path) -> None:
    with pytest.raises(AssertionError), shown("11.1: a fault"):
        raise AssertionError("old bytes\nmore")
    assert [(line["what"], line["said"]) for line in lines(record)] == [("reached", ""), ("failed", "old bytes")]


def test_another_error_shows_no_fault(record: Path) -> None:
    with pytest.raises(KeyError), shown("11.1: a fault"):
        raise KeyError("option")
    assert [line["what"] for line in lines(record)] == ["reached", "error"]


def test_without_a_record_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(RECORD, raising=False)
    monkeypatch.chdir(tmp_path)
    with shown("11.1: a fault"):
        pass
    assert list(tmp_path.iterdir()) == []
