# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against the simulated array: rights, pages, jobs, overload, and answers that get lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller, connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    JobFailedError,
    JobGoneError,
    JobTimeoutError,
    OntapDeniedError,
    OntapError,
    OntapLoginError,
    OntapTooOldError,
    OntapUnreachableError,
    OutcomeUnknownError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Clock, Deadline, RetryPolicy
from ontapsim.testing import Running

PASSWORDS = {
    "admin": "lab-Admin1",
    "kvmsnap": "lab-Kvmsnap1",
    "vsadmin": "lab-Vsadmin1",
    "readonly": "lab-Readonly1",
    "kvmsnap_cli": "lab-Cli1",
}


def log_in(sim: Running, user: str = "admin", *, clock: Clock | None = None, **change: Any) -> Client:
    """Log in at the simulator as one of its users; re-runs come quickly."""
    option = {"hostname": "127.0.0.1", "port": sim.port, "ca_path": sim.ca_pem, "username": user}
    controller = Controller.from_option({**option, "password": PASSWORDS[user], **change})
    return connect(controller, policy=RetryPolicy(first_delay=0.01, max_delay=0.02), clock=clock)


@pytest.fixture
def client(sim: Running) -> Iterator[Client]:
    """An administrator's client."""
    with log_in(sim) as logged_in:
        sim.control.clear_requests()
        yield logged_in


def snapshots_of(sim: Running, volume: str) -> list[str]:
    """Return the snapshots that the array has on a volume."""
    (names,) = [each["snapshots"] for each in sim.control.volumes() if each["name"] == volume]
    return list(names)


def path_of(sim: Running, volume: str) -> str:
    """Return the path of a volume's snapshots."""
    (uuid,) = [each["uuid"] for each in sim.control.volumes() if each["name"] == volume]
    return f"/storage/volumes/{uuid}/snapshots"


def sent(sim: Running, method: str) -> list[str]:
    """Return the paths of the requests of a method."""
    return [each["path"] for each in sim.control.requests() if each["method"] == method]


def test_who_the_array_is(client: Client) -> None:
    assert (client.cluster_name, client.version, client.at_least((9, 19, 1))) == ("cluster1", (9, 19, 1), True)


def test_a_wrong_password(sim: Running) -> None:
    with pytest.raises(OntapLoginError, match="user name or password of user admin") as caught:
        log_in(sim, password="wrong")
    assert caught.value.fields["http_status"] == 401
    assert "wrong" not in str(caught.value.as_result())
    assert len(sent(sim, "GET")) == 1


def test_a_right_that_is_missing(sim: Running) -> None:
    with log_in(sim, "readonly") as client:
        path = path_of(sim, "kvm_vol1")
        with pytest.raises(OntapDeniedError, match=f"needs read_create or more on /api{path}") as caught:
            client.post(path, None, {"name": "denied"})
    fields = caught.value.fields
    assert (fields["http_status"], fields["ontap_code"], fields["method"], fields["path"]) == (403, "6", "POST", path)
    assert "denied" not in snapshots_of(sim, "kvm_vol1")


def test_a_403_whose_code_is_no_denial_is_told_by_its_own_words(sim: Running, client: Client) -> None:
    fault = {"status": 403, "code": "262282", "message": "The SVM is locked by another operation."}
    sim.control.add_fault("status", match={"method": "POST"}, **fault)
    with pytest.raises(OntapError, match=r"locked by another operation \(ONTAP code 262282\)") as caught:
        client.post(path_of(sim, "kvm_vol1"), None, {"name": "refused"})
    assert not isinstance(caught.value, OntapDeniedError)
    assert (caught.value.fields["http_status"], caught.value.code) == (403, "262282")


def test_a_command_that_a_rest_role_cannot_hold(sim: Running) -> None:
    with log_in(sim, "kvmsnap") as client, pytest.raises(OntapDeniedError, match="traditional role"):
        client.post("/private/cli/volume/snapshot/restore-file", None, {"path": "/a"})


@pytest.mark.parametrize("user", ["kvmsnap", "vsadmin", "kvmsnap_cli"])
def test_users_with_few_rights_can_log_in(sim: Running, user: str) -> None:
    with log_in(sim, user) as client:
        assert client.version == (9, 19, 1)


def test_an_array_that_is_too_old(sim: Running) -> None:
    sim.control.set_version("9.10.1")
    with pytest.raises(OntapTooOldError, match=r"9\.10\.1"):
        log_in(sim)


