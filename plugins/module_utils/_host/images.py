# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image file depends on, asked of ``qemu-img info``.

Only images whose format the definition names are asked about, and only in that format. A raw image is never looked
into: a guest may write a header into it that names any file of the host.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._text import why_unreadable

TIMEOUT = 30.0
MAX_LAYERS = 200

RAW = ("raw", "iso")
CHECK_CORRUPT, CHECK_LEAKS, CHECK_UNKNOWN = 2, 3, 63
_SAID = 300
INSPECTED = ("qcow2", "qcow", "qed", "vdi", "vhdx", "vpc", "vmdk", "parallels")


class ImageError(KvmsnapError):
    """qemu-img could not read the image."""


@dataclass(frozen=True)
class ImageInfo:
    """One image file. ``virtual_size`` is what the guest sees (bytes), ``backing`` the file below as QEMU opens it.

    ``bitmaps`` are the names of its persistent dirty bitmaps.
    """

    path: str
    format: str
    virtual_size: int
    backing: Optional[str]
    backing_format: Optional[str]
    data_files: tuple[str, ...]
    snapshots: tuple[str, ...]
    bitmaps: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, record: Mapping[str, Any], *, path: str) -> ImageInfo:
        """Read the answer of ``qemu-img info --output=json``."""
        specific = (record.get("format-specific") or {}).get("data") or {}
        extents = [_name(extent["filename"]) for extent in specific.get("extents") or () if extent.get("filename")]
        outside = [_name(specific.get("data-file")), *(name for name in extents if name != path)]
        size = int(record["virtual-size"])
        if size < 0:
            raise ValueError(f"its size is {size}")
        return cls(
            path=path,
            format=str(record["format"]),
            virtual_size=size,
            backing=_name(record.get("full-backing-filename")) or _name(record.get("backing-filename")),
            backing_format=_name(record.get("backing-filename-format")),
            data_files=tuple(name for name in outside if name),
            snapshots=tuple(str(each.get("name", "")) for each in record.get("snapshots") or ()),
            bitmaps=tuple(str(each.get("name", "")) for each in specific.get("bitmaps") or ()),
        )


def files_named(name: str, *, image: str) -> tuple[str, ...]:
    """Return the files that ``image`` means by a name of another file, by absolute path; pure.

    QEMU takes a path (a relative one begins in the image's directory), a path behind ``file:``, and behind ``json:`` a
    description of nodes. A server on the network, or what cannot be read, is no file.
    """
    if name.startswith("json:"):
        try:
            found = sorted(set(_filenames(json.loads(name[len("json:") :]))))
        except (ValueError, RecursionError):
            return ()
        return tuple(path for each in found for path in files_named(each, image=image))
    path = name[len("file:") :] if name.startswith("file:") else name
    if ":" in path.partition("/")[0]:
        return ()
    return (os.path.normpath(os.path.join(os.path.dirname(image), path)),) if path else ()


def image_info(path: str, *, image_format: str, timeout: float = TIMEOUT) -> ImageInfo:
    """Ask about one image, also one in use (``-U``), without opening what lies below it.

    ``path`` is absolute. Raises :class:`ImageError`.
    """
    action = f"inspect the image {path!r} as {image_format}"
    command = ["qemu-img", "info", "-U", "--output=json", "-f", image_format, path]
    done = _run(command, action, path=path, timeout=timeout)
    if done.returncode != 0:
        raise ImageError(f"Failed to {action}: {_said(done.returncode, done.stderr)}", path=path)
    try:
        return ImageInfo.from_json(json.loads(done.stdout), path=path)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
        reason = f"the answer of qemu-img cannot be read ({why_unreadable(exc)})"
        raise ImageError(f"Failed to {action}: {reason}", path=path) from exc


