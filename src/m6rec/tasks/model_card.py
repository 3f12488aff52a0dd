"""README.md of a model folder."""

from __future__ import annotations

from typing import Any

from m6rec.tasks.served_model import ServedModel


def model_card(facts: dict[str, Any], scorer: ServedModel) -> str:
    """README.md of the folder, in Markdown."""
    shape, dataset = facts["shape"], scorer.dataset
    counts = {**scorer.model.count_parameters(), "task": sum(p.numel() for p in scorer.task.parameters())}
    lines = [
        "# Model card",
        "",
        "A recommender made by m6rec: it chooses items out of the catalogue below for people it knows and for people who only typed a few words.",
        "",
        f"- catalogue: {len(dataset.items):,} items; people: {len(dataset.users):,}; events: {len(dataset.histories.items):,}",
        f"- model: width {shape['width']}, {shape['lower_layers']} + {shape['upper_layers']} layers, history of {shape['history']} events; "
        f"{counts['total']:,} weights in the language model, {counts['task']:,} in the task",
        *_checkpoint(shape, scorer),
        f"- parts of the answer: softmax over the catalogue{''.join(', ' + name for name in scorer.task.parts)}",
        f"- trained with: {facts['statement']}",
        f"- data fingerprint {facts['data']}, tokenizer {facts['tokenizer']}, written by m6rec {facts['written_by']}",
        "",
        "The counts and histories are those of all events, the weights those fitted on the training part. Use:",
        "",
        "```python",
        "from m6rec import Recommender",
        'Recommender.from_pretrained("THIS FOLDER").recommend(text="what somebody types", k=5)',
        "```",
        "",
    ]
    return "\n".join(lines)


def _checkpoint(shape: dict[str, Any], scorer: ServedModel) -> list[str]:
    """Where the layers come from, if not from here."""
    if shape.get("backbone") is None:
        return []
    name = (scorer.origin.training.get("model") or {}).get("backbone")
    return [
        f"- layers and tokenizer of the pretrained checkpoint {name} (family {shape['backbone']['family']}), whose licence applies to them"
    ]
