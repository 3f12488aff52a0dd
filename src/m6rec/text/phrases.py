"""The words of a conversation: cues that tell what somebody means, and sayings to answer with. One YAML file a language (conversations/)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from m6rec.base.errors import ConfigError, nearest
from m6rec.base.strict_yaml import read_yaml
from m6rec.text.words import is_spaceless, normalise

VERSION = 1
LISTS = ("question", "clauses", "it", "them", "plain")
GROUPS = ("cues", "fields", "places", "comparatives", "sayings", "reasons")
SAME = "same"  # a list that may be left out
ADDED = {  # sayings that came later, and the one that a file without them says instead
    "strange": "again",
    "contradiction": "nothing",
    "contrary": "again",
    "only": "unknown_item",
    "none_shown": "unknown_item",
    "furthest": "nothing",
    "nearest": "",
    "still": "offer",
    "says": "text_field",
    "why": "still",
    "known": "field",
    "because_all": "",
    "help": "greet",
    "never_mind": "greet",
    "program": "help",
    "repeat": "still",
    "leave_out": "unknown_item",
    "because_had": "because_history",
}
HELPING = (
    "bad",
    "good",
    "negation",
    "degree",
    "alike",
    "spared",
    "relative",
    "rest",
    "joining",
    "numbered",
    "more_alone",
    "loosen",
    "limit",
    "both",
    "person",
    "deed",
    "getting",
    "unit",
    "which",
    "tell",
    "occasion",
    "describing",
    "world",
    "ours",
    "opening",
    "pointing",
)  # cues that mean nothing without others
LATER = ("awful", "us", "why", "help", "move", "never_mind", "who_answers", "repeat", *HELPING)  # cues that came later: none
QUOTES = str.maketrans({"’": "'", "‘": "'", "´": "'", "`": "'"})
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True)
class Said:
    """A text as cues are looked for in it: its words in order, a blank between and around them, and where each stands in the text."""

    text: str
    words: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def joined(self) -> str:
        return f" {' '.join(self.words)} "


def said(text: str) -> Said:
    """The words of `text`, case-folded; every character of a script without spaces is one."""
    words: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    text = text.translate(QUOTES)
    for found in _WORD.finditer(text):
        run, start = found[0], found.start()
        place = 0
        while place < len(run):
            if is_spaceless(run[place]):
                words.append(run[place])
                starts.append(start + place)
                ends.append(start + place + 1)
                place += 1
                continue
            until = place
            while until < len(run) and not is_spaceless(run[until]):
                until += 1
            words.append(normalise(run[place:until]))
            starts.append(start + place)
            ends.append(start + until)
            place = until
    return Said(text, tuple(words), tuple(starts), tuple(ends))


class Phrases:
    """The phrases of one language."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        """values: as read from a file. Raises ConfigError: a part is missing or of another form."""
        self.source = source
        self.values = _checked(values, source)
        self.language: str = self.values["language"]
        self.cues = {name: _patterns(words) for name, words in self.values["cues"].items()}
        self.fields = {name: _patterns(words) for name, words in self.values["fields"].items()}
        self.places = {_places(named, source): _patterns(words) for named, words in self.values["places"].items()}
        self.comparatives = {
            field: {sign: _patterns(words) for sign, words in signs.items()} for field, signs in self.values["comparatives"].items()
        }
        self.lists = {name: _patterns(self.values[name]) for name in LISTS}
        self.plain = {normalise(str(word)) for word in self.values["plain"]}
        self.same: list[list[str]] = self.values[SAME]

    @property
    def vocabulary(self) -> set[str]:
        """Every word of the language that stands here."""
        patterns = [*self.cues.values(), *self.fields.values(), *self.places.values(), *self.lists.values()]
        patterns += [words for signs in self.comparatives.values() for words in signs.values()]
        patterns += [_patterns(group) for group in self.same]
        return self.plain | {word for some in patterns for pattern in some for word in pattern.split()}

    @classmethod
    def load(cls, path: Path) -> Phrases:
        """A file of somebody's own. Raises ConfigError."""
        try:
            values = read_yaml(path.read_text(encoding="utf-8"), str(path))
        except OSError as error:
            raise ConfigError(f"can't read the phrases {path}: {error.strerror}; built in are {', '.join(built_in())}") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
        return cls(values if isinstance(values, dict) else {}, str(path))

    def has(self, cue: str, text: Said) -> bool:
        """Whether a cue of this name stands in the text."""
        return any(pattern in text.joined for pattern in self.cues.get(cue, ()))

    def alone(self, cue: str, text: Said) -> bool:
        """Whether the text is a cue of this name, and nothing besides but yes, thanks and the like."""
        polite = {place for name in ("yes", "thanks") for first, last in self.spans(name, text) for place in range(first, last)}
        left = " ".join(word for place, word in enumerate(text.words) if place not in polite)
        return f" {left} " in self.cues[cue]

    def first(self, cue: str, text: Said) -> int | None:
        """Number of the first word of the earliest cue of this name in the text; None where there is none."""
        return earliest(self.cues.get(cue, ()), text)

    def spans(self, cue: str, text: Said) -> list[tuple[int, int]]:
        """(first word, word after the last) of every cue of this name, longest cues first where several begin at one place."""
        return sorted({span for pattern in self.cues.get(cue, ()) for span in found(pattern, text)}, key=lambda span: (span[0], -span[1]))

    def compared(self, text: Said) -> list[tuple[str, str]]:
        """(field, "<" or ">") of every comparative in the text: less or more of a number than what was shown."""
        return [
            (field, sign)
            for field, signs in self.comparatives.items()
            for sign, words in signs.items()
            if earliest(words, text) is not None
        ]

    def first_compared(self, text: Said) -> int | None:
        """Number of the first word of the earliest comparative; None where there is none."""
        return earliest([word for signs in self.comparatives.values() for words in signs.values() for word in words], text)

    def listed(self, name: str, text: Said) -> bool:
        """Whether a word of one of the lists (question, clauses, it, them) stands in the text."""
        return any(pattern in text.joined for pattern in self.lists[name])

    def say(self, saying: str, turn: int = 0, **put_in: str) -> str:
        """A saying with what belongs in it; `turn` decides which of several ways to say it."""
        ways = self.values["sayings"][saying]
        way: str = ways if isinstance(ways, str) else ways[turn % len(ways)]
        return way.format(**put_in)

    def several(self, words: Sequence[str], last: str = "and") -> str:
        """ "a, b and c"; last: the saying that joins the last one."""
        if len(words) < 2:
            return "".join(words)
        sayings = self.values["sayings"]
        joined: str = sayings[last].format(first=sayings["comma"].join(words[:-1]), last=words[-1])
        return joined


