"""Writing at the time of asking: who, about what, after which events, as a request of the writer.

Shapes: B texts.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from m6rec.base.arguments import a_list, a_text, list_of_texts, refused
from m6rec.base.errors import UsageError, nearest
from m6rec.base.written import Written
from m6rec.data.schema import shown
from m6rec.explanation.claims import Facts, check, facts_of
from m6rec.explanation.lexicon import Lexicon
from m6rec.language_model.config import Decoding
from m6rec.language_model.decoding import Speaker, Streamed, decode, stream
from m6rec.language_model.masks import Mask
from m6rec.language_model.sampling import sample
from m6rec.language_model.spelling import Prefix, Spelling, ends_sentence
from m6rec.serving.asked import HISTORY
from m6rec.serving.engine.asking import Unknown
from m6rec.serving.engine.changing import Changing
from m6rec.serving.engine.config import EngineConfig
from m6rec.serving.engine.how_to_write import DRAFTS, MOST_TEXTS, SAID, HowToWrite, check_kind
from m6rec.serving.engine.turns import reading
from m6rec.serving.engine.written_facts import check_written_in, limits, numbers_of, telling_of
from m6rec.tasks.drafts import by_agreement, least_words
from m6rec.tasks.item_names import ItemNames, plain_name, spelling_of
from m6rec.tasks.known_words import Ends, KnownWords, doubled_words, words_in
from m6rec.tasks.model_folder import ChooseScorer
from m6rec.tasks.served_model import ServedModel
from m6rec.tasks.write_part import WritePart, WriteRequest
from m6rec.tasks.write_rows import newest_items
from m6rec.tasks.write_sources import Known
from m6rec.tasks.writing_masks import word_count, writing_masks
from m6rec.text.blocked_words import BlockedWords
from m6rec.text.phrases import said as taken_apart

NO_REPEAT = 4  # runs of so many tokens are written once
ROUNDS = 3  # searches, each wider than the one before, for as many texts as are wanted
WIDE = 8  # beams where draws, or the likeliest words, came to nothing that could be ended
MOST_ABOUT, LONGEST_ABOUT = 100, 500  # words to name, and characters of one
ABOUT = "give a list of words that should be named"
MANY = 10_000  # words: more than anything has
FURTHER = 1_000_003  # between the seeds of two rounds of draws


def write_part(scorer: ServedModel) -> WritePart:
    """Raises UsageError: the model writes nothing."""
    if scorer.writing is None:
        check_kind("", [])
    assert scorer.writing is not None
    return scorer.writing


def kind_named(part: WritePart, kind: str) -> str:
    """Raises UsageError: no such write task."""
    check_kind(kind, list(part.write.configs))
    return kind


def texts_named(part: WritePart, kind: str, text: str | Mapping[str, str] | None) -> dict[str, str]:
    """What stands before the text by column: a text alone is that of the only column the task reads.

    Raises:
        UsageError: a column that the task does not read, a text alone where it reads none or several.
    """
    columns = part.write.configs[kind].columns
    if text is None:
        return {}
    if not isinstance(text, str | Mapping):
        raise refused("text", text, "give words, or texts by their columns")
    if isinstance(text, str):
        if len(columns) != 1:
            reads = ", ".join(part.write.configs[kind].reads)
            hint = (
                f"say which is meant: text={{'{columns[0]}': ...}}" if columns else f"it reads: {reads}; leave text out, or say about=[...]"
            )
            raise UsageError(f"the write task {shown(kind)} reads {'several texts' if columns else 'no text'}; {hint}")
        return {columns[0]: text}
    for name in text:
        if name not in columns:
            raise UsageError(
                f"the write task {shown(kind)} reads no {shown(name)}{nearest(name, columns) or '; it reads: ' + (', '.join(columns) or 'no column')}"
            )
        a_text(f"text[{name!r}]", text[name], "give words")
    return dict(text)


class Writing(Changing):
    """What the engine writes."""

    def __init__(self, scorer: ChooseScorer, unknown: Unknown = "raise", config: EngineConfig | None = None) -> None:
        super().__init__(scorer, unknown, config)
        self._names: ItemNames | None = None
        self._spells: Spelling | None = None
        self._lexicon: Lexicon | None = None

    @property
    def lexicon(self) -> Lexicon:
        """What sentences may say of the catalogue; made when first asked for, and read on where items were added."""
        if self._lexicon is None or self._lexicon.items is not self.items:
            before = self._lexicon
            self._lexicon = Lexicon(self.items, self.scorer.catalogue.bag.language, before)
            if before is None and self.scorer.writing is not None:
                self._lexicon.telling = telling_of(self._lexicon, self.scorer.writing)
        return self._lexicon

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
    ) -> Speaker:
        """A Speaker for one text; arguments as in `Recommender.write`.

        Raises:
            UsageError: no such write task, nothing that the text could be about.  UnknownUserError, UnknownItemError: an id nobody has seen.
        """
        part = write_part(self.scorer)
        kind_named(part, kind)
        about = list_of_texts("about", about, ABOUT)
        if len(about) > MOST_ABOUT or any(len(word) > LONGEST_ABOUT for word in about):
            raise UsageError(
                f"about has {len(about):,} entries, the longest of {max(map(len, about)):,} characters; give at most {MOST_ABOUT} words or phrases "
                f"of at most {LONGEST_ABOUT} characters"
            )
        if user is None and item is None and history is None and text is None and profile is None and not about:
            raise UsageError("nothing to write about; give user, item, history, text, profile or about")
        texts, reads = texts_named(part, kind, text), part.write.configs[kind].reads
        if profile is not None and "profile" not in reads:
            raise UsageError(
                f"the write task {shown(kind)} reads no profile; it reads: {', '.join(reads)}; leave profile out, or say about=[...]"
            )
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
        about = _listed(about)
        ask = _of_their_own(ask, kind, user, item, about)
        with self.turns.reading():
            speaker = self.speaker(kind, user, item, **about)
            masks, facts = self._masks(kind, item, user, ask, about), self._facts(kind, item, user, ask, about)
            written = self._searched(kind, ask, speaker, masks, facts)
            if not any(one.text for one, whole in written if whole) and ask.decoding != "beam":
                written += self._searched(kind, replace(ask, decoding="beam", beams=WIDE), speaker, masks, facts)
        for fit in (lambda one, whole: whole, lambda one, whole: one.text, lambda one, whole: True):
            best = [one for one, whole in written if fit(one, whole)]
            if best:
                break
        return replace(best[0], others=best[1 : ask.n])

    def _searched(
        self, kind: str, ask: HowToWrite, speaker: Speaker, masks: Sequence[Mask], facts: Facts | None
    ) -> list[tuple[Written, bool]]:
        """Texts that differ in a word, checked, and whether each is whole: long enough, and it could be ended. Searched wider where these are too few.

        Of texts of a beam, and of drafts in the order of their agreement, the truer one goes first; else the order of the search stays.
        """
        written: dict[str, tuple[Written, bool]] = {}
        longest, agreed = write_part(self.scorer).write.configs[kind].longest, ask.decoding == "agreed"
        said = sample(speaker, 1, SAID, spelling=self._spelling(), most=longest, seed=ask.seed)[0] if agreed else []
        for turn in range(ROUNDS):
            decoding = self._decoding(kind, ask, turn)
            texts = decode(speaker, decoding, masks, spelling=self._spelling())[0]
            told = [_checked(kind, one.text.strip(), one.tokens.tolist(), one.log_probability, facts) for one in texts]
            for place in by_agreement([one.text for one in told], said) if agreed else range(len(told)):
                least = 1 if ask.words is None else max(ask.words[0], 1)  # of what the check leaves
                whole = word_count(told[place].text) >= least and texts[place].finish != "stuck"
                written.setdefault(" ".join(taken_apart(told[place].text).words), (told[place], whole))
            if sum(whole for _, whole in written.values()) >= ask.n or ask.decoding == "greedy" or decoding.beams == MOST_TEXTS:
                break
        found = list(written.values())
        return sorted(found, key=lambda one: len(one[0].dropped)) if ask.decoding in ("beam", "agreed") else found

    def write_stream(
        self,
        kind: str,
        user: str | None = None,
        item: str | None = None,
        *,
        ask: HowToWrite,
        dropped: list[str] | None = None,
        **about: Any,
    ) -> Iterator[str]:
        """The text piece by piece; see `Recommender.write_stream`. dropped: takes what was not true, as it is taken out.

        Where nothing is left of it, what `write` finds by searching wider comes in one piece.
        """
        about = _listed(about)
        asked, ask = ask, _of_their_own(ask, kind, user, item, about)
        with self.turns.reading():
            speaker = self.speaker(kind, user, item, **about)
            masks, facts = self._masks(kind, item, user, ask, about), self._facts(kind, item, user, ask, about)
        pieces = stream(speaker, self._decoding(kind, ask), masks, spelling=self._spelling())
        texts = (piece.text for piece in pieces) if facts is None else _checked_sentences(pieces, facts, [] if dropped is None else dropped)
        return _begun(texts, lambda: self.write(kind, user, item, ask=asked, **about).text)

    def _facts(self, kind: str, item: str | None, user: str | None, ask: HowToWrite, about: Mapping[str, Any]) -> Facts | None:
        """What the text may say of the item; None where nothing is held against it."""
        if item is None or not ask.check or not write_part(self.scorer).write.configs[kind].check:
            return None
        past = self._request(user, about.get("history"), None, None, None).histories.items
        typed = about.get("text")
        said = " ".join([*(typed.values() if isinstance(typed, Mapping) else [typed or ""]), *about.get("about", ())])
        return facts_of(self.lexicon, self._item(item), past.tolist(), text=said, profile=about.get("profile"), strict=True)

    def _decoding(self, kind: str, ask: HowToWrite, turn: int = 0) -> Decoding:
        """turn: how many searches found too few texts: each looks further than the one before."""
        beams = min(max(ask.beams, ask.n) << turn, MOST_TEXTS) if ask.decoding == "beam" else 1
        values = {
            "method": "nucleus" if ask.decoding == "agreed" else ask.decoding,
            "beams": beams,
            "top_p": ask.top_p,
            "temperature": ask.warmth,
            "seed": ask.seed + FURTHER * turn,
            "best": {"beam": beams, "agreed": max(ask.n, DRAFTS)}.get(ask.decoding, ask.n),
            "most": write_part(self.scorer).write.configs[kind].longest,
            "no_repeat_ngram": NO_REPEAT,
        }
        return Decoding.build(values, source="write")

    def _spelling(self) -> Spelling:
        if self._spells is None:
            self._spells = spelling_of(self.scorer.reader.tokenizer)
        return self._spells

    def items_named(self, written: Written) -> list[str]:
        """Ids of the items that a text of this engine names, in order; of items with one name the first."""
        spelling, names, found = self._spelling(), self._names, list[str]()
        prefix = Prefix(spelling)
        for token in written.tokens:
            if token == spelling.closes and names is not None and (named := names.mask().meant(prefix.named or ())):
                row = names.meant(named)[0]
                found += [self.items.ids.ids[row]] if plain_name(names.titles[row]) in written.text else []
            prefix = prefix.then(token)
        return list(dict.fromkeys(found))

    def _masks(self, kind: str, item: str | None, user: str | None, ask: HowToWrite, about: Mapping[str, Any]) -> list[Mask]:
        """Words, letters, and names: of the item and of the history where one is given, else of everything that may be answered; no invented words.

        Raises:
            UsageError: a language that the writer has no words of, a catalogue without a name that can be written.
        """
        if ask.language is not None:
            check_written_in(write_part(self.scorer), kind, ask.language)
        banned = BlockedWords(ask.banned) if ask.banned else None
        titles, allowed = self._titles(), self._without_gone(ask.allowed)
        self._names = ItemNames(titles, self.scorer.reader.tokenizer) if self._names is None else self._names.updated(titles)
        self._names.check()
        if item is not None:
            past = self._request(user, about.get("history"), None, None, None).histories.items
            named = np.zeros(len(titles), dtype=bool)
            named[past] = True
            named[self._item(item)] = True
            allowed = named if allowed is None else allowed & named
        words = ask.words
        if words is None and ask.decoding == "agreed":
            words = (least_words(write_part(self.scorer).inputs.usual_words[kind]), MANY)
        single = kind in write_part(self.scorer).inputs.single
        told, record = _told(about), [] if item is None else self.scorer.reader.wording.items(self.items.rows([self._item(item)]))
        doubled = write_part(self.scorer).inputs.doubled | doubled_words([*told, *record])
        masks = [*writing_masks(words, banned, ask.language, single=single, doubled=doubled), self._names.mask(allowed, banned)]
        if not write_part(self.scorer).write.configs[kind].invent:
            masks += [Ends(write_part(self.scorer).inputs.never_last), self._known_words(kind, item, ask, told, record)]
        return masks

    def _known_words(self, kind: str, item: str | None, ask: HowToWrite, told: list[str], record: list[str]) -> KnownWords:
        """Words that were read somewhere; of an item that is held against its facts, numbers that are facts, and limits."""
        part = write_part(self.scorer)
        numbers, bounds = None, list[str]()
        if item is not None and ask.check and part.write.configs[kind].check:  # also one that came after the training
            numbers = words_in([*told, *numbers_of(self.items, self._item(item))])
            bounds = limits(self.scorer.catalogue.bag.language)
        return KnownWords(part.inputs.vocabulary, words_in([*told, *record]), _single(ask.banned), numbers, bounds)


def _single(banned: Sequence[str]) -> frozenset[str]:
    """Those of banned words that are one word: of a phrase each word may be written."""
    return frozenset(run for word in banned for run in words_in([word]) if run == word.strip().lower())


def _told(about: Mapping[str, Any]) -> list[str]:
    """What was typed for a text, what it should be about, and who it is for."""
    typed = about.get("text")
    return [*(typed.values() if isinstance(typed, Mapping) else [typed or ""]), *about.get("about", ()), str(about.get("profile") or "")]


def _listed(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a text is about, with lists as lists: they are gone through several times. Raises UsageError."""
    found = dict(about)
    if "about" in found:
        found["about"] = list_of_texts("about", found["about"], ABOUT)
    if found.get("history") is not None:
        found["history"] = a_list("history", found["history"], HISTORY)
    return found