@pytest.mark.parametrize("empty_pages", [False, True])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_all_pages_are_read(sim: Running, client: Client, size: int, empty_pages: bool) -> None:
    sim.control.set_switches(page_size=size, empty_pages=empty_pages)
    names = [record["name"] for record in client.records("/storage/volumes", {"svm.name": "svm1"}, fields=["name"])]
    assert sorted(names) == ["kvm_nested", "kvm_san1", "kvm_san2", "kvm_vol1", "kvm_vol2", "svm1_root"]
    assert len(sent(sim, "GET")) >= (4 if size == 1 else 1)


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_filter_is_never_sent(sim: Running, client: Client, value: Any) -> None:
    for read in (client.get, client.records):
        with pytest.raises(ValueError, match="no value"):
            read("/storage/volumes", {"name": value})
    assert sent(sim, "GET") == []


def test_a_filter_with_an_operator_in_it_matches_itself(sim: Running, client: Client) -> None:
    sim.control.add_snapshot("svm1", "kvm_vol1", "op-x1")
    assert client.records(path_of(sim, "kvm_vol1"), {"name": "op-x*"}) == []
    assert len(client.records(path_of(sim, "kvm_vol1"), {"name": "op-x1"})) == 1


def test_what_is_not_there_keeps_its_code(client: Client) -> None:
    with pytest.raises(OntapError, match=r"entry doesn't exist \(ONTAP code 4, field volume\.uuid\)") as caught:
        client.get("/storage/volumes/00000000-0000-0000-0000-000000000000")
    assert (caught.value.code, caught.value.fields["http_status"]) == ("4", 404)
    assert caught.value.fields["controller"] == client.name


def test_a_change_is_done_when_its_job_is(sim: Running, client: Client) -> None:
    sim.control.set_switches(job_seconds=0.3)
    client.post(path_of(sim, "kvm_vol1"), None, {"name": "job-done"})
    assert "job-done" in snapshots_of(sim, "kvm_vol1")
    assert len([path for path in sent(sim, "GET") if "/cluster/jobs/" in path]) >= 2


@pytest.mark.parametrize("how", ["error", "job"])
def test_a_job_that_fails_within_the_wait_keeps_its_code(sim: Running, client: Client, how: str) -> None:
    sim.control.set_switches(failure_in_wait=how)
    sim.control.add_snapshot("svm1", "kvm_vol1", f"twice-{how}")
    with pytest.raises(OntapError) as caught:
        client.post(path_of(sim, "kvm_vol1"), {"return_timeout": 5}, {"name": f"twice-{how}"})
    assert caught.value.code == "525059"


def test_a_failed_job_keeps_its_code(sim: Running, client: Client) -> None:
    sim.control.add_fault("job_fail", match={"method": "POST"}, code="524479", message="no space")
    with pytest.raises(JobFailedError, match="no space") as caught:
        client.post(path_of(sim, "kvm_vol1"), None, {"name": "job-failed"})
    assert (caught.value.code, len(sent(sim, "POST"))) == ("524479", 1)
    assert caught.value.fields["job"]


def test_a_job_that_hangs_is_named_at_the_deadline(sim: Running, client: Client) -> None:
    sim.control.add_fault("job_hang", match={"method": "POST"}, seconds=0.8)
    with pytest.raises(JobTimeoutError, match="its state: running") as caught:
        client.post(path_of(sim, "kvm_vol1"), None, {"name": "job-hangs"}, deadline=Deadline.after(0.4))
    assert caught.value.fields["job"] in " ".join(sent(sim, "GET"))
    assert len(sent(sim, "POST")) == 1


def test_a_job_that_is_gone_leaves_the_outcome_open(sim: Running, client: Client) -> None:
    sim.control.set_switches(job_keep_seconds=0.0)
    with pytest.raises(OutcomeUnknownError, match="no longer knows job") as caught:
        client.post(path_of(sim, "kvm_vol1"), None, {"name": "job-gone"})
    assert (len(sent(sim, "POST")), caught.value.outcome.fate) == (1, "lost")
    assert "job-gone" in snapshots_of(sim, "kvm_vol1")


