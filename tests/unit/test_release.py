"""`make release` writes its notes from the changelog."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHANGELOG = """\
# Changelog

## [0.2.0] – 2027-01-15

- New.

### Coming from 0.1

- Do this.

## [0.1.0] – 2026-12-24

- Old.
"""


def notes(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([root / "tools/release/run", "notes"], capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tools" / "release").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "release" / "run", tmp_path / "tools" / "release")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    return tmp_path


def test_the_notes_are_the_changelogs_top_section(project: Path) -> None:
    assert notes(project).stdout == "- New.\n\n### Coming from 0.1\n\n- Do this.\n"


def test_the_top_section_must_be_of_the_version_that_is_built(project: Path) -> None:
    (project / "pyproject.toml").write_text('[project]\nversion = "0.3.0"\n')
    done = notes(project)
    assert done.returncode == 1
    assert 'release 0.3.0: CHANGELOG.md begins with "## [0.2.0] – 2027-01-15"' in done.stderr


def test_this_changelog_has_notes_for_this_version() -> None:
    done = notes(ROOT)
    assert done.returncode == 0, done.stderr
    assert "- " in done.stdout
