"""The requests to the two services, how often each is sent, and what each answer means."""

import ssl
from functools import partial
from pathlib import Path
from unittest import mock

import httpx
import pytest
import respx

from beads_dispatch.adapters import beadboard, exchange, http
from beads_dispatch.adapters.agent_service import AgentService
from beads_dispatch.adapters.beadboard import BeadBoard
from beads_dispatch.adapters.beadboard_runner import BeadBoardRunner
from beads_dispatch.adapters.clock import SYSTEM
from beads_dispatch.adapters.exchange import Ask, mounted_token
from beads_dispatch.core.beadboard_answers import Reply, understand
from beads_dispatch.core.errors import ServiceFailed
from beads_dispatch.core.runner import Job, Outcome, Stage

URL, AGENT = "http://beadboard.test", "http://agent.test:8080"
STATUS, DISPATCH, HEALTH = f"{URL}/api/agent-status", f"{URL}/api/agent-dispatch", f"{AGENT}/health"
HEALTHY = {"status": "ok", "busy": False, "active": 9, "queued": 0, "capacity": 10}


def board(url: str = URL) -> BeadBoard:
    return BeadBoard(url, http.request, SYSTEM, lambda: False, print)


def has_room(agent: str = AGENT) -> bool:
    """What a tick asks before each claim."""
    service = AgentService(agent, lambda: "", http.request, print, SYSTEM.monotonic) if agent else None
    return BeadBoardRunner(board(), service).room().free


@respx.mock
@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (httpx.Response(200, json={"job_id": "a"}), Outcome.ACCEPTED),
        (httpx.Response(409, json={"error": "Agent is busy"}), Outcome.BUSY),
        (httpx.Response(502, json={"error": "Queue full"}), Outcome.BUSY),
        (httpx.Response(500, json={"error": "Claude agent service is not configured (x)"}), Outcome.NOT_STARTED),
        (httpx.Response(502, json={"error": "Invalid token"}), Outcome.NOT_STARTED),
        (httpx.Response(502, json={"error": "Missing bearer token"}), Outcome.NOT_STARTED),
        (httpx.Response(502, json={"error": "Agent service returned HTTP 401."}), Outcome.NOT_STARTED),
        (httpx.Response(502, json={"error": "Failed to parse URL from x"}), Outcome.NOT_STARTED),
        (httpx.Response(308, headers={"Location": DISPATCH}), Outcome.NOT_STARTED),
        (httpx.Response(400, json={"error": "Bead t-1 not found."}), Outcome.NOT_STARTED),
        (httpx.Response(400, json={"error": "Bead t-1 is missing acceptance criteria."}), Outcome.BEAD_AT_FAULT),
        (httpx.Response(502, json={"error": "fetch failed"}), Outcome.UNCLEAR),
        (httpx.Response(502, json={"error": "Agent service response missing job_id."}), Outcome.UNCLEAR),
        (httpx.Response(502, json={"error": "Agent service returned HTTP 500."}), Outcome.UNCLEAR),
        (httpx.Response(500, content=b""), Outcome.UNCLEAR),
        (httpx.Response(502, html="<html>"), Outcome.UNCLEAR),
        (httpx.Response(200, content=b"\xff\xfe"), Outcome.UNCLEAR),
        (httpx.ConnectError("refused"), Outcome.NOT_STARTED),
        (httpx.ConnectTimeout("slow"), Outcome.NOT_STARTED),
        (httpx.ReadTimeout("slow"), Outcome.UNCLEAR),
        (httpx.RemoteProtocolError("cut off"), Outcome.UNCLEAR),
        (httpx.ReadError("reset"), Outcome.UNCLEAR),
        (httpx.WriteError("reset"), Outcome.UNCLEAR),
    ],
)
def test_a_dispatch_is_sent_once_whatever_comes_back(reply: object, outcome: Outcome) -> None:
    route = respx.post(DISPATCH).mock(**{"side_effect" if isinstance(reply, Exception) else "return_value": reply})
    assert understand(board().dispatch("t-1")).outcome is outcome
    assert route.call_count == 1
    assert route.calls[0].request.content == b'{"taskId":"t-1"}'


@respx.mock
def test_a_body_is_read_to_its_limit_only() -> None:
    respx.post(DISPATCH).respond(400, content=b"x" * 10_000_000)
    assert len(board().dispatch("t-1").body) == exchange.MOST_BYTES


@respx.mock
@pytest.mark.parametrize(
    ("status", "health", "room"),
    [
        ({"busy": False}, HEALTHY, True),
        ({"busy": True}, HEALTHY, False),
        ({"busy": False}, {**HEALTHY, "queued": 1}, False),
        ({"busy": False}, {**HEALTHY, "busy": True}, False),
        ({"busy": False}, {"status": "ok", "busy": False}, True),
        ({"busy": False}, {"status": "ok", "busy": True}, False),
    ],
)
def test_both_must_have_room(status: dict[str, object], health: dict[str, object], room: bool) -> None:
    respx.get(STATUS).respond(json=status)
    respx.get(HEALTH).respond(json=health)
    assert has_room() is room


