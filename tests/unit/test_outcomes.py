"""The table of what an answer means, row by row."""

import json

import pytest

from beads_dispatch.core.beadboard_answers import Reply, understand
from beads_dispatch.core.runner import Outcome


def error(text: object) -> str:
    return json.dumps({"error": text})


TABLE = [
    (200, '{"job_id": "3f9a1c3f9a1c"}', Outcome.ACCEPTED),
    (200, '{"job_id": 17}', Outcome.ACCEPTED),
    (409, error("Agent is busy"), Outcome.BUSY),
    (429, error("Queue full"), Outcome.BUSY),
    (429, "", Outcome.BUSY),
    (502, error("Queue full"), Outcome.BUSY),
    (500, error("Claude agent service is not configured (set URL)"), Outcome.NOT_STARTED),
    (502, error("Invalid token"), Outcome.NOT_STARTED),
    (502, error("Missing bearer token"), Outcome.NOT_STARTED),
    (502, error("Service unauthenticated"), Outcome.NOT_STARTED),
    (502, error("Not Found"), Outcome.NOT_STARTED),
    (502, error("Method Not Allowed"), Outcome.NOT_STARTED),
    (502, error("Agent service returned HTTP 404."), Outcome.NOT_STARTED),
    (502, error("Failed to parse URL from x"), Outcome.NOT_STARTED),
    *[(status, "", Outcome.NOT_STARTED) for status in (301, 308, 401, 403, 404, 405, 413)],
    (400, error("Bead t-1 not found."), Outcome.NOT_STARTED),
    (400, error("Bead t-1 is missing acceptance criteria."), Outcome.BEAD_AT_FAULT),
    (400, error("Invalid JSON body."), Outcome.BEAD_AT_FAULT),
    (400, "", Outcome.BEAD_AT_FAULT),
    (502, error("fetch failed"), Outcome.UNCLEAR),
    (502, error("Agent service response missing job_id."), Outcome.UNCLEAR),
    (502, error("Agent service returned HTTP 503."), Outcome.UNCLEAR),
    (502, error(["Queue full"]), Outcome.UNCLEAR),
    (502, error(""), Outcome.UNCLEAR),
    (502, "<html>Bad gateway</html>", Outcome.UNCLEAR),
    (500, "", Outcome.UNCLEAR),
    (500, error("boom"), Outcome.UNCLEAR),
    (504, "", Outcome.UNCLEAR),
    (200, "{}", Outcome.UNCLEAR),
    (200, '{"job_id": ""}', Outcome.UNCLEAR),
    (200, '{"job_id": true}', Outcome.UNCLEAR),
    (200, '{"job_id": "3f9', Outcome.UNCLEAR),
    (200, "[1]", Outcome.UNCLEAR),
    (201, '{"job_id": "x"}', Outcome.UNCLEAR),
]


@pytest.mark.parametrize(("status", "body", "outcome"), TABLE)
def test_what_an_answer_means(status: int, body: str, outcome: Outcome) -> None:
    assert understand(Reply(status, body)).outcome is outcome


def test_an_answer_that_never_came() -> None:
    assert understand(Reply(None, "refused", delivered=False)).outcome is Outcome.NOT_STARTED
    assert understand(Reply(None, "no answer within 60 s")).outcome is Outcome.UNCLEAR


def test_the_job_id_is_passed_on_as_text() -> None:
    assert understand(Reply(200, '{"job_id": 17}')).job == "17"


def test_an_error_that_is_no_text_is_shown_as_it_is() -> None:
    assert understand(Reply(502, error([{"msg": "Feld fällt aus"}]))).text == '[{"msg": "Feld fällt aus"}]'
