# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``sanlun`` of the Linux Host Utilities says of this host's LUNs, where it is installed. Pure, but for asking.

The form of ``sanlun lun show -p``: NetApp's documentation of the Linux Host Utilities.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.programs import (
    SYSTEM_DIRECTORIES,
    ProgramError,
    find_program,
    output_of,
)

DIRECTORIES = (*SYSTEM_DIRECTORIES, "/opt/netapp/santools", "/opt/netapp/santools/bin")
TIMEOUT = 60.0

_LINE = re.compile(r"\s*(ONTAP Path|Controller Path|Product|Mode|Host Device)\s*:\s*(.*?)\s*")
# A WWID is long; what is short and in brackets belongs to the alias.
_NAMED = re.compile(r"(?P<name>.+?)\s*\((?P<wwid>[^()\s]{16,})\)")


@dataclass(frozen=True)
class SanlunLun:
    """One LUN as ``sanlun`` tells it: ``owner`` is the SVM (or the 7-Mode controller), ``path`` ``/vol/…``.

    ``device`` is the multipath map's name; a map with an alias has its ``wwid`` as well.
    """

    owner: str
    path: str
    product: str
    device: str
    wwid: str

    @property
    def label(self) -> str:
        """``owner:path``, as ``sanlun`` has it."""
        return f"{self.owner}:{self.path}"

    @property
    def seven_mode(self) -> bool:
        """Whether it is a LUN of a system in 7-Mode."""
        return self.product.lower().replace("-", "") in ("7", "7mode")


@dataclass(frozen=True)
class Sanlun:
    """What ``sanlun`` answered; ``error`` when it is there and did not, ``path`` None when it is not there."""

    path: Optional[str] = None
    luns: tuple[SanlunLun, ...] = ()
    error: str = ""

    def of(self, *, name: str, wwid: Optional[str]) -> tuple[SanlunLun, ...]:
        """Return what it says of a multipath map, by its name and WWID."""
        names = {name, wwid or name}
        return tuple(lun for lun in self.luns if (lun.wwid or lun.device) in names or lun.device == name)


def ask_sanlun(
    *,
    find: Callable[..., Optional[str]] = find_program,
    run: Callable[..., str] = output_of,
    timeout: float = TIMEOUT,
) -> Sanlun:
    """Ask ``sanlun lun show -p`` when it is installed; that it fails is part of the answer."""
    path = find("sanlun", DIRECTORIES)
    if path is None:
        return Sanlun()
    try:
        return Sanlun(path, tuple(parse(run([path, "lun", "show", "-p"], seconds=timeout))))
    except ProgramError as exc:
        return Sanlun(path, error=exc.message)


def parse(text: str) -> list[SanlunLun]:
    """Read ``sanlun lun show -p``: a block for each LUN, of which only the lines needed are looked at.

    Widths, blank lines, tables of paths and unknown lines do not matter; a block without path or device is passed over.
    """
    blocks: list[dict[str, str]] = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        key, value = match.groups()
        if key in ("ONTAP Path", "Controller Path"):
            blocks.append({"path": value})
        elif blocks:
            blocks[-1].setdefault("product" if key == "Mode" else key.lower(), value)
    return list(_luns(blocks))


def _luns(blocks: Iterable[dict[str, str]]) -> Iterable[SanlunLun]:
    for block in blocks:
        owner, colon, path = block["path"].partition(":/")
        device = block.get("host device", "")
        named = _NAMED.fullmatch(device)
        if owner and colon and device:
            yield SanlunLun(
                owner=owner,
                path=f"/{path}",
                product=block.get("product", ""),
                device=named["name"] if named else device,
                wwid=named["wwid"] if named else "",
            )
