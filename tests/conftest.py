"""For all tests: one thread a process (tiny models gain nothing by more), no network, no keys."""

from __future__ import annotations

import os

import pytest

# Before torch is imported, and for every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "MINITUO_DATA"):
        monkeypatch.delenv(name, raising=False)
