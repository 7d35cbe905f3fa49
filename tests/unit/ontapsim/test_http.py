# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transport: links and media types, paths, methods, bodies, headers, and what is not there."""

from __future__ import annotations

import ssl
import time
import urllib.request
from email.utils import parsedate_to_datetime

import pytest

from ontapsim.call import wants_links
from ontapsim.router import split
from ontapsim.testclient import Api
from ontapsim.testing import Running

ACCEPT = {
    "*/*": True, "application/hal+json": True, "application/json": False, "application/json, */*": False,
    "application/hal+json, application/json": True, "text/html": True, "application/json;q=0.9": False,
}  # fmt: skip


@pytest.mark.parametrize("accept", ACCEPT)
def test_accept_decides_links(accept: str) -> None:
    assert wants_links(accept) is ACCEPT[accept]


PATHS = {
    "/api/storage/volumes": ["api", "storage", "volumes"],
    "/api//x/": ["api", "x"],
    "/api/a/../b": ["api", "b"],
    "/api/a/%2E%2E/b": ["api", "a", "..", "b"],
    "/api/a/./b%2Fc": ["api", "a", "b/c"],
    "/../../api": ["api"],
}


@pytest.mark.parametrize("path", PATHS)
def test_split(path: str) -> None:
    assert split(path) == PATHS[path]


@pytest.mark.parametrize("links", [True, False])
def test_links(shared_api: Api, links: bool) -> None:
    accept = "*/*" if links else "application/json"
    response = shared_api.request("GET", "/storage/volumes?fields=svm&max_records=1", headers={"Accept": accept})
    body = response.json()
    kind = "application/hal+json" if links else "application/json"
    assert response.headers["Content-Type"] == kind
    assert ("_links" in response.text) is links
    assert ("_links" in body, "_links" in body["records"][0], "_links" in body["records"][0]["svm"]) == (links,) * 3
    assert response.headers["Link"].endswith('; rel="next"')


def test_links_can_be_followed(shared_api: Api) -> None:
    record = shared_api.records("/storage/volumes?name=kvm_vol1&fields=svm")[0]
    for link in (record["_links"]["self"]["href"], record["svm"]["_links"]["self"]["href"]):
        assert shared_api.ok("GET", link[len("/api") :])["uuid"] in (record["uuid"], record["svm"]["uuid"])


def test_pages_over_https(api: Api, sim: Running) -> None:
    sim.control.set_switches(page_size=2, empty_pages=True)
    path, names, sizes = "/storage/volumes?order_by=name&name=!kvm_san*", [], []
    while path:
        body = api.ok("GET", path)
        names += [item["name"] for item in body["records"]]
        sizes.append(body["num_records"])
        path = body["_links"].get("next", {}).get("href", "")[len("/api") :]
    assert names == ["kvm_nested", "kvm_vol1", "kvm_vol2", "kvm_vol3", "svm1_root", "svm2_root"]
    assert sizes == [2, 0, 2, 0, 2, 0, 0]


def test_only_the_number(shared_api: Api) -> None:
    assert shared_api.ok("GET", "/storage/volumes?name=kvm_vol*&return_records=false")["num_records"] == 3
    assert "records" not in shared_api.ok("GET", "/storage/volumes?return_records=false")


REFUSED = [
    ("GET", "/nothing", None, 404, "3"), ("GET", "/storage", None, 404, "3"),
    ("PUT", "/storage/volumes", None, 405, "3"),
    ("DELETE", "/storage/volumes", {}, 405, "3"), ("PATCH", "/storage/volumes?name=x", {}, 405, "3"),
    ("GET", "/storage/volumes/none", None, 404, "4"), ("GET", "/storage/volumes", {"x": 1}, 400, "262198"),
    ("GET", "/storage/volumes?fields=foo", None, 400, "262197"), ("GET", "/storage/volumes?foo=1", None, 400, "262179"),
    ("GET", "/storage/volumes?name=a&name=b", None, 400, "262188"),
    ("GET", "/storage/volumes?name", None, 400, "262248"),
    ("GET", "/storage/volumes?return_timeout=121", None, 400, "262197"),
    ("GET", "/storage/volumes?return_records=maybe", None, 400, "262197"),
    ("GET", "/cluster?name=x", None, 404, "4"),
    ("GET", "/cluster?colour=x", None, 400, "262179"), ("GET", "/private/cli/lun/show", None, 404, "3"),
    ("GET", "/storage/namespaces", None, 404, "3"), ("GET", "/application/templates", None, 404, "3"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), REFUSED)
