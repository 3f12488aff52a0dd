"""Search over vectors: the contract every index keeps, exact search, and the best k of a score matrix. Knows no items."""
