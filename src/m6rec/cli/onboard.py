"""`m6rec onboard`: an interactive form for somebody nobody knows: who they are, what they like, a first list, better ones by likes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from m6rec.base.errors import UsageError, shown
from m6rec.cli.options import Answers, Json, LanguageFile, RunFolder
from m6rec.cli.output import columns, print_json
from m6rec.cli.typed_line import typed_line

if TYPE_CHECKING:
    from m6rec.base.contracts import Scored
    from m6rec.serving.onboarding.form import Form, Person

MOST_ON_A_LINE = 60  # characters of the values of a question
WIDE = 78  # characters of a line of values
TRIES = 3  # at one question, before it is left empty


def onboard(
    run: RunFolder,
    k: Answers = 10,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FOLDER", help="Write the person here: users.csv, events.csv and person.json.")
    ] = None,
    user: Annotated[str, typer.Option("--user", metavar="ID", help="The id the person is saved under.")] = "newcomer",
    language: LanguageFile = "en",
    as_json: Json = False,
) -> None:
    """Ask somebody who they are and what they like, recommend, and refine by likes and dislikes until they are content.

    Works on a terminal and with answers piped in, one a line; the end of the input ends the form.
    """
    from m6rec.recommender import Recommender
    from m6rec.serving.onboarding.form import Form, Person, words

    said = words(language)
    if not user.strip():
        raise UsageError(f"--user is {shown(user)}; give the id that the person is saved under")
    form, person = Form(Recommender.from_pretrained(run).engine), Person()
    talk = _Talk(said, quiet=as_json)
    talk.say("hello")
    for question in form.questions():
        for _ in range(TRIES):
            told = talk.ask(question)
            if not told:
                break
            try:
                person.profile[question.name] = question.answer(told, language)
                break
            except UsageError as error:
                talk.line(str(error))
    talk.say("interests", tags=", ".join(form.tags()))
    person.interests = talk.read(said["prompt"]) or ""
    talk.strange(form.strange(person.interests))
    answers = _refined(form, person, talk, k, language)
    if save is not None:
        form.save(person, save, user)
    if as_json:
        print_json({**person.plain(), "answers": [{"item_id": one.item_id, "title": one.title, "score": one.score} for one in answers]})
    elif save is not None:
        talk.say("saved", folder=save, events=len(person.liked))


def _refined(form: Form, person: Person, talk: _Talk, k: int, language: str) -> list[Scored]:
    """Lists until an empty answer; the last one."""
    from m6rec.serving.onboarding.form import marks

    while True:
        answers = form.answer(person, k)
        talk.show(answers, form.why_empty(person, language) if not answers else "")
        while True:
            talk.say("refine")
            told = talk.read(talk.words["prompt"])
            if not told:
                return answers
            if told.casefold() == "m":
                person.shown += [one.item_id for one in answers]
                break
            try:
                found = marks(told, len(answers), language)
            except UsageError as error:
                talk.line(str(error))
                continue
            if found is None:
                form.hear(person, told)
                talk.strange(form.strange(told))
            else:
                person.liked += [answers[place].item_id for place in found[0]]
                person.disliked += [answers[place].item_id for place in found[1]]
            break


class _Talk:
    """Prints and reads; quiet: prompts and lists go nowhere (a program reads the JSON at the end)."""

    def __init__(self, words: Any, quiet: bool) -> None:
        self.words, self.quiet = words, quiet

    def say(self, name: str, **values: Any) -> None:
        self.line(self.words[name].format(**values))

    def strange(self, words: Sequence[str]) -> None:
        if words:
            self.say("strange", words=", ".join(words))

    def line(self, text: str, end: str = "\n") -> None:
        if not self.quiet:
            print(text, end=end, flush=True)

    def ask(self, question: Any) -> str | None:
        if question.low is not None:
            return self.read(self.words["number"].format(name=question.name, low=question.low, high=question.high))
        if question.values and len(", ".join(question.values)) <= MOST_ON_A_LINE:
            return self.read(self.words["field"].format(name=question.name, values=", ".join(question.values)))
        if question.values:  # a list of its own, in columns
            self.line(self.words["free"].format(name=question.name).rstrip())
            for row in in_columns(question.values):
                self.line(f"  {row}")
        return self.read(self.words["free"].format(name=question.name))

    def read(self, prompt: str) -> str | None:
        """One line without blanks around it; None at the end of the input."""
        self.line(prompt, end="")
        told = typed_line()
        if not sys.stdin.isatty():
            self.line(told.rstrip("\n"))
        return told.strip() if told else None

    def show(self, answers: list[Scored], why: str) -> None:
        if not answers:
            self.say("nothing", why=self.words["why"].format(why=why) if why else "")
            return
        self.say("list")
        for line in columns(
            [[str(n), one.item_id, one.title] for n, one in enumerate(answers, start=1)], ["", "item", "title"], right=(0,)
        ):
            self.line(line)


def in_columns(values: Sequence[str]) -> list[str]:
    """Values in columns of one width, read from left to right, lines of at most WIDE characters."""
    width = max(map(len, values)) + 2
    many = max(WIDE // width, 1)
    return ["".join(value.ljust(width) for value in values[start : start + many]).rstrip() for start in range(0, len(values), many)]
