"""For all tests: one thread a process (tiny models gain nothing by more), no network, no keys, the same examples.

The properties are checked on the same examples in every run, so that a failure belongs to a change and not to a draw.
`pytest --hypothesis-profile=search` draws new ones: that is how to look for what nobody has thought of.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Before torch is imported, and for every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"

settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("search", print_blob=True)
settings.load_profile("same")


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MINITUO_DATA"):
        monkeypatch.delenv(name, raising=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the tests by their names, so a name may hold no address of an object."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: give its parameters ids of their own")
