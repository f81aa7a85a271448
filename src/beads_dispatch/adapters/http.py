"""One HTTP exchange with a deadline. The only module that uses httpx."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

import httpx

from beads_dispatch.adapters.exchange import Ask
from beads_dispatch.core.notes import one_line
from beads_dispatch.core.outcomes import Reply

CONNECT_SECONDS = 5.0  # well below any deadline, or a connection that never came about looks like a lost answer

# Nothing has been sent when these are raised.
_NOT_SENT = (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError)  # the last: IDNA

NOTICE_SECONDS = 1.5  # after which a person is informed of what we wait for


def request(ask: Ask) -> Reply:
    """One exchange on a fresh connection, with one deadline for all of it. (httpx's own limits are for each read.)

    Raises nothing: what went wrong is in the Reply.
    """
    try:
        return asyncio.run(asyncio.wait_for(_noticed(_exchange(ask), ask.slow), ask.seconds))
    except httpx.ConnectTimeout:
        return Reply(None, f"no connection within {CONNECT_SECONDS:g} s", delivered=False)
    except _NOT_SENT as error:
        return Reply(None, _text(error), delivered=False)
    except TimeoutError:
        return Reply(None, f"no answer within {ask.seconds:g} s")
    except (httpx.HTTPError, OSError) as error:  # OSError: httpx does not translate an ssl.SSLError of a read
        return Reply(None, _text(error))


async def _noticed(exchange: Coroutine[Any, Any, Reply], slow: Callable[[], None]) -> Reply:
    timer = asyncio.get_running_loop().call_later(NOTICE_SECONDS, slow)
    try:
        return await exchange
    finally:
        timer.cancel()


async def _exchange(ask: Ask) -> Reply:
    limits = httpx.Timeout(None, connect=CONNECT_SECONDS)
    headers = {"Accept-Encoding": "identity"}  # a small body must not unpack to a large one
    if ask.token:
        headers["Authorization"] = f"Bearer {ask.token}"
    # Asked directly: behind a proxy of the environment's, "refused" would not prove that nothing was delivered.
    async with httpx.AsyncClient(timeout=limits, headers=headers, verify=_tls(), trust_env=False) as client:
        async with client.stream(ask.method, ask.url, json=ask.content) as response:
            body = b""
            async for part in response.aiter_raw():
                body += part[: ask.most_bytes - len(body)]
                if len(body) >= ask.most_bytes:
                    break
            return Reply(response.status_code, body.decode("utf-8", "replace"))


@cache
def _tls() -> ssl.SSLContext:
    """The system's authorities, and SSL_CERT_FILE's. Made once: that costs more than an exchange."""
    return ssl.create_default_context()


def _text(error: Exception) -> str:
    return one_line(str(error)) or f"connection lost ({type(error).__name__})"
