"""iALS: implicit-feedback matrix factorisation by alternating least squares.

Dimension keys: B requests, U users, N items, D factors.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy import sparse

from m6rec.base.configuration import Config
from m6rec.base.contracts import Histories, Requests
from m6rec.base.extras import require
from m6rec.data.dataset import Table
from m6rec.fusion.member import MEMBERS, Matrix, Member, State, dense_state, history_weights, interactions


@MEMBERS.register("ials")
class IALS(Member):
    """score(i | history) = p . q_i, the q fitted by `implicit`, the p solved anew for every request (folding in).

        p = (Q'Q + alpha' sum_h w_h q_h q_h' + l2 I)^-1 sum_h (1 + alpha' w_h) q_h,        alpha' = alpha - 1

    That is the least-squares step of Hu, Koren & Volinsky 2008 with confidence alpha on what was had (1 elsewhere) and w_h the
    recency weight of the event, mean 1 over the history. People unseen in training cost nothing extra, and nothing of `implicit`
    is needed after the fit. One thread and a fixed seed: the same data give the same factors.
    """

    name = "ials"

    class Options(Config):
        """Size, confidence, regularisation, how fast the past fades."""

        factors: int = Field(128, ge=1, description="Numbers that describe an item")
        alpha: float = Field(10.0, ge=1, description="Confidence in what was had; what was not had has 1")
        l2: float = Field(1.0, ge=0, description="Ridge penalty")
        iterations: int = Field(15, ge=1, description="Rounds of alternating least squares")
        recency: float = Field(0.8, gt=0, le=1, description="Weight of a history event beside the one after it; 1: all alike")
        threads: int = Field(1, ge=1, description="Threads of the fit; with more than one the sums may differ in the last digit")
        seed: int = Field(0, ge=0, description="Seed of the first factors")

    options: Options