def check_image(path: str, *, image_format: str, timeout: float) -> Optional[str]:
    """Let qemu-img look whether the tables of an image that nobody uses are sound; nothing is written.

    It is read past the host's caches; what lies below it is not opened. Returns a remark about leaked clusters, which
    cost space alone; None for a sound image and for a format that cannot be checked. Raises :class:`ImageError`.
    """
    driver = "host_device" if stat.S_ISBLK(os.stat(path).st_mode) else "file"
    file = {"driver": driver, "filename": path, "cache": {"direct": _takes_direct(path)}}
    options = json.dumps({"driver": image_format, "file": file, "backing": None})
    command = ["qemu-img", "check", "--output=json", f"json:{options}"]
    action = f"check the image {path!r}"
    done = _run(command, action, path=path, timeout=timeout)
    fault = assess_check(done.returncode, done.stdout, done.stderr)
    if fault:
        raise ImageError(f"Failed to {action}: {fault}", path=path)
    if done.returncode != CHECK_LEAKS:
        return None
    leaks = _counted(done.stdout).get("leaks", "some")
    return f"qemu-img check found {leaks} leaked clusters, which cost space and harm nothing (qemu-img check -r leaks)"


def assess_check(code: int, printed: bytes, said: bytes) -> Optional[str]:
    """Return what is wrong by the exit code of ``qemu-img check`` (0, 1, 2, 3, 63), None when nothing is; pure."""
    if code in (0, CHECK_LEAKS, CHECK_UNKNOWN):
        return None
    if code == CHECK_CORRUPT:
        return f"it is corrupt, with {_counted(printed).get('corruptions', 'some')} faults in its tables"
    return _said(code, said)


def _name(value: Any) -> Optional[str]:
    """Return a name out of the answer of qemu-img, None for none; raises :class:`TypeError` for what is no text."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a file's name is of the type {type(value).__name__}")
    return value


def _filenames(node: Any) -> Iterator[str]:
    """Yield the names of files in a description of nodes, whether its keys are nested or dotted."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key.rpartition(".")[2] == "filename" and isinstance(value, str):
                yield value
            yield from _filenames(value)
    elif isinstance(node, list):
        for each in node:
            yield from _filenames(each)


def _said(code: int, said: bytes) -> str:
    return said.decode("utf-8", "replace").strip().removeprefix("qemu-img: ")[-_SAID:] or f"qemu-img ended with {code}"


def _run(command: Sequence[str], action: str, *, path: str, timeout: float) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, check=False, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as exc:
        raise ImageError(f"Failed to {action}: qemu-img did not answer within {timeout:g} s", path=path) from exc
    except (OSError, ValueError) as exc:
        raise ImageError(f"Failed to {action}: qemu-img cannot be run ({exc})", path=path) from exc


def _takes_direct(path: str) -> bool:
    """Tell whether a file can be read past the host's caches."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def _counted(printed: bytes) -> Mapping[str, Any]:
    """Return the answer of ``qemu-img check --output=json``, nothing when it gave none."""
    try:
        found = json.loads(printed)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def point_to_backing(
    path: str, *, image_format: str, backing: str, backing_format: str, timeout: float = TIMEOUT
) -> None:
    """Let an image that nobody uses name another file below it (``qemu-img rebase -u``); no data is read or written.

    Only right when the other file holds the same bytes. Raises :class:`ImageError`.
    """
    command = ["qemu-img", "rebase", "-u", "-f", image_format, "-b", backing, "-F", backing_format, path]
    action = f"let the image {path!r} name {backing!r} below it"
    done = _run(command, action, path=path, timeout=timeout)
    if done.returncode != 0:
        raise ImageError(f"Failed to {action}: {_said(done.returncode, done.stderr)}", path=path)


def image_chain(
    path: str, *, image_format: str, ask: Callable[..., ImageInfo] = image_info, timeout: float = TIMEOUT
) -> tuple[ImageInfo, ...]:
    """Return the image and the layers below it that can be asked about, top first.

    Each layer is opened only in the format that the one above records; one that is recorded as raw, or with no format
    at all, ends the chain unopened and is named by the last entry's ``backing``. Raises :class:`ImageError`.
    """
    layers = [ask(path, image_format=image_format, timeout=timeout)]
    while len(layers) < MAX_LAYERS:
        last = layers[-1]
        if last.backing is None or not last.backing.startswith("/") or last.backing_format not in INSPECTED:
            return tuple(layers)
        if any(layer.path == last.backing for layer in layers):
            raise ImageError(f"Failed to inspect the image {path!r}: its backing files form a ring", path=path)
        layers.append(ask(last.backing, image_format=last.backing_format, timeout=timeout))
    raise ImageError(f"Failed to inspect the image {path!r}: it has more than {MAX_LAYERS} layers", path=path)
