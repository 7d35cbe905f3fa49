# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way in which a connection can fail is told apart, in words that say what to do."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import client as client_module
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import (
    ArrayAccess,
    Client,
    Controller,
    MissingLibraryError,
    connect,
    refuse_volume_revert,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    NotOntapError,
    OntapError,
    OntapTooOldError,
    OntapUnreachableError,
    OntapUntrustedError,
    OutcomeUnknownError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline, RetryPolicy

QUICK = RetryPolicy(retry_count=1, first_delay=0.01)
CLUSTER_TARGET = "/api/cluster?fields=name%2Cuuid%2Cversion"
CLUSTER = {"name": "cluster1", "uuid": "c1", "version": {"generation": 9, "major": 19, "minor": 1}}


def controller(port: int = 443, **change: Any) -> Controller:
    """Return a controller on this machine."""
    return Controller.from_option(
        {"hostname": "127.0.0.1", "port": port, "username": "admin", "password": "lab", "timeout": 5, **change}
    )


def log_in(wanted: Controller) -> Client:
    """Log in with few and quick re-runs."""
    return connect(wanted, policy=QUICK)


@pytest.fixture
def stub(authority: Any, start_stub: Callable[..., Any]) -> Any:
    """A stub that is trusted."""
    return start_stub(authority.context("127.0.0.1"))


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(
        OntapUnreachableError, match=r"log in at nas\.invalid: the name nas\.invalid does not resolve"
    ) as caught:
        log_in(controller(hostname="nas.invalid"))
    assert (caught.value.fields["cause"], caught.value.outcome.fate) == ("name", "not-sent")
    assert "/etc/hosts" in caught.value.message


def test_a_port_where_nothing_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OntapUnreachableError, match=f"nothing listens on port {port}") as caught:
        log_in(controller(port))
    assert (caught.value.fields["cause"], caught.value.outcome.fate) == ("refused", "not-sent")


def test_a_system_that_never_answers() -> None:
    said = "no answer within 1 s"
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OntapUnreachableError, match=said) as caught:
        connect(controller(silent.getsockname()[1], timeout=1), policy=RetryPolicy(retry_count=0))
    assert (caught.value.fields["cause"], caught.value.outcome.fate) == ("timeout", "lost")


def test_a_deadline_cuts_the_time_of_a_request_short() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OntapUnreachableError) as caught:
        connect(controller(silent.getsockname()[1]), deadline=Deadline.after(0.2))
    assert caught.value.fields["cause"] == "timeout"


def test_a_deadline_that_has_passed_sends_nothing(authority: Any, stub: Any) -> None:
    with pytest.raises(OntapUnreachableError, match="the time allowed is used up") as caught:
        connect(controller(stub.port, ca_path=authority.path), deadline=Deadline.after(0.0))
    assert (stub.requests, caught.value.outcome.fate) == ([], "not-sent")


def test_a_port_without_tls() -> None:
    def answer(listener: socket.socket) -> None:
        for _request in range(2):
            connection, _address = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as plain:
        thread = threading.Thread(target=answer, args=(plain,))
        thread.start()
        with pytest.raises(OntapUnreachableError, match="TLS fails") as caught:
            log_in(controller(plain.getsockname()[1], validate_certs=False))
        thread.join(5)
    assert caught.value.fields["cause"] == "tls"


def test_a_connection_that_is_cut() -> None:
    def cut(listener: socket.socket) -> None:
        for _request in range(2):
            listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as rude:
        thread = threading.Thread(target=cut, args=(rude,))
        thread.start()
        with pytest.raises(OntapUnreachableError) as caught:
            log_in(controller(rude.getsockname()[1]))
        thread.join(5)
    assert caught.value.outcome.fate == "lost"


def test_a_certificate_of_an_unknown_authority(stub: Any) -> None:
    with pytest.raises(OntapUntrustedError, match="is not trusted") as caught:
        log_in(controller(stub.port))
    assert all(word in caught.value.message for word in ("ca_path", "validate_certs"))
    assert stub.requests == []


