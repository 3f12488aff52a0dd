"""Whether `m6rec profile` recovers the planted tastes of the built-in sample: rank correlation of each person's weights with their taste.

    python benchmarks/profile_tastes.py --seeds 1,2,3
    python benchmarks/profile_tastes.py --seeds 1 --events-per-user 60
    python benchmarks/profile_tastes.py --seeds 0 --run runs/shop

For every seed the sample is made and trained on (or a run of it is taken), and the per-person Spearman correlation is averaged over
everybody: of the category (what is planted: the sum over its topics), and of the topics, told by the tags that are theirs. Beside it: what
the law of the sample itself, with its exact posterior over personas, reaches (nobody can expect more), counts alone, and the model's
next-item mass alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from m6rec.data.sample import Sample, generate, write_sample
from m6rec.explanation.interests import Interests
from m6rec.recommender import Recommender

QUICK = (
    "model.size=tiny",
    "pretrain.epochs=1",
    "train.epochs=6",
    "evaluation.baselines=[]",
    "evaluation.judged_baselines=[]",
    "evaluation.resamples=100",
)


def correlations(weights: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Spearman of each row, ties at their mean rank; float64 (U,)."""
    first, second = (np.apply_along_axis(rankdata, 1, values) for values in (weights, truth))
    first, second = first - first.mean(axis=1, keepdims=True), second - second.mean(axis=1, keepdims=True)
    scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.asarray((first * second).sum(axis=1) / np.maximum(scale, 1e-12))


def columns(sample: Sample, categories: list[str], tags: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Topics (T,) to categories, 0/1 (T, C); tags to the topic most of their items are of, 0/1 (tags, T)."""
    topic, size = sample.truth.topic, sample.truth.tastes.shape[1]
    to_category = np.zeros((size, len(categories)))
    counted = np.zeros((len(tags), size))
    for row, (category, has) in enumerate(zip(sample.items["category"], sample.items["tags"].to_list(), strict=True)):
        to_category[topic[row], categories.index(category)] = 1
        for tag in has:
            counted[tags.index(tag), topic[row]] += 1
    return to_category, np.eye(size)[counted.argmax(axis=1)]


def measured(sample: Sample, recommender: Recommender) -> dict[str, float]:
    """Mean correlations over everybody with an event."""
    interests = Interests(recommender.engine.scorer)
    fields = {field.name: field for field in interests.fields}
    users = np.flatnonzero(sample.histories.lengths > 0)
    truth = sample.truth.user_tastes[users]
    categories = sorted(set(sample.items["category"]))
    to_category, to_topic = columns(sample, categories, fields["tags"].values)
    own = {"topic": interests.weights("tags", users) @ to_topic}
    if "category" in fields:  # a tiny sample has one
        own["category"] = interests.weights("category", users)
    planted = {"category": truth @ to_category, "topic": truth}
    mass = recommender.engine.scorer.scores(interests.requests(users)).astype(np.float64)
    mass = np.exp(mass - mass.max(axis=1, keepdims=True)) @ np.eye(truth.shape[1])[sample.truth.topic]
    law, past = sample.truth, sample.histories
    assert past.times is not None
    said = law.profile_log_likelihood(users)
    ceiling = np.stack(
        [
            law._posterior(past.row(u).astype(int), past.times[past.offsets[u] : past.offsets[u + 1]], said[row]) @ law.tastes
            for row, u in enumerate(users)
        ]
    )
    counts = np.zeros((len(past), truth.shape[1]))
    np.add.at(counts, (np.repeat(np.arange(len(past)), past.lengths), law.topic[past.items]), 1)
    counts = counts[users] + 3 * counts.sum(axis=0) / counts.sum()
    found = {}
    for name in own:
        fold = to_category if name == "category" else np.eye(truth.shape[1])
        found[f"{name}: profile"] = float(correlations(own[name], planted[name]).mean())
        found[f"{name}: law itself"] = float(correlations(ceiling @ fold, planted[name]).mean())
        found[f"{name}: counts"] = float(correlations(counts @ fold, planted[name]).mean())
        found[f"{name}: next-item mass"] = float(correlations(mass @ fold, planted[name]).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1,2,3", help="seeds of the sample; 0 is the one that the settings were chosen on")
    parser.add_argument("--events-per-user", type=float, default=20.0)
    parser.add_argument("--run", type=Path, help="a run of the sample of the (one) seed, instead of training")
    parser.add_argument("--full", action="store_true", help="train with the default configuration, not the quick one")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {}
    for seed in (int(seed) for seed in given.seeds.split(",")):
        sample = generate(seed=seed, events_per_user=given.events_per_user)
        with tempfile.TemporaryDirectory() as folder:
            if given.run is None:
                write_sample(Path(folder), seed=seed, events_per_user=given.events_per_user)
                settings = () if given.full else QUICK
                recommender = Recommender.fit(Path(folder) / "config.yaml", Path(folder) / "run", settings=settings, progress=False)
            else:
                recommender = Recommender.from_pretrained(given.run)
            found[seed] = measured(sample, recommender)
        if not given.json:
            print(f"seed {seed}: " + ", ".join(f"{name} {value:.3f}" for name, value in found[seed].items()), flush=True)
    if given.json:
        print(json.dumps(found, indent=2))
    elif len(found) > 1:
        print("mean:   " + ", ".join(f"{name} {np.mean([one[name] for one in found.values()]):.3f}" for name in next(iter(found.values()))))


if __name__ == "__main__":
    main()
