"""`m6rec monitor`: watch a stream of texts: sentiment per topic over time, and alerts on surges."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from m6rec.base.errors import UsageError
from m6rec.cli.options import duration
from m6rec.cli.output import print_json

if TYPE_CHECKING:
    from m6rec.data.text_stream import Position, Texts
    from m6rec.evaluation.topic_windows import Alert
    from m6rec.recommender import Recommender
    from m6rec.serving.monitoring import Mood


def monitor(
    sources: Annotated[
        list[Path], typer.Argument(metavar="SOURCE...", help="Files of JSON lines, folders of them, or - for standard input.")
    ],
    run: Annotated[Path | None, typer.Option("--run", metavar="RUN", help="A run whose tasks judge the texts.")] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="NAME", help="The task of --run that judges sentiment.")] = None,
    sentiment: Annotated[
        str | None, typer.Option("--sentiment", metavar="COLUMN", help="Instead of --run: a column with a label, or a number from -1 to 1.")
    ] = None,
    negative: Annotated[
        str | None, typer.Option("--negative", metavar="LABEL", help="Which label is negative; default: by its name.")
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option("--topic", metavar="COLUMN", help="The column that holds the topic or item; default: topic, else item_id, else item."),
    ] = None,
    topic_task: Annotated[str | None, typer.Option("--topic-task", metavar="NAME", help="The task of --run that names the topic.")] = None,
    text: Annotated[str, typer.Option("--text", metavar="COLUMN", help="The column of the text.")] = "text",
    when: Annotated[str, typer.Option("--time", metavar="COLUMN", help="The column of the time (since 1970, or ISO 8601).")] = "time",
    window: Annotated[str, typer.Option("--window", metavar="1h", help="Length of a window: s, m, h or d.")] = "1h",
    grace: Annotated[str | None, typer.Option("--grace", metavar="10m", help="How late a text may come and still count.")] = None,
    false_alarms: Annotated[
        float, typer.Option("--false-alarms", min=1e-6, max=1000, help="Expected on quiet streams in 1,000 windows, all topics together.")
    ] = 1.0,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more when the files end, until interrupted.")] = False,
    state: Annotated[Path | None, typer.Option("--state", metavar="FILE", help="Where to go on from, and what is written for it.")] = None,
    alerts: Annotated[Path | None, typer.Option("--alerts", metavar="FILE", help="Also write alerts here, one JSON object a line.")] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="A self-contained HTML page, written at the end.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each alert as a line of JSON, and last a summary.")] = False,
) -> None:
    """Watch texts (JSON lines with text, time and topic): sentiment of each topic over time, and an alert line on every surge."""
    if (run is None) == (sentiment is None):
        raise UsageError("say who judges: --run RUN --task NAME (a trained task), or --sentiment COLUMN (the stream says it itself)")
    if run is not None and task is None:
        raise UsageError("--run needs --task NAME, the task that judges sentiment")
    if topic_task is not None and (run is None or topic is not None):
        raise UsageError("--topic-task needs --run, and goes without --topic")
    piped = [str(source) for source in sources] == ["-"]
    if not piped and any(str(source) == "-" for source in sources):
        raise UsageError("- (standard input) stands alone, without files")
    seconds, late = duration(window, "--window"), 0.0 if grace is None else duration(grace, "--grace")

    from m6rec.base.storage import atomic_file
    from m6rec.data.text_stream import stream_files, stream_lines
    from m6rec.evaluation.monitor_report import alert_line, monitor_page
    from m6rec.evaluation.surges import SurgeSettings
    from m6rec.serving.monitoring import Monitor

    judge = _Judge(run, task, topic_task, sentiment, negative, topic)
    watch = Monitor(SurgeSettings.for_window(seconds, false_alarms), judge.mood, judge.topics, state=state, alerts=alerts, grace=late)

    def tell(alert: Alert) -> None:
        print(json.dumps(asdict(alert), ensure_ascii=False) if as_json else alert_line(alert), flush=True)

    def batches(position: Position) -> Iterator[Texts]:
        if piped:
            return stream_lines(cast(BufferedIOBase, sys.stdin.buffer), position, text=text, when=when)
        return stream_files(sources, position, text=text, when=when, follow=follow)

    try:
        watch.run(batches(watch.position), tell, finish=state is None)
    except KeyboardInterrupt:
        if not follow and not piped:
            raise
    if report is not None:
        with atomic_file(report) as temporary:
            temporary.write_text(monitor_page(watch.windows, title="Texts over time"), encoding="utf-8")
    counts = {**watch.windows.counts, "broken": watch.position.broken, "topics": len(watch.windows.history)}
    if as_json:
        print_json({**counts, "false_alarms_per_1000_windows": false_alarms})
        return
    print(
        f"{counts['texts']:,} texts in {counts['windows']:,} windows of {counts['topics']:,} topics: {counts['alerts']:,} alerts "
        f"(expected on quiet streams: {counts['windows'] * false_alarms / 1000:.2g}); "
        f"{counts['late']:,} too late, {counts['future']:,} from the future, {counts['broken']:,} lines unreadable"
    )


class _Judge:
    """Who says how a text feels and what it is about: tasks of a run, or columns of the stream."""

    def __init__(
        self, run: Path | None, task: str | None, topic_task: str | None, sentiment: str | None, negative: str | None, topic: str | None
    ) -> None:
        self.task, self.topic_task, self.sentiment, self.negative, self.topic = task, topic_task, sentiment, negative, topic
        self.recommender: Recommender | None = None
        if run is not None:
            from m6rec.recommender import Recommender

            self.recommender = Recommender.from_pretrained(run)

    def mood(self, batch: Texts) -> Mood:
        from m6rec.serving.monitoring import mood_of_column, mood_of_labels

        if self.recommender is not None:
            return mood_of_labels(self._classified(batch.texts, self.task), self.negative)
        assert self.sentiment is not None
        return mood_of_column([row.get(self.sentiment) for row in batch.rows], self.sentiment, self.negative)

    def topics(self, batch: Texts) -> Sequence[Any]:
        if self.topic_task is not None:
            return [max(answer, key=lambda name: answer[name]) for answer in self._classified(batch.texts, self.topic_task)]
        if self.topic is not None:
            if not any(self.topic in row for row in batch.rows):
                raise UsageError(
                    f"no line has a column '{self.topic}'; --topic names the column of the topic, e.g. --topic {next(iter(batch.rows[0]))}"
                )
            return [row.get(self.topic) for row in batch.rows]
        return [next((row[name] for name in ("topic", "item_id", "item") if name in row), None) for row in batch.rows]

    def _classified(self, texts: list[str], task: str | None) -> list[dict[str, float]]:
        assert self.recommender is not None
        classified: list[dict[str, float]] = self.recommender.classify(texts, task=task)
        return classified
