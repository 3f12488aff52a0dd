"""The page of `m6rec monitor`: sentiment and volume of every topic over time, and the alerts. Self-contained, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from m6rec.evaluation.pages import page_templates
from m6rec.evaluation.plots import short
from m6rec.evaluation.time_charts import date, time_chart, worded
from m6rec.evaluation.topic_windows import Alert, TopicWindows

MOST_DRAWN = 24  # topics
MOST_POINTS = 400  # windows of a chart: more are drawn together


def monitor_page(windows: TopicWindows, *, title: str) -> str:
    """The whole page as text."""
    environment = page_templates()
    rows = {topic: np.array(list(kept), dtype=np.float64).reshape(-1, 5) for topic, kept in windows.history.items()}
    alerts = list(windows.alerts)
    alarmed = {alert.topic for alert in alerts}
    order = sorted(rows, key=lambda topic: (topic not in alarmed, -rows[topic][:, 1].sum(), topic))
    return environment.get_template("monitor.html.jinja").render(
        title=title,
        counts=windows.counts,
        settings=windows.settings,
        alerts=[(date(one.time, minutes=True), alert_words(one), one) for one in reversed(alerts)],
        table=[(topic, *_summary(rows[topic])) for topic in order],
        charts=[(topic, *_charts(f"topic-{n}", topic, rows[topic])) for n, topic in enumerate(order[:MOST_DRAWN]) if len(rows[topic])],
        left_out=max(len(order) - MOST_DRAWN, 0),
        short=short,
    )


def alert_line(alert: Alert) -> str:
    """`2024-05-01 14:00  battery: 31 negative texts in 1 window, 7.8 expected (p 2e-09); "died in a week"`."""
    quoted = f'; "{short(alert.examples[0], 60)}"' if alert.examples else ""
    return f"{date(alert.time, minutes=True)}  {short(alert.topic, 40)}: {alert_words(alert)}{quoted}"


def alert_words(alert: Alert) -> str:
    """What was seen against what was expected."""
    what = "negative texts" if alert.kind == "negative" else "texts"
    where = "1 window" if alert.windows == 1 else f"{alert.windows} windows"
    return f"{alert.seen:,.0f} {what} in {where}, {alert.expected:,.1f} expected (p {alert.probability:.0e})"


def _summary(rows: np.ndarray) -> tuple[int, float, float]:
    """Texts, share of negative ones, mean sentiment (NaN unknown)."""
    texts = rows[:, 1].sum()
    known = rows[:, 1] * ~np.isnan(rows[:, 3])
    mood = float((known * np.nan_to_num(rows[:, 3])).sum() / known.sum()) if known.sum() else float("nan")
    return int(texts), float(rows[:, 2].sum() / texts) if texts else float("nan"), mood


def _charts(key: str, topic: str, rows: np.ndarray) -> tuple[Markup, Markup]:
    starts, count, negative, mood, margin = _together(rows)
    volume = time_chart(
        f"{key}-volume",
        f"{topic}: texts a window",
        f"Texts: {worded(starts, count, 0)}.",
        starts,
        {"texts": count, "negative": negative},
        y_label="texts a window",
    )
    sentiment = time_chart(
        f"{key}-mood",
        f"{topic}: mean sentiment",
        f"Mean sentiment: {worded(starts, mood, 2)}.",
        starts,
        {"mean sentiment": mood, "95 % from": mood - margin, "95 % to": mood + margin},
        y_label="-1 negative, 1 positive",
        from_zero=False,
    )
    return Markup(volume), Markup(sentiment)


def _together(rows: np.ndarray) -> Sequence[np.ndarray]:
    """Columns of the rows, neighbouring windows taken together where there are too many to draw: means of counts, of texts' sentiment."""
    size = -(-len(rows) // MOST_POINTS)
    groups = [rows[first : first + size] for first in range(0, len(rows), size)]
    starts = np.array([group[0, 0] for group in groups])
    count, negative = (np.array([group[:, column].mean() for group in groups]) for column in (1, 2))
    mood, margin = np.full(len(groups), np.nan), np.full(len(groups), np.nan)
    for place, group in enumerate(groups):
        known = ~np.isnan(group[:, 3])
        weight = group[known, 1]
        if weight.sum():
            mood[place] = weight @ group[known, 3] / weight.sum()
            margin[place] = np.sqrt(((weight * group[known, 4]) ** 2).sum()) / weight.sum()
    return starts, count, negative, mood, margin
