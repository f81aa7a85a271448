"""The table of what an answer means, row by row."""

import json

import pytest

from beads_dispatch.answers import Meaning, Reply, understand


def error(text: object) -> str:
    return json.dumps({"error": text})


TABLE = [
    (200, '{"job_id": "3f9a1c3f9a1c"}', Meaning.ACCEPTED),
    (200, '{"job_id": 17}', Meaning.ACCEPTED),
    (409, error("Agent is busy"), Meaning.BUSY),
    (502, error("Queue full"), Meaning.BUSY),
    (500, error("Claude agent service is not configured (set URL)"), Meaning.NOT_STARTED),
    (502, error("Invalid token"), Meaning.NOT_STARTED),
    (502, error("Missing bearer token"), Meaning.NOT_STARTED),
    (502, error("Agent service returned HTTP 404."), Meaning.NOT_STARTED),
    (502, error("Failed to parse URL from x"), Meaning.NOT_STARTED),
    *[(status, "", Meaning.NOT_STARTED) for status in (301, 308, 401, 403, 404, 405, 413)],
    (400, error("Bead t-1 not found."), Meaning.NOT_STARTED),
    (400, error("Bead t-1 is missing acceptance criteria."), Meaning.BEAD_AT_FAULT),
    (400, error("Invalid JSON body."), Meaning.BEAD_AT_FAULT),
    (400, "", Meaning.BEAD_AT_FAULT),
    (502, error("fetch failed"), Meaning.UNCLEAR),
    (502, error("Agent service response missing job_id."), Meaning.UNCLEAR),
    (502, error("Agent service returned HTTP 503."), Meaning.UNCLEAR),
    (502, error(["Queue full"]), Meaning.UNCLEAR),
    (502, error(""), Meaning.UNCLEAR),
    (502, "<html>Bad gateway</html>", Meaning.UNCLEAR),
    (500, "", Meaning.UNCLEAR),
    (500, error("boom"), Meaning.UNCLEAR),
    (504, "", Meaning.UNCLEAR),
    (200, "{}", Meaning.UNCLEAR),
    (200, '{"job_id": ""}', Meaning.UNCLEAR),
    (200, '{"job_id": true}', Meaning.UNCLEAR),
    (200, '{"job_id": "3f9', Meaning.UNCLEAR),
    (200, "[1]", Meaning.UNCLEAR),
    (201, '{"job_id": "x"}', Meaning.UNCLEAR),
    (429, error("Queue full"), Meaning.UNCLEAR),
]


@pytest.mark.parametrize(("status", "body", "meaning"), TABLE)
def test_what_an_answer_means(status: int, body: str, meaning: Meaning) -> None:
    assert understand(Reply(status, body)).meaning is meaning


def test_an_answer_that_never_came() -> None:
    assert understand(Reply(None, "refused", delivered=False)).meaning is Meaning.NOT_STARTED
    assert understand(Reply(None, "no answer within 60 s")).meaning is Meaning.UNCLEAR


def test_the_job_id_is_passed_on_as_text() -> None:
    assert understand(Reply(200, '{"job_id": 17}')).job == "17"
