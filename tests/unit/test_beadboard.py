"""beadboard.py: what is asked, how often, and what each answer becomes."""

import ssl
from unittest import mock

import httpx
import pytest
import respx

from beads_dispatch import beadboard
from beads_dispatch.answers import Meaning, understand
from beads_dispatch.beadboard import BeadBoard
from beads_dispatch.errors import ServiceFailed

URL, AGENT = "http://beadboard.test", "http://agent.test:8080"
STATUS, DISPATCH, HEALTH = f"{URL}/api/agent-status", f"{URL}/api/agent-dispatch", f"{AGENT}/health"
HEALTHY = {"status": "ok", "busy": False, "active": 9, "queued": 0, "capacity": 10}


def board(agent: str = AGENT) -> BeadBoard:
    return BeadBoard(URL, agent, lambda: False)


@respx.mock
@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (httpx.Response(200, json={"job_id": "a"}), Meaning.ACCEPTED),
        (httpx.Response(409, json={"error": "Agent is busy"}), Meaning.BUSY),
        (httpx.Response(502, json={"error": "Queue full"}), Meaning.BUSY),
        (httpx.Response(500, json={"error": "Claude agent service is not configured (x)"}), Meaning.NOT_STARTED),
        (httpx.Response(502, json={"error": "Invalid token"}), Meaning.NOT_STARTED),
        (httpx.Response(502, json={"error": "Missing bearer token"}), Meaning.NOT_STARTED),
        (httpx.Response(502, json={"error": "Agent service returned HTTP 401."}), Meaning.NOT_STARTED),
        (httpx.Response(502, json={"error": "Failed to parse URL from x"}), Meaning.NOT_STARTED),
        (httpx.Response(308, headers={"Location": DISPATCH}), Meaning.NOT_STARTED),
        (httpx.Response(400, json={"error": "Bead t-1 not found."}), Meaning.NOT_STARTED),
        (httpx.Response(400, json={"error": "Bead t-1 is missing acceptance criteria."}), Meaning.BEAD_AT_FAULT),
        (httpx.Response(502, json={"error": "fetch failed"}), Meaning.UNCLEAR),
        (httpx.Response(502, json={"error": "Agent service response missing job_id."}), Meaning.UNCLEAR),
        (httpx.Response(502, json={"error": "Agent service returned HTTP 500."}), Meaning.UNCLEAR),
        (httpx.Response(500, content=b""), Meaning.UNCLEAR),
        (httpx.Response(502, html="<html>"), Meaning.UNCLEAR),
        (httpx.Response(200, content=b"\xff\xfe"), Meaning.UNCLEAR),
        (httpx.ConnectError("refused"), Meaning.NOT_STARTED),
        (httpx.ConnectTimeout("slow"), Meaning.NOT_STARTED),
        (httpx.ReadTimeout("slow"), Meaning.UNCLEAR),
        (httpx.RemoteProtocolError("cut off"), Meaning.UNCLEAR),
        (httpx.ReadError("reset"), Meaning.UNCLEAR),
        (httpx.WriteError("reset"), Meaning.UNCLEAR),
    ],
)
def test_a_dispatch_is_sent_once_whatever_comes_back(reply: object, meaning: Meaning) -> None:
    route = respx.post(DISPATCH).mock(**{"side_effect" if isinstance(reply, Exception) else "return_value": reply})
    assert understand(board().dispatch("t-1")).meaning is meaning
    assert route.call_count == 1
    assert route.calls[0].request.content == b'{"taskId":"t-1"}'


@respx.mock
def test_a_body_is_read_to_its_limit_only() -> None:
    respx.post(DISPATCH).respond(400, content=b"x" * 10_000_000)
    assert len(board().dispatch("t-1").body) == beadboard.MOST_BYTES


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
    assert board().has_room() is room


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
        board().has_room()


@respx.mock
def test_a_board_that_wakes_up_is_asked_again() -> None:
    waking = [httpx.ConnectError("refused"), httpx.Response(503, html="<p>wait"), httpx.Response(200, html="<p>wait")]
    route = respx.get(STATUS).mock(side_effect=[*waking, httpx.Response(200, json={"busy": False})])
    with mock.patch.object(beadboard, "WAKE_PAUSE", 0.01):
        assert board(agent="").has_room()
    assert route.call_count == 4


@respx.mock
def test_a_board_that_never_wakes_up_is_given_up() -> None:
    respx.get(STATUS).mock(side_effect=httpx.ConnectError("refused"))
    with mock.patch.object(beadboard, "WAKE_SECONDS", 0.1), mock.patch.object(beadboard, "WAKE_PAUSE", 0.02):
        with pytest.raises(ServiceFailed, match="refused"):
            board().has_room()


def test_a_host_that_is_no_name_is_not_asked() -> None:
    reply = BeadBoard("http://xn--/", "", lambda: True).dispatch("t-1")
    assert (reply.status, reply.delivered) == (None, False)


@respx.mock
def test_bytes_that_are_no_tls_after_the_post_are_unclear() -> None:
    respx.post(DISPATCH).mock(side_effect=ssl.SSLError(1, "[SSL] record layer failure"))
    reply = board().dispatch("t-1")
    assert understand(reply).meaning is Meaning.UNCLEAR
    assert "record layer failure" in reply.body
