"""Report what an adapter waits for: nobody should look at a silent screen for more than two seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

NOTICE_SECONDS = 1.5  # after which a person is informed

Waiting = Callable[[str], None]


def unheard(text: str) -> None:
    """Report nothing."""


@contextmanager
def reported(waiting: Waiting, text: str) -> Iterator[None]:
    """Report the text if the block takes longer than 1.5 seconds."""
    timer = Timer(NOTICE_SECONDS, waiting, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
