# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the tests of faults that were seen against the commit that has them; ``make prove-old`` calls this.

``prove_old.py [--lab] [PYTEST-ARGUMENT...]`` makes a tree below build/ of that commit's plugins, roles and playbooks
and of the tests as they are, runs the files ``test_old_*.py`` there, and writes build/prove-old.json. A test proves its
fault only if the assertion that it marks (tests/faults/shown.py) was reached and failed; tests without a mark are not
run. With ``--lab`` those of
tests/integration run too, on the lab. Where an argument names a file or folder of tests, that alone is run. Ends with 0
when every marked test is proved.

pytest loads this file as a plugin as well: that part writes down how each test ended.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

import ground

COMMIT = "12abe06"
# What users get of the collection comes from the commit, all else is as it is now.
OLD_PARTS = ("galaxy.yml", "meta", "playbooks", "plugins", "roles")
TREE = ground.BUILD / "prove-old" / "ansible_collections" / "kvmsnap" / "ontap"
RESULT = ground.BUILD / "prove-old.json"
RECORD = "KVMSNAP_SHOWN_RECORD"
OLD_SIDE = "KVMSNAP_OLD_SIDE"
PLACES = {"tests/faults": "private host", "tests/integration": "lab"}
PROVED, PASSES, NOT_COMPARABLE, UNMARKED = "proved", "passes-on-old", "not comparable", "unmarked"
NAMELESS = -1
FAULTS = {
    0: "playbooks fail on ansible-core 2.16, the default backup among them",
    1: "a raw image in use is not seen to be in use",
    2: "another guest's disk is overwritten, even while that guest runs",
    3: "nobody asks again directly before an overwrite, and guests can be started during one",
    4: "the array overwrites a guest that has been started again",
    5: "a restore begun during a suspending hold leaves the guest paused",
    6: "one hostile guest stops all",
    7: "a file name in a volume becomes code on the control node",
    8: "a planted manifest reaches the host",
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the run of a test on the old commit says of its fault."""

    test: str
    verdict: str
    why: str
    fault: str = ""
    operation: str = ""
    ground: str = ""
    seconds: float = 0.0


def verdict_of(test: str, lines: Sequence[dict[str, Any]]) -> Verdict:
    """Judge one test by its lines of the record: of its marked assertion, and of pytest's reports."""
    if any(line["what"] == "unmarked" for line in lines):
        return Verdict(test, UNMARKED, "not run")
    marks = [line for line in lines if line["what"] in ("reached", "held", "failed", "error")]
    reports = {line["when"]: line for line in lines if line["what"] == "report"}
    decisive = marks[-1] if marks else {}
    call = reports.get("call", {})
    word, why = _judge(decisive, reports)
    return Verdict(
        test,
        word,
        why,
        fault=decisive.get("fault", ""),
        operation=decisive.get("operation", ""),
        ground=decisive.get("ground") or next((name for place, name in PLACES.items() if test.startswith(place)), ""),
        seconds=round(float(call.get("seconds", 0.0)), 1),
    )


def _judge(decisive: dict[str, Any], reports: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """The verdict and why; ``decisive``: the last line about the marked assertion."""
    ended = {when: report["outcome"] for when, report in reports.items()}
    broken = next((when for when in ("collect", "setup") if ended.get(when, "passed") != "passed"), "")
    if broken:
        return NOT_COMPARABLE, f"{broken} {ended[broken]}: {reports[broken]['said']}"
    if "call" not in ended:
        return NOT_COMPARABLE, "the test did not come to its end"
    said, what = reports["call"]["said"], decisive.get("what", "")
    if what == "failed" and ended["call"] == "failed":
        return PROVED, decisive["said"]
    if what in ("error", "reached"):
        return NOT_COMPARABLE, f"no assertion but an error inside of shown: {decisive['said'] or said}"
    if ended["call"] != "passed":
        where = "after the marked assertion held" if what == "held" else "before the marked assertion"
        return NOT_COMPARABLE, f"{ended['call']} {where}: {said}"
    if what == "held":
        return PASSES, "the marked assertion held"
    if what == "failed":
        return NOT_COMPARABLE, "the marked assertion failed and the test went on"
    return NOT_COMPARABLE, "the marked assertion was not reached"


def verdicts(lines: Iterable[dict[str, Any]]) -> list[Verdict]:
    """Judge all tests of a record."""
    by_test: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_test.setdefault(line["test"], []).append(line)
    return [verdict_of(test, its) for test, its in by_test.items()]


def number_of(fault: str) -> int:
    """The number of a fault out of its name (``11.4: ...``); ``NAMELESS`` when it has none."""
    found = re.match(r"(?:\d+\.)?(\d+)", fault)
    return int(found.group(1)) if found else NAMELESS


def table(found: Sequence[Verdict]) -> list[str]:
    """The faults by number, each with its tests and what they say."""
    words = (PROVED, PASSES, NOT_COMPARABLE)
    judged = [each for each in found if each.verdict != UNMARKED]
    lines = [f"{'fault':<92}" + "".join(f"{word:>16}" for word in words)]
    others = {number_of(each.fault): "no fault of the list" for each in judged}
    for number, title in sorted({**others, **FAULTS}.items()):
        its = [each for each in judged if number_of(each.fault) == number]
        counts = [sum(each.verdict == word for each in its) for word in words]
        lines.append(f"{f'{number}. {title}':<92}" + "".join(f"{count:>16}" for count in counts))
        lines += [f"     {each.verdict:<15} {each.test}  {each.why[:200]}" for each in its]
    total = [sum(each.verdict == word for each in judged) for word in words]
    left = len(found) - len(judged)
    return [*lines, ", ".join(f"{count} {word}" for count, word in zip(total, words)) + f", {left} without a mark"]


def all_proved(found: Sequence[Verdict]) -> bool:
    """Whether there is a marked test, and each of them is proved."""
    judged = [each for each in found if each.verdict != UNMARKED]
    return bool(judged) and all(each.verdict == PROVED for each in judged)


# The plugin of pytest.


def _write(**line: object) -> None:
    record = os.environ.get(RECORD)
    if record:
        with open(record, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Write down a file that cannot be collected."""
    if report.failed:
        said = str(report.longrepr).strip().splitlines()
        _write(test=report.nodeid, what="report", when="collect", outcome="failed", said=said[-1] if said else "")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Write down each test that is going to run, and leave out those that mark no assertion."""
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        function = getattr(item, "function", None)
        marked = function is not None and "shown(" in inspect.getsource(function)
        (kept if marked else left).append(item)
        _write(test=item.nodeid, what="marked" if marked else "unmarked")
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down how each phase of a test ended."""
    crash = getattr(report.longrepr, "reprcrash", None)
    said = crash.message if crash is not None else str(report.longrepr or "")
    _write(
        test=report.nodeid,
        what="report",
        when=report.when,
        outcome=report.outcome,
        said=said.partition("\n")[0],
        seconds=report.duration,
    )


# The run.


def described() -> str:
    """The commit that the tests are of, with ``-dirty`` when a file of it was changed."""
    git = ["git", "-c", f"safe.directory={ground.ROOT}", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(git, cwd=ground.ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def collections_of(tree: Path) -> Path:
    """The ANSIBLE_COLLECTIONS_PATH that holds a tree."""
    return tree / "build" / "collections"


def make_tree(tree: Path) -> None:
    """Make a tree: the commit's collection, the tests as they are, the virtual environments that there are."""
    git = ["git", "-c", f"safe.directory={ground.ROOT}"]
    made = subprocess.run(
        [*git, "archive", COMMIT, *OLD_PARTS], cwd=ground.ROOT, capture_output=True, timeout=60, check=False
    )
    if made.returncode != 0:
        raise SystemExit(
            f"The commit {COMMIT} is not in this checkout ({made.stderr.decode().strip()}). In a shallow "
            "clone, git fetch --unshallow brings it."
        )
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in ground.tracked_files():
        if name.partition("/")[0] not in OLD_PARTS:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ground.ROOT / name, tree / name, follow_symlinks=False)
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(tree)
    (tree / "build").mkdir()
    (tree / "build" / "venvs").symlink_to(ground.BUILD / "venvs")
    link = collections_of(tree) / "ansible_collections" / "kvmsnap" / "ontap"
    link.parent.mkdir(parents=True)
    link.symlink_to(tree)


def tests(arguments: Sequence[str], *, lab: bool) -> list[str]:
    """The files of tests that are run; none when an argument names one, which pytest is given anyway."""
    if ground.names_a_place(arguments, TREE):
        return []
    folders = [folder for folder, name in PLACES.items() if lab or name != "lab"]
    return [str(path.relative_to(TREE)) for folder in folders for path in sorted((TREE / folder).glob("test_old_*.py"))]


def run(files: Sequence[str], arguments: Sequence[str], record: Path) -> None:
    """Run pytest in the tree; how it ends is read in the record."""
    binaries = ground.ensure_venv("dev") / "bin"
    collections = collections_of(TREE)
    imported = (collections, *(TREE / "tests" / part for part in ("lab", "unit/support", "tools")))
    env = ground.environment(
        binaries,
        ANSIBLE_COLLECTIONS_PATH=str(collections),
        PYTHONPATH=os.pathsep.join(str(each) for each in imported),
        PYTHONPYCACHEPREFIX=str(TREE / "build" / "pycache"),
        **{RECORD: str(record), OLD_SIDE: "1"},
    )
    words = ["-p", "prove_old", "--timeout=600", "-q", "--tb=short", *arguments]
    subprocess.run(
        [str(binaries / "python"), "-m", "pytest", *words, *files],
        cwd=TREE,
        env=env,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def main(arguments: list[str]) -> int:
    """The command line, see above."""
    make_tree(TREE)
    record = TREE / "build" / "shown.jsonl"
    record.touch()
    given = [word for word in arguments if word != "--lab"]
    run(tests(given, lab="--lab" in arguments), given, record)
    found = verdicts(json.loads(line) for line in record.read_text(encoding="utf-8").splitlines())
    judged = [dataclasses.asdict(each) for each in found]
    kept = {"commit": COMMIT, "tests_of": described(), "arguments": arguments, "faults": FAULTS, "tests": judged}
    RESULT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print("\n".join(["", *table(found), f"{RESULT.relative_to(ground.ROOT)} has it all"]), flush=True)
    return 0 if all_proved(found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