def test_a_job_that_cannot_be_followed_is_not_started_twice(sim: Running, client: Client) -> None:
    sim.control.add_fault("drop_before", match={"method": "GET", "path": "/cluster/jobs/"})
    with pytest.raises(OutcomeUnknownError):
        client.post(path_of(sim, "kvm_vol1"), None, {"name": "job-unseen"})
    assert len(sent(sim, "POST")) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_array_is_asked_again(sim: Running, client: Client, status: int) -> None:
    sim.control.add_fault("burst", match={"count": 3}, status=status)
    assert len(client.records("/svm/svms", fields=["name"])) == 2
    sim.control.add_fault("burst", match={"method": "POST", "count": 3}, status=status)
    client.post(path_of(sim, "kvm_vol2"), None, {"name": f"burst-{status}"})
    assert f"burst-{status}" in snapshots_of(sim, "kvm_vol2")
    assert len(sent(sim, "POST")) == 4


def test_what_is_refused_after_an_overload_may_have_been_done_all_the_same(sim: Running, client: Client) -> None:
    sim.control.add_fault("burst", match={"method": "POST", "count": 1}, status=503)
    sim.control.add_fault("status", match={"method": "POST", "after": 1}, status=400, code="918235")
    with pytest.raises(OutcomeUnknownError, match="918235"):
        client.post(path_of(sim, "kvm_vol1"), None, {"name": "busy-refused"})
    assert len(sent(sim, "POST")) == 2


def test_an_array_that_stays_overloaded_is_reported(sim: Running, client: Client) -> None:
    sim.control.add_fault("burst", status=503)
    with pytest.raises(OntapError, match="ONTAP code 8") as caught:
        client.get("/svm/svms")
    assert (caught.value.fields["http_status"], len(sent(sim, "GET"))) == (503, 4)


def test_the_pause_that_the_array_asks_for_is_kept(sim: Running) -> None:
    pauses: list[float] = []
    with log_in(sim, clock=Clock(sleep=pauses.append)) as client:
        sim.control.add_fault("burst", match={"count": 2}, status=429, retry_after=7)
        client.get("/svm/svms")
    assert pauses == [7.0, 7.0]


@pytest.mark.parametrize("status", [400, 401, 409, 500])
def test_other_answers_are_final(sim: Running, client: Client, status: int) -> None:
    sim.control.add_fault("status", status=status, code="262145")
    with pytest.raises(OntapError):
        client.get("/svm/svms")
    assert len(sent(sim, "GET")) == 1


@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_read_whose_answer_got_lost_is_repeated(sim: Running, client: Client, fault: str) -> None:
    sim.control.add_fault(fault, match={"count": 3})
    assert len(client.records("/svm/svms", fields=["name"])) == 2
    assert len(sent(sim, "GET")) == 4


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("fault", ["drop_before", "drop_after"])
def test_a_change_whose_answer_got_lost_is_not_repeated_blindly(
    sim: Running, client: Client, fault: str, method: str
) -> None:
    name = f"lost-{fault}-{method}"
    (uuid,) = sim.control.add_snapshot("svm1", "kvm_vol1", name)
    path = path_of(sim, "kvm_vol1")
    changes = {
        "POST": lambda: client.post(path, None, {"name": f"{name}-2"}),
        "PATCH": lambda: client.patch(f"{path}/{uuid}", None, {"comment": "x"}),
        "DELETE": lambda: client.delete(f"{path}/{uuid}"),
    }
    sim.control.add_fault(fault, match={"method": method})
    with pytest.raises(OutcomeUnknownError, match="whether the change took effect is unknown"):
        changes[method]()
    assert len(sent(sim, method)) == 1


def test_a_change_that_may_be_repeated_is(sim: Running, client: Client) -> None:
    (uuid,) = sim.control.add_snapshot("svm1", "kvm_vol1", "patched")
    sim.control.add_fault("drop_after", match={"method": "PATCH", "count": 2})
    path = f"{path_of(sim, 'kvm_vol1')}/{uuid}"
    client.patch(path, None, {"comment": "again"}, retry_safe=True)
    assert client.get(path, {"fields": "comment"})["comment"] == "again"
    assert len(sent(sim, "PATCH")) == 3


def test_a_lost_change_that_took_effect_is_settled_by_looking(sim: Running, client: Client) -> None:
    path = path_of(sim, "kvm_vol1")
    sim.control.add_fault("drop_after", match={"method": "POST"})

    def fate() -> dict[str, Any] | None:
        found = client.records(path, {"name": "settled"})
        return found[0] if found else None

    result = client.post(path, None, {"name": "settled"}, fate=fate)
    assert result["name"] == "settled"
    assert len(sent(sim, "POST")) <= 2
    assert snapshots_of(sim, "kvm_vol1").count("settled") == 1