def test_a_certificate_for_another_name(authority: Any, start_stub: Callable[..., Any]) -> None:
    other = start_stub(authority.context("cluster1.example.com"))
    with pytest.raises(OntapUntrustedError, match="mismatch"):
        log_in(controller(other.port, ca_path=authority.path))


def test_a_certificate_that_has_expired(authority: Any, start_stub: Callable[..., Any]) -> None:
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    expired = start_stub(authority.context("127.0.0.1", not_after=yesterday))
    with pytest.raises(OntapUntrustedError, match="expired"):
        log_in(controller(expired.port, ca_path=authority.path))


def test_an_untrusted_certificate_is_not_tried_twice(stub: Any) -> None:
    pauses: list[float] = []
    with pytest.raises(OntapUntrustedError):
        connect(controller(stub.port), deadline=Deadline.after(60.0, Clock(sleep=pauses.append)))
    assert pauses == []


def test_switched_off_checks_accept_any_certificate(stub: Any) -> None:
    with log_in(controller(stub.port, validate_certs=False)) as client:
        assert client.cluster_name == "cluster1"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environment_cannot_take_our_authority_away(
    authority: Any, another_authority: Any, stub: Any, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, another_authority.path)
    with log_in(controller(stub.port, ca_path=authority.path)) as client:
        assert client.get("/cluster", {"fields": "name,uuid,version"})["name"] == "cluster1"


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environment_cannot_make_us_trust(
    authority: Any, stub: Any, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, authority.path)
    with pytest.raises(OntapUntrustedError):
        log_in(controller(stub.port))


