"""Charts over calendar time and over the hours of the week, as inline SVG in the style of `plots.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

import numpy as np

from m6rec.evaluation.plots import WIDTH, Line, line_chart, svg

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DATES_SHOWN = 3


def date(seconds: float, *, minutes: bool = False) -> str:
    """`2024-05-01`, or with the minute (UTC)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M" if minutes else "%Y-%m-%d")


def time_chart(
    key: str, title: str, description: str, starts: np.ndarray, curves: dict[str, np.ndarray], *, y_label: str, from_zero: bool = True
) -> str:
    """Curves over the windows that begin at `starts` (float64 (W,), seconds since 1970)."""
    places = np.unique(np.linspace(0, max(len(starts) - 1, 0), min(DATES_SHOWN, len(starts))).round().astype(int))
    short_span = len(starts) > 1 and starts[-1] - starts[0] < 3 * 86_400
    words = {float(starts[place]): date(starts[place], minutes=True)[5:] if short_span else date(starts[place]) for place in places}
    xs = starts.tolist()
    lines = [Line(name, xs, np.asarray(values, dtype=np.float64).tolist()) for name, values in curves.items()]
    return line_chart(key, title, description, lines, x_label="time (UTC)", y_label=y_label, from_zero=from_zero, x_words=words)


def week_chart(key: str, title: str, description: str, hours: np.ndarray) -> str:
    """Events of each hour of the week, int (7, 24), as cells: the fuller the more."""
    left, cell, top = 34.0, (WIDTH - 38.0) / 24, 6.0
    most = max(float(hours.max()), 1.0)
    parts = []
    for day in range(7):
        y = top + day * 20
        parts.append(f'<text class="tick" text-anchor="end" x="{left - 5:.0f}" y="{y + 14:.0f}">{DAYS[day]}</text>')
        for hour in range(24):
            words = f"{DAYS[day]} {hour:02d}:00: {int(hours[day, hour]):,}"
            parts.append(
                f'<rect class="bar main" x="{left + hour * cell:.1f}" y="{y:.0f}" width="{cell - 1:.1f}" height="19" '
                f'fill-opacity="{0.06 + 0.94 * float(hours[day, hour]) / most:.2f}"><title>{escape(words)}</title></rect>'
            )
    for hour in range(0, 24, 3):
        parts.append(f'<text class="tick" text-anchor="middle" x="{left + (hour + 0.5) * cell:.1f}" y="{top + 156:.0f}">{hour:02d}</text>')
    return svg(key, title, description, top + 164, parts)


def worded(starts: np.ndarray, values: Sequence[float] | np.ndarray, digits: int = 3) -> str:
    """The curve in words for people who do not see it: its first, highest and last known value."""
    values = np.asarray(values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return "nothing is known"
    top = known[np.argmax(values[known])]
    said = [(known[0], "starts at"), (top, "highest is"), (known[-1], "ends at")]
    return ", ".join(f"{word} {values[place]:,.{digits}f} ({date(starts[place])})" for place, word in said)
