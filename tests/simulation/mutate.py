"""`make mutate`: changes the decisions and the jobs in one place at a time, and counts what the tests notice."""

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "beads_dispatch"
DECISIONS = (
    "backoff",
    "claim",
    "consequence",
    "faults",
    "holds",
    "writes",
    "eligibility",
    "limits",
    "marks",
    "notes",
    "beadboard_answers",
    "pacing",
    "runs",
    "staleness",
)
JOBS = (
    "dispatcher", "reaper", "watcher", "watched_database", "ticking", "sweeping", "claims", "following", "holding",
    "housekeeping", "room", "writing",
)  # fmt: skip
FILES = (*(f"core/{name}.py" for name in DECISIONS), *(f"jobs/{name}.py" for name in JOBS))
UNIT_TESTS = (
    "advice", "beadboard", "boundaries", "budget", "decisions", "hours", "job_runner", "kubernetes", "ledger", "limits",
    "marks", "notes", "outcomes", "reasons", "records", "runs", "timeline", "watching", "whose_fault", "wordings",
    "words", "writing",
)  # fmt: skip
SCHEDULES = "from simulation.schedule import run; import sys; sys.exit(any(run(seed).broken for seed in range({})))"
LOGS = (".info", ".error", ".unreadable")
SECONDS = 240  # a mutant that takes longer is noticed too

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """`number`: of the place in the file that is changed."""

    file: str
    number: int
    line: int
    what: str
    source: str


def mutants(file: str) -> Iterator[Mutant]:
    """One for each place that can be changed."""
    source = (PACKAGE / file).read_text()
    number = 0
    while (changed := _Change(number)).mutate(source):
        yield Mutant(file, number, changed.line, changed.what, changed.result)
        number += 1


class _Change(ast.NodeTransformer):
    """Changes the place with this number."""

    def __init__(self, number: int) -> None:
        self.left, self.line, self.what, self.result = number, 0, "", ""

    def mutate(self, source: str) -> bool:
        tree = self.visit(ast.parse(source))
        self.result = ast.unparse(tree) if self.what else ""
        return bool(self.what)

    def _here(self, node: ast.AST, what: str) -> bool:
        self.left -= 1
        if self.left != -1:
            return False
        self.line, self.what = getattr(node, "lineno", 0), what
        return True

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = [self.visit(part) for part in node.body]  # and not its decorators: frozen or not decides nothing
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        for index, known in enumerate(node.ops):
            other = SWAPS.get(type(known))
            if other and self._here(node, f"{type(known).__name__} -> {other.__name__}"):
                node.ops[index] = other()  # type: ignore[call-overload]
        return self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        other = SWAPS[type(node.op)]
        if self._here(node, f"{type(node.op).__name__} -> {other.__name__}"):
            node.op = other()  # type: ignore[assignment]
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        other = SWAPS.get(type(node.op))
        if other and self._here(node, f"{type(node.op).__name__} -> {other.__name__}"):
            node.op = other()  # type: ignore[assignment]
        return self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.Not) and self._here(node, "not X -> X"):
            return node.operand
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) and self._here(node, f"{node.value} -> {not node.value}"):
            return ast.copy_location(ast.Constant(not node.value), node)
        if type(node.value) in (int, float) and self._here(node, f"{node.value} -> {node.value * 2 + 1}"):
            return ast.copy_location(ast.Constant(node.value * 2 + 1), node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        if not isinstance(call, ast.Call) or ast.unparse(call.func).endswith(LOGS):  # a log line decides nothing
            return self.generic_visit(node)
        if self._here(node, f"without {ast.unparse(node)[:60]}"):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)


def noticed(mutant: Mutant, schedules: int) -> str:
    """What notices it: the simulation, the unit tests, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "beads_dispatch"
        shutil.copytree(PACKAGE, package)
        (package / mutant.file).write_text(mutant.source)
        environ = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
        pytest = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider")
        unit = (*pytest, *(f"{ROOT}/tests/unit/test_{name}.py" for name in UNIT_TESTS))
        whole = [f"{ROOT}/tests/simulation/test_{name}.py" for name in ("outage", "broken_agent")]
        outage = (*pytest, "-m", "not slow", *whole)
        simulation = ("-c", SCHEDULES.format(schedules))
        for name, words in (("simulation", simulation), ("unit tests", unit), ("simulation", outage)):
            if not _passes(words, environ):
                return name
    return ""


def _passes(words: tuple[str, ...], environ: dict[str, str]) -> bool:
    command = (sys.executable, *words)
    try:
        return not subprocess.run(command, env=environ, capture_output=True, timeout=SECONDS, check=False).returncode
    except subprocess.TimeoutExpired:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(prog="mutate")
    parser.add_argument("--sample", type=int, default=100, help="so many of all mutants; 0: every one")
    parser.add_argument("--schedules", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least", type=int, default=0, help="a smaller share (%%) is a failure")
    asked = parser.parse_args()
    every = [mutant for file in FILES for mutant in mutants(file)]
    chosen = Random(asked.seed).sample(every, min(asked.sample or len(every), len(every)))
    unchanged = Mutant(FILES[0], -1, 0, "nothing", (PACKAGE / FILES[0]).read_text())
    assert not noticed(unchanged, asked.schedules), "the tests do not pass without a change"
    by: dict[str, int] = {}
    pool = ThreadPool(os.cpu_count())
    names = pool.imap_unordered(lambda mutant: (mutant, noticed(mutant, asked.schedules)), chosen)
    for count, (mutant, name) in enumerate(names, 1):
        by[name] = by.get(name, 0) + 1
        if not name:
            print(f"survives: {mutant.file}:{mutant.line}: {mutant.what}", flush=True)
        print(
            f"\r{count} of {len(chosen)} (of {len(every)}): {count - by.get('', 0)} noticed ", end="", file=sys.stderr
        )
    share = 100 * (1 - by.get("", 0) / len(chosen))
    print(f"\n{share:.0f} % of {len(chosen)} mutants noticed: {by}")
    sys.exit(share < asked.least)


if __name__ == "__main__":
    main()
