# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for qemu-ga whose behaviour a test chooses: silent, late, refusing, hostile, and as it is on Windows.

On Windows (qga/vss-win32) a freeze holds the writers of the Volume Shadow Copy Service for 10 s at most; then they go
on by themselves, and a later thaw answers with an error instead of a number.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

VSS_SECONDS = 10.0
_SYNC = ("guest-sync", "guest-sync-delimited")
_LATE_THAW = "couldn't hold writes: fsfreeze is limited up to 10 seconds: "
_FROZEN_ONLY = ("guest-ping", "guest-info", "guest-sync", "guest-sync-delimited", "guest-fsfreeze-status",
                "guest-fsfreeze-thaw")  # fmt: skip
_KNOWN = (*_FROZEN_ONLY, "guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list")


@dataclass
class Heard:
    """A command that the agent got, on the machine's monotonic clock; ``answered`` is None while it was not."""

    command: str
    at: float
    answered: Optional[float] = None


@dataclass
class Manner:
    """How a command is answered: after ``seconds`` (the effect too, if ``late_effect``), with an error, or never.

    ``effect`` False: nothing is frozen or thawed, whatever the answer. ``count`` limits how often, None: always.
    ``reply`` makes the bytes that are sent instead of the answer, piece by piece, from the request; the effect is as
    usual. ``once_frozen``: not before a freeze had its effect.
    """

    seconds: float = 0.0
    late_effect: bool = False
    silent: bool = False
    error: Optional[str] = None
    effect: bool = True
    count: Optional[int] = None
    hook: Optional[Callable[[], None]] = None
    reply: Optional[Callable[[Mapping[str, Any]], Iterable[bytes]]] = None
    once_frozen: bool = False


