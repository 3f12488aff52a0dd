"""What the data decide where the configuration leaves it open: size, history, batch, negatives. One short block, for `init` and `validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from m6rec.config import M6RecConfig
    from m6rec.data.dataset import Dataset
    from m6rec.data.splits import Split


def decisions(settled: M6RecConfig, dataset: Dataset, cut: Split) -> dict[str, str]:
    """Name of the decision -> what came out and the number that decided."""
    import numpy as np

    from m6rec.language_model.config import EVENTS_OF_SIZE, LONG_HISTORY, SHORT_HISTORY, automatic_size
    from m6rec.text.config import SMALLEST_VOCABULARY
    from m6rec.training.config import LONG_EPOCHS

    lengths = cut.train.lengths
    events, median = len(cut.train.items), float(np.median(lengths[lengths > 0])) if lengths.any() else 0.0
    # The vocabulary is learned from the text later; no number shown here depends on it.
    model, size = settled.model, settled.model.size
    shape = model.model_copy(update={"backbone": None}).resolve(vocabulary=SMALLEST_VOCABULARY, events=events, median_history=median)
    bound = next((limit for limit, name in EVENTS_OF_SIZE if name == automatic_size(events, False)), None)
    why = f"{events:,} training events" + (f"; up to {bound:,}" if bound and size == "auto" else "")
    given = "set in the file"
    return {
        "model": f"{model.backbone}, adapted by {model.adapt.way}, dropout {shape.dropout:g}"
        if model.backbone is not None
        else f"{automatic_size(events, False) if size == 'auto' else size}, width {shape.width}, {shape.lower_layers}+{shape.upper_layers} "
        f"layers, dropout {shape.dropout:g} ({why if size == 'auto' else given})",
        "history": f"the newest {shape.history} events ("
        + (given if settled.model.history else f"half of the users have {median:.0f} or more; {LONG_HISTORY} from {SHORT_HISTORY} on")
        + ")",
        "batch": f"{settled.train.step_targets(events):,} targets a step ("
        + (given if settled.train.batch_targets else "a sixtieth of the training events, 256 to 4,000")
        + ")",
        "epochs": f"{settled.train.passes(median)} at most ("
        + (given if settled.train.epochs else f"half of the users have {median:.0f} or more; {LONG_EPOCHS} from {SHORT_HISTORY} on")
        + ")",
        "negatives": _negatives(settled, int((cut.seen > 0).sum())),
    }


def _negatives(settled: M6RecConfig, seen: int) -> str:
    drawn = settled.choose.drawn(seen)
    why = f"{seen:,} items have events" if settled.choose.negatives == "auto" else "set in the file"
    return f"all {seen:,}: the softmax is over the whole catalogue ({why})" if drawn is None else f"{drawn:,} drawn a step ({why})"


def decision_lines(found: dict[str, str]) -> list[str]:
    width = max(map(len, found))
    return ["what the data decide (each can be set in the file):", *(f"  {name:<{width}}  {what}" for name, what in found.items())]
