"""Where every command starts: the stop signals first, then what takes time to import."""

import atexit
import gc
import sys


def main(*words: str) -> int:
    """`beads-dispatch`, also as `python -m beads_dispatch`. `words`: come before those of the command line."""
    if sys.platform == "win32":
        sys.exit("beads-dispatch: it does not run on Windows itself: install it in WSL (docs/laptop.md)")
    from beads_dispatch.adapters.stop import Stop

    stop = Stop()
    stop.listen()
    gc.disable()  # nothing that is imported is garbage: looking for some, now and at the end, costs a tenth of a tick
    from beads_dispatch.adapters import log
    from beads_dispatch.commands import cli

    gc.freeze()
    gc.enable()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        atexit.register(log.drain, stream)
    return cli.main([*words, *sys.argv[1:]], stop)


def dispatcher() -> int:
    """`beads-dispatcher`: `beads-dispatch tick`."""
    return main("tick")


def reaper() -> int:
    """`beads-reaper`: `beads-dispatch sweep`."""
    return main("sweep")


if __name__ == "__main__":
    sys.exit(main())
