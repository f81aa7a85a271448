"""The stop signals. Nothing is imported here that takes time: they must be heard from the first moment on."""

import signal
import sys


class Stop:
    """Whether SIGTERM, Ctrl-C, Ctrl-\\ or a closed terminal (SIGHUP) has asked us to end after the current step."""

    def __init__(self) -> None:
        self._asked = 0  # the signal's number
        self._at_once = False
        self._patient = False
        self.draining = False  # Ctrl-C was heard once: what runs may finish

    def __call__(self) -> bool:
        return bool(self._asked)

    def listen(self) -> None:
        """Install the handlers. Without one, Linux ignores even SIGTERM for PID 1, which we are in a container."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, self._heard)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it, so we must too
            signal.signal(signal.SIGHUP, self._heard)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if inherited as SIG_IGN, every child's exit status reads as 0

    def at_once(self) -> None:
        """From now on let a signal end the process at once, quietly: for a command that only reads."""
        self._at_once = True
        self._end()

    def first_drains(self) -> None:
        """From now on the first Ctrl-C stops nothing that runs: it only sets `draining`."""
        self._patient = True

    def _heard(self, number: int, _: object) -> None:
        if number == signal.SIGINT and self._patient and not self.draining:
            self.draining = True
            return
        self._asked = number
        self._end()

    def _end(self) -> None:
        if self._at_once and self._asked:
            sys.exit(128 + self._asked)  # as a shell reports it
