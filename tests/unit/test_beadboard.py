"""What no server can be made to do without an authority that this machine trusts."""

import ssl

import pytest

from beads_dispatch import beadboard
from beads_dispatch.answers import Meaning, understand


def test_bytes_that_are_no_tls_after_the_post_are_unclear(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ssl.SSLError(1, "[SSL] record layer failure")

    monkeypatch.setattr(beadboard, "_exchange", broken)
    reply = beadboard.BeadBoard("https://nowhere.invalid", "", lambda: False).dispatch("t-1")
    assert understand(reply).meaning is Meaning.UNCLEAR
    assert "record layer failure" in reply.body
