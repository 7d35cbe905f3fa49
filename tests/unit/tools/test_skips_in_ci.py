# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test that is skipped where CI runs has failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"
SKIPS = {
    "in the test": "import pytest\n\ndef test_it(): pytest.skip('it is not here')\n",
    "by its mark": "import pytest\n\n@pytest.mark.skip(reason='it is not here')\ndef test_it(): pass\n",
    "in its fixture": (
        "import pytest\n\n@pytest.fixture\ndef it(): pytest.skip('it is not here')\n\ndef test_it(it): pass\n"
    ),
    "with its file": "import pytest\n\npytest.skip('it is not here', allow_module_level=True)\n",
}
NOTHING_RAN = pytest.ExitCode.NO_TESTS_COLLECTED


def _run(place: Path, text: str, *, ci: bool) -> tuple[int, str]:
    shutil.copy(CONFTEST, place)
    (place / "test_it.py").write_text(text, encoding="utf-8")
    environ = {key: value for key, value in os.environ.items() if key != "CI"}
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-ra", f"--rootdir={place}", str(place)]
    given = {**environ, "CI": "true"} if ci else environ
    done = subprocess.run(words, env=given, cwd=place, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("text", SKIPS.values(), ids=SKIPS)
def test_a_skip_is_a_failure_in_ci_alone(tmp_path: Path, text: str) -> None:
    code, said = _run(tmp_path, text, ci=False)
    assert code in (0, NOTHING_RAN)
    assert "1 skipped" in said
    code, said = _run(tmp_path, text, ci=True)
    assert code not in (0, NOTHING_RAN)
    assert "it is not here" in said
    assert "skipped in" not in said


def test_what_passes_passes_in_ci(tmp_path: Path) -> None:
    assert _run(tmp_path, "def test_it(): pass\n", ci=True)[0] == 0
