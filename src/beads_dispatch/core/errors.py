"""What can go wrong, in the words that the user reads. Anything else that is raised is a bug."""


class Failure(Exception):
    """Something went wrong that a person can act on: one line on stderr, exit status 1."""

    exit_status = 1


class Misconfigured(Failure):
    """The environment or the command line is wrong: every fault is named at once, exit status 2."""

    exit_status = 2


class BdFailed(Failure):
    """bd answered with an error, with nonsense, or not in time. Its write may have happened anyway."""


class NoBead(BdFailed):
    """bd knows no bead with this id."""


class Ambiguous(NoBead):
    """A shortened id fits more than one bead."""


class NotAsExpected(BdFailed):
    """Another client wrote the bead first, so bd wrote nothing: exit 13 (bd 1.3), or a serialization failure."""


class WritesRefused(Failure):
    """bd writes nothing to this database until a person acts: its schema does not fit, or it is frozen."""


class DoltFailed(Failure):
    """The Dolt server refused us, went away, or does not have the tables that we understand."""


class ServiceFailed(Failure):
    """BeadBoard or the agent service gave no usable answer, and nothing was asked to start. `url`: what was asked."""

    def __init__(self, text: str, url: str = "") -> None:
        super().__init__(text)
        self.url = url


class Unreadable(Failure):
    """A bead has a field that is missing or of the wrong type."""
