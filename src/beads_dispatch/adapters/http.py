"""One HTTP exchange with a deadline. The only module that uses httpx."""

import re
import ssl
from functools import lru_cache
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import httpx

from beads_dispatch.adapters.exchange import Ask
from beads_dispatch.adapters.waiting import NOTICE_SECONDS
from beads_dispatch.core.beadboard_answers import Reply
from beads_dispatch.core.text import hidden, one_line

CONNECT_SECONDS = 5.0  # well below any deadline, or a connection that never came about looks like a lost answer

# httpx raises these before it sends anything. UnicodeError: IDNA refuses the host's name.
_NOT_SENT = (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError)


def request(ask: Ask) -> Reply:
    """Make one exchange on a fresh connection, with one deadline for all of it. (httpx limits only each read.)

    Raise nothing: what went wrong is in the Reply. An exchange that is late counts as delivered, whatever it does
    after that: it runs in a thread that is left behind.
    """
    replies: list[Reply] = []
    exchange = Thread(target=lambda: replies.append(_reply(ask)), daemon=True)
    exchange.start()
    exchange.join(NOTICE_SECONDS)
    if exchange.is_alive():
        ask.waiting(f"waiting for {ask.what}, for up to {ask.seconds:g} s")
        exchange.join(ask.seconds - NOTICE_SECONDS)
    return replies[0] if replies else Reply(None, f"no answer within {ask.seconds:g} s")


def _reply(ask: Ask) -> Reply:
    try:
        trusted = _trusted(ask)
    except OSError as error:  # an ssl.SSLError is one
        return Reply(None, f"{ask.authority}: {_text(error)}", delivered=False)
    try:
        return _exchange(ask, trusted)
    except httpx.ConnectTimeout:
        return Reply(None, f"no connection within {CONNECT_SECONDS:g} s", delivered=False)
    except _NOT_SENT as error:
        server = "://".join(urlsplit(ask.url)[:2])
        text = f"connection refused at {server}" if _is_refused(error) else _text(error)
        return Reply(None, text, delivered=False)
    except httpx.TimeoutException:
        return Reply(None, f"no answer within {ask.seconds:g} s")
    except (httpx.HTTPError, OSError) as error:  # OSError: httpx does not translate an ssl.SSLError of a read
        return Reply(None, _text(error))


def _exchange(ask: Ask, trusted: ssl.SSLContext | bool) -> Reply:
    limits = httpx.Timeout(ask.seconds, connect=CONNECT_SECONDS)
    headers = {"Accept-Encoding": "identity"}  # a compressed body could unpack to any size
    if ask.token:
        headers["Authorization"] = f"Bearer {ask.token}"
    # No proxy of the environment's: behind one, "refused" would not prove that nothing was delivered.
    with httpx.Client(timeout=limits, headers=headers, verify=trusted, trust_env=False) as client:
        with client.stream(ask.method, ask.url, json=ask.content) as response:
            body = b""
            for part in response.iter_raw():
                body += part[: ask.most_bytes - len(body)]
                if len(body) >= ask.most_bytes:
                    break
            return Reply(response.status_code, hidden(body.decode("utf-8", "replace"), ask.token))


def _trusted(ask: Ask) -> ssl.SSLContext | bool:
    """Return whom to trust. http:// needs nobody, so the authorities are not read for it. Raise OSError."""
    if not ask.url.startswith("https://"):
        return False
    return _authorities(ask.authority, Path(ask.authority).stat().st_mtime_ns if ask.authority else 0)


@lru_cache(maxsize=2)
def _authorities(file: str, changed: int) -> ssl.SSLContext:
    """Return the authority in this file, read again when it has changed: a cluster replaces it one day.

    `file`: empty for the system's and SSL_CERT_FILE's. To read those costs more than an exchange.
    """
    return ssl.create_default_context(cafile=file or None)


def _is_refused(error: BaseException) -> bool:
    """Return whether its first cause is a refused connection."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return isinstance(error, ConnectionRefusedError)


def _text(error: Exception) -> str:
    return one_line(re.sub(r"^\[Errno -?\d+\] ", "", str(error))) or f"connection lost ({type(error).__name__})"
