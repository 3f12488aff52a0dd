"""Event columns on disk: large ones are memory-mapped, and datasets of the first version are still read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from m6rec.base.contracts import Histories
from m6rec.base.errors import CheckpointError
from m6rec.data import store
from m6rec.data.dataset import Dataset, Exposures, FieldType, Table, Vocabulary
from m6rec.data.store import fingerprint, load_dataset, save_dataset


def small() -> Dataset:
    histories = Histories(
        offsets=np.array([0, 3, 3, 5]),
        items=np.array([2, 0, 1, 1, 2], dtype=np.int32),
        times=np.array([1.0, 2.0, np.nan, 4.0, 5.0]),
    )
    items, users = ["a", "b", "c"], ["u", "v", "w"]
    dataset = Dataset(
        Table(Vocabulary(items), pl.DataFrame({"item_id": items}), {}),
        Table(Vocabulary(users), pl.DataFrame({"user_id": users}), {}),
        histories,
    )
    return Dataset(**{**vars(dataset), "fingerprint": fingerprint(dataset)})


def test_large_columns_are_mapped_and_small_ones_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = small()
    save_dataset(dataset, tmp_path / "data")
    assert not isinstance(load_dataset(tmp_path / "data").histories.items, np.memmap)
    monkeypatch.setattr(store, "MAPPED_FROM", 1)
    mapped = load_dataset(tmp_path / "data").histories
    assert isinstance(mapped.items, np.memmap)
    assert isinstance(mapped.times, np.memmap)
    assert mapped.actions is None
    np.testing.assert_array_equal(mapped.items, dataset.histories.items)
    kept = mapped.window(keep=2)
    assert [kept.row(user).tolist() for user in range(3)] == [[0, 1], [], [1, 2]]
    assert not isinstance(kept.items, np.memmap)
    save_dataset(small(), tmp_path / "data")  # over the files that are mapped
    np.testing.assert_array_equal(mapped.items, dataset.histories.items)


@pytest.mark.parametrize("mapped_from", [1, 1 << 20])
def test_a_column_cut_short_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped_from: int) -> None:
    save_dataset(small(), tmp_path / "data")
    monkeypatch.setattr(store, "MAPPED_FROM", mapped_from)
    path = tmp_path / "data" / "histories-items.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="prepare it again"):
        load_dataset(tmp_path / "data")


def test_the_first_version_is_read(tmp_path: Path) -> None:
    dataset, folder = small(), tmp_path / "data"
    save_dataset(dataset, folder)
    columns = {name: np.load(folder / f"histories-{name}.npy") for name in ("offsets", "items", "times")}
    np.savez(folder / "histories.npz", allow_pickle=False, **columns)
    for name in columns:
        (folder / f"histories-{name}.npy").unlink()
    facts = json.loads((folder / "dataset.json").read_text())
    del facts["histories"]
    (folder / "dataset.json").write_text(json.dumps({**facts, "version": 1}))
    again = load_dataset(folder)
    np.testing.assert_array_equal(again.histories.items, dataset.histories.items)
    assert again.fingerprint == dataset.fingerprint


def exposed() -> Dataset:
    rows = Exposures(
        users=np.array([0, 2], dtype=np.int32),
        items=np.array([1, 2], dtype=np.int32),
        cuts=np.array([2, 4]),
        times=np.array([2.5, np.nan]),
        positions=np.array([1, np.nan], dtype=np.float32),
        context=pl.DataFrame({"device": ["phone", None]}),
        context_fields={"device": FieldType.CATEGORY},
        labels=pl.DataFrame(
            {"clicked": [1.0, None], "tags": [["a"], []], "word": [None, "b"]}, schema_overrides={"tags": pl.List(pl.String)}
        ),
    )
    dataset = Dataset(**{**vars(small()), "exposures": rows})
    return Dataset(**{**vars(dataset), "fingerprint": fingerprint(dataset)})


@pytest.mark.parametrize("mapped_from", [1, 1 << 20])
def test_exposures_come_back_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped_from: int) -> None:
    monkeypatch.setattr(store, "MAPPED_FROM", mapped_from)
    dataset = exposed()
    save_dataset(dataset, tmp_path / "data")
    again = load_dataset(tmp_path / "data")
    assert dataset.exposures is not None
    assert again.exposures is not None
    for name in Exposures.ROW_COLUMNS:
        before, after = getattr(dataset.exposures, name), getattr(again.exposures, name)
        if before is None:
            assert after is None
        else:
            np.testing.assert_array_equal(before, after)
            assert before.dtype == after.dtype
            assert isinstance(after, np.memmap) == (mapped_from == 1)
    assert again.exposures.labels.equals(dataset.exposures.labels)
    assert again.exposures.context.equals(dataset.exposures.context)
    assert again.exposures.context_fields == dataset.exposures.context_fields
    assert again.fingerprint == dataset.fingerprint != small().fingerprint
    path = tmp_path / "data" / "exposures-cuts.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="prepare it again"):
        load_dataset(tmp_path / "data")


def test_every_part_of_the_exposures_is_in_the_fingerprint() -> None:
    dataset = exposed()
    rows = dataset.exposures
    assert rows is not None
    changes = [
        {"users": np.array([1, 2], dtype=np.int32)},
        {"times": None},
        {"context": pl.DataFrame({"device": ["phone", "web"]})},
        {"labels": rows.labels.with_columns(pl.lit(0.0).alias("clicked"))},
        {"labels": rows.labels.rename({"word": "name"})},
        {"context_fields": {"device": FieldType.TEXT}},
    ]
    prints = {fingerprint(Dataset(**{**vars(dataset), "exposures": Exposures(**{**vars(rows), **change})})) for change in changes}
    assert len(prints | {dataset.fingerprint}) == len(changes) + 1


def test_a_copy_without_exposures_keeps_the_fingerprint_of_the_whole(tmp_path: Path) -> None:
    dataset = exposed()
    save_dataset(dataset, tmp_path / "data", exposures=False)
    copy = load_dataset(tmp_path / "data")
    assert copy.exposures is None
    assert copy.fingerprint == dataset.fingerprint
    save_dataset(copy, tmp_path / "again")
    assert load_dataset(tmp_path / "again").fingerprint == dataset.fingerprint
    assert not [path.name for path in (tmp_path / "again").iterdir() if path.name.startswith("exposures")]


def test_the_fingerprint_without_exposures_is_that_of_earlier_versions() -> None:
    assert small().fingerprint == "07dca7115fc0e72f"


def test_a_title_without_anything_to_be_seen_is_the_id() -> None:
    titles = ["Boots", "", None, "  ", "\x01\x1b", "\u202e\u200b", "🎉", "a\x07"]
    ids = [f"i{number}" for number in range(len(titles))]
    table = Table(Vocabulary(ids), pl.DataFrame({"title": titles}), {"title": FieldType.TEXT})
    assert table.titles() == ["Boots", "i1", "i2", "i3", "i4", "i5", "🎉", "a\x07"]
