# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulator for clients that know nothing of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ontapsim.testing import Running, start


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[Running]:
    """A running simulator with the sample configuration."""
    with start(None, tmp_path) as running:
        yield running


def needed(variable: str, what: str) -> Path:
    """Return the path in an environment variable; without it the test is skipped, in CI it fails."""
    value = os.environ.get(variable)
    if value:
        return Path(value)
    reason = f"{variable} is not set: it names {what} ('nox -s believable' sets it)"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def netapp_919() -> Path:
    """The interpreter that has netapp-ontap 9.19."""
    return needed("KVMSNAP_PY_NETAPP919", "a Python with netapp-ontap 9.19")


@pytest.fixture
def netapp_917() -> Path:
    """The interpreter, Python 3.9, that has netapp-ontap 9.17."""
    return needed("KVMSNAP_PY_NETAPP917", "a Python 3.9 with netapp-ontap 9.17")


@pytest.fixture
def ansible_venv() -> Path:
    """The virtual environment that has the package `ansible` and `requests`."""
    return needed("KVMSNAP_ANSIBLE_VENV", "a virtual environment with the packages ansible and requests")
