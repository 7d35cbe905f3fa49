# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run groups of checks (nox sessions) and count what they found; ``make lint``, ``make unit`` and the like call this.

``checks.py run GROUP...`` runs as many checks at a time as there are processors (those on the lab one by one, with one
beside them that needs no lab). Each writes to its own file in build/logs; a line tells its end, and the last lines of
its log why it failed. A check is ended when it makes no progress, however long it takes in all: its log has to grow (a
test that finishes adds to it), or a long series has to finish a round. A single test has a limit of its own.
``checks.py table GROUP...`` prints what the last runs found by kind, the seconds of each check, what was ended and why,
and as its very last line ``N passed, N failed, N skipped``. ``test`` and ``test-long`` are groups of groups.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import ground

HEARTBEAT = 30.0
TAIL = 60
LAB_UP_IDLE = 900
LAB_IDLE = 120
# What `make test` may take on a machine with two processors that does nothing else; what is too much goes into `long`.
BUDGET = 40 * 60
# What pytest-timeout says of a test that it ended.
TIMED_OUT = re.compile(r"Failed: Timeout \(>[0-9.]+s\)")
# What ansible-test says where a collection has no file for a test, and of a Python that is not offered to it.
OFFERED = "|".join(re.escape(f"{version} ") for version in (ground.OLDEST, ground.NEWEST))
NOT_A_TEST = re.compile(rf"No tests applicable\.|.* on Python (?!{OFFERED}).* because it could not be found\.")


@dataclasses.dataclass(frozen=True)
class Check:
    """One nox session: the kind its tests are counted under, and the seconds it may make no progress.

    ``idle`` is more than what one test may take (``--timeout`` in the noxfile), so that pytest ends a test that hangs.
    ``apart``: of a group on the lab, one that needs no lab and runs beside the others, which keep one processor busy.
    """

    session: str
    kind: str
    idle: float = 900
    apart: bool = False


# The long ones come first, so that no processor idles at the end of a group.
GROUPS: dict[str, tuple[Check, ...]] = {
    "lint": (
        Check("sanity-2.16", "sanity"),
        Check("sanity-2.19", "sanity"),
        Check("ansible-lint", "static"),
        Check("galaxy-importer", "static"),
        Check("mypy-plugins", "static"),
        Check("mypy-tests", "static"),
        Check("antsibull-docs", "static"),
        Check("reuse", "static"),
        Check("antsibull-changelog", "static"),
        Check("yamllint", "static"),
        Check("ruff", "static"),
        Check("structure", "static"),
    ),
    "unit": (
        Check("believable", "believable"),
        Check("unit-3.9", "unit, Python 3.9"),
        Check("unit-3.11", "unit, Python 3.11"),
    ),
    "integration": (
        Check("integration", "integration", idle=1500),
        Check("molecule", "molecule"),
        Check("faults-part", "faults", apart=True),
    ),
    "integration-long": (Check("integration-long", "integration", idle=1500),),
    "faults": (Check("faults", "faults"),),
}
# All of these groups one after the other. A long series is a file of tests/faults whose tests are marked `long`: the
# group faults runs it, and integration does not.
SUITES: dict[str, tuple[str, ...]] = {
    "test": ("lint", "unit", "integration"),
    "test-long": ("integration-long", "faults"),
}
ON_THE_LAB = {"integration", "integration-long", "faults"}


@dataclasses.dataclass(frozen=True)
class Count:
    """What a check found, the seconds it took, and what of it was ended before its time and why."""

    kind: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    check: str = ""
    ended: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Finish:
    """How a process came to its end; ``ended`` says why it was made to."""

    succeeded: bool
    ended: str = ""


