"""Who may import whom, as pyproject.toml has it."""

import subprocess
import sys
from pathlib import Path


def test_core_is_pure_and_no_adapter_imports_a_job() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [lint, "--no-cache"], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
