"""The hidden truth of the built-in sample: what the items are, what people like, and the law of the next event.

    P(j | history) is proportional to  new(j) here(j) trend_j(now) [ a S(last, j) + b same(last, j) + c sum_t taste(t) share_t(j) ]

new: not consumed before; here: j belongs to the scenario of the session; trend: 0 before the release, then fading from 1 to a third;
S: the sequel (next part, matching product) and two related items; same: another item of the last one's topic; share: popularity within
(topic, scenario). The weights a, b, c differ inside a session and between sessions. A person's taste is one of T(T - 1) personas
(a major and a minor topic), so the exact posterior, and with it the best possible scorer, can be computed.

Dimension keys: U users, N items, T topics, S scenarios, P personas, L events of one history, B requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m6rec.base.contracts import Requests
from m6rec.base.errors import UsageError

SCENARIOS = ("shop", "feed", "video")
SCENARIO_SHARE = np.array([0.4, 0.25, 0.35])
NEW_SESSION = 0.25  # chance that the next event opens a session
LONGEST_PAUSE = 3600.0  # seconds: a longer gap is a new session
# weights (sequel or related, same topic, taste) of the three parts of the law
FIRST, INSIDE, ACROSS = (0.0, 0.0, 1.0), (0.55, 0.15, 0.30), (0.10, 0.0, 0.90)
SUCCESSOR_SHARE = np.array([0.64, 0.18, 0.18])  # the sequel and two related items
MAJOR, MINOR, REST = 0.60, 0.25, 0.15
SERIES = 3  # items in a series
HALF_LIFE = 30 * 86400.0  # seconds in which the novelty of a release fades (e-fold)
FADED = 1 / 3
AGES = np.arange(16, 76)
KNOWN_PROFILE, SAYS_MAJOR, SAYS_MINOR, SAYS_OTHER, TYPICAL_JOB = 0.9, 0.7, 0.4, 0.05, 0.6


@dataclass(frozen=True)
class Truth:
    """Everything planted. Row order is that of the items and users written.

    topic, scenario, series, part  int64 (N,); series numbers within a cell (topic, scenario), part from 0
    quality, share, release        float64 (N,): liking beyond taste; popularity within the cell (sums to 1); seconds, +inf: never (cold)
    successors                     int64 (N, 3), -1 none
    scenario_share                 float64 (S,)
    tastes, prior                  float64 (P, T), (P,): the personas
    persona                        int64 (U,)
    gender, age, job               int64 (U,), -1 not told; gender 0 or 1, age in years, job: 2 a topic's own, then the others
    interests                      bool (U, T), all False where the profile is not told
    """

    topic: np.ndarray
    scenario: np.ndarray
    series: np.ndarray
    part: np.ndarray
    quality: np.ndarray
    share: np.ndarray
    release: np.ndarray
    successors: np.ndarray
    scenario_share: np.ndarray
    tastes: np.ndarray
    prior: np.ndarray
    persona: np.ndarray
    gender: np.ndarray
    age: np.ndarray
    job: np.ndarray
    interests: np.ndarray

    @property
    def user_tastes(self) -> np.ndarray:
        """float64 (U, T): the taste of every user, rows sum to 1."""
        return self.tastes[self.persona]

    @property
    def cold(self) -> np.ndarray:
        """bool (N,): items that nobody could have met yet."""
        return np.isinf(self.release)

    def trend(self, times: np.ndarray, items: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Chance-like factor in {0} or [1/3, 1] of each item at each time; shapes broadcast as `times - release[items]`."""
        age = times - self.release[items]
        return np.where(age >= 0, FADED + (1 - FADED) * np.exp(-np.maximum(age, 0) / HALF_LIFE), 0.0)

    def scores(self, requests: Requests, *, taste: str = "inferred") -> np.ndarray:
        """The law itself as a scorer: float32 (B, N), probabilities of the next item. No scorer can expect to do better.

        Args:
            taste: "inferred" (Bayes: posterior over personas from the history, and from the profile where `users` is given)
                or "known" (the user's true taste).

        Raises:
            UsageError: histories without times, another `taste`, or "known" without users.
        """
        histories = requests.histories
        if histories.times is None or taste not in ("inferred", "known"):
            raise UsageError(
                f"taste='{taste}' with times={'no' if histories.times is None else 'yes'}: the oracle needs times and inferred|known"
            )
        if taste == "known" and requests.users is None:
            raise UsageError("taste='known' needs requests.users; use taste='inferred'")
        profile = np.zeros((len(histories), len(self.prior)))
        if requests.users is not None:
            someone = requests.users >= 0
            profile[someone] = self.profile_log_likelihood(requests.users[someone])
        result = np.zeros((len(histories), len(self.topic)), dtype=np.float32)
        for row in range(len(histories)):
            events = slice(histories.offsets[row], histories.offsets[row + 1])
            now = np.nan if requests.now is None else float(requests.now[row])
            if taste == "known" and requests.users is not None:
                posterior = (np.arange(len(self.prior)) == self.persona[requests.users[row]]).astype(np.float64)
            else:
                posterior = self._posterior(histories.items[events], histories.times[events], profile[row])
            result[row] = self._predict(histories.items[events], histories.times[events], now, posterior)
        return result

    def profile_log_likelihood(self, users: np.ndarray) -> np.ndarray:
        """log P(profile | persona) up to a constant, float64 (len(users), P)."""
        topics = self.tastes.shape[1]
        major, minor = persona_topics(topics)
        told = (self.age[users] >= 0)[:, None]
        gender = np.where(self.gender[users] == 1, female_share(topics)[:, None], 1 - female_share(topics)[:, None]).T  # users T
        age = age_law(topics)[:, np.maximum(self.age[users] - AGES[0], 0)].T  # users T
        job = job_law(topics)[:, np.maximum(self.job[users], 0)].T  # users T
        says = np.full((len(major), topics), SAYS_OTHER)
        says[np.arange(len(major)), minor], says[np.arange(len(major)), major] = SAYS_MINOR, SAYS_MAJOR
        interests = self.interests[users] @ np.log(says).T + ~self.interests[users] @ np.log(1 - says).T  # users P
        return np.where(told, np.log(gender * age * job)[:, major] + interests, 0.0)

    def _posterior(self, items: np.ndarray, times: np.ndarray, profile: np.ndarray) -> np.ndarray:
        """P(persona | history, profile), float64 (P,), given log P(profile | persona)."""
        log = np.log(self.prior) + profile
        if len(items):
            weights = self._weights(times)  # L 3
            first = np.full(len(self.topic), len(items))
            first[items[::-1]] = np.arange(len(items))[::-1]
            new = first >= np.arange(len(items))[:, None]  # L N
            open_ = new * (self.scenario == self.scenario[items][:, None]) * self.trend(times[:, None])  # L N
            last = np.concatenate([[-1], items[:-1]])
            sequel, same = self._follows(last)  # L N each
            fixed = open_ * (weights[:, :1] * sequel + weights[:, 1:2] * same)  # L N
            topics = (open_ * self.share) @ np.eye(self.tastes.shape[1])[self.topic]  # L T
            total = fixed.sum(axis=1, keepdims=True) + weights[:, 2:] * (topics @ self.tastes.T)  # L P
            at = (np.arange(len(items)), items)
            chosen = fixed[at][:, None] + weights[:, 2:] * (open_[at] * self.share[items])[:, None] * self.tastes[:, self.topic[items]].T
            # a floor: a history that the law can't produce (repeats, undated releases) says nothing instead of everything
            log = log + (np.log(np.maximum(chosen, 1e-12)) - np.log(np.maximum(total, 1e-12))).sum(axis=0)
        posterior = np.exp(log - log.max())
        return posterior / posterior.sum()

    def _predict(self, items: np.ndarray, times: np.ndarray, now: float, posterior: np.ndarray) -> np.ndarray:
        """float64 (N,): the next item, over what is not known of the moment (a new session? where?)."""
        new = np.ones(len(self.topic), dtype=bool)
        new[items] = False
        moment = now if not np.isnan(now) else float(times[-1]) if len(times) else float(self.release[~self.cold].max())
        if not len(items):
            cases = [(FIRST, place, share) for place, share in enumerate(self.scenario_share)]
        else:
            opens = NEW_SESSION if np.isnan(now) else float(now - times[-1] > LONGEST_PAUSE)
            cases = [(ACROSS, place, opens * share) for place, share in enumerate(self.scenario_share)]
            cases.append((INSIDE, int(self.scenario[items[-1]]), 1 - opens))
        sequel, same = (part[0] for part in self._follows(np.array([items[-1] if len(items) else -1])))
        trend = self.trend(np.array(moment))
        result = np.zeros(len(self.topic))
        for (a, b, c), place, chance in cases:
            open_ = new * (self.scenario == place) * trend
            fixed = open_ * (a * sequel + b * same)
            mass = np.bincount(self.topic, open_ * self.share, minlength=self.tastes.shape[1])
            over = posterior / np.maximum(fixed.sum() + c * (self.tastes @ mass), 1e-12)  # P
            result += chance * (fixed * over.sum() + c * open_ * self.share * (over @ self.tastes)[self.topic])
        return result

    def _weights(self, times: np.ndarray) -> np.ndarray:
        """The (a, b, c) of each event of a history, float64 (L, 3)."""
        opens = np.diff(times, prepend=times[:1]) > LONGEST_PAUSE
        weights = np.where(opens[:, None], np.array(ACROSS), np.array(INSIDE))
        weights[:1] = FIRST
        return weights

    def _follows(self, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """S(last, .) and same(last, .), float64 (L, N) each; zero rows where `last` is -1."""
        sequel = np.zeros((len(last), len(self.topic)))
        for column, share in enumerate(SUCCESSOR_SHARE):
            follower = np.where(last >= 0, self.successors[last, column], -1)
            rows = np.flatnonzero(follower >= 0)
            sequel[rows, follower[rows]] += share
        cell = (self.topic == self.topic[last][:, None]) & (self.scenario == self.scenario[last][:, None])
        return sequel, cell * self.share * (last >= 0)[:, None]


def persona_topics(topics: int) -> tuple[np.ndarray, np.ndarray]:
    """Major and minor topic of every persona, int64 (P,) each: all ordered pairs."""
    pairs = np.array([(major, minor) for major in range(topics) for minor in range(topics) if major != minor], dtype=np.int64)
    return pairs[:, 0], pairs[:, 1]


def female_share(topics: int) -> np.ndarray:
    """P(second gender of the word list | major topic), float64 (T,)."""
    return np.array([0.75, 0.4, 0.6, 0.25])[np.arange(topics) % 4]


def age_law(topics: int) -> np.ndarray:
    """P(age | major topic), float64 (T, ages 16..75)."""
    centre = np.array([22.0, 45.0, 33.0, 60.0, 28.0])[np.arange(topics) % 5]
    law = np.exp(-0.5 * ((AGES - centre[:, None]) / 8) ** 2)
    return law / law.sum(axis=1, keepdims=True)


def job_law(topics: int, others: int = 4) -> np.ndarray:
    """P(occupation | major topic), float64 (T, 2 T + others)."""
    jobs = 2 * topics + others
    law = np.full((topics, jobs), (1 - TYPICAL_JOB) / jobs)
    for topic in range(topics):
        law[topic, 2 * topic : 2 * topic + 2] += TYPICAL_JOB / 2
    return law
