"""Adam for a handful of named numbers: the weights that a balancer learns."""

from __future__ import annotations

import math

BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8


class Descent:
    """Named numbers and their descent; plain floats, so that the state is JSON and resuming is exact."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.values: dict[str, float] = {}
        self.moments: dict[str, list[float]] = {}  # mean of the gradient, of its square, steps

    def step(self, gradients: dict[str, float]) -> None:
        """Move the numbers named; the others stay."""
        for name, gradient in gradients.items():
            first, second, steps = self.moments.get(name, [0.0, 0.0, 0])
            first, second, steps = BETA_1 * first + (1 - BETA_1) * gradient, BETA_2 * second + (1 - BETA_2) * gradient**2, steps + 1
            self.moments[name] = [first, second, steps]
            slope = first / (1 - BETA_1**steps) / (math.sqrt(second / (1 - BETA_2**steps)) + TINY)
            self.values[name] -= self.learning_rate * slope
