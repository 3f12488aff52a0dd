"""What a written text must keep to: banned words however they are cut into tokens, lengths in words, letters of a language, names of items."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babbler import BYTES, END, Babbler
from m6rec.base.errors import UsageError
from m6rec.language_model.config import Decoding
from m6rec.language_model.decoding import decode, stream
from m6rec.language_model.masks import everything_allowed, joined
from m6rec.language_model.spelling import Prefix, Spelling, ends_sentence, sentence_count
from m6rec.tasks.item_names import ItemNames, plain_name, spelling_of
from m6rec.tasks.known_words import Ends, KnownWords, Vocabulary, doubled_words, never_last, words_in
from m6rec.tasks.writing_masks import Banned, Signs, Words, word_count, writing_masks
from m6rec.text.blocked_words import BlockedWords
from m6rec.text.scripts import script_of, scripts_of
from m6rec.text.tokenizer import Tokenizer

# Many ways to spell "ass", "class", "assume", "buy now" and 赌博.
PIECES = ["a", "s", "ss", "as", "cl", "ume", " ", ".", "A", "b", "buy", "uy", " now", "n", "ow", "赌", "博", "\u200d"]
CUT = Spelling(
    [b"", *(piece.encode() for piece in PIECES), "赌".encode()[:2], "赌".encode()[2:], "博".encode()[:1], "博".encode()[1:]], END
)
BANNED = BlockedWords(["ass", "buy now", "赌博"])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["The Matrix Reloaded and The Matrix, a warm boot", "长途步行的鞋", "Alien Aliens Alien 3"] * 3, 300)


@pytest.mark.parametrize("method", ["greedy", "beam", "nucleus"])
@pytest.mark.parametrize("seed", range(4))
def test_banned_words_are_never_written(method: str, seed: int) -> None:
    decoding = Decoding(method=method, most=30, least=20, temperature=2.0, seed=seed)
    written = ""
    for row in decode(Babbler(len(CUT), seed), decoding, [Banned(BANNED)], spelling=CUT, rows=12):
        for text in row:
            assert not BANNED.found(text.text), text.text
            written += text.text
    assert "cl" in written or method == "greedy"


def test_a_banned_word_may_be_the_beginning_of_another() -> None:
    def allowed_after(text: str, token: str) -> bool:
        prefix = Prefix(CUT, spelled=text.encode())
        return Banned(BANNED).accepts(prefix, END if token == "end" else PIECES.index(token) + 1)

    assert allowed_after(" a", "ss")
    assert allowed_after(" ass", "ume")
    assert not allowed_after(" ass", " ")
    assert not allowed_after(" ass", ".")
    assert not allowed_after(" Ass", "end")
    assert allowed_after("class"[2:], "s")
    assert allowed_after("b uy", " now")
    assert not allowed_after("赌", "博")
    assert not allowed_after("赌 ", "博")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, len(CUT) - 1), max_size=12))
def test_the_mask_forbids_exactly_what_makes_a_text_banned(tokens: list[int]) -> None:
    """A token is refused where the text with it holds a banned word whatever follows, and only there."""
    prefix = Prefix(CUT)
    for token in tokens:
        longer = prefix.then(token)
        refused = not Banned(BANNED).accepts(prefix, token)
        if longer.cut or "\ufffd" in longer.text:
            return
        assert refused == bool(BANNED.found(longer.text) and BANNED.found(longer.text + "ume"))
        if refused:
            return
        prefix = longer


@pytest.mark.parametrize(("least", "most"), [(0, 1), (3, 3), (5, 20), (2, 8)])
def test_lengths_in_words_hold(least: int, most: int) -> None:
    for method in ("greedy", "beam", "nucleus"):
        decoding = Decoding(method=method, most=200, temperature=1.5)
        words = Spelling([b"", *(piece.encode() for piece in [" warm", " boots", "s", ".", "!", "鞋", " 3", ",", " it", "'s"])], END)
        for row in decode(Babbler(len(words), seed=most), decoding, [Words(least, most)], spelling=words, rows=8):
            assert row[0].finish == "end"
            assert least <= word_count(row[0].text) <= most


def test_one_sentence_is_not_over_before_the_least_words() -> None:
    words = Spelling([b"", *(piece.encode() for piece in [" warm", " boots", ".", "!", " and", "。"])], END)
    for row in decode(
        Babbler(len(words), seed=3), Decoding(method="nucleus", most=60), [Words(4, 20, single=True)], spelling=words, rows=30
    ):
        assert word_count(row[0].text) >= 4
        over = [place for place in range(1, len(row[0].text) + 1) if ends_sentence(row[0].text[:place])]
        assert all(word_count(row[0].text[:place]) >= 4 for place in over)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("Good boots", 1),
        ("Good boots.", 1),
        ("Good. They last!", 2),
        ("It has 3.5 mm, by Mr. Fox.", 1),
        ("好鞋。很暖", 2),
        ('"Good." Yes', 2),
    ],
)
def test_sentences_are_counted(text: str, count: int) -> None:
    assert sentence_count(text) == count


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("It's a well-known boot.", 4), ("长途步行", 4), ("3.5 stars!", 3), ("... !", 0), ("鞋 and boots", 3)]
)
def test_word_count(text: str, count: int) -> None:
    assert word_count(text) == count


@pytest.mark.parametrize("language", ["en", "zh"])
def test_only_letters_of_the_language(language: str) -> None:
    masks = writing_masks(language=language)
    pieces = [bytes([byte]) for byte in range(256)] + [piece.encode() for piece in ("鞋", "子", " boot", "é", "д", "の", "한", "步行", "!")]
    spelling = Spelling([b"", *pieces], END)
    seen = set()
    for row in decode(Babbler(len(spelling), 3), Decoding(method="nucleus", most=60, top_p=1.0), masks, spelling=spelling, rows=20):
        assert row[0].finish in ("end", "length")
        for letter in row[0].text:
            assert script_of(letter) in ("", *scripts_of(language))
            seen.add(script_of(letter))
    assert scripts_of(language) <= seen


def test_signs_are_those_of_written_text() -> None:
    """Every prefix of a plain text is allowed; what piles up signs, blanks or the same words is not."""
    pieces = [bytes([byte]) for byte in range(1, 256)]
    spelling, mask = Spelling([b"", *pieces], END), Signs()

    def allowed(text: str) -> bool:
        prefix = Prefix(spelling)
        for byte in text.encode():
            if not mask.accepts(prefix, byte):
                return False
            prefix = prefix.then(byte)
        return mask.accepts(prefix, END)

    for text in (
        "Well... it's (really) good, 3.5 of 5!",
        "“Yes.” Then: no?!",
        "好的，很好。再来",
        "a: b; c - d",
        "Very good. Very warm",
        "at the theatre for foreigners, in India",
        "the then-known 10 10 of them",
        "看看 看看, 人人",
        "great, great",
        "e.g. this",
    ):
        assert allowed(text), text
    for text in (
        "Try    ,,,,.",
        "one, , two",
        ", one",
        "drives.. It",
        "drives..",
        "no!!!!",
        "the river of the river of",
        "a great great boot",
        "Great great",
        "(warm warm)",
        "the the boot",
        "it is the the",
        "the THE, boot",
        "очень очень",
        "好，，的",
        "a ,",
    ):
        assert not allowed(text), text


@pytest.mark.parametrize("text", [" at the", " in in", " The", " in THE", " boot the", " there the", " ass", " a-the"])
def test_behind_a_word_that_may_not_end_few_tokens_are_asked_about(text: str) -> None:
    """What is left out at once is what would be refused one by one."""
    letters = [letter.encode() for letter in "abcdefghijklmnopqrstuvwxyzTHE éж鞋"]
    pieces = [
        b"",
        *(bytes([byte]) for byte in range(1, 256)),
        *letters,
        *(f" w{n}".encode() for n in range(500)),
        b"re",
        b"atre",
        b" the",
        b"!",
    ]
    spelling = Spelling(pieces, END)
    known = Vocabulary(words_in(["the theatre there is at a river, in boot assume ass w inner"]))
    masks = [Signs(), Banned(BlockedWords(["the", "ass"])), KnownWords(known, (), ["the", "ass"])]
    prefix = Prefix(spelling)
    for byte in text.encode():
        prefix = prefix.then(byte)
    left = joined(masks, prefix)
    assert left is not None
    chosen = {token for token in range(len(spelling)) if left[token]}
    accepted = {token for token in range(len(spelling)) if all(mask.accepts(prefix, token) for mask in masks)}
    assert accepted <= chosen
    assert {pieces[token] for token in accepted} & {b"atre", b"u", b"n", b"A"}
    assert len(chosen) < 200


def test_a_word_is_said_again_at_once_where_it_is_meant() -> None:
    """In a name, and where known texts or the item say it so."""
    pieces = [b"", b" Duran", b" go", b" great", b" is", b",", b"ing", b"<", b">", b"."]
    spelling = Spelling(pieces, END, opens=7, closes=8)

    def written(tokens: list[int], doubled: set[str] | None = None) -> list[int]:
        """What may follow."""
        masks, prefix = [Signs(doubled or ())], Prefix(spelling)
        for token in tokens:
            assert everything_allowed(masks, prefix)[token]
            prefix = prefix.then(token)
        return np.flatnonzero(everything_allowed(masks, prefix)).tolist()

    assert set(range(1, 6)) - set(written([1])) == {1}
    assert written([2, 2]) == [6], "nothing but what makes another word of it"
    assert 4 in written([2, 2], {"go"})
    assert 1 in written([1], {"duran"})
    for word in (1, 2):
        name = [7, word, word, 8]
        assert {END, 3, 4, 5, 9} <= set(written(name)), "a name is written as it is, and the text goes on"
        assert {3, 4} <= set(written([*name, 5]))
        assert 4 in written([3, 7, 3, 8])
    texts = ["bye bye", "great great boots", *["great boots"] * 200, "a a, b b"]
    assert doubled_words(texts, 0.01) == {"bye", "a", "b"}
    assert doubled_words(["Duran\n duran; go, go 5 5"]) == {"duran"}


def test_nothing_but_an_end_stands_behind_the_last_word_that_fits() -> None:
    spelling = Spelling([b"", b" boots", b",", b".", b" ", b")", b"s", b"!"], END)
    prefix = Prefix(spelling).then(1)
    assert [token for token in range(1, 8) if Words(0, 1).accepts(prefix, token)] == [3, 6, 7]


def test_a_sentence_is_not_broken_off() -> None:
    known = never_last(["the end of the day.", "the day of it is good", "the of", "of the day", "of the it", "of the it"] * 2)
    assert known == {"the"}
    spelling = Spelling([b"", b" the", b" day", b".", b" is", "。".encode()], END)
    mask, prefix = Ends(known), Prefix(spelling).then(1)
    assert [token for token in range(6) if mask.accepts(prefix, token)] == [1, 2, 4]
    assert mask.accepts(prefix.then(2), END)
    assert mask.accepts(prefix.then(2), 3)


def test_scripts_come_from_the_language_files() -> None:
    assert scripts_of("en") == {"LATIN"}
    assert scripts_of("zh") == {"CJK"}
    with pytest.raises(UsageError, match="no language 'klingon'") as error:
        scripts_of("klingon")
    assert "\n" not in str(error.value)


def test_streams_hold_back_what_may_yet_be_refused() -> None:
    for seed in range(10):
        pieces = list(stream(Babbler(len(CUT), seed), Decoding(method="nucleus", most=30, seed=seed), [Banned(BANNED)], spelling=CUT))
        assert not BANNED.found("".join(piece.text for piece in pieces))


def test_names_of_a_catalogue(tokenizer: Tokenizer) -> None:
    titles = ["Alien", "Aliens", "Alien", "The Matrix", " \x07 ", "长途步行的鞋", "  The\nMatrix   Reloaded "]
    names = ItemNames(titles, tokenizer)
    assert names.unnamed == 1
    spelling = spelling_of(tokenizer)

    def written(items: ItemNames, allowed: list[bool], banned: BlockedWords | None = None) -> set[str]:
        def talk(logits: np.ndarray) -> None:
            logits[spelling.opens] += 30.0

        mask, found = items.mask(np.array(allowed), banned), set()
        speaker = Babbler(len(spelling), change=talk)
        for row in decode(speaker, Decoding(method="nucleus", most=60, temperature=5.0), [mask], spelling=spelling, rows=15):
            for span in row[0].names:
                found.add(spelling.text(row[0].tokens[span.start : span.end]))
                for item in items.meant(span.names):
                    assert allowed[item]
                    assert plain_name(items.titles[item]) == spelling.text(row[0].tokens[span.start : span.end])
        return found

    everything = [True] * 7
    assert written(names, everything) == {"Alien", "Aliens", "The Matrix", "长途步行的鞋", "The Matrix Reloaded"}
    assert written(names, [False, True, False, True, True, True, False]) == {"Aliens", "The Matrix", "长途步行的鞋"}
    assert written(names, [False, False, True, False, False, False, False]) == {"Alien"}
    assert written(names, everything, BlockedWords(["matrix", "步行"])) == {"Alien", "Aliens"}
    grown = names.updated([*titles, "Alien 3"])
    assert grown.tries[0] is names.tries[0]
    assert "Alien 3" in written(grown, [*everything, True])
    assert "Alien 3" not in written(grown, [*everything, False])
    assert names.updated(titles) is names
    assert names.updated(["Alien"]).titles == ["Alien"]


def test_a_catalogue_without_a_name_says_so(tokenizer: Tokenizer) -> None:
    names = ItemNames(["", " ", "\x00"], tokenizer)
    with pytest.raises(UsageError, match="none of the 3 items has a name") as error:
        names.check()
    assert "\n" not in str(error.value)
    assert not names.mask().begin


def test_names_in_a_text_are_marked(tokenizer: Tokenizer) -> None:
    names = ItemNames(["The Matrix", "The Matrix Reloaded", "Alien"], tokenizer)
    spelling = spelling_of(tokenizer)
    text = "After The Matrix Reloaded, The Matrix; no Alienation, but Alien."
    ids = names.marked(text, [0, 1, 2])
    assert spelling.text(ids) == text
    prefix, said = Prefix(spelling), []
    for token in ids.tolist():
        if token == spelling.closes:
            said.append(spelling.text(prefix.named or ()))
        prefix = prefix.then(token)
    assert said == ["The Matrix Reloaded", "The Matrix", "Alien"]
    assert names.marked(text, []).tolist() == tokenizer.encode(text).tolist()


def test_pieces_of_a_tokenizer_spell_what_it_decodes(tokenizer: Tokenizer) -> None:
    spelling = spelling_of(tokenizer)
    for text in ("The Matrix 鞋é\n\x07", "🥾 boots", ""):
        assert spelling.text(tokenizer.encode(text)) == text
    assert len(spelling) == tokenizer.size
    assert all(not spelling.pieces[token] for token in range(16))


def test_bytes_never_reach_what_cannot_be_read() -> None:
    for row in decode(Babbler(len(BYTES), 5), Decoding(method="nucleus", most=50, top_p=1.0, temperature=5.0), spelling=BYTES, rows=20):
        assert row[0].finish != "stuck"
        assert all(unicodedata.category(letter)[0] != "C" or letter in "\n\u200c\u200d" for letter in row[0].text)


def test_no_word_is_invented() -> None:
    """Words are looked up when they end, whatever tokens they are made of; names and short runs of letters are not."""
    pieces = [b"", b"", b" food", b"ful", b" fresh", b".", b" 12", b"s", "\u597d".encode(), b" ok"]
    spelling = Spelling(pieces, end=1)
    mask = KnownWords(Vocabulary(words_in(["Fresh food, foods, foodful, typed"])), words_in(["words"]), {"foodful"})

    def accepted(*tokens: int) -> bool:
        prefix = Prefix(spelling)
        for token in tokens[:-1]:
            prefix = prefix.then(token)
        return mask.accepts(prefix, tokens[-1])

    assert accepted(2, 4)
    assert not accepted(2, 3)  # nothing that it may become is left
    open_to_it = KnownWords(Vocabulary(words_in(["foodfully"])), words_in(["fresh"]))
    assert open_to_it.accepts(Prefix(spelling).then(2), 3)
    assert not open_to_it.accepts(Prefix(spelling).then(2).then(3), 5)
    assert open_to_it.accepts(Prefix(spelling).then(4), 5)
    assert not accepted(2, 3, 5)
    assert not accepted(2, 3, 1)
    assert accepted(2, 7, 1)
    assert not accepted(4, 6)  # nobody said 12
    assert accepted(2, 8)
    assert accepted(9, 1)
    assert words_in(["A Caf\u00e9 4you \u597d"]) == {"a", "caf\u00e9", "you", "4you"}
    assert words_in(["Fair at $8.37, e.g. 1,000 or 2x."]) == {"fair", "at", "8.37", "e", "g", "e.g", "1,000", "or", "2x", "x"}


def test_capitals_stand_inside_a_word_only_where_they_were_read() -> None:
    pieces = [b"", b"", b" the", b"Re", b"re", b" i", b"Phone", b"P", b"ad", b"RE", b" TH", b"E", b" There", b"'s", b"'S", b"phone"]
    spelling = Spelling(pieces, end=1)

    def accepted(mask: KnownWords, *tokens: int) -> bool:
        prefix = Prefix(spelling)
        for token in tokens:
            if not mask.accepts(prefix, token):
                return False
            prefix = prefix.then(token)
        return True

    known = Vocabulary(words_in(["Is there, on the there's iPhone", "ipad"]))
    for mask in (KnownWords(known), KnownWords(Vocabulary(["the", "there", "there's"]), words_in(["iPhone", "ipad"]))):
        assert accepted(mask, 2, 4, 1)  # there
        assert accepted(mask, 12, 13, 1)  # There's
        assert accepted(mask, 10, 11, 9, 1)  # THERE
        assert accepted(mask, 5, 6, 1)  # iPhone
        assert accepted(mask, 5, 15, 1)  # iphone
        assert not accepted(mask, 2, 3)  # theRe
        assert not accepted(mask, 2, 9)  # theRE
        assert accepted(mask, 5, 7)
        assert not accepted(mask, 5, 7, 8)  # iPad, of which nobody wrote more than ipad
        assert not accepted(mask, 12, 14)  # There'S
    assert words_in(["Is it an iPhone or an IPHONE by O'Brien?"]) >= {"iPhone", "iphone", "O'Brien", "o'brien"}
    assert not words_in(["Is it an iPhone or an IPHONE?"]) & {"Is", "IPHONE"}


def test_no_number_is_cut_glued_or_invented() -> None:
    """Of numbers only those of the item, whole; a limit may be any number that was read, where the words before it say that it is one."""
    pieces = [b"", b"", b" one", b".", b"37", b"8", b" ", b" trail", b"2020", b" under", b"50", b" $", b"1", b"!", "元".encode(), b"36"]
    spelling = Spelling(pieces, end=1)
    vocabulary = Vocabulary(words_in(["One trail under 50 or 36 dollars", "8.37"]))
    free = KnownWords(vocabulary)
    held = KnownWords(vocabulary, numbers=words_in(["8.37", "1"]), bounds=["under", "less than"])

    def accepted(mask: KnownWords, *tokens: int) -> bool:
        prefix = Prefix(spelling)
        for token in tokens[:-1]:
            assert mask.accepts(prefix, token), tokens
            prefix = prefix.then(token)
        return mask.accepts(prefix, tokens[-1])

    for mask in (free, held):
        assert not accepted(mask, 2, 3, 4)  # one.37
        assert not accepted(mask, 7, 8)  # trail2020
        assert accepted(mask, 6, 5, 3, 4, 1)  # 8.37
        assert accepted(mask, 6, 5, 3, 4, 14)  # 8.37元
        assert not accepted(mask, 6, 5, 3, 6)  # 8.
        assert not accepted(mask, 6, 5, 1)
        assert not accepted(mask, 6, 5, 13)
        assert not accepted(mask, 6, 8)
        assert accepted(mask, 2, 3, 6)
    assert accepted(free, 6, 15, 13)
    assert not accepted(held, 6, 15)
    assert accepted(held, 6, 12, 3)  # a number that ends a sentence
    assert accepted(held, 9, 11, 10, 1)
    assert accepted(held, 9, 6, 10, 3)
    assert not accepted(held, 7, 11, 10)
    assert not accepted(held, 9, 11, 8)
