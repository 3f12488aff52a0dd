"""What the machine and the data decide for a training: threads, and whether the time between events is worth its cost."""

from __future__ import annotations

import numpy as np
import pytest

from m6rec.base.contracts import Histories
from m6rec.base.errors import ConfigError
from m6rec.base.threads import cores, threads_wanted
from m6rec.language_model.config import ModelConfig
from m6rec.training.workbench import known_gaps

UNKNOWN = float("nan")


def test_threads_are_those_asked_for_then_those_of_the_environment_then_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("M6REC_THREADS", raising=False)
    assert threads_wanted() == cores() >= 1
    monkeypatch.setenv("M6REC_THREADS", "3")
    assert threads_wanted() == 3
    assert threads_wanted(2) == 2
    for wrong in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv("M6REC_THREADS", wrong)
        with pytest.raises(ConfigError, match=f"M6REC_THREADS is '{wrong}'"):
            threads_wanted()


@pytest.mark.parametrize(
    ("rows", "share"),
    [
        ([[1.0, 2.0, 3.0], [4.0, 5.0]], 1.0),
        ([[1.0, 2.0, UNKNOWN], [4.0, 5.0]], 2 / 3),
        ([[1.0], [2.0], [3.0]], 0.0),  # a step from one person to the next is no gap
        ([[], [1.0, UNKNOWN], [], [1.0, 2.0], []], 0.5),
        ([[], []], 0.0),
    ],
)
def test_known_gaps_by_hand(rows: list[list[float]], share: float) -> None:
    times = np.array([time for row in rows for time in row])
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    assert known_gaps(Histories(offsets, np.zeros(len(times), np.int32), times)) == pytest.approx(share)
    assert known_gaps(Histories(offsets, np.zeros(len(times), np.int32))) == 0.0


def test_times_are_read_where_half_of_the_gaps_are_known() -> None:
    assert ModelConfig().resolve(vocabulary=9, known_gaps=0.5).times
    assert not ModelConfig().resolve(vocabulary=9, known_gaps=0.49).times
    assert ModelConfig(time_bias="on").resolve(vocabulary=9, known_gaps=0.0).times
    assert not ModelConfig(time_bias="off").resolve(vocabulary=9, known_gaps=1.0).times
