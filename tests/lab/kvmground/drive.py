# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup as the role makes it, with its modules as processes of the private host.

`TaskWise` goes the way of the role's tasks one by one, `OneProcess` that of ``kvm_vm_backup``. What stands around the
modules is the control node here: when it is `lost`, nothing that would come after the running task is done any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

from .modules import Outcome, Running

OWNER = "hv0"
RELEASE_RETRIES = 3
OUTSIDE_SECONDS = 40
WITHIN = 180


class Place(Protocol):
    """A KVM host on which modules run as processes."""

    def begin(self, module: str, /, *, check: bool = False, **options: Any) -> Running:
        """Start a module."""

    def controllers(self, **options: Any) -> list[dict[str, Any]]:
        """Return the ``controllers`` option of the modules."""

    def knows(self, module: str, option: str) -> bool:
        """Whether a module has an option."""


class TaskFailedError(Exception):
    """A task of the role failed."""

    def __init__(self, step: str, outcome: Outcome) -> None:
        super().__init__(f"{step}: {outcome.msg}")
        self.step, self.outcome = step, outcome


class ControlNodeLostError(Exception):
    """The control node is gone; no task follows."""


@dataclass(frozen=True)
class Settings:
    """What the role's variables are set to; times are in seconds."""

    hold_deadline: int = 6
    vss_hold_deadline: int = 6
    freeze_timeout: int = 3
    agent_ping_timeout: int = 1
    snapshot_timeout: int = 6
    request_timeout: int = 5
    retry_count: int = 2
    on_failure: str = "fail"
    label: str = ""
    consistency_groups: str = "never"
    guests: tuple[str, ...] = ("*",)


@dataclass(frozen=True)
class Report:
    """What became of a run: whether it said that there is a backup, else at which step it ended and why."""

    ok: bool
    step: str
    msg: str
    seconds: float
    backup: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Outcome] = field(default_factory=dict)

    def level(self, guest: str) -> str:
        """Return the consistency that was recorded for a guest."""
        return str(self._row(guest)["consistency"])

    def reason(self, guest: str) -> str:
        """Return why it is not higher."""
        return str(self._row(guest).get("reason"))

    def _row(self, guest: str) -> Mapping[str, Any]:
        return next(row for row in self.backup["guests"] if row["name"] == guest)


class Driver:
    """One run of a backup. `step` and `running` tell what it is doing, to whoever wants to disturb it."""

    operation = ""

    def __init__(self, place: Place, backup_id: str, settings: Optional[Settings] = None) -> None:
        self.place = place
        self.backup_id = backup_id
        self.settings = settings or Settings()
        self.lost = threading.Event()
        self.step = ""
        self.running: Optional[Running] = None
        self.results: dict[str, Outcome] = {}

    def run(self) -> Report:
        """Make the backup; what goes wrong is in the report."""
        began = time.monotonic()
        try:
            backup = self._run()
        except TaskFailedError as exc:
            return Report(False, exc.step, str(exc), time.monotonic() - began, results=self.results)
        except ControlNodeLostError:
            return Report(False, self.step, "the control node is gone", time.monotonic() - began, results=self.results)
        return Report(True, self.step, "", time.monotonic() - began, backup, self.results)

    def kill(self) -> None:
        """End the module that runs now with SIGKILL."""
        if self.running is not None and not self.running.ended:
            self.running.end()

    def lose(self) -> None:
        """Let the control node vanish; a module that runs goes on to its end."""
        self.lost.set()

    def _run(self) -> Mapping[str, Any]:
        raise NotImplementedError

    def _task(self, step: str, module: str, /, *, check: bool = False, **options: Any) -> Outcome:
        if self.lost.is_set():
            raise ControlNodeLostError
        known = {key: value for key, value in self._common().items() if self.place.knows(module, key)}
        running = self.place.begin(module, check=check, **{**known, **options})
        self.running, self.step = running, step
        outcome = running.wait(within=WITHIN)
        self.results[step] = outcome
        if self.lost.is_set():
            raise ControlNodeLostError
        if outcome.failed:
            raise TaskFailedError(step, outcome)
        return outcome

    def _common(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "controllers": self.place.controllers(timeout=settings.request_timeout),
            "retry_count": settings.retry_count,
            "hold_deadline": settings.hold_deadline,
            "vss_hold_deadline": settings.vss_hold_deadline,
            "freeze_timeout": settings.freeze_timeout,
            "agent_ping_timeout": settings.agent_ping_timeout,
        }


