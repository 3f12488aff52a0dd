"""The page of `m6rec analyse`: one self-contained file with tables and inline SVG, nothing loaded from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from m6rec.data.analysis.analysis import Analysis
from m6rec.data.analysis.drift import Drift
from m6rec.data.analysis.funnels import Funnel
from m6rec.data.analysis.log import Calendar
from m6rec.data.analysis.sessions import spoken_seconds
from m6rec.data.analysis.suspicious import MOST_NAMED
from m6rec.evaluation.pages import page_templates
from m6rec.evaluation.plots import Bar, Line, bar_chart, line_chart, short
from m6rec.evaluation.time_charts import date, time_chart, week_chart, worded

MOST_FUNNELS = 9  # charts; every funnel is in the table


def analysis_page(found: Analysis, *, title: str, account: Sequence[tuple[str, int, str]] = ()) -> str:
    """The whole page as text."""
    environment = page_templates()
    drifts = [*[(one, found.calendar) for one in found.drift], *[(one, found.label_calendar) for one in found.label_drift]]
    return environment.get_template("analysis.html.jinja").render(
        title=title,
        found=found,
        tiles=_tiles(found),
        findings=findings(found),
        funnels=[*found.funnels, *found.event_funnels],
        funnel_charts=[
            Markup(_funnel_chart(f"funnel-{n}", one)) for n, one in enumerate([*found.funnels, *found.event_funnels][:MOST_FUNNELS])
        ],
        position_chart=Markup(_position_chart(found)) if found.positions else "",
        session_chart=Markup(_session_chart(found)) if found.sessions else "",
        session_rows=found.sessions.quantiles() if found.sessions else {},
        activity_charts=[Markup(chart) for chart in _activity_charts(found)],
        drift_charts=[
            (one.name, Markup(_drift_chart(f"drift-{n}", one, where)), _drift_rows(one, where))
            for n, (one, where) in enumerate(drifts)
            if where is not None
        ],
        cold_chart=Markup(_cold_chart(found)) if found.cold is not None else "",
        lorenz=Markup(_lorenz(found)),
        suspects=list(zip(found.suspects, found.suspicious.suspects, strict=True))[:MOST_NAMED],
        account=[(short(str(what), 200), rows, short(str(why), 400)) for what, rows, why in account],
        percent=percent,
        spoken=spoken_seconds,
        short=short,
    )


def findings(found: Analysis) -> list[str]:
    """What deserves a look, one sentence each, the gravest first."""
    said = [f"suspected leak: {sentence}" for sentence in found.leaks]
    for drifts, calendar in ((found.drift, found.calendar), (found.label_drift, found.label_calendar)):
        for one in drifts:
            if calendar is not None and one.drifted.any():
                said.append(_drift_words(one, calendar, found.window))
    odd = found.suspicious
    if odd.suspects:
        share = odd.events / max(found.concentration.events, 1)
        said.append(
            f"{len(odd.suspects):,} users behave like programs and hold {percent(share)} of the events: {', '.join(found.suspects[:3])}"
        )
    if odd.repeats:
        said.append(f"{odd.repeats:,} events repeat another one exactly; data.duplicates: drop leaves them out")
    unripe = [one for one in found.delays if one.unripe > 0.01]
    said += [
        f"{one.outcome} after {one.after} takes up to {spoken_seconds(one.seconds['p95'])} (95 %): "
        f"{percent(one.unripe)} of the starts are younger and may still get it"
        for one in unripe
    ]
    if found.cold is not None and len(found.cold.new_items) > 2:
        late = np.nanmean(found.cold.new_items[len(found.cold.new_items) // 2 :])
        if late > 0.05:
            said.append(f"{percent(float(late))} of the events of the later half are on items that the windows before had not seen")
    if found.concentration.top["1 %"] > 0.3:
        said.append(f"1 % of the items take {percent(found.concentration.top['1 %'])} of the events")
    return said


def text_lines(found: Analysis) -> list[str]:
    """The summary for a terminal."""
    about = found.concentration
    lines = [
        f"{about.users:,} users, {about.items:,} items, {about.events:,} events; {percent(about.density)} of all pairs met",
        f"popularity: Gini {about.gini:.3f}; the top 1 % of the items take {percent(about.top['1 %'])} of the events, "
        f"half of the events are on {about.half:,} items",
        f"without events: {about.users_without:,} users, {about.items_without:,} items",
    ]
    for one in [*found.funnels, *found.event_funnels]:
        lines.append(f"funnel, {one.scenario} ({one.unit}): {funnel_words(one)}")
    if found.sessions is not None:
        described = found.sessions.quantiles()
        lines.append(
            f"sessions: {len(found.sessions.lengths):,}, {found.sessions.per_user:.1f} a user; events: median {described['events'].get('median', 0):g}, "
            f"mean {described['events']['mean']:.1f}; a pause over {spoken_seconds(found.sessions.gap)} ends one ({found.sessions.reason})"
        )
    if found.activity is not None:
        starts = found.activity.starts
        lines.append(f"activity: {date(starts[0])} to {date(starts[-1])}, {len(starts)} windows of {spoken_seconds(_seconds(found))}")
    lines += [
        f"delay, {delay.after} to {delay.outcome}: median {spoken_seconds(delay.seconds['p50'])}, "
        f"95 % within {spoken_seconds(delay.seconds['p95'])} ({delay.count:,} cases)"
        for delay in found.delays
    ]
    drifts = [one for one in [*found.drift, *found.label_drift] if one.drifted.any()]
    if found.drift and not drifts:
        lines.append("drift: none beyond chance in " + ", ".join(one.name for one in [*found.drift, *found.label_drift]))
    lines += [f"! {sentence}" for sentence in findings(found)]
    lines += [f"not known: {sentence}" for sentence in found.unknown]
    return lines


def funnel_words(funnel: Funnel) -> str:
    """`shown 1,000 -> click 100 (10 %) -> buy 20 (20 %)`: shares of the step before."""
    if not funnel.steps:
        return "no steps"
    said = [f"{funnel.steps[0].name} {funnel.steps[0].count:,}"]
    said += [f"{step.name} {step.count:,} ({percent(step.of_previous)})" for step in funnel.steps[1:]]
    beside = "".join(f"; {name} {percent(rate)}" for name, rate in funnel.beside.items())
    return " -> ".join(said) + beside


def percent(share: float) -> str:
    """Two significant digits: 0.0123 is "1.2 %"."""
    if math.isnan(share):
        return "-"
    return f"{100 * share:.0f} %" if abs(share) >= 0.0995 or not share else f"{100 * share:.2g} %"


def _seconds(found: Analysis) -> float:
    assert found.calendar is not None
    return found.calendar.seconds


def _tiles(found: Analysis) -> list[tuple[str, str, str]]:
    about = found.concentration
    tiles = [
        (f"{about.events:,}", "events", f"{about.users:,} users, {about.items:,} items"),
        (percent(about.density), "of all pairs met", f"{about.user_events.get('median', 0):g} events a user (median)"),
        (f"{about.gini:.2f}", "Gini of popularity", f"top 1 %: {percent(about.top['1 %'])} of the events"),
    ]
    if found.sessions is not None:
        tiles.append((f"{found.sessions.lengths.mean():.1f}", "events a session", f"gap {spoken_seconds(found.sessions.gap)}"))
    drifted = sum(int(one.drifted.any()) for one in [*found.drift, *found.label_drift])
    if found.drift:
        tiles.append((str(drifted), "quantities drift", f"of {len(found.drift) + len(found.label_drift)} followed"))
    return tiles


def _funnel_chart(key: str, funnel: Funnel) -> str:
    bars = [Bar(step.name, 100 * step.of_first, main=place == 0) for place, step in enumerate(funnel.steps)]
    title = f"{funnel.scenario}: {funnel.steps[0].count:,} {funnel.unit} = 100 %" if funnel.steps else funnel.scenario
    return bar_chart(key, title, funnel_words(funnel) + ".", {title: bars}, digits=1)


def _position_chart(found: Analysis) -> str:
    lines = [Line(name, [row[0] for row in rows], [100 * row[2] for row in rows]) for name, rows in found.positions.items()]
    said = "; ".join(
        f"{name}: {rows[0][2]:.2%} at {rows[0][0]}, {rows[-1][2]:.2%} at {rows[-1][0]}" for name, rows in found.positions.items() if rows
    )
    title = "Share of positive labels by the place shown at"
    return line_chart("positions", title, said + ".", lines, x_label="position (1 is the top)", y_label="%", from_zero=True)


def _session_chart(found: Analysis) -> str:
    assert found.sessions is not None
    bars = [Bar(word, 100 * share) for word, share in found.sessions.histogram()]
    said = "; ".join(f"{bar.label}: {bar.mean:.1f} %" for bar in bars)
    return bar_chart("sessions", "Sessions by their number of events, %", said + ".", {"": bars}, digits=1)


def _activity_charts(found: Analysis) -> list[str]:
    if found.activity is None:
        return []
    over, hours = found.activity, found.activity.hours
    curves = {"events": over.events, "active users": over.users, "items met": over.items}
    fullest = np.unravel_index(int(hours.argmax()), hours.shape)
    said = f"Most events on {('Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday')[fullest[0]]} at {fullest[1]:02d}:00 UTC."
    return [
        time_chart("activity", "Activity", f"Events: {worded(over.starts, over.events, 0)}.", over.starts, curves, y_label="in a window"),
        week_chart("hours", "Events by hour of the week (UTC)", said, hours),
    ]


def _drift_chart(key: str, one: Drift, calendar: Calendar) -> str:
    curves = {"distance to the others": one.distance, "95 % band of chance": one.usual, "to the window before": one.change}
    said = f"{one.name}: {worded(calendar.starts, one.distance)}; {int(one.drifted.sum())} windows beyond chance."
    return time_chart(key, f"Drift of {one.name}", said, calendar.starts, curves, y_label="Jensen-Shannon distance")


def _drift_rows(one: Drift, calendar: Calendar) -> list[tuple[str, float, float, str]]:
    """Drifted windows, the farthest first: (date, distance, band, what moved)."""
    where = np.flatnonzero(one.drifted)
    order = where[np.argsort(-(one.distance - one.usual)[where], kind="stable")][:10]
    return [(date(calendar.starts[w]), float(one.distance[w]), float(one.usual[w]), _moved(one, int(w))) for w in order]


def _moved(one: Drift, window: int) -> str:
    moves = one.movers[window] if window < len(one.movers) else []
    return ", ".join(f"{short(name, 40)} {percent(here)} (else {percent(there)})" for name, here, there in moves)


def _drift_words(one: Drift, calendar: Calendar, window: str) -> str:
    where = np.flatnonzero(one.drifted)
    worst = int(where[np.argmax((one.distance - one.usual)[where])])
    many = f"{len(where)} of {calendar.count} windows drift" if len(where) > 1 else "one window drifts"
    return f"{one.name}: {many}, most the {window} of {date(calendar.starts[worst])}: {_moved(one, worst)}"


def _cold_chart(found: Analysis) -> str:
    assert found.cold is not None
    assert found.calendar is not None
    cold, starts = found.cold, found.calendar.starts
    curves = {
        "new items": cold.new_items,
        "new users": cold.new_users,
        "items met < 5 times": cold.few_items,
        "users with < 5": cold.few_users,
    }
    said = f"New items: {worded(starts, cold.new_items)}. New users: {worded(starts, cold.new_users)}."
    return time_chart("cold", "Share of events that are cold", said, starts, curves, y_label="share of a window's events")


def _lorenz(found: Analysis) -> str:
    about = found.concentration
    lines = [
        Line("the log", [100 * x for x, _ in about.curve], [100 * y for _, y in about.curve]),
        Line("all items alike", [0.0, 100.0], [0.0, 100.0]),
    ]
    said = f"The top 1 % of the items take {percent(about.top['1 %'])}, the top 10 % {percent(about.top['10 %'])} of the events."
    return line_chart(
        "lorenz", "Popularity", said, lines, x_label="% of the items, most popular first", y_label="% of the events", from_zero=True
    )


def facts(found: Analysis, account: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `--json` prints: everything found, the findings in words, and what became of the rows read."""
    return {"findings": findings(found), **found.plain(), "account": account or {}}