def found(pattern: str, text: Said) -> list[tuple[int, int]]:
    """(first word, word after the last) of every place where `pattern` (blanks around it) stands in the text."""
    spans = []
    joined, length = text.joined, len(pattern.split())
    place = joined.find(pattern)
    while place >= 0:
        first = joined.count(" ", 0, place)
        spans.append((first, first + length))
        place = joined.find(pattern, place + 1)
    return spans


def earliest(patterns: Sequence[str], text: Said) -> int | None:
    """Number of the word at which the earliest of `patterns` begins; None where none stands there."""
    places = [text.joined.find(pattern) for pattern in patterns]
    known = [place for place in places if place >= 0]
    return text.joined.count(" ", 0, min(known)) if known else None


def built_in() -> list[str]:
    """The languages that come with the package."""
    folder = files("m6rec.text").joinpath("conversations")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


@cache
def built_in_phrases(language: str) -> Phrases:
    """The phrases of a built-in language. Raises ConfigError for another."""
    if language not in built_in():
        hint = nearest(language, built_in()) or f"; built in: {', '.join(built_in())}"
        raise ConfigError(
            f"there are no phrases in language '{language}'{hint}; add a file of them: conversation.languages: [{language}.yaml]"
        )
    text = files("m6rec.text").joinpath("conversations", f"{language}.yaml").read_text(encoding="utf-8")
    return Phrases(read_yaml(text, f"conversations/{language}.yaml"), f"conversations/{language}.yaml")


def _patterns(words: Sequence[Any]) -> tuple[str, ...]:
    """Each as it stands in `Said.joined`."""
    return tuple(said(str(word)).joined for word in words)


def _places(named: object, source: str) -> tuple[int, ...]:
    """2 or "1, 2" of a file of phrases as places. Raises ConfigError: something else."""
    parts = str(named).split(",")
    try:
        places = tuple(int(part) for part in parts)
    except ValueError:
        places = (0,)
    if 0 in places:
        raise ConfigError(f"{source}: 'places' has {named!r}; a place is a number from 1, -1 the last, or several as in '1, 2'")
    return places


def _checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    wanted = ("version", "language", *GROUPS, *LISTS)
    for key in values:
        if key not in (*wanted, SAME):
            raise ConfigError(f"{source}: unknown key '{key}'{nearest(str(key), wanted) or '; keys: ' + ', '.join((*wanted, SAME))}")
    for key in wanted:
        if key not in values:
            raise ConfigError(f"{source} has no '{key}'; a file of phrases has {', '.join(wanted)}")
    if values["version"] != VERSION:
        raise ConfigError(f"{source} is of version {values['version']!r}; this program reads version {VERSION}")
    for key in LISTS:
        if not isinstance(values[key], list):
            raise ConfigError(f"{source}: '{key}' is {values[key]!r}, not a list of words")
    groups = values.get(SAME, [])
    if not isinstance(groups, list) or not all(
        isinstance(group, list) and all(isinstance(word, str) for word in group) for group in groups
    ):
        raise ConfigError(f"{source}: '{SAME}' is no list of lists of words, each list what much the same is asked by")
    values = {**values, SAME: groups}
    for key in GROUPS:
        if not isinstance(values[key], dict):
            raise ConfigError(f"{source}: '{key}' is {values[key]!r}, not names with what belongs to them")
    if source != "conversations/en.yaml":
        model = built_in_phrases("en").values
        values = {**values, "cues": {**{name: [] for name in LATER}, **values["cues"]}}
        values["reasons"] = {"judged": values["reasons"].get("unknown", ""), **values["reasons"]}
        values["sayings"] = {**{name: values["sayings"].get(usual, "") for name, usual in ADDED.items()}, **values["sayings"]}
        values["sayings"] = {**{name: way for name, way in model["sayings"].items() if name.startswith("limit_")}, **values["sayings"]}
        for key in ("cues", "sayings", "reasons"):
            missing = [name for name in model[key] if name not in values[key]]
            if missing:
                raise ConfigError(f"{source}: '{key}' has no '{missing[0]}'; it needs {', '.join(model[key])}")
    return dict(values)
