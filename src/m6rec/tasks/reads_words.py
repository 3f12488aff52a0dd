"""What requests say in words, for whatever answers them: described people, typed texts, what was ruled out.

Dimension keys: B requests, N items, F features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from m6rec.base.contracts import Requests
from m6rec.tasks.catalogue import Catalogue
from m6rec.tasks.choose import Choose
from m6rec.tasks.interest_part import InterestPart, Lift
from m6rec.tasks.item_encoder import Contents
from m6rec.tasks.prior import TEXT_PART
from m6rec.tasks.text_reader import TextReader
from m6rec.text.bag import Bag


@dataclass(frozen=True)
class Profiles:
    """What is known of U users beside their events: `contents` (U rows), and the bag that reads a described person."""

    contents: Contents
    bag: Bag


class ReadsWords:
    """The part of `ChooseMixture` that reads words. interest: the trained interest vector, where there is one."""

    task: Choose
    catalogue: Catalogue
    reader: TextReader
    profiles: Profiles | None
    interest: InterestPart | None
    switched_off: tuple[str, ...]

    @torch.no_grad()
    def _add_interest(self, requests: Requests, scores: np.ndarray, vectors: Tensor) -> None:
        """Add what the words and described people change to scores (B, N); vectors (N, W)."""
        lift = self.lift(requests)
        if lift is not None:
            scores *= lift.start[:, None]
            scores += (lift.query @ vectors.T).numpy()
            if lift.match is not None:
                scores += lift.match

    def lift(self, requests: Requests) -> Lift | None:
        """What the words and described people of requests change, by the interest vector; None where nothing is said, or none was learned."""
        if self.interest is None or "text" in self.switched_off:
            return None
        described = None if self.profiles is None else self.profiles.bag
        return self.interest.lift(
            requests, described, self.catalogue, self.reader, self.task.config.prior, self.task.items.log_seen.numpy()
        )

    def _unwanted(self, requests: Requests) -> np.ndarray | None:
        """float32 (B, N): the text prior of the words that were ruled out; None where none were, or nothing looks words up."""
        looked_up = TEXT_PART in self.catalogue.priors and "text" not in self.switched_off
        return self.catalogue.typed_prior(requests.unwanted, self.task.config.prior) if looked_up and requests.unwanted else None

    def profile_contents(self, requests: Requests) -> Contents | None:
        """Profiles of known users, and of people described in words; None where nobody has one."""
        if self.profiles is None or self.task.profile is None:
            return None
        bag, contents = self.profiles.bag, self.profiles.contents
        described = requests.profiles is not None and any(requests.profiles)
        if described:
            assert requests.profiles is not None
            rows = Contents.build(
                self.reader.read(requests.profiles), bag.texts(requests.profiles), torch.zeros(len(requests), contents.vectors.shape[1])
            )
            if requests.users is None:
                return rows
        if requests.users is None or not len(contents):
            return None
        known = contents.rows(torch.from_numpy(np.maximum(requests.users, 0)))
        if not described and (requests.users >= 0).all():
            return known
        keep = torch.from_numpy(requests.users >= 0)
        known = replace(known, summaries=known.summaries * keep[:, None], vectors=known.vectors * keep[:, None])
        known = known.thinned(torch.repeat_interleave(keep, known.offsets[1:] - known.offsets[:-1]))
        return known if not described else rows.or_else(known)

    def _typed_rows(self, requests: Requests) -> csr_array | None:
        """csr (B, F): bag rows of what was typed; None where nobody typed, or the interest vector reads it."""
        if self.interest is not None:
            return None
        return self.catalogue.bag.texts(requests.texts) if requests.texts is not None and any(requests.texts) else None

    def _typed_contents(self, requests: Requests, typed: csr_array | None) -> Contents | None:
        if typed is None or self.task.items.content is None:
            return None
        assert requests.texts is not None
        summaries = self.reader.read(requests.texts)
        return Contents.build(summaries, typed, torch.zeros(len(requests), self.catalogue.contents.vectors.shape[1]))
