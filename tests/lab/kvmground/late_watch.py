# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a guest ran while a request that could touch its disk was, or might have been, under way.

`PowerWatch` keeps asking libvirt, independently of what is tested; the array tells when each late request came and when
its effect ended.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional
from urllib.parse import parse_qs

PAUSE = 0.02
STRETCH = 0.1


class PowerWatch:
    """Asks whether a guest is active until it is ended; ``seen`` has the moments (epoch) at which it was.

    ``active`` answers None where nobody can tell now.
    """

    def __init__(self, active: Callable[[], Optional[bool]], *, pause: float = PAUSE) -> None:
        self._active, self._pause = active, pause
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen: list[float] = []
        self.looks = 0

    def __enter__(self) -> PowerWatch:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._end.set()
        self._thread.join(timeout=30)

    def between(self, begin: float, end: float) -> Optional[float]:
        """Return a moment between two at which the guest was active, None when there is none."""
        return next((moment for moment in self.seen if begin < moment < end), None)

    def _run(self) -> None:
        while not self._end.is_set():
            asked = time.time()
            active = self._active()
            if active is not None:
                self.looks += 1
            if active:
                self.seen.append(asked)
            self._end.wait(self._pause)


def target_of(request: Mapping[str, Any]) -> str:
    """Return what a request would overwrite: a path inside its volume, or a LUN's uuid; empty for nothing."""
    path, query = str(request["path"]), parse_qs(str(request["query"]))
    try:
        body = json.loads(request["body"] or "{}")
    except ValueError:
        body = {}
    if path.endswith("/storage/file/clone"):
        return str(body.get("destination_path", "")).strip("/")
    if path.endswith("/volume/snapshot/restore-file"):
        return str(body.get("restore-path") or body.get("restore_path") or body.get("path", "")).strip("/")
    if "restore_to.path" in query:
        return query.get("restore_to.restore_path", query["restore_to.path"])[0].strip("/")
    if "/storage/luns/" in path and request["method"] == "PATCH":
        return path.rpartition("/")[2]
    return ""


def source_of(request: Mapping[str, Any]) -> str:
    """Return the uuid of the LUN that a request overwrites another with, empty for none."""
    try:
        body = json.loads(request["body"] or "{}")
    except ValueError:
        return ""
    return str(((body.get("clone") or {}).get("source") or {}).get("uuid", ""))


def powerless_from(request: Mapping[str, Any], effect: Mapping[str, Any], changes: list[dict[str, Any]]) -> float:
    """Return when a request could touch its disk no more: at its end, or once its source was gone, if it then failed.

    What takes effect later than its source was deleted is refused by the array; that it was, its status shows.
    """
    ended, source = float(effect["ended"] or time.time()), source_of(request)
    gone = [
        float(each["time"])
        for each in changes
        if each["op"] == "lun_delete" and source and (each["detail"] or {}).get("lun") == source
    ]
    refused = effect["status"] is not None and effect["status"] >= 400
    return min([ended, *gone]) if refused else ended


def complaints(
    watch: PowerWatch,
    *,
    target: str,
    effects: list[dict[str, Any]],
    requests: list[dict[str, Any]],
    changes: list[dict[str, Any]],
) -> Iterator[str]:
    """Yield what is wrong: the guest active while a request for its disk was under way, or while its bytes changed.

    ``effects``, ``requests`` and ``changes`` are the array's own lists; ``target`` is the disk's place there.
    """
    by_id = {each["id"]: each for each in requests}
    for effect in effects:
        request = by_id.get(effect["request"])
        if request is None or target_of(request) != target:
            continue
        ended = powerless_from(request, effect, changes)
        at = watch.between(effect["arrived"], ended)
        if at is not None:
            ran, took = at - effect["arrived"], ended - effect["arrived"]
            yield f"it ran {ran:.1f} s after a request for its disk that took {took:.1f} s"
    for change in changes:
        lun = str((change["detail"] or {}).get("lun", ""))
        if target not in (change["path"], lun) or change["op"] in ("file_delete", "file_rename"):
            continue
        if watch.between(change["time"] - STRETCH, change["time"]) and watch.between(
            change["time"], change["time"] + STRETCH
        ):
            yield f"its disk was changed by {change['op']} while it ran"
