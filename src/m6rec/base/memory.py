"""What a service holds for as long as it runs is left out of the rounds of the garbage collector, and what loading it took is given back."""

from __future__ import annotations

import ctypes
import gc
import sys


def hold_what_is_loaded() -> None:
    """Everything that is alive now is no longer looked through for cycles; call it again after each load, and what went in between is freed.

    A catalogue is hundreds of thousands of small objects, and a list of 200 answers is enough to set off a round over them: a quarter of
    the time of ranking 200 candidates went there.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    give_back()


def give_back() -> None:
    """Pages that hold nothing any more go back to the system, where the C library can be asked to (glibc keeps them for the next allocation)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
