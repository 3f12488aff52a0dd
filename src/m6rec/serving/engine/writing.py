"""Writing at the time of asking: who, about what, after which events, as a request of the writer.

Shapes: B texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from m6rec.base.errors import UsageError, nearest
from m6rec.base.written import Written
from m6rec.data.schema import shown
from m6rec.language_model.plain_decoding import say
from m6rec.language_model.speaking import WriterSpeaker
from m6rec.serving.engine.changing import Changing
from m6rec.serving.engine.turns import reading
from m6rec.tasks.served_model import ServedModel
from m6rec.tasks.write_part import WritePart, WriteRequest
from m6rec.tasks.write_rows import newest_items
from m6rec.tasks.write_sources import Known


def write_part(scorer: ServedModel) -> WritePart:
    """Raises UsageError: the model writes nothing."""
    if scorer.writing is None:
        raise UsageError("this model has no task that writes; declare one ({answer: write, from: KIND OF TEXT}) and train again")
    return scorer.writing


def kind_named(part: WritePart, kind: str) -> str:
    """Raises UsageError: no such write task."""
    known = list(part.write.configs)
    if kind not in known:
        raise UsageError(f"there is no write task {shown(kind)}{nearest(kind, known) or '; those: ' + ', '.join(known)}")
    return kind


def texts_named(part: WritePart, kind: str, text: str | Mapping[str, str] | None) -> dict[str, str]:
    """What stands before the text by column: a text alone is that of the only column the task reads, else of none (typed words).

    Raises:
        UsageError: a column that the task does not read.
    """
    columns = part.write.configs[kind].columns
    if text is None:
        return {}
    if isinstance(text, str):
        return {columns[0] if len(columns) == 1 else "": text}
    for name in text:
        if name not in columns:
            raise UsageError(
                f"the write task {shown(kind)} reads no {shown(name)}{nearest(name, columns) or '; it reads: ' + (', '.join(columns) or 'no column')}"
            )
    return dict(text)


@dataclass(frozen=True)
class HowToWrite:
    """How a text is to be written; see `Recommender.write`."""

    decoding: Literal["beam", "greedy", "nucleus"] = "beam"
    beams: int = 4
    top_p: float = 0.9
    temperature: float = 1.0
    seed: int = 0
    words: tuple[int, int] | None = None
    banned: Sequence[str] = ()
    language: str | None = None
    n: int = 1


class Writing(Changing):
    """What the engine writes."""

    @reading
    def speaker(
        self,
        kind: str,
        user: str | None = None,
        item: str | None = None,
        *,
        history: Sequence[str] | None = None,
        text: str | Mapping[str, str] | None = None,
        profile: Mapping[str, Any] | str | None = None,
        scenario: str | None = None,
        about: Sequence[str] = (),
    ) -> WriterSpeaker:
        """A Speaker for one text; arguments as in `Recommender.write`.

        Raises:
            UsageError: no such write task, nothing that the text could be about.  UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        part = write_part(self.scorer)
        kind_named(part, kind)
        if isinstance(about, str):
            raise UsageError(f"about is the text {shown(about)}; give a list of words that should be named")
        if user is None and item is None and history is None and text is None and profile is None and not about:
            raise UsageError("nothing to write about; give user, item, history, text, profile or about")
        texts = texts_named(part, kind, text)
        requests = self._request(user, history, None, profile, scenario)
        row = -1 if user is None else self._user(user)
        place = -1 if item is None else self._item(item)
        known = 0 <= row < len(part.inputs.user_words)
        words, vector = "", None
        if place >= 0:
            words = self.scorer.reader.wording.items(self.items.rows([place]))[0]
            vector = self.scorer.catalogue.vectors[[place]]
        described = requests.profiles[0] if requests.profiles else part.inputs.user_words[row] if known else ""
        titles = self._titles()
        past = [titles[one] for one in newest_items(requests.histories.items)]
        request = WriteRequest(place, row, words, described, texts, past, tuple(about), vector)
        profiles = None if self.scorer.profiles is None else self.scorer.profiles.contents
        at_hand = Known(requests.histories, self.scorer.catalogue.contents, profiles, self.scorer.vectors)
        return part.speaker(self.scorer.model, kind, [request], requests.histories, at_hand)

    def write(self, kind: str, user: str | None = None, item: str | None = None, *, ask: HowToWrite, **about: Any) -> Written:
        """A text, and the others of n; see `Recommender.write`."""
        speaker = self.speaker(kind, user, item, **about)
        tokenizer, drawn = self.scorer.reader.tokenizer, []
        with self.turns.reading():
            for number in range(ask.n):
                steps = list(self._steps(kind, speaker, ask, number))
                tokens = [token for token, _ in steps if token != tokenizer.eos_id]
                drawn.append(Written(tokenizer.decode(tokens).strip(), kind, tokens, sum(value for _, value in steps)))
        best, *others = sorted(drawn, key=lambda one: -one.log_probability)
        return replace(best, others=others)

    def write_stream(self, kind: str, user: str | None = None, item: str | None = None, *, ask: HowToWrite, **about: Any) -> Iterator[str]:
        """The text piece by piece; see `Recommender.write_stream`."""
        speaker = self.speaker(kind, user, item, **about)
        tokenizer, tokens, shown_so_far = self.scorer.reader.tokenizer, list[int](), ""
        for token, _ in self._steps(kind, speaker, ask, 0):
            if token == tokenizer.eos_id:
                break
            tokens.append(token)
            whole = tokenizer.decode(tokens).lstrip()
            if not whole.endswith("\ufffd"):
                yield whole[len(shown_so_far) :]
                shown_so_far = whole

    def _steps(self, kind: str, speaker: WriterSpeaker, ask: HowToWrite, number: int) -> Iterator[tuple[int, float]]:
        config, end = write_part(self.scorer).write.configs[kind], self.scorer.reader.tokenizer.eos_id
        steps = say(
            speaker,
            1,
            config.longest,
            end,
            nucleus=ask.decoding == "nucleus",
            top_p=ask.top_p,
            temperature=ask.temperature,
            seed=ask.seed + number,
        )
        for tokens, said in steps:
            yield int(tokens[0]), float(said[0])
