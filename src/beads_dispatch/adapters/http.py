"""One HTTP exchange with a deadline. The only module that uses httpx."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

import httpx

from beads_dispatch.core.notes import one_line
from beads_dispatch.core.outcomes import Reply

CONNECT_SECONDS = 5.0  # well below any deadline, or a connection that never came about looks like a lost answer
MOST_BYTES = 64 * 1024  # BeadBoard echoes an over-long id back whole

# Nothing has been sent when these are raised.
_NOT_SENT = (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError)  # the last: IDNA

NOTICE_SECONDS = 1.5  # after which a person is informed of what we wait for

Content = dict[str, str]
Request = Callable[[str, str, float, Content | None, Callable[[], None]], Reply]


def request(method: str, url: str, seconds: float, content: Content | None, slow: Callable[[], None]) -> Reply:
    """One exchange on a fresh connection, with one deadline for all of it. (httpx's own limits are for each read.)

    `content` is sent as JSON. `slow` is called where the answer takes more than 1.5 s.
    Raises nothing: what went wrong is in the Reply.
    """
    try:
        return asyncio.run(asyncio.wait_for(_noticed(_exchange(method, url, content), slow), seconds))
    except httpx.ConnectTimeout:
        return Reply(None, f"no connection within {CONNECT_SECONDS:g} s", delivered=False)
    except _NOT_SENT as error:
        return Reply(None, _text(error), delivered=False)
    except TimeoutError:
        return Reply(None, f"no answer within {seconds:g} s")
    except (httpx.HTTPError, OSError) as error:  # OSError: httpx does not translate an ssl.SSLError of a read
        return Reply(None, _text(error))


async def _noticed(exchange: Coroutine[Any, Any, Reply], slow: Callable[[], None]) -> Reply:
    timer = asyncio.get_running_loop().call_later(NOTICE_SECONDS, slow)
    try:
        return await exchange
    finally:
        timer.cancel()


async def _exchange(method: str, url: str, content: Content | None) -> Reply:
    limits = httpx.Timeout(None, connect=CONNECT_SECONDS)
    headers = {"Accept-Encoding": "identity"}  # a small body must not unpack to a large one
    # Asked directly: behind a proxy of the environment's, "refused" would not prove that nothing was delivered.
    async with httpx.AsyncClient(timeout=limits, headers=headers, verify=_tls(), trust_env=False) as client:
        async with client.stream(method, url, json=content) as response:
            body = b""
            async for part in response.aiter_raw():
                body += part[: MOST_BYTES - len(body)]
                if len(body) >= MOST_BYTES:
                    break
            return Reply(response.status_code, body.decode("utf-8", "replace"))


@cache
def _tls() -> ssl.SSLContext:
    """The system's authorities, and SSL_CERT_FILE's. Made once: that costs more than an exchange."""
    return ssl.create_default_context()


def _text(error: Exception) -> str:
    return one_line(str(error)) or f"connection lost ({type(error).__name__})"