def test_a_proxy_of_the_environment_is_not_used(authority: Any, stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with log_in(controller(stub.port, ca_path=authority.path)) as client:
        assert client.cluster_name == "cluster1"


@pytest.mark.parametrize("hostname", ["::1", "[::1]"])
def test_an_ipv6_address(authority: Any, start_stub: Callable[..., Any], hostname: str) -> None:
    stub = start_stub(authority.context("::1"), "::1")
    with log_in(controller(stub.port, hostname=hostname, ca_path=authority.path)) as client:
        assert (client.cluster_name, client.name) == ("cluster1", f"[::1]:{stub.port}")


@pytest.mark.parametrize("content", [None, b"no certificate\n"])
def test_an_authority_file_that_cannot_be_used(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"ca_path {path}"):
        log_in(controller(ca_path=str(path)))


def test_a_client_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    wanted = {"username": None, "password": None, "cert_filepath": str(tmp_path / "client.pem")}
    with pytest.raises(InputError, match="client certificate"):
        log_in(controller(**wanted))


def test_a_password_of_any_characters_arrives(authority: Any, stub: Any) -> None:
    wanted = controller(stub.port, ca_path=authority.path, username="bäcker", password="пароль:€")
    log_in(wanted).close()
    (_method, _target, headers) = stub.requests[0]
    assert headers["Authorization"] == "Basic YsOkY2tlcjrQv9Cw0YDQvtC70Yw64oKs"
    assert "пароль" not in repr(wanted)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"), "HTTP 200, text/html"),
        ((404, {"Content-Type": "text/html"}, b"<html>Not found</html>"), "HTTP 404, text/html"),
        ((200, {"Content-Type": "application/json"}, [1, 2]), "HTTP 200, application/json"),
        ((302, {"Location": "https://elsewhere.invalid/"}, b""), "HTTP 302"),
        ((200, {}, {"name": "x", "version": {"full": "1.2"}}), "tells no version"),
        ((200, {}, {"name": "x"}), "tells no version"),
        ((200, {}, {"version": {"generation": "nine", "major": 1, "minor": 1}}), "tells no version"),
        ((200, {}, {"version": {"generation": 1e400, "major": 1, "minor": 1}}), "tells no version"),
        ((200, {"Content-Type": "application/json"}, b'{"version": ' + b"9" * 5000 + b"}"), "HTTP 200"),
        ((200, {"Content-Type": "application/json"}, b"[" * 100_000), "HTTP 200"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_something_that_is_no_ontap(authority: Any, stub: Any, answer: Any, said: str) -> None:
    stub.answers[CLUSTER_TARGET] = answer
    with pytest.raises(NotOntapError, match=said) as caught:
        log_in(controller(stub.port, ca_path=authority.path))
    assert caught.value.message.startswith(f"Failed to log in at 127.0.0.1:{stub.port}: ")
    assert len(stub.requests) == 1


def test_a_gateway_without_a_reason_is_asked_again(authority: Any, stub: Any) -> None:
    stub.answers[CLUSTER_TARGET] = (502, {"Content-Type": "text/html"}, b"<html>Bad gateway</html>")
    with pytest.raises(OntapError, match="HTTP 502 without a reason") as caught:
        log_in(controller(stub.port, ca_path=authority.path))
    assert (caught.value.fields["http_status"], len(stub.requests)) == (502, 2)


def test_an_ontap_that_is_too_old(authority: Any, stub: Any) -> None:
    version = {"generation": 9, "major": 10, "minor": 1}
    stub.answers[CLUSTER_TARGET] = (200, {}, {"name": "old", "version": version})
    with pytest.raises(OntapTooOldError, match=r"it runs ONTAP 9\.10\.1, and 9\.11\.1 or later is needed"):
        log_in(controller(stub.port, ca_path=authority.path))


@pytest.mark.parametrize(
    "href", ["/api/x?page=1", "https://elsewhere.invalid/api/x", "//elsewhere.invalid/api/x", "relative"]
)
def test_pages_that_lead_nowhere_are_not_followed(authority: Any, stub: Any, href: str) -> None:
    page = {"records": [{"n": 1}], "_links": {"next": {"href": href}}}
    stub.answers.update({"/api/x": (200, {}, page), "/api/x?page=1": (200, {}, page)})
    with log_in(controller(stub.port, ca_path=authority.path)) as client:
        with pytest.raises(NotOntapError, match="its pages do not end"):
            client.records("/x")
        assert len(stub.requests) <= 3


def test_what_goes_onto_the_wire_is_what_was_encoded(authority: Any, stub: Any) -> None:
    target = "/api/storage/volumes/v1/files/%2Esnapshot%2Fs1%2Fa%20b%2Eimg?return_metadata=true&fields=size"
    stub.answers[target] = (200, {}, {"records": [{"size": 1}]})
    with log_in(controller(stub.port, ca_path=authority.path)) as client:
        path = "/storage/volumes/v1/files/%2Esnapshot%2Fs1%2Fa%20b%2Eimg"
        assert client.records(path, {"return_metadata": True}, fields=["size"]) == [{"size": 1}]
    assert stub.requests[-1][2]["Accept"] == "application/hal+json"


def test_the_array_s_clock_is_known(authority: Any, stub: Any) -> None:
    status, _headers, body = stub.answers[CLUSTER_TARGET]
    stub.answers[CLUSTER_TARGET] = (status, {"Date": "Sat, 21 Nov 2009 02:00:00 GMT"}, body)
    with log_in(controller(stub.port, ca_path=authority.path)) as client:
        ahead = client.array_time() - datetime(2009, 11, 21, 2, tzinfo=timezone.utc)
        bounds, now = client.array_ahead, time.monotonic()
    assert timedelta(seconds=-1) <= ahead <= timedelta(seconds=5)
    assert bounds is not None
    told = datetime(2009, 11, 21, 2, tzinfo=timezone.utc).timestamp()
    assert bounds[0] + now - 5 <= told <= bounds[0] + now
    assert bounds[0] + 1 <= bounds[1] <= bounds[0] + 6


def test_an_answer_without_a_date_tells_nothing_of_the_array_s_clock(authority: Any, stub: Any) -> None:
    with log_in(controller(stub.port, ca_path=authority.path)) as client:
        assert client.array_ahead is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hostname": ""}, "hostname must be"),
        ({"hostname": "https://nas"}, "hostname must be"),
        ({"hostname": "nas:8443"}, "hostname must be"),
        ({"hostname": "nas/api"}, "hostname must be"),
        ({"hostname": "user@nas"}, "hostname must be"),
        ({"port": 0}, "': port is 0 and must be 1 to 65535$"),
        ({"port": 70000}, "': port is 70000 and must be 1 to 65535$"),
        ({"timeout": 0}, "': timeout is 0 and must be at least 1 second$"),
        ({"port": -1, "timeout": -5}, "port is -1 .*; timeout is -5 "),
        ({"password": None}, "either username and password or cert_filepath"),
        ({"password": ""}, "either username and password or cert_filepath"),
        ({"username": None}, "either username and password or cert_filepath"),
        ({"cert_filepath": "/c.pem"}, "either username and password or cert_filepath"),
    ],
)
def test_connection_options_that_cannot_be_used(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        controller(**change)


@pytest.mark.parametrize(
    ("hostname", "port", "name"),
    [("nas", 443, "nas"), ("nas", 8443, "nas:8443"), ("[::1]", 443, "::1"), ("::1", 8443, "[::1]:8443")],
)
def test_the_name_of_a_controller(hostname: str, port: int, name: str) -> None:
    assert controller(port, hostname=hostname).name == name


def test_an_empty_list_of_controllers() -> None:
    with pytest.raises(InputError, match="list of controllers is empty"):
        ArrayAccess.from_options({"controllers": [], "retry_count": 0, "timeout": 1})


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netapp_ontap.host_connection", None)
    with pytest.raises(MissingLibraryError, match="netapp-ontap") as caught:
        log_in(controller())
    assert sys.executable in caught.value.message
    assert "Traceback" in caught.value.as_result()["exception"]


VOLUME = "/storage/volumes/v1"


@pytest.mark.parametrize(
    ("path", "params", "body"),
    [
        (VOLUME, {"restore_to.snapshot.name": "s1"}, {}),
        (VOLUME, {"restore_to.snapshot.uuid": "u1", "restore_to.path": ""}, {}),
        (VOLUME, {"restore_to.snapshot.name": "s1", "restore_to.path": "/"}, {}),
        (VOLUME, {"restore_to.snapshot.name": "s1", "restore_to.restore_path": "/a"}, {}),
        (VOLUME, {}, {"restore_to": {"snapshot": {"name": "s1"}}}),
        (VOLUME, {}, {"restore_to.snapshot.name": "s1"}),
        ("/private/cli/volume/snapshot/restore", {}, {"snapshot": "s1"}),
        ("/private/cli/volume/snapshot/restore/", {}, {"snapshot": "s1"}),
    ],
)
def test_a_whole_volume_is_never_put_back(
    authority: Any, stub: Any, path: str, params: dict[str, str], body: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="whole volume"):
        refuse_volume_revert(path, params, body)
    with log_in(controller(stub.port, ca_path=authority.path)) as client:
        for change in (client.patch, client.post):
            with pytest.raises(ValueError, match="whole volume"):
                change(path, params, body)
    assert [method for method, _target, _headers in stub.requests] == ["GET"]


def test_one_file_may_be_put_back() -> None:
    params = {"restore_to.snapshot.name": "s1", "restore_to.path": "/a.img"}
    assert refuse_volume_revert(VOLUME, params, {}) is None  # type: ignore[func-returns-value]
    path = "/private/cli/volume/snapshot/restore-file"
    assert refuse_volume_revert(path, {}, {"path": "/a.img"}) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    "record",
    [
        5,
        "x",
        [],
        {},
        {"name": "v"},
        {"uuid": None, "name": "v"},
        {"uuid": ["u"], "name": "v"},
        {"uuid": "u", "name": {"a": 1}},
        {"uuid": "u", "name": "v", "svm": "svm1"},
        {"uuid": "u", "name": "v", "svm": ["svm1"]},
        {"uuid": "u", "name": "v", "svm": {"name": 5}},
        {"uuid": "u", "name": "v", "nas": {"path": 5}},
        {"uuid": "u", "name": "v", "size": "large"},
        {"uuid": "u", "name": "v", "size": 1.5},
        {"uuid": "u", "name": "v", "size": 2**64},
        {"uuid": "u", "name": "v", "size": True},
        {"uuid": "u", "name": "v", "is_svm_root": "no"},
        {"uuid": "u", "name": "v" * (1 << 21)},
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_record_of_odd_types_is_a_named_error(authority: Any, stub: Any, record: Any) -> None:
    target = "/api/storage/volumes?svm.name=svm1&fields=uuid%2Cname"
    stub.answers[target] = (200, {}, {"records": [{"uuid": "u1", "name": "v1", "extra": [{}]}, record]})
    said = r"Failed to (list|GET) /storage/volumes at .*: .*(type|object|has no)"
    client = log_in(controller(stub.port, ca_path=authority.path))
    with client, pytest.raises(NotOntapError, match=said):
        client.records("/storage/volumes", {"svm.name": "svm1"}, fields=("uuid", "name"))


@pytest.mark.parametrize(
    "answer", [{"records": 5}, {"records": {"a": 1}}, {"_links": "x"}, {"_links": {"next": 5}}, {"records": [None]}]
)
def test_a_page_of_odd_types_is_a_named_error(authority: Any, stub: Any, answer: Any) -> None:
    stub.answers["/api/x"] = (200, {}, answer)
    client = log_in(controller(stub.port, ca_path=authority.path))
    with client, pytest.raises(NotOntapError, match="its answer is not one of ONTAP"):
        client.records("/x")


def test_a_good_answer_to_a_change_that_cannot_be_read_is_no_refusal(authority: Any, stub: Any) -> None:
    """A proxy may put its own page in the place of the answer; the change was made all the same."""
    for path, body in (("/page", b"<html>Welcome</html>"), ("/odd", {"job": "u"}), ("/list", [1])):
        stub.answers[f"/api{path}"] = (202, {"Content-Type": "text/html"}, body)
        with log_in(controller(stub.port, ca_path=authority.path)) as client:
            with pytest.raises(OutcomeUnknownError, match="whether the change took effect is unknown"):
                client.post(path, None, {"name": "s1"})
            assert client.post(path, None, {"name": "s1"}, fate=lambda: {"found": True}) == {"found": True}


def test_an_answer_that_trickles_is_given_up(sim: Any) -> None:
    """Each byte comes in time, all of them would take minutes."""
    sim.control.add_fault("answer", match={"path": "/storage/volumes$"}, pause=0.1)
    option = {"hostname": "127.0.0.1", "port": sim.port, "ca_path": sim.ca_pem, "username": "admin", "timeout": 1}
    with log_in(Controller.from_option({**option, "password": "lab-Admin1"})) as client:
        began = time.monotonic()
        with pytest.raises(OntapUnreachableError, match="no whole answer within") as caught:
            client.records("/storage/volumes", {"svm.name": "svm1"}, deadline=Deadline.after(0.5))
    assert time.monotonic() - began < 6
    assert (caught.value.fields["cause"], caught.value.outcome.fate) == ("timeout", "lost")


def test_an_answer_without_an_end_is_not_read(authority: Any, stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 100_000)
    stub.answers["/api/x"] = (200, {}, {"records": [{"name": "n" * 200_000}]})
    with log_in(controller(stub.port, ca_path=authority.path)) as client:
        with pytest.raises(NotOntapError, match="its answer has more than 100000 bytes"):
            client.get("/x")
        stub.answers["/api/x"] = (200, {}, {"n": 1})
        assert client.get("/x") == {"n": 1}


def test_an_error_of_a_megabyte_is_cut(authority: Any, stub: Any) -> None:
    stub.answers["/api/x"] = (400, {}, {"error": {"code": "4", "message": "m" * 1_000_000, "target": "t" * 5000}})
    with log_in(controller(stub.port, ca_path=authority.path)) as client, pytest.raises(OntapError) as caught:
        client.get("/x")
    assert len(caught.value.message) < 3000


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 99999 00:00:00 GMT",
        "Mon, 99 Foo 2026 99:99:99",
        "x" * 10_000,
        "Mon, 01 Jan 2026 00:00:00 +999999999",
    ],
    ids=lambda value: value[:40],
)
def test_a_date_that_is_none_says_nothing(authority: Any, stub: Any, date: str) -> None:
    stub.answers[CLUSTER_TARGET] = (200, {"Date": date}, CLUSTER)
    with log_in(controller(stub.port, ca_path=authority.path)) as client:
        assert client.cluster_name == "cluster1"