def _begun(texts: Iterable[str], otherwise: Callable[[], str]) -> Iterator[str]:
    """The pieces from the first that says something on; what `otherwise` gives where none does."""
    begun = False
    for text in texts:
        said = text if begun else text.lstrip()
        if said:
            begun = True
            yield said
    if not begun and (text := otherwise()):
        yield text


def _of_their_own(ask: HowToWrite, kind: str, user: str | None, item: str | None, about: Mapping[str, Any]) -> HowToWrite:
    """With a seed of this request's own: of people about whom much the same is said not all should get the same draws of it."""
    told = sorted((name, said) for name, value in about.items() if value is not None and (said := str(value).strip("()[]{}")))
    return replace(ask, seed=zlib.crc32(repr((ask.seed, kind, user, item, told)).encode()))


def _checked(kind: str, text: str, tokens: list[int], log_probability: float, facts: Facts | None) -> Written:
    if facts is None:
        return Written(text, kind, tokens, log_probability)
    found = check(text, facts)
    return Written(
        found.text,
        kind,
        tokens,
        log_probability,
        kept=[claim.text for claim in found.kept],
        dropped=[claim.text for claim in found.dropped],
    )


def _checked_sentences(pieces: Iterator[Streamed], facts: Facts, dropped: list[str]) -> Iterator[str]:
    """The text a sentence at a time, without what is not true. A text stopped at the most tokens ends with a sentence, as `write` ends it."""
    said, stopped = 0, False

    def texts() -> Iterator[str]:
        nonlocal stopped
        for piece in pieces:
            stopped = piece.finish == "length"
            yield piece.text

    for sentence in in_sentences(texts()):
        if stopped and not ends_sentence(sentence) and len(sentence) <= said:
            return
        said += len(sentence)
        found = check(sentence, facts)
        dropped += [claim.text for claim in found.dropped]
        yield found.text


def in_sentences(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces of a text put together to sentences, with the spaces between them; the last one may have no end."""
    held = ""
    for piece in pieces:
        held += piece
        if ends_sentence(held):
            yield held
            held = ""
    if held:
        yield held
