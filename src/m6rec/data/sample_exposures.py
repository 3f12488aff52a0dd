"""Exposures of the built-in sample: lists shown by a logging policy that likes what is popular, seen from the top, with planted outcomes.

    P(shown in this place) = w(i) / (w of what is released and not yet in the list),  w = popularity within its topic
    P(click) = examined(position) * P(click | examined);   logit P(click | examined) = base + taste + quality + sequel + context
    after a click: bought (shop) or liked (feed, video), seconds of dwelling, of LONG or more a long view, a rating of what was bought;
    examined and not clicked: disliked

Dimension keys: U users, N items, L lists, K places of a list, X rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import ndtr

from m6rec.data.columns import Columns
from m6rec.data.exposure_rows import cuts_before
from m6rec.data.sample_events import RELEASES, START, Draw
from m6rec.data.sample_tables import named
from m6rec.data.sample_tastes import SCENARIOS, Truth

PLACES_OF_A_LIST = 6
EXAMINED = (1.0 + np.arange(PLACES_OF_A_LIST)) ** -0.8  # P(examined | position), 1 at the top
DEVICES, DEVICE_SHARE = ("phone", "web"), np.array([0.65, 0.35])
SITES, SITE_SHARE = ("home", "work", "commute"), np.array([0.5, 0.2, 0.3])
CLICK = {"base": -2.2, "taste": 5.0, "quality": 0.7, "sequel": 1.5}
# logit of device (phone, web) in each scenario (shop, feed, video), and of the site
DEVICE_EFFECT = np.array([[-0.3, 0.0, 0.3], [0.4, 0.0, -0.2]])
SITE_EFFECT = np.array([[0.0, 0.0, 0.2], [0.0, 0.2, -0.5], [-0.4, 0.3, 0.3]])
BUY = {"base": -0.8, "taste": 2.5, "quality": 0.8, "web": 0.4}
LIKE = {"base": -0.6, "taste": 2.5, "quality": 0.6}
DISLIKE = {"base": -1.6, "taste": -4.0, "quality": -0.6}
DWELL = {"base": 2.5, "taste": 1.5, "quality": 0.3, "deviation": 0.5}  # log seconds
LONG = 30.0  # seconds


@dataclass(frozen=True)
class ExposureTruth:
    """What is planted in the exposures. Row order is that of the table written.

    examined   float64 (K,): P(examined | position), position 1 first
    relevance  float64 (X,): P(click | examined)
    buying     float64 (X,): P(bought | clicked), NaN outside the shop
    liking     float64 (X,): P(liked | clicked), NaN in the shop
    disliking  float64 (X,): P(disliked | examined, not clicked)
    staying    float64 (X,): P(LONG seconds or more | clicked)
    truth      the sample's truth, of which tastes and qualities are a part
    """

    examined: np.ndarray
    relevance: np.ndarray
    buying: np.ndarray
    liking: np.ndarray
    disliking: np.ndarray
    staying: np.ndarray
    truth: Truth

    def clicking(self, positions: np.ndarray) -> np.ndarray:
        """float64 (X,): P(click) of every row at its position (1 is the top). No model can expect to predict better."""
        return self.relevance * self.examined[positions.astype(np.int64) - 1]

    def preferences(self, users: np.ndarray) -> np.ndarray:
        """float64 (len(users), N): P(click | examined), device, site and what came before aside: what a debiased model should recover."""
        logit = CLICK["base"] + CLICK["taste"] * self.truth.user_tastes[users][:, self.truth.topic] + CLICK["quality"] * self.truth.quality
        return _sigmoid(logit)


def draw_exposures(
    truth: Truth, draw: Draw, lists_per_user: float, generator: np.random.Generator, ids: tuple[list[str], list[str]]
) -> tuple[pl.DataFrame, ExposureTruth]:
    """The table of exposures in order of time, and its truth.

    Args:
        draw: the events; lists are shown a little after some of them.  ids: user ids, item ids.
    """
    user, time, place = _lists(truth, draw, lists_per_user, generator)
    device = generator.choice(len(DEVICES), size=len(user), p=DEVICE_SHARE)
    site = generator.choice(len(SITES), size=len(user), p=SITE_SHARE)
    items, chances = _shown(truth, time, place, generator)  # L K each, -1 and 0 beyond the end of a list
    lists, position = np.nonzero(items >= 0)
    item, user_of, scenario = items[lists, position], user[lists], place[lists]

    offsets = np.concatenate([[0], np.cumsum(np.bincount(draw.user, minlength=len(truth.persona)))])
    cuts = cuts_before(offsets, draw.time, user, time)
    last = np.where(cuts > offsets[user], np.append(draw.item, -1)[cuts - 1], -1)[lists]
    sequel = (last >= 0) & (truth.successors[last, 0] == item)
    match, quality = truth.user_tastes[user_of, truth.topic[item]], truth.quality[item]
    context = DEVICE_EFFECT[device[lists], scenario] + SITE_EFFECT[site[lists], scenario]

    def chance(effects: dict[str, float], more: np.ndarray | float = 0.0) -> np.ndarray:
        return _sigmoid(effects["base"] + effects["taste"] * match + effects["quality"] * quality + more)

    relevance = chance(CLICK, CLICK["sequel"] * sequel + context)
    buying, liking, disliking = chance(BUY, BUY["web"] * device[lists]), chance(LIKE), chance(DISLIKE)
    at = generator.random((4, len(item)))
    examined = at[0] < EXAMINED[position]
    clicked = examined & (at[1] < relevance)
    shop = scenario == SCENARIOS.index("shop")
    bought, liked = clicked & shop & (at[2] < buying), clicked & ~shop & (at[2] < liking)
    disliked = examined & ~clicked & (at[3] < disliking)
    seconds = DWELL["base"] + DWELL["taste"] * match + DWELL["quality"] * quality  # their mean logarithm
    dwell = np.round(np.exp(seconds + generator.normal(0, DWELL["deviation"], len(item))), 1)
    staying = ndtr((seconds - np.log(LONG - 0.05)) / DWELL["deviation"])  # of what rounds to LONG or more
    rating = np.clip(np.round(3.0 + 0.8 * quality + 1.5 * match + generator.normal(0, 0.7, len(item))), 1, 5)
    frame = pl.DataFrame(
        {
            Columns.USER: named(ids[0], user_of),
            Columns.ITEM: named(ids[1], item),
            Columns.TIME: time[lists].astype(np.int64),
            Columns.SCENARIO: named(SCENARIOS, scenario),
            Columns.LIST: pl.Series(lists).cast(pl.String),
            Columns.POSITION: position + 1,
            Columns.PROPENSITY: chances[lists, position],
            "device": named(DEVICES, device[lists]),
            "site": named(SITES, site[lists]),
            "clicked": clicked.astype(np.int64),
            "bought": _where(shop, bought),
            "liked": _where(~shop, liked),
            "disliked": disliked.astype(np.int64),
            "dwell": pl.Series(np.where(clicked, dwell, np.nan)).fill_nan(None),
            "long_view": (clicked & (dwell >= LONG)).astype(np.int64),
            "rating": _where(bought, rating),
        }
    )
    order = np.lexsort((position, lists, time[lists]))
    buying, liking = np.where(shop, buying, np.nan), np.where(shop, np.nan, liking)
    planted = ExposureTruth(EXAMINED, relevance[order], buying[order], liking[order], disliking[order], staying[order], truth)
    return frame[order], planted


def _lists(truth: Truth, draw: Draw, mean: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """user int64, time float64 seconds and scenario int64 (L,) of every list: one to ten minutes after an event of its user."""
    users = len(truth.persona)
    user = np.repeat(np.arange(users), generator.poisson(mean, users))
    counts = np.bincount(draw.user, minlength=users)
    starts = np.cumsum(counts) - counts
    event = starts[user] + (generator.random(len(user)) * counts[user]).astype(np.int64)
    anywhere = START + generator.uniform(0, RELEASES, len(user))
    time = np.where(
        counts[user] > 0, np.append(draw.time, 0.0)[np.minimum(event, len(draw.time))] + generator.uniform(60, 600, len(user)), anywhere
    )
    scenario = generator.choice(len(truth.scenario_share), size=len(user), p=truth.scenario_share)
    return user, np.round(time), scenario


def _shown(truth: Truth, time: np.ndarray, place: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """int64 and float64 (L, K): the items of every list, drawn one after the other without repetition, and the chance of each draw."""
    items = np.full((len(time), PLACES_OF_A_LIST), -1, dtype=np.int64)
    chances = np.zeros(items.shape)
    for scenario in range(len(truth.scenario_share)):
        own = np.flatnonzero(truth.scenario == scenario)
        own = own[np.argsort(truth.release[own], kind="stable")]
        total = np.concatenate([[0.0], np.cumsum(truth.share[own])])
        lists = np.flatnonzero(place == scenario)
        released = np.searchsorted(truth.release[own], time[lists], side="right")
        mass = total[released]
        for slot in range(PLACES_OF_A_LIST):
            open_ = np.flatnonzero(released > slot)
            while len(open_):  # a draw that is in the list already is drawn again, which is the law of what is left
                drawn = np.searchsorted(total, generator.random(len(open_)) * total[released[open_]], side="right") - 1
                item = own[np.minimum(drawn, released[open_] - 1)]
                new = ~(items[lists[open_], :slot] == item[:, None]).any(axis=1)
                rows = open_[new]
                items[lists[rows], slot] = item[new]
                chances[lists[rows], slot] = truth.share[item[new]] / mass[rows]
                mass[rows] -= truth.share[item[new]]
                open_ = open_[~new]
    return items, chances


def _where(known: np.ndarray, values: np.ndarray) -> pl.Series:
    """Int64 where known, else null."""
    return pl.Series(np.where(known, values, np.nan)).fill_nan(None).cast(pl.Int64)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))