class Progress:
    """How long something has stood still, by what is seen of it."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._seen: object = None

    def still(self, now: float, seen: object) -> float:
        """The seconds since what is seen has changed."""
        if seen != self._seen:
            self._since, self._seen = now, seen
        return now - self._since


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def count_junit(kind: str, files: Iterable[Path]) -> Count:
    """Count the cases of JUnit files."""
    passed = failed = skipped = 0
    ended = []
    for file in files:
        for case in ElementTree.parse(file).iter("testcase"):
            reason = case.find("skipped")
            ended += [f"{case.get('classname')}::{case.get('name')}: {said}" for said in timed_out(case)]
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif reason is None:
                passed += 1
            elif not NOT_A_TEST.fullmatch((reason.text or "").strip()):
                skipped += 1
    return Count(kind, passed, failed, skipped, ended=tuple(ended))


def timed_out(case: ElementTree.Element) -> list[str]:
    """What pytest-timeout said of a case that took longer than a test may."""
    messages = [str(found.get("message")) for kind in ("failure", "error") for found in case.iter(kind)]
    return [found.group() for found in map(TIMED_OUT.search, messages) if found]


def count_check(check: Check, *, finish: Finish, left_out: bool, seconds: float) -> Count:
    """The tests of a finished check: those it reported, or the check itself when it reports none."""
    if left_out:
        return Count(check.kind, skipped=1, seconds=seconds, check=check.session)
    count = count_junit(check.kind, reports_of(check))
    if not finish.succeeded and count.failed == 0:
        count = dataclasses.replace(count, failed=1)
    if finish.succeeded and count.passed + count.skipped == 0:
        count = dataclasses.replace(count, passed=1)
    ended = (finish.ended, *count.ended) if finish.ended else count.ended
    return dataclasses.replace(count, seconds=seconds, check=check.session, ended=ended)


def reports_of(check: Check) -> list[Path]:
    """The JUnit files of a check: one, or a folder of them."""
    single = ground.REPORTS / f"{check.session}.xml"
    return [single] if single.is_file() else sorted((ground.REPORTS / check.session).glob("*.xml"))


def left_out(outcome: Path) -> bool:
    """Whether nox says that the session skipped itself."""
    if not outcome.is_file():
        return False
    sessions = json.loads(outcome.read_text(encoding="utf-8"))["sessions"]
    return [session["result"] for session in sessions] == ["skipped"]


def last_line(log: Path) -> str:
    """The last line of a log, shortened: what a long check is doing."""
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - 4096))
        lines = [line.strip() for line in handle.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:90] if lines else ""


def terminate(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, with all that it started, unless it has ended by itself."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=30)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        else:
            return


def progress_of(log: Path) -> tuple[int, int]:
    """What changes when a check gets on: its log grows, or a long series keeps a round."""
    series = ground.BUILD / "series"
    return log.stat().st_size, series.stat().st_mtime_ns if series.is_dir() else 0


def wait(process: subprocess.Popen[bytes], *, name: str, log: Path, idle: float) -> Finish:
    """Wait for a process, telling now and then what it does; it is ended when it gets on by nothing for too long."""
    started = time.monotonic()
    progress = Progress(started)
    while True:
        try:
            return Finish(process.wait(timeout=HEARTBEAT) == 0)
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            if progress.still(now, progress_of(log)) > idle:
                why = f"no progress for {idle:.0f} s, after {now - started:.0f} s, at: {last_line(log)}"
                terminate(process)
                say(f"       {name}: ended, {why}")
                return Finish(False, why)
            say(f"  ...  {name:<20}{now - started:5.0f} s  {last_line(log)}")


class Runner:
    """Starts processes, each in a session of its own with its own log, and ends them all when asked to."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(self, command: list[str], *, name: str, idle: float, env: dict[str, str] | None = None) -> Finish:
        """Run a command to its end, with its output in build/logs/NAME.log."""
        log = ground.LOGS / f"{name}.log"
        with log.open("wb") as handle:
            process = subprocess.Popen(
                command,
                cwd=ground.ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.add(process)
        try:
            return wait(process, name=name, log=log, idle=idle)
        finally:
            self._running.discard(process)
            terminate(process)

    def end(self) -> None:
        """End what is still running."""
        for process in list(self._running):
            terminate(process)


def tell(name: str, word: str, seconds: float, *, numbers: str = "") -> None:
    """One line on a finished step; the end of its log when it failed."""
    text = f"{word:>5}  {name:<20}{seconds:5.0f} s{numbers}"
    if word == "FAIL":
        log = ground.LOGS / f"{name}.log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        text += "".join(f"\n       | {line}" for line in lines[-TAIL:])
        text += f"\n       {log.relative_to(ground.ROOT)} has all {len(lines)} lines"
    say(text)


def run_check(runner: Runner, check: Check) -> Count:
    """Run one check and return what it found."""
    started = time.monotonic()
    outcome = ground.REPORTS / f"{check.session}.nox.json"
    for stale in (outcome, ground.REPORTS / f"{check.session}.xml"):
        stale.unlink(missing_ok=True)
    nox = ground.BUILD / "venvs" / "dev" / "bin" / "nox"
    command = [str(nox), "--report", str(outcome), "--session", check.session]
    env = dict(os.environ, NO_COLOR="1", PYTHONUNBUFFERED="1")
    finish = runner.run(command, name=check.session, idle=check.idle, env=env)
    skipped = finish.succeeded and left_out(outcome)
    count = count_check(check, finish=finish, left_out=skipped, seconds=time.monotonic() - started)
    numbers = f"  {count.passed} passed" if count.passed > 1 else ""
    numbers += f"  {count.failed} failed" if count.failed else ""
    tell(check.session, "skip" if skipped else "ok" if finish.succeeded else "FAIL", count.seconds, numbers=numbers)
    return count


def lab(runner: Runner, command: str, *, idle: float = LAB_IDLE) -> bool:
    """Run a command of the lab; True when it succeeded."""
    binaries = ground.ensure_venv("dev") / "bin"
    env = ground.environment(binaries, PYTHONPATH=ground.import_path())
    words = [str(binaries / "python"), "-m", "kvmlab", command]
    return runner.run(words, name=f"lab-{command}", idle=idle, env=env).succeeded


def run_on_lab(runner: Runner, checks: Sequence[Check]) -> list[Count]:
    """Run checks one by one on the lab, and beside them those that need none."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        try:
            apart = {check: pool.submit(run_check, runner, check) for check in checks if check.apart}
            on_it = [check for check in checks if not check.apart]
            found = dict(zip(on_it, run_in_turn(runner, on_it)))
            found.update({check: future.result() for check, future in apart.items()})
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.end()
            raise
    return [found[check] for check in checks]


def run_in_turn(runner: Runner, checks: Sequence[Check]) -> list[Count]:
    """Run checks one by one on the lab; it is brought up when it is not, and then taken down again."""
    was_up = lab(runner, "status")
    counts = []
    try:
        if not was_up:
            started = time.monotonic()
            is_up = lab(runner, "up", idle=LAB_UP_IDLE)
            tell("lab-up", "ok" if is_up else "FAIL", time.monotonic() - started)
            if not is_up:
                return [Count(check.kind, failed=1, check=check.session, ended=("no lab",)) for check in checks]
        for check in checks:
            counts.append(run_check(runner, check))
    finally:
        if not was_up:
            lab(runner, "down")
    return counts


def run_beside(runner: Runner, checks: Iterable[Check]) -> list[Count]:
    """Run checks beside each other, as many at a time as there are processors."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
        try:
            return list(pool.map(lambda check: run_check(runner, check), checks))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            runner.end()
            raise


def counts_file(group: str) -> Path:
    """Where the numbers of a group's last run are kept."""
    return ground.REPORTS / f"{group}.counts.json"


def run_groups(groups: list[str]) -> None:
    """Run groups of checks and keep their numbers."""
    for place in (ground.LOGS, ground.REPORTS):
        place.mkdir(parents=True, exist_ok=True)
    ground.link_collection()
    for group in groups:
        counts_file(group).unlink(missing_ok=True)
    runner = Runner()
    for together, run in (
        ([group for group in groups if group not in ON_THE_LAB], run_beside),
        ([group for group in groups if group in ON_THE_LAB], run_on_lab),
    ):
        checks = [check for group in together for check in GROUPS[group]]
        if checks:
            say(f"== {', '.join(check.session for check in checks)}")
            began = time.time()
            found = dict(zip(checks, run(runner, checks)))
            keep(together, found, began=began)


def keep(groups: Iterable[str], counts: dict[Check, Count], *, began: float) -> None:
    """Keep the numbers of groups, which ran together from then until now, for the table."""
    for group in groups:
        kept = [dataclasses.asdict(counts[check]) for check in GROUPS[group]]
        whole = {"began": began, "ended": time.time(), "checks": kept}
        counts_file(group).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def read_counts(groups: Iterable[str]) -> tuple[list[Count], float]:
    """The numbers of the groups' last runs, and the seconds from their first begin to their last end.

    A group that did not come to its end counts as failed.
    """
    counts, times = [], []
    for group in groups:
        if counts_file(group).is_file():
            whole = json.loads(counts_file(group).read_text(encoding="utf-8"))
            counts += [Count(**{**kept, "ended": tuple(kept["ended"])}) for kept in whole["checks"]]
            times += [whole["began"], whole["ended"]]
        else:
            counts.append(Count(group, failed=1, check=group, ended=("the group did not come to its end",)))
    return counts, max(times, default=0.0) - min(times, default=0.0)


def seconds_table(counts: Sequence[Count], *, seconds: float, budget: float | None) -> list[str]:
    """The seconds of each check, the slowest first, and of all; checks that run beside each other share the time."""
    slowest = sorted(counts, key=lambda count: -count.seconds)
    lines = ["", f"{'check':<28}{'seconds':>9}", *(f"{count.check:<28}{count.seconds:>9.0f}" for count in slowest)]
    verdict = "" if budget is None else f"  of {budget:.0f} on a quiet machine"
    over = "  OVER BUDGET" if budget is not None and seconds > budget else ""
    return [*lines, f"{'from begin to end':<28}{seconds:>9.0f}{verdict}{over}"]


def ended_table(counts: Iterable[Count]) -> list[str]:
    """What was ended before its time, and why."""
    ended = [(count.check, why) for count in counts for why in count.ended]
    return ["", "ended before the end:", *(f"  {check}: {why}" for check, why in ended)] if ended else []


def table(counts: Iterable[Count]) -> tuple[list[str], bool]:
    """The lines of the table by kind, with the total as the last one, and whether all is well."""
    by_kind: dict[str, list[Count]] = {}
    for count in counts:
        by_kind.setdefault(count.kind, []).append(count)
    lines = ["", f"{'kind':<20}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"]
    total = [0, 0, 0]
    for kind, found in by_kind.items():
        numbers = [sum(getattr(count, name) for count in found) for name in ("passed", "failed", "skipped")]
        total = [sum(pair) for pair in zip(total, numbers)]
        seconds = sum(count.seconds for count in found)
        lines.append(f"{kind:<20}{numbers[0]:>8}{numbers[1]:>8}{numbers[2]:>9}{seconds:>9.0f}")
    lines += ["", f"{total[0]} passed, {total[1]} failed, {total[2]} skipped"]
    return lines, total[1] == 0


def main(arguments: list[str]) -> int:
    """The command line: ``run GROUP...`` or ``table GROUP...``."""
    known = {**{group: (group,) for group in GROUPS}, **SUITES}
    if len(arguments) < 2 or arguments[0] not in ("run", "table") or not set(arguments[1:]) <= set(known):
        raise SystemExit(f"usage: checks.py run|table GROUP...   (GROUP: {', '.join(known)})")
    groups = [group for name in arguments[1:] for group in known[name]]
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    if arguments[0] == "run":
        run_groups(groups)
        return 0 if table(read_counts(groups)[0])[1] else 1
    counts, seconds = read_counts(groups)
    budget = BUDGET if tuple(groups) == SUITES["test"] else None
    lines, well = table(counts)
    say("\n".join([*seconds_table(counts, seconds=seconds, budget=budget), *ended_table(counts), *lines]))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