@dataclass
class StandInAgent:
    """One guest's agent. It is the server of ``path``; QEMU connects the guest's relay to it.

    ``blocked`` are commands that its administrator switched off (``qemu-ga -b``). ``mounted`` is the kind of the one
    file system that it tells of; without it, it does not know that question.
    """

    path: Path
    windows: bool = False
    filesystems: int = 1
    vss_seconds: float = VSS_SECONDS
    heard: list[Heard] = field(default_factory=list)
    blocked: frozenset[str] = frozenset()
    mounted: Optional[str] = None
    _manners: dict[str, Manner] = field(default_factory=dict)
    _frozen_at: Optional[float] = None
    _expired: bool = False
    _was_frozen: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: Optional[socket.socket] = None
    _peers: list[socket.socket] = field(default_factory=list)

    def start(self) -> None:
        """Listen; returns at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(4)
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def stop(self) -> None:
        """Hang up."""
        for each in (*self._peers, *([self._server] if self._server else [])):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._peers.clear()
        self._server = None

    def behave(self, command: str, manner: Manner) -> None:
        """Answer a command in this manner from now on; ``ping``, ``freeze``, ``thaw`` and ``status`` will do."""
        with self._lock:
            self._manners[_full(command)] = manner

    def forgive(self) -> None:
        """Be a good agent from now on, frozen or not, with nothing heard."""
        with self._lock:
            self._manners.clear()
            self.heard.clear()

    def recover(self) -> None:
        """Be a good agent again, and thawed."""
        self.forgive()
        with self._lock:
            self._frozen_at, self._expired, self._was_frozen = None, False, False

    @property
    def frozen(self) -> bool:
        """Whether the file systems are frozen now."""
        with self._lock:
            return self._is_frozen()

    def first(self, command: str) -> Optional[Heard]:
        """Return the first time that a command was heard since `recover`."""
        return next((each for each in list(self.heard) if each.command == _full(command)), None)

    def heard_since(self, command: str, moment: float) -> bool:
        """Whether a command was heard after a moment of the monotonic clock."""
        last = self.last(command)
        return last is not None and last.at > moment

    def last(self, command: str) -> Optional[Heard]:
        """Return the last time that a command was heard."""
        return next((each for each in reversed(self.heard) if each.command == _full(command)), None)

    def _is_frozen(self) -> bool:
        if self._frozen_at is not None and self.windows and time.monotonic() - self._frozen_at > self.vss_seconds:
            self._frozen_at, self._expired = None, True
        return self._frozen_at is not None

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                peer, _address = server.accept()
            except OSError:
                return
            self._peers.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        pending = b""
        while True:
            try:
                data = peer.recv(65536)
            except OSError:
                return
            if not data:
                return
            pending += data
            while b"\n" in pending:
                line, pending = pending.split(b"\n", 1)
                self._take(peer, line.replace(b"\xff", b""))

    def _take(self, peer: socket.socket, line: bytes) -> None:
        try:
            request = json.loads(line)
            command = str(request["execute"])
        except (ValueError, KeyError, TypeError):
            return
        heard = Heard(command, time.monotonic())
        self.heard.append(heard)
        with self._lock:
            manner = self._manners.get(command, Manner())
            if manner.once_frozen and not self._was_frozen:
                manner = Manner()
            if manner.count is not None:
                manner.count -= 1
                if manner.count <= 0:
                    self._manners.pop(command, None)
        if manner.hook is not None:
            manner.hook()
        if manner.seconds and manner.late_effect:
            time.sleep(manner.seconds)
        answer = self._answer(command, request.get("arguments") or {}, manner)
        if manner.silent:
            return
        if manner.seconds and not manner.late_effect:
            time.sleep(manner.seconds)
        text = json.dumps(answer).encode() + b"\n"
        pieces = [text] if manner.reply is None else manner.reply(request)
        with contextlib.suppress(OSError):
            if command == "guest-sync-delimited":
                peer.sendall(b"\xff")
            for piece in pieces:
                peer.sendall(piece)
            heard.answered = time.monotonic()

    def _answer(self, command: str, arguments: dict[str, Any], manner: Manner) -> dict[str, Any]:
        with self._lock:
            if manner.error is not None:
                return _refused(manner.error)
            if command in self.blocked:
                return _refused(f"Command {command} has been disabled", kind="CommandNotFound")
            if self._is_frozen() and command not in _FROZEN_ONLY:
                return _refused(f"Command {command} has been disabled: the agent is in frozen state")
            if command in _SYNC:
                return {"return": arguments.get("id", 0)}
            if command == "guest-ping":
                return {"return": {}}
            if command == "guest-info":
                names = [{"name": name, "enabled": name not in self.blocked} for name in (*_KNOWN, *self.blocked)]
                return {"return": {"version": "7.2.0", "supported_commands": names}}
            if command == "guest-fsfreeze-status":
                return {"return": "frozen" if self._is_frozen() else "thawed"}
            if command in ("guest-fsfreeze-freeze", "guest-fsfreeze-freeze-list"):
                if manner.effect:
                    self._frozen_at, self._expired, self._was_frozen = time.monotonic(), False, True
                return {"return": self.filesystems}
            if command == "guest-fsfreeze-thaw":
                return self._thaw(effect=manner.effect)
            if command == "guest-get-fsinfo" and self.mounted is not None:
                where = "D:\\" if self.mounted == "NTFS" else "/data"
                return {"return": [{"name": "data", "mountpoint": where, "type": self.mounted, "disk": []}]}
            return _refused(f"The command {command} has not been found", kind="CommandNotFound")

    def _thaw(self, *, effect: bool) -> dict[str, Any]:
        was = self._is_frozen()
        if self._expired:
            self._expired = False
            return _refused(_LATE_THAW)
        if effect:
            self._frozen_at = None
        return {"return": self.filesystems if was else 0}


def _full(command: str) -> str:
    short = {"freeze": "guest-fsfreeze-freeze", "thaw": "guest-fsfreeze-thaw", "status": "guest-fsfreeze-status"}
    return short.get(command, command if command.startswith("guest-") else f"guest-{command}")


def _refused(words: str, *, kind: str = "GenericError") -> dict[str, Any]:
    return {"error": {"class": kind, "desc": words}}
