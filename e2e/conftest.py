"""A world for each file; the files run beside each other, so that their waits overlap."""

from collections.abc import Iterator

import pytest
from world import World, say


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """The module applied with the file's VARIABLES, and what it needs around it."""
    one = World(request.module.__name__.removeprefix("test_"), dict(getattr(request.module, "VARIABLES", {})))
    try:
        one.begin()
        yield one
    finally:
        one.end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that wait longest begin first."""
    longest = ("test_switch.py", "test_watch.py", "test_jobs_watch.py", "test_jobs_cronjobs.py")
    items.sort(key=lambda item: item.path.name not in longest)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.failed:
        say(f"{report.outcome.upper()} {report.nodeid} ({report.duration:.0f} s)")