def test_a_lost_change_without_effect_is_sent_again(sim: Running, client: Client) -> None:
    path = path_of(sim, "kvm_vol1")
    sim.control.add_fault("drop_before", match={"method": "POST", "count": 2})
    asked: list[bool] = []
    client.post(path, None, {"name": "sent-again"}, fate=lambda: asked.append(True))  # type: ignore[func-returns-value]
    assert (len(asked), len(sent(sim, "POST"))) == (2, 3)
    assert "sent-again" in snapshots_of(sim, "kvm_vol1")


def test_a_change_whose_fate_cannot_be_seen_is_not_sent_again(sim: Running, client: Client) -> None:
    path = path_of(sim, "kvm_vol1")
    sim.control.add_fault("drop_before")
    with pytest.raises(OutcomeUnknownError) as caught:
        client.post(path, None, {"name": "blind"}, fate=lambda: client.get(path))
    assert len(sent(sim, "POST")) == 1
    assert isinstance(caught.value.__cause__, OntapUnreachableError)


def test_a_system_that_went_away_is_tried_again(sim: Running, client: Client) -> None:
    sim.stop()
    try:
        with pytest.raises(OntapUnreachableError, match="nothing listens"):
            client.post("/storage/volumes/x/snapshots", None, {"name": "down"})
    finally:
        sim.start()
    assert client.get("/cluster", {"fields": "name"})["name"] == "cluster1"


def test_no_pause_outlasts_the_deadline(sim: Running, client: Client) -> None:
    sim.control.add_fault("burst", status=503, retry_after=20)
    with pytest.raises(OntapError, match="ONTAP code 8"):
        client.get("/svm/svms", deadline=Deadline.after(1.0))
    assert len(sent(sim, "GET")) == 1


def once(sim: Running, client: Client, name: str, **change: Any) -> list[str]:
    """Create a snapshot by a request that is sent once, and return the uuids of its jobs."""
    begun: list[str] = []
    client.change_once("POST", path_of(sim, "kvm_vol1"), None, {"name": name}, begun=begun.append, **change)
    return begun


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("drop_before", {}),
        ("drop_after", {}),
        ("burst", {"status": 429}),
        ("burst", {"status": 503}),
        ("status", {"status": 500, "code": "262145"}),
        ("status", {"status": 504, "code": "65541"}),
        ("status", {"status": 400, "code": "7018919"}),
        ("status", {"status": 400, "code": "5374053"}),
    ],
)
def test_what_may_be_under_way_is_never_sent_again(
    sim: Running, client: Client, fault: str, options: dict[str, Any]
) -> None:
    sim.control.add_fault(fault, match={"method": "POST", "count": 1}, **options)
    with pytest.raises(OutcomeUnknownError, match="whether the change took effect is unknown") as caught:
        once(sim, client, f"once-{fault}-{len(str(options))}-{options.get('code', options.get('status'))}")
    assert (len(sent(sim, "POST")), caught.value.fields.get("job")) == (1, None)


@pytest.mark.parametrize(("status", "code"), [(400, "13565952"), (403, "6"), (404, "4")])
def test_what_the_array_refused_never_began(sim: Running, client: Client, status: int, code: str) -> None:
    sim.control.add_fault("status", match={"method": "POST"}, status=status, code=code)
    with pytest.raises(OntapError) as caught:
        once(sim, client, f"refused-{code}")
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert (caught.value.code, len(sent(sim, "POST"))) == (code, 1)


def test_the_job_of_what_is_sent_once_is_told_before_its_end(sim: Running, client: Client) -> None:
    sim.control.add_fault("job_hang", match={"method": "POST"}, seconds=0.8)
    begun: list[str] = []
    path = path_of(sim, "kvm_vol1")
    with pytest.raises(OutcomeUnknownError, match="has not ended") as caught:
        client.change_once("POST", path, None, {"name": "once-hangs"}, begun=begun.append, deadline=Deadline.after(0.4))
    assert [caught.value.fields["job"]] == begun
    job = client.job(begun[0])
    assert job is not None
    assert not job.ended
    sim.control.settle()
    job = client.job(begun[0])
    assert job is not None
    assert (job.ended, job.state) == (True, "success")


def test_the_failed_job_of_what_is_sent_once_has_ended(sim: Running, client: Client) -> None:
    sim.control.add_fault("job_fail", match={"method": "POST"}, code="524479", message="no space")
    with pytest.raises(JobFailedError, match="no space") as caught:
        once(sim, client, "once-fails")
    assert caught.value.code == "524479"


