# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one assertion of a test that shows a fault: it fails where the fault is, and holds where it is not.

``make prove-old`` runs such tests against the commit that has the faults, and reads what is written down here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

RECORD = "KVMSNAP_SHOWN_RECORD"


@contextmanager
def shown(fault: str, *, operation: str = "", ground: str = "") -> Iterator[None]:
    """Mark the decisive assertion of a test; ``fault`` begins with its number (``11.4: the array overwrites ...``).

    Only an ``AssertionError`` shows the fault; whatever else is raised inside is an error of the test.
    ``operation`` and ``ground`` (else: told by the test's folder) say what is done and where.
    """
    line = {"fault": fault, "operation": operation, "ground": ground}
    _write(line, "reached")
    try:
        yield
    except AssertionError as exc:
        _write(line, "failed", said=next(filter(str.strip, str(exc).splitlines()), ""))
        raise
    except BaseException as exc:
        _write(line, "error", said=repr(exc))
        raise
    _write(line, "held")


def _write(about: Mapping[str, str], what: str, *, said: str = "") -> None:
    """Append what became of the assertion to the record, when there is one."""
    record = os.environ.get(RECORD)
    if record:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]
        line = {"test": test, **about, "what": what, "said": said}
        with open(record, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
