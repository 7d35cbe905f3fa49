# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of the dead-man timer of a hold, in a file beside the hold's record: how it is armed, what it did.

JSON, mode 0600, replaced as a whole: ``HOLD_ID.timer`` beside ``HOLD_ID.json``. Moments are seconds on this boot's
monotonic clock, so no change of the wall clock moves them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._files import private_directory, write_private
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.processes import Process
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import why_unreadable

Kind = Literal["systemd", "process"]

SCHEMA = "kvmsnap.timer/1"


class TimerError(KvmsnapError):
    """The dead-man timer of a hold cannot be armed, read or written."""


@dataclass(frozen=True)
class Timer:
    """One arming of a timer. ``token`` tells it from an earlier arming for the same hold.

    ``kind`` systemd has a ``unit`` (without suffix), ``process`` a ``pid`` with its ``started`` (clock ticks since
    boot). ``deadline`` and ``margin`` are in seconds; at ``fires_at`` what is still held is released, and ``fired_at``
    says that it was; guests with a limit of their own may be released before. ``remark``: why it is no systemd unit
    although systemd runs. ``error``: why a guest is held still.
    """

    hold_id: str
    boot_id: str
    token: str
    kind: Kind
    uri: str
    deadline: float
    margin: float
    armed_at: float
    fires_at: float
    unit: Optional[str] = None
    pid: Optional[int] = None
    started: Optional[int] = None
    remark: Optional[str] = None
    fired_at: Optional[float] = None
    wall_fired: Optional[str] = None
    error: Optional[str] = None

    @property
    def fired(self) -> bool:
        """Whether it released guests, or tried to."""
        return self.fired_at is not None

    @property
    def process(self) -> Optional[Process]:
        """The process that waits, when it is one."""
        return None if self.pid is None or self.started is None else Process(self.pid, self.started)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a module's result."""
        hidden = ("hold_id", "boot_id", "token", "uri", "started")
        shown = {key: value for key, value in asdict(self).items() if key not in hidden}
        return {**shown, "fired": self.fired}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Timer:
        """Read a timer's file; raises :class:`KeyError` for what is none."""
        return cls(**{each.name: record[each.name] for each in fields(cls)})


def timer_path(record: Path) -> Path:
    """Return where the timer of the hold with this record is written down."""
    return record.with_suffix(".timer")


def read_timer(path: Path) -> Optional[Timer]:
    """Return the timer, None when there is none; raises :class:`TimerError`."""
    try:
        record = json.loads(path.read_bytes())
        if record["schema"] != SCHEMA:
            raise ValueError(f"its schema is {record['schema']!r}")
        return Timer.from_record(record)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise TimerError(f"Failed to read the dead-man timer {path}: {why_unreadable(exc)}") from exc


def known_timer(path: Path) -> Optional[Timer]:
    """Return the timer; one that cannot be read is as good as none, since the timer reads the same file."""
    with suppress(TimerError):
        return read_timer(path)
    return None


def write_timer(path: Path, timer: Timer) -> None:
    """Write the timer down; raises :class:`TimerError`."""
    try:
        private_directory(path.parent)
        write_private(path, json.dumps({"schema": SCHEMA, **asdict(timer)}, indent=1).encode("utf-8"))
    except OSError as exc:
        raise TimerError(f"Failed to write the dead-man timer {path}: {exc.strerror}") from exc


def forget_timer(path: Path) -> None:
    """Remove what is written of a timer; it does nothing any more then. Raises :class:`TimerError`."""
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise TimerError(f"Failed to remove the dead-man timer {path}: {exc.strerror}") from exc
