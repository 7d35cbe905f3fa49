# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What images depend on, asked of a real qemu-img."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.images import (
    MAX_LAYERS,
    ImageError,
    ImageInfo,
    assess_check,
    check_image,
    files_named,
    image_chain,
    image_info,
    point_to_backing,
)

MIB = 1 << 20
FORMAT_EXTENSION = b"\xe2\x79\x2a\xca"
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


def make(path: Path, *options: str, size: str = "8M", image_format: str = "qcow2") -> str:
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", image_format, *options, str(path), *([size] if size else [])],
        check=True,
        timeout=30,
    )
    return str(path)


@needs_qemu_img
def test_a_single_image(tmp_path: Path) -> None:
    path = make(tmp_path / "a b.qcow2")
    assert image_info(path, image_format="qcow2") == ImageInfo(path, "qcow2", 8 * MIB, None, None, (), ())


@needs_qemu_img
def test_internal_snapshots(tmp_path: Path) -> None:
    path = make(tmp_path / "a.qcow2")
    subprocess.run(["qemu-img", "snapshot", "-c", "before upgrade", path], check=True, timeout=30)
    assert image_info(path, image_format="qcow2").snapshots == ("before upgrade",)


@needs_qemu_img
def test_a_chain_is_walked_by_the_formats_it_records(tmp_path: Path) -> None:
    base = make(tmp_path / "base.img", image_format="raw")
    middle = make(tmp_path / "middle.qcow2", "-b", "base.img", "-F", "raw", size="")
    top = make(tmp_path / "top.qcow2", "-b", middle, "-F", "qcow2", size="16M")
    chain = image_chain(top, image_format="qcow2")
    assert [(info.path, info.virtual_size, info.backing) for info in chain] == [
        (top, 16 * MIB, middle),
        (middle, 8 * MIB, base),
    ]


