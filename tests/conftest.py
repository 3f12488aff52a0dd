"""Fixtures every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """`real_data("beauty")`: the folder of a real data set, or a skip that says where it was looked for."""
    root = Path(os.environ.get("M6REC_DATA") or Path(__file__).parents[2] / "shared" / "data")

    def find(name: str) -> Path:
        folder = root / name
        if not folder.is_dir():
            pytest.skip(f"real data not found: {folder} (set M6REC_DATA)")
        return folder

    return find
