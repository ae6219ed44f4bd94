"""What holds for all tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that all cores end at once.

    A file is run by one core; those that need a browser take minutes.
    """
    items.sort(key=lambda item: "site" not in item.path.parts)