def test_a_job_that_was_seen_and_is_gone_has_ended(sim: Running, client: Client) -> None:
    sim.control.set_switches(job_keep_seconds=0.0, job_seconds=0.2)
    with pytest.raises(JobGoneError) as caught:
        once(sim, client, "once-gone")
    sim.control.reset_switches()
    assert client.job(caught.value.fields["job"]) is None


def test_a_job_that_was_never_seen_may_be_under_way(sim: Running, client: Client) -> None:
    sim.control.add_fault("status", match={"method": "GET", "path": "/cluster/jobs/"}, status=404, code="4")
    with pytest.raises(OutcomeUnknownError, match="no longer knows job") as caught:
        once(sim, client, "once-unseen")
    assert caught.value.fields["job"]


def test_what_is_sent_once_waits_for_a_system_that_went_away(sim: Running) -> None:
    pauses: list[float] = []
    with log_in(sim, clock=Clock(sleep=pauses.append)) as client:
        sim.stop()
        try:
            with pytest.raises(OntapUnreachableError, match="connection refused") as caught:
                client.change_once("POST", "/storage/volumes/x/snapshots", begun=lambda _uuid: None)
        finally:
            sim.start()
    assert (caught.value.outcome.fate, len(pauses)) == ("not-sent", 3)


class Away:
    """An array that is away: time passes in pauses alone, and after one of them it comes back, or never."""

    def __init__(self, sim: Running, back_after: float) -> None:
        self.sim, self.back_after, self.now = sim, back_after, 0.0
        self.away = False
        self.clock = Clock(monotonic=lambda: self.now, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        if self.away and self.now >= self.back_after:
            self.sim.start()
            self.away = False

    def begin(self) -> None:
        """Go away."""
        self.sim.stop()
        self.away = True

    def end(self) -> None:
        """Be back, whatever happened."""
        if self.away:
            self.sim.start()


@pytest.mark.parametrize(
    ("patience", "back_after", "answered"),
    [(0.0, 9.0, False), (1.0, 0.5, True), (1.0, 9.0, False)],
    ids=["no patience", "back in time", "away for too long"],
)
@pytest.mark.parametrize("method", ["GET", "POST once", "DELETE"])
def test_an_array_that_is_away_is_waited_for_as_long_as_it_is_told(
    sim: Running, method: str, patience: float, back_after: float, answered: bool
) -> None:
    array = Away(sim, back_after)
    with log_in(sim, clock=array.clock) as client:
        path = path_of(sim, "kvm_vol1")

        def ask() -> None:
            if method == "GET":
                client.identify()
            elif method == "DELETE":
                client.delete(f"{path}/no-such-snapshot")
            else:
                client.change_once("POST", path, None, {"name": f"once-{answered}"}, begun=lambda _uuid: None)

        array.begin()
        try:
            with client.patient(patience):
                if answered and method != "DELETE":
                    ask()
                else:
                    with pytest.raises(OntapError) as caught:
                        ask()
                    assert isinstance(caught.value, OntapUnreachableError) is not answered
            assert (array.now <= 0.06) is (patience == 0)
            assert answered or array.now <= patience + 0.1
            # Afterwards it has no patience any more.
            if not answered:
                spent = array.now
                with pytest.raises(OntapUnreachableError):
                    client.identify()
                assert array.now <= spent + 0.06
        finally:
            array.end()


def test_an_array_that_is_too_busy_to_be_read_is_waited_for_and_a_change_is_not_sent_to_it_over_and_over(
    sim: Running,
) -> None:
    array = Away(sim, 0.0)
    with log_in(sim, clock=array.clock) as client, client.patient(1.0):
        sim.control.add_fault("status", match={"method": "GET", "path": "/cluster", "count": 9}, status=503)
        assert client.get("/cluster", {"fields": "name"})["name"] == "cluster1"
        sim.control.clear_requests()
        sim.control.add_fault("status", match={"method": "DELETE", "count": 9}, status=503)
        with pytest.raises(OntapError, match="Injected by the laboratory"):
            client.delete(f"{path_of(sim, 'kvm_vol1')}/x")
    assert len(sent(sim, "DELETE")) == 4


def test_a_call_without_time_left_ends_however_patient_it_is(sim: Running) -> None:
    array = Away(sim, 900.0)
    with log_in(sim, clock=array.clock) as client, client.patient(600.0):
        array.begin()
        try:
            with pytest.raises(OntapUnreachableError):
                client.identify(deadline=Deadline.after(0.5, array.clock))
        finally:
            array.end()
    assert array.now <= 0.5
