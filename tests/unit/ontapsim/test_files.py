# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at files, reading, renaming and deleting them over REST."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ontapsim.testclient import Api
from ontapsim.testing import Running


@pytest.fixture
def root(sim: Running) -> Path:
    """A volume with some files, snapshotted as ``s1``."""
    root = sim.volume_root("svm1", "kvm_vol1")
    (root / "dir").mkdir()
    (root / "dir" / "a b.img").write_bytes(b"0123456789")
    (root / "top").write_bytes(b"1")
    sim.control.add_snapshot("svm1", "kvm_vol1", "s1")
    return root


def files(api: Api, path: str = "") -> str:
    """Return the path of a file's resource; ``path`` is encoded already."""
    return f"/storage/volumes/{api.volume()}/files{path}"


def test_a_directory(api: Api, root: Path) -> None:
    for place in ("", "/%2F"):
        names = [item["name"] for item in api.records(files(api, place))]
        assert sorted(names) == [".", "..", ".snapshot", "dir", "top"]
    found = api.records(files(api, "/dir?type=file&fields=size,inode_number"))
    assert [(item["path"], item["name"], item["size"]) for item in found] == [("dir", "a b.img", 10)]
    assert found[0]["inode_number"] == (root / "dir/a b.img").stat().st_ino
    assert found[0]["_links"]["self"]["href"].endswith("/files/dir%2Fa%20b%2Eimg")


def test_metadata(api: Api, root: Path) -> None:
    found = api.records(files(api, "/%2Esnapshot%2Fs1%2Fdir%2Fa%20b.img?return_metadata=true"))
    assert [(item["name"], item["type"], item["size"], item["is_snapshot"]) for item in found] == [
        ("", "file", 10, True)
    ]
    assert api.records(files(api, "/dir?return_metadata=true&fields=type"))[0]["type"] == "directory"


def test_content(api: Api, root: Path) -> None:
    response = api.request("GET", files(api, "/dir%2Fa%20b.img?byte_offset=2&length=3"))
    assert response.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert response.content.split(b"\r\n\r\n", 1)[1].split(b"\r\n--")[0] == b"234"
    whole = api.request("GET", files(api, "/dir%2Fa%20b.img"))
    assert b"0123456789" in whole.content


MISSING = ["/gone", "/dir%2Fgone", "/%2Esnapshot%2Fs2%2Fdir", "/top%2Fx"]


@pytest.mark.parametrize("path", MISSING)
def test_files_that_are_not_there(api: Api, root: Path, path: str) -> None:
    assert api.refused("GET", files(api, f"{path}?return_metadata=true")) == (400, "6684674")


def test_no_way_out_of_the_volume(api: Api, root: Path) -> None:
    assert api.refused("GET", files(api, "/%2E%2E%2Fkvm_vol2")) == (400, "262197")
    assert api.refused("GET", files(api, "/dir%2F%2E%2E%2F%2E%2E")) == (400, "262197")


def test_dot_segments_are_resolved_before_the_path_is_read(api: Api, root: Path) -> None:
    uuid = api.volume()
    assert _status(api, "GET", f"/api/storage/volumes/{uuid}/files/%2E%2E") == 400
    assert _status(api, "DELETE", f"/api/storage/volumes/{uuid}/files/%2E%2E") == 202
    assert api.volume() == uuid
    assert _status(api, "DELETE", f"/api/storage/volumes/{uuid}/files/..") == 202
    deadline = time.monotonic() + 10
    while api.records("/storage/volumes?name=kvm_vol1"):
        assert time.monotonic() < deadline


def _status(api: Api, method: str, path: str) -> int:
    """Send a path as it is: other clients resolve dot segments themselves."""
    place = urlsplit(api.running.url)
    context = ssl.create_default_context(cafile=api.running.ca_pem)
    connection = http.client.HTTPSConnection(str(place.hostname), place.port, context=context, timeout=20)
    login = base64.b64encode(b"admin:lab-Admin1").decode()
    try:
        connection.request(method, path, "{}", {"Authorization": f"Basic {login}"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_renaming(api: Api, root: Path) -> None:
    api.change("PATCH", files(api, "/dir%2Fa%20b.img"), {"path": "dir/c.img"})
    assert (root / "dir/c.img").read_bytes() == b"0123456789"
    assert api.fails("PATCH", files(api, "/dir%2Fc.img"), {"path": "top"}) == "6488118"
    assert api.fails("PATCH", files(api, "/gone"), {"path": "x"}) == "6684674"
    assert api.fails("PATCH", files(api, "/%2Esnapshot%2Fs1%2Ftop"), {"path": "x"}) == "131102"
    assert api.fails("PATCH", files(api, "/top"), {}) == "262212"


def test_deleting(api: Api, root: Path) -> None:
    api.change("DELETE", files(api, "/top"), {})
    assert not (root / "top").exists()
    assert api.fails("DELETE", files(api, "/dir"), {}) == "131138"
    api.change("DELETE", files(api, "/dir?recurse=true"), {})
    assert not (root / "dir").exists()
    assert api.fails("DELETE", files(api, "/%2Esnapshot%2Fs1%2Ftop"), {}) == "131102"


def test_volumes_that_do_not_let(api: Api, sim: Running, root: Path) -> None:
    sim.control.change_volume("svm1", "kvm_vol1", type="dp")
    assert api.fails("DELETE", files(api, "/top"), {}) == "131102"
    sim.control.change_volume("svm1", "kvm_vol1", state="offline")
    assert api.refused("GET", files(api)) == (400, "917752")
