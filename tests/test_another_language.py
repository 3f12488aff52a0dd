"""A language that the package has not: one file in each room of words, in the form of the English one, and every part speaks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import m6rec

ROOMS = {  # folder of words -> what its English file says, and what the new one says in its place
    "text/templates": ("nothing: an item without description", "nothing: un produs fără descriere"),
    "text/conversations": ("language: en", "language: ro"),
    "explanation/languages": ("under: [under, ", "under: [sub, "),
    "serving/onboarding/words": ("For you:", "Pentru tine:"),
    "serving/console/languages": ("name: English", "name: Română"),
}
SAID = """
import polars as pl
from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.explanation.phrases import language_of
from m6rec.serving.console.phrases import languages
from m6rec.serving.onboarding.form import words
from m6rec.text.config import TextConfig
from m6rec.text.constraints import understand
from m6rec.text.phrases import built_in_phrases
from m6rec.text.wording import Wording

films = Table(Vocabulary(["a"]), pl.DataFrame({"genres": [["Horror"]]}), {"genres": FieldType.TAGS})
print(*understand("ceva fără Horror", films).constraints)
print(language_of("ro").claims.under[0], built_in_phrases("ro").language, words("ro")["list"], languages()["ro"].texts["name"])
table = language_of("ro").table
print(table.lift, table.share, table.kinds["event"], table.kinds["item"], table.parts["text"])
print(Wording(TextConfig.build({"language": "ro"}).language).item({}, {}))
"""


def test_a_language_is_a_file_in_each_room_of_words(tmp_path: Path) -> None:
    package = tmp_path / "m6rec"
    shutil.copytree(Path(m6rec.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for room, (english, other) in ROOMS.items():
        text = (package / room / "en.yaml").read_text(encoding="utf-8")
        assert english in text, room
        (package / room / "ro.yaml").write_text(text.replace(english, other, 1), encoding="utf-8")
    told = package / "explanation/languages/ro.yaml"  # the table came later: what a file does not say of it is said in English
    begun = told.read_text(encoding="utf-8").partition("# table ")[0]
    told.write_text(begun + "table: {lift: efect, kinds: {event: fapt}}\n", encoding="utf-8")
    (package / "text/cues/ro.yaml").write_text("not: [fără]\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", SAID],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "genres is not Horror",
        "sub ro Pentru tine: Română",
        "efect share fapt item alike in words",
        "un produs fără descriere",
    ]
