"""A .beads folder of our own, in which bd may write beside a metadata.json that is mounted read-only."""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def make(metadata: str) -> Path:
    """Return a .beads folder with this metadata.json. Raise OSError.

    Its name follows from our user and the content: all our processes use the same one, so a killed one leaves nothing.
    """
    digest = hashlib.sha1(metadata.encode(), usedforsecurity=False).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"beads-dispatch-{os.geteuid()}-{digest}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # whatever cleans up /tmp may have removed that too
    seen = folder.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o022:
        raise OSError(f"somebody else may write to {folder}")
    beads = folder / ".beads"  # inside, because bd 1.3 also writes `.beads.gate.lock` beside it
    beads.mkdir(mode=0o700, exist_ok=True)  # bd warns about any other mode
    _write(beads / "metadata.json", metadata)
    return beads


def _write(file: Path, text: str) -> None:
    """Write the file at once, because another process of ours may be reading it."""
    with suppress(OSError):
        if file.read_text("utf-8") == text:
            return
    new = file.with_name(f"metadata.{os.getpid()}.new")
    new.write_text(text, "utf-8")
    new.replace(file)