@needs_qemu_img
def test_a_raw_layer_that_looks_like_another_format_is_not_opened(tmp_path: Path) -> None:
    """A guest wrote a qcow2 header into its raw disk that names a file of the host; the disk is now a base."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 512)
    trap = make(tmp_path / "trap.img", "-b", str(secret), "-F", "raw", size="")
    for recorded in (True, False):
        top = tmp_path / f"top-{recorded}.qcow2"
        make(top, "-u", "-b", trap, "-F", "raw")
        if not recorded:
            top.write_bytes(top.read_bytes().replace(FORMAT_EXTENSION, b"\x12\x34\x56\x78"))
        asked: list[tuple[str, str]] = []

        def ask(path: str, *, image_format: str, timeout: float) -> ImageInfo:
            asked.append((path, image_format))  # noqa: B023 - called in this round only
            return image_info(path, image_format=image_format, timeout=timeout)

        chain = image_chain(str(top), image_format="qcow2", ask=ask)
        assert [(info.backing, info.backing_format) for info in chain] == [(trap, "raw" if recorded else None)]
        assert asked == [(str(top), "qcow2")]


@needs_qemu_img
@pytest.mark.parametrize(
    "backing", ["nbd://192.0.2.1/export", 'json:{"driver":"file","filename":"/etc/passwd"}', "/no/such/file"]
)
def test_backing_that_is_no_file_here_is_told_as_it_is(tmp_path: Path, backing: str) -> None:
    top = make(tmp_path / "top.qcow2", "-u", "-b", backing, "-F", "raw")
    (info,) = image_chain(top, image_format="qcow2")
    assert info.backing == backing


@needs_qemu_img
def test_data_outside_of_the_image(tmp_path: Path) -> None:
    data = tmp_path / "data.raw"
    top = make(tmp_path / "top.qcow2", "-o", f"data_file={data}")
    assert image_info(top, image_format="qcow2").data_files == (str(data),)
    flat = make(tmp_path / "split.vmdk", "-o", "subformat=monolithicFlat", image_format="vmdk")
    assert image_info(flat, image_format="vmdk").data_files == (str(tmp_path / "split-flat.vmdk"),)
    single = make(tmp_path / "single.vmdk", image_format="vmdk")
    assert image_info(single, image_format="vmdk").data_files == ()


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("/vol/base.img", ["/vol/base.img"]),
        ("base.img", ["/vol/g/base.img"]),
        ("../base.img", ["/vol/base.img"]),
        ("file:/vol/base.img", ["/vol/base.img"]),
        ("file:base.img", ["/vol/g/base.img"]),
        ("/odd/nbd:x", ["/odd/nbd:x"]),
        ('json:{"driver":"raw","file":{"driver":"file","filename":"/vol/base.img"}}', ["/vol/base.img"]),
        ('json:{"driver":"qcow2","file.driver":"file","file.filename":"/vol/base.img"}', ["/vol/base.img"]),
        ('json:{"children":[{"filename":"/a"},{"file":{"filename":"/b"}}]}', ["/a", "/b"]),
        ('json:{"filename":"json:{\\"filename\\":\\"/a\\"}"}', ["/a"]),
        ("nbd://192.0.2.1/export", []),
        ("nbd:unix:/run/x.sock", []),
        ("json:{", []),
        ("json:" + "[" * 20_000, []),
        ('json:{"filename": 5}', []),
        ("", []),
    ],
    ids=lambda value: str(value)[:50],
)
def test_the_files_that_an_image_names(name: str, files: list[str]) -> None:
    assert list(files_named(name, image="/vol/g/top.qcow2")) == files


@needs_qemu_img
def test_an_image_in_use_can_be_asked_about(tmp_path: Path) -> None:
    path = make(tmp_path / "a.qcow2")
    user = subprocess.Popen(
        ["qemu-io", "-f", "qcow2", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert user.stdout is not None
        assert user.stdout.read(8) == b"qemu-io>"
        assert image_info(path, image_format="qcow2").virtual_size == 8 * MIB
    finally:
        user.kill()
        user.communicate(timeout=30)


@needs_qemu_img
def test_the_wrong_format_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "raw.img"
    path.write_bytes(b"\0" * 4096)
    with pytest.raises(
        ImageError, match=r"Failed to inspect the image '.*raw\.img' as qcow2: .*not in qcow2 format"
    ) as caught:
        image_info(str(path), image_format="qcow2")
    assert caught.value.fields["path"] == str(path)
    with pytest.raises(ImageError, match="No such file"):
        image_info(str(tmp_path / "none"), image_format="qcow2")


@needs_qemu_img
@pytest.mark.parametrize("name", ["-f raw.img", "new\nline.img", "ünï ☃.img", "nbd:x.img", "json:{}.img", "a,b=c.img"])
def test_hostile_names(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    plain = make(tmp_path / "plain.qcow2")
    shutil.move(plain, path)
    assert image_info(path, image_format="qcow2").virtual_size == 8 * MIB


def fake_qemu_img(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "bin" / "qemu-img"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_qemu_img(tmp_path, monkeypatch, "exec sleep 60")
    with pytest.raises(ImageError, match=r"did not answer within 0\.2 s"):
        image_info("/a", image_format="qcow2", timeout=0.2)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{}",
        '{"format": "qcow2"}',
        '{"format": "qcow2", "virtual-size": "x"}',
        '{"format": "qcow2", "virtual-size": 1e400}',
        '{"format": "qcow2", "virtual-size": -5}',
        '{"format": "qcow2", "virtual-size": 5, "backing-filename": 7}',
        '{"format": "qcow2", "virtual-size": 5, "full-backing-filename": ["/a"]}',
        '{"format": "qcow2", "virtual-size": 5, "backing-filename": "/a", "backing-filename-format": ["qcow2"]}',
        '{"format": "qcow2", "virtual-size": 5, "format-specific": {"data": {"data-file": 5}}}',
        '{"format": "qcow2", "virtual-size": ' + "9" * 5000 + "}",
        "[" * 20_000,
    ],
    ids=lambda value: value[:45],
)
def test_an_answer_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    fake_qemu_img(tmp_path, monkeypatch, f"echo '{answer}'")
    with pytest.raises(ImageError, match="the answer of qemu-img cannot be read"):
        image_info("/a", image_format="qcow2")


def test_without_qemu_img(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="qemu-img cannot be run"):
        image_info("/a", image_format="qcow2")


def test_a_path_that_no_program_can_get() -> None:
    with pytest.raises(ImageError, match="qemu-img cannot be run"):
        image_info("/a\0b", image_format="qcow2")


def test_rings_and_endless_chains_end() -> None:
    def ring(path: str, **_how: Any) -> ImageInfo:
        return ImageInfo(path, "qcow2", 1, {"/a": "/b", "/b": "/a"}[path], "qcow2", (), ())

    def endless(path: str, **_how: Any) -> ImageInfo:
        return ImageInfo(path, "qcow2", 1, f"{path}x", "qcow2", (), ())

    with pytest.raises(ImageError, match="form a ring"):
        image_chain("/a", image_format="qcow2", ask=ring)
    with pytest.raises(ImageError, match=f"more than {MAX_LAYERS} layers"):
        image_chain("/a", image_format="qcow2", ask=endless)


@needs_qemu_img
def test_an_image_is_let_name_another_file_below_it(tmp_path: Path) -> None:
    base = make(tmp_path / "base.img", image_format="raw")
    copy = shutil.copy(base, tmp_path / "copy of base.img")
    top = make(tmp_path / "top.qcow2", "-b", base, "-F", "raw", size="")
    point_to_backing(top, image_format="qcow2", backing=str(copy), backing_format="raw")
    found = image_info(top, image_format="qcow2")
    assert (found.backing, found.backing_format) == (str(copy), "raw")
    with pytest.raises(ImageError, match=r"let the image .* name '/b' below it"):
        point_to_backing(str(tmp_path / "none"), image_format="qcow2", backing="/b", backing_format="raw")


def set_refcount(path: str, cluster: int, count: int) -> None:
    """Change the count of users of a cluster (64 KiB) in the first refcount block of a new qcow2 image."""
    with open(path, "r+b") as image:
        image.seek(2 * 65536 + 2 * cluster)
        image.write(count.to_bytes(2, "big"))


@needs_qemu_img
def test_a_sound_image_and_one_that_cannot_be_checked_have_no_remark(tmp_path: Path) -> None:
    for image_format in ("qcow2", "vpc"):
        path = make(tmp_path / f"a,b {image_format}", image_format=image_format)
        assert check_image(path, image_format=image_format, timeout=30) is None


@needs_qemu_img
def test_leaked_clusters_are_a_remark(tmp_path: Path) -> None:
    path = make(tmp_path / "a.qcow2")
    last = os.stat(path).st_size // 65536 + 1
    set_refcount(path, last, 1)
    os.truncate(path, (last + 1) * 65536)
    remark = check_image(path, image_format="qcow2", timeout=30)
    assert remark is not None
    assert remark.startswith("qemu-img check found 1 leaked clusters")


@needs_qemu_img
def test_a_corrupt_image_and_what_is_none_are_errors(tmp_path: Path) -> None:
    path = make(tmp_path / "a.qcow2")
    set_refcount(path, 3, 0)
    with pytest.raises(ImageError, match=r"check the image '.*a\.qcow2': it is corrupt, with 1 faults in its tables"):
        check_image(path, image_format="qcow2", timeout=30)
    (tmp_path / "raw").write_bytes(bytes(65536))
    with pytest.raises(ImageError, match="not in qcow2 format"):
        check_image(str(tmp_path / "raw"), image_format="qcow2", timeout=30)


@needs_qemu_img
def test_what_lies_below_an_image_is_not_opened_for_a_check(tmp_path: Path) -> None:
    base = make(tmp_path / "base.img", image_format="raw")
    top = make(tmp_path / "top.qcow2", "-b", base, "-F", "raw", size="")
    Path(base).unlink()
    assert check_image(top, image_format="qcow2", timeout=30) is None


@pytest.mark.parametrize(
    ("code", "printed", "said", "fault"),
    [
        (0, b"", b"", None),
        (3, b"{}", b"", None),
        (63, b"", b"qemu-img: This image format does not support checks", None),
        (2, b'{"corruptions": 4}', b"", "it is corrupt, with 4 faults in its tables"),
        (2, b"no json", b"", "it is corrupt, with some faults in its tables"),
        (1, b"", b"qemu-img: Could not open it\n", "Could not open it"),
        (1, b"", b"", "qemu-img ended with 1"),
    ],
)
def test_exit_codes_of_a_check(code: int, printed: bytes, said: bytes, fault: str | None) -> None:
    assert assess_check(code, printed, said) == fault