def test_what_is_refused(shared_api: Api, method: str, path: str, body: object, status: int, code: str) -> None:
    assert shared_api.refused(method, path, body) == (status, code)


BODIES = [
    (b"{", "262199"), (b"[]", "262199"), (b'{"name":"a","name":"b"}', "262282"), (b'{"nme":"x"}', "262179"),
    (b'{"name":1}', "262197"), (b"{}", "262212"), (b'{"uuid":"x"}', "262196"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "code"), BODIES)
def test_bodies(shared_api: Api, data: bytes, code: str) -> None:
    response = shared_api.request("POST", f"/storage/volumes/{shared_api.volume()}/snapshots", data=data)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)


WIRE_FORMS = [
    "/storage/volumes?fields=uuid%2Cname%2Cnas.path&name=kvm_vol%2A&svm.name=svm1&max_records=1",
    "/storage/volumes?name=kvm_vol1&return_records=false",
    "/storage/volumes/?name=%22kvm_vol1%22&fields=%2A",
    "/storage/volumes?order_by=size%20desc,name&fields=**",
    "/storage/volumes?order_by=size+desc&pretty=true",
    "/network/ip/interfaces?ip.address=198.51.100.21&fields=name,svm.name,svm.uuid,services,state,enabled,scope",
    "/svm/svms?name=svm1&fields=uuid,name,state,subtype",
    "/storage/volumes?fields=space.{size,used},svm.{name},!svm.uuid",
    "/storage/volumes?size=%3E1GB&space.used=%3C1GB",
    "/cluster?fields=name,uuid,version,san_optimized,disaggregated,nonsense&ignore_unknown_fields=true",
]


@pytest.mark.parametrize("path", WIRE_FORMS)
def test_forms_that_clients_send(shared_api: Api, path: str) -> None:
    assert shared_api.ok("GET", path)


def test_the_root_of_other_applications(shared_api: Api) -> None:
    response = shared_api.session.get(f"{shared_api.running.url}/docs", timeout=10)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "3")


def test_head_and_options(shared_api: Api) -> None:
    head = shared_api.request("HEAD", "/storage/volumes")
    assert (head.status_code, head.content) == (200, b"")
    options = shared_api.request("OPTIONS", "/storage/volumes")
    assert {word.strip() for word in options.headers["Allow"].split(",")} == {"GET", "POST", "HEAD", "OPTIONS"}


def test_headers(api: Api, sim: Running) -> None:
    response = api.request("GET", "/cluster")
    assert response.headers["Server"] == "libzapid-httpd"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-cache,no-store,must-revalidate"


def test_the_date_is_the_arrays(api: Api, sim: Running) -> None:
    sim.control.set_switches(clock_offset=-3600)
    told = parsedate_to_datetime(api.request("GET", "/cluster").headers["Date"]).timestamp()
    assert 3590 < time.time() - told < 3610


def test_an_unknown_authority_is_not_trusted(sim: Running) -> None:
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"{sim.url}/api/cluster", context=ssl.create_default_context(), timeout=10)


def test_latency_is_low(api: Api) -> None:
    api.request("GET", "/cluster")
    began = time.monotonic()
    for _turn in range(20):
        api.request("GET", "/cluster?fields=version")
    assert (time.monotonic() - began) / 20 < 0.03