class TaskWise(Driver):
    """The role's tasks, one by one."""

    operation = "tasks"

    def _run(self) -> Mapping[str, Any]:
        known = self._task("look", "kvm_backup_info", backup_id=self.backup_id)["backups"]
        if known and known[0]["exists"]:
            return dict(known[0])
        if known:
            self._take_back(known[0]["volumes"], comment=known[0]["comment"])
        found = self._task("discover", "kvm_vm_discover", guests=list(self.settings.guests)).result
        started = self._start({key: found[key] for key in ("guests", "volumes", "problems")})
        plan = started["plan"]
        try:
            held, taken = self._hold(plan)
            complete = self._task(
                "complete",
                "kvm_backup_manifest",
                state="complete",
                backup_id=self.backup_id,
                run_id=started["run_id"],
                holds=held,
                snapshots=taken,
            )
        except TaskFailedError:
            told = self.results.get("snapshot")
            unanswered = told.result.get("unanswered", []) if told else []
            self._take_back(plan["volumes"], unanswered, run_id=started["run_id"], comment=plan["comment"])
            raise
        if self.settings.label:
            self._snapshot("label", plan, snapmirror_label=self.settings.label)
        return dict(complete["backup"])

    def _start(self, found: Mapping[str, Any]) -> Outcome:
        manifest = {"state": "started", "backup_id": self.backup_id, "owner": OWNER, **found}
        planned = self._task("plan", "kvm_backup_manifest", check=True, **manifest)
        self._task(
            "foresee",
            "ontap_snapshot",
            check=True,
            name=self.backup_id,
            volumes=planned["plan"]["volumes"],
            owner=OWNER,
        )
        return self._task("start", "kvm_backup_manifest", **manifest)

    def _hold(self, plan: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
        try:
            self._task(
                "freeze",
                "kvm_vm_quiesce",
                state="quiesced",
                hold_id=self.backup_id,
                guests=plan["holds"],
                on_failure=self.settings.on_failure,
            )
            taken = self._snapshot("snapshot", plan, take_back=False, only_new=True)
        finally:
            held = self._release() if not self.lost.is_set() else None
        if held is None:
            raise ControlNodeLostError
        return held["guests"], taken["snapshots"]

    def _snapshot(self, step: str, plan: Mapping[str, Any], **more: Any) -> Outcome:
        return self._task(
            step,
            "ontap_snapshot",
            name=self.backup_id,
            volumes=plan["volumes"],
            owner=OWNER,
            comment=plan["comment"],
            timeout=self.settings.snapshot_timeout,
            **more,
        )

    def _release(self, step: str = "thaw") -> Outcome:
        for attempt in range(RELEASE_RETRIES + 1):
            try:
                return self._task(step, "kvm_vm_quiesce", state="resumed", hold_id=self.backup_id)
            except TaskFailedError:
                if attempt == RELEASE_RETRIES:
                    raise
                time.sleep(1)
        raise AssertionError

    def _take_back(self, volumes: Any, unanswered: Any = (), *, comment: str, run_id: str = "") -> None:
        named = [{key: row[key] for key in ("svm", "volume", "volume_uuid")} for row in volumes]
        manifest: dict[str, Any] = {"backup_id": self.backup_id, "run_id": run_id}
        self._task("take back: release", "kvm_vm_quiesce", state="resumed", hold_id=self.backup_id)
        if not run_id and self.place.knows("kvm_backup_manifest", "withdrawn"):
            self._task("take back: manifest", "kvm_backup_manifest", state="withdrawn", **manifest)
        self._task(
            "take back: snapshots",
            "ontap_snapshot",
            state="absent",
            name=self.backup_id,
            volumes=named,
            owner=OWNER,
            keep_foreign=True,
            unanswered=list(unanswered),
            comment=comment,
        )
        self._task("take back: manifest", "kvm_backup_manifest", state="absent", **manifest)


class OneProcess(Driver):
    """The critical section in one process."""

    operation = "module"
    found: Optional[Mapping[str, Any]] = None
    """What was discovered, for places where discovering takes long."""

    def _run(self) -> Mapping[str, Any]:
        found = self.found or self._task("discover", "kvm_vm_discover", guests=list(self.settings.guests)).result
        options: dict[str, Any] = {"consistency_groups": self.settings.consistency_groups}
        if self.settings.label:
            options["snapmirror_label"] = self.settings.label
        done = self._task(
            "backup",
            "kvm_vm_backup",
            backup_id=self.backup_id,
            owner=OWNER,
            on_failure=self.settings.on_failure,
            timeout=OUTSIDE_SECONDS,
            concurrency_timeout=OUTSIDE_SECONDS,
            **{key: found[key] for key in ("guests", "volumes", "problems")},
            **options,
        )
        return dict(done["backup"])
