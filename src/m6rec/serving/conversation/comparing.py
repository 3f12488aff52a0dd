"""What "cheaper" and the like are held against: the items spoken of beside them, or all that was shown."""

from __future__ import annotations

from m6rec.serving.conversation.feelings import Felt
from m6rec.serving.conversation.references import Before
from m6rec.text.phrases import Phrases, Said


def held_against(words: Said, felt: Felt, before: Before, phrases: Phrases) -> tuple[int, ...]:
    """Items (rows) named or counted in the clause of the first comparison, else in the newest clause before it that does so, else in any, else the item
    spoken of before the turn, else all that was shown; () where nothing is compared."""
    place = phrases.first_compared(words)
    if place is None:
        return ()
    clauses = [
        [item for one in felt.spoken if part.first <= one.first < part.last and not one.pronoun for item in one.items]
        for part in felt.parts
    ]
    here = next(number for number, part in enumerate(felt.parts) if part.first <= place < part.last)
    named = next((items for items in [*clauses[here::-1], *clauses[here + 1 :]] if items), [])
    if named:
        return tuple(dict.fromkeys(named))
    many = any(one.many for one in felt.spoken)
    return before.shown if before.focus is None or many else (before.focus,)