@respx.mock
@pytest.mark.parametrize(
    ("status", "health"),
    [
        (httpx.Response(200, json={}), httpx.Response(200, json=HEALTHY)),
        (httpx.Response(404, json={"error": "no"}), httpx.Response(200, json=HEALTHY)),
        (httpx.Response(200, json={"busy": False}), httpx.Response(503)),
        (httpx.Response(200, json={"busy": False}), httpx.Response(200, html="<html>")),
        (httpx.Response(200, json={"busy": False}), httpx.Response(200, json={"status": "ok"})),
    ],
)
def test_an_answer_that_cannot_be_used_is_a_failure(status: httpx.Response, health: httpx.Response) -> None:
    respx.get(STATUS).mock(return_value=status)
    respx.get(HEALTH).mock(return_value=health)
    with pytest.raises(ServiceFailed):
        has_room()


@respx.mock
def test_a_board_that_wakes_up_is_asked_again() -> None:
    waking = [httpx.ConnectError("refused"), httpx.Response(503, html="<p>wait"), httpx.Response(200, html="<p>wait")]
    route = respx.get(STATUS).mock(side_effect=[*waking, httpx.Response(200, json={"busy": False})])
    with mock.patch.object(beadboard, "WAKE_PAUSE", 0.01):
        assert has_room(agent="")
    assert route.call_count == 4


@respx.mock
def test_a_board_that_never_wakes_up_is_given_up() -> None:
    respx.get(STATUS).mock(side_effect=httpx.ConnectError("refused"))
    with mock.patch.object(beadboard, "WAKE_SECONDS", 0.1), mock.patch.object(beadboard, "WAKE_PAUSE", 0.02):
        with pytest.raises(ServiceFailed, match="refused"):
            has_room(agent="")


def test_an_invalid_host_name_is_not_asked() -> None:
    reply = board("http://xn--/").dispatch("t-1")
    assert (reply.status, reply.delivered) == (None, False)


@respx.mock
def test_a_tls_error_after_the_post_is_unclear() -> None:
    respx.post(DISPATCH).mock(side_effect=ssl.SSLError(1, "[SSL] record layer failure"))
    reply = board().dispatch("t-1")
    assert understand(reply).outcome is Outcome.UNCLEAR
    assert "record layer failure" in reply.body


def test_a_service_that_does_not_answer_is_not_asked_about_each_job() -> None:
    asked, now = [], 0.0

    def request(ask: Ask) -> Reply:
        asked.append(ask.url)
        return Reply(None, "no answer within 10 s")

    service = AgentService(AGENT, lambda: "secret", request, print, lambda: now)
    jobs = [service.job(str(number)) for number in range(30)]
    assert {(job.stage, job.words) for job in jobs} == {(Stage.DOUBT, "no answer within 10 s")}
    assert asked == [f"{AGENT}/jobs/0"]
    now = 10.0
    service.job("30")
    assert asked[1:] == [f"{AGENT}/jobs/30"]


@respx.mock
@pytest.mark.parametrize(
    ("reply", "stage"),
    [
        (httpx.Response(200, json={"status": "running"}), Stage.RUNNING),
        (httpx.Response(404, json={"detail": "Job not found"}), Stage.UNKNOWN),
        (httpx.Response(404, json={"detail": "Not Found"}), Stage.DOUBT),
        (httpx.Response(401, json={"detail": "Invalid token"}), Stage.DOUBT),
        (httpx.Response(200, text="nonsense"), Stage.DOUBT),
        (httpx.Response(200, text="x" * 2_000_000), Stage.DOUBT),
    ],
)
def test_what_an_answer_about_a_job_means(reply: httpx.Response, stage: Stage) -> None:
    respx.get(f"{AGENT}/jobs/1").mock(return_value=reply)
    assert AgentService(AGENT, lambda: "", http.request, print, SYSTEM.monotonic).job("1").stage is stage


@respx.mock
def test_a_token_that_a_service_echoes_is_not_passed_on() -> None:
    respx.get(f"{AGENT}/jobs/1").respond(401, text="Bearer s3cret is not valid")
    service = AgentService(AGENT, lambda: "s3cret", http.request, print, SYSTEM.monotonic)
    assert service.job("1").words == "HTTP 401: Bearer *** is not valid"


def test_a_mounted_token_is_read_at_each_question(tmp_path: Path) -> None:
    file, sent = tmp_path / "token", list[str]()

    def request(ask: Ask) -> Reply:
        sent.append(ask.token)
        return Reply(404, '{"detail": "Job not found"}')

    service = AgentService(AGENT, partial(mounted_token, file), request, print, SYSTEM.monotonic)
    missing = service.job("1")
    file.write_text("first\n")
    service.job("1")
    file.write_text("second\n")
    service.job("1")
    file.write_text("two\nlines")
    odd = service.job("1")
    assert sent == ["first", "second"]
    assert missing == Job(Stage.DOUBT, f"no token can be read: No such file or directory: {file}")
    assert odd == Job(Stage.DOUBT, f"no token can be read: more than one line: {file}")
