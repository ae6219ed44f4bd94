"""What runs a test as a copy runs it in the place of the original."""

from pathlib import Path

import pytest

LEFT = pytest.StashKey[dict[Path, list[str]]]()
"""The names of the tests that are left to copies, by their file."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "runs(file): runs all tests of that file elsewhere"
    )


@pytest.hookimpl(trylast=True)  # when it is known what else is left out
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out a file's tests if something here runs the file elsewhere.

    What does so has to see that all of them have run.
    """
    left = config.stash[LEFT] = {
        config.rootpath / marker.args[0]: []
        for item in items
        for marker in item.iter_markers("runs")
    }
    twice = [item for item in items if item.path in left]
    for item in twice:
        left[item.path].append(item.name)
    if twice:
        config.hook.pytest_deselected(items=twice)
        items[:] = [item for item in items if item.path not in left]
