"""Numbers in typed texts: in digits, in words, with units, as bounds of the field that they speak of; a number is read whole or not at all."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m6rec.data.dataset import FieldType, Table, Vocabulary
from m6rec.text.constraints import understand
from m6rec.text.cues import built_in_cues
from m6rec.text.field_names import FieldNames
from m6rec.text.spelled_numbers import NumberWords

SHELF = Table(
    Vocabulary(["a", "b", "c"]),
    pl.DataFrame({"title": ["a", "b", "c"], "price": [5.0, 60.0, 5000.0], "rating": [1.0, 4.0, 5.0], "year": [1985.0, 1999.0, 2005.0]}),
    {"title": FieldType.TEXT, "price": FieldType.NUMBER, "rating": FieldType.NUMBER, "year": FieldType.NUMBER},
)
NAMES = FieldNames(SHELF)
SPELLED = NumberWords(built_in_cues())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("two hundred", [200]),
        ("one hundred and fifty", [150]),
        ("twenty five", [25]),
        ("twenty-five", [25]),
        ("a hundred", [100]),
        ("half a hundred", [50]),
        ("two thousand three hundred and forty-five", [2345]),
        ("nineteen ninety-five", [1995]),
        ("fifty and a hundred", [50, 100]),
        ("a hundred and a thousand", [100, 1000]),
        ("1,000", [1000]),
        ("1.5k", [1500]),
        ("1e5", [100000]),
        ("1.000,50", [1000.5]),
        ("1.000.000", [1000000]),
        ("0.125", [0.125]),
        ("2 thousand", [2000]),
        ("several hundred", [None]),
        ("twenty odd", [None]),
        ("二百", [200]),
        ("两百五", [250]),
        ("一百五十", [150]),
        ("二十五", [25]),
        ("一千零五十", [1050]),
        ("三千五", [3500]),
        ("1.5万", [15000]),
        ("2百", [200]),
        ("一九九五", [1995]),
        ("几百", [None]),
        ("二三十", [None]),
        ("一百多", [None]),
    ],
)
def test_numbers_in_words(text: str, values: list[float | None]) -> None:
    assert [number.value for number in SPELLED.found(text)] == values


MARKET = FieldNames(
    Table(
        Vocabulary(["a", "b"]),
        pl.DataFrame({"title": ["a", "b"], "price": [0.5, 2500.0], "rating": [1.0, 5.0], "weight": [2000.0, 9000.0]}),
        {"title": FieldType.TEXT, "price": FieldType.NUMBER, "rating": FieldType.NUMBER, "weight": FieldType.NUMBER},
    )
)


@pytest.mark.parametrize(
    ("text", "constraints"),
    [
        ("under 1.000 €", ["price < 1000"]),
        ("under €1.000", ["price < 1000"]),
        ("under 1.000 euros", ["price < 1000"]),
        ("between 1.000 and 2.000 dollars", ["price >= 1000", "price <= 2000"]),
        ("under 1.000,50", ["price < 1000.5"]),
        ("under 1,000", ["price < 1000"]),
        ("under 1.000", []),  # both 1 and 1000 are prices here
        ("price under 1.000", []),
        ("at least 4.125 stars", ["rating >= 4.125"]),
        ("over 4.500 grams", ["weight > 4500"]),
        ("over 1.0001", ["price > 1.0001"]),
        ("over 0.750", ["price > 0.75"]),
        ("under 12.50 €", ["price < 12.5"]),
    ],
)
def test_a_point_before_three_digits_is_read_where_it_is_sure(text: str, constraints: list[str]) -> None:
    typed = understand(text, MARKET)
    assert [str(one) for one in typed.constraints] == constraints
    assert constraints or typed.wanted == text, "what is not sure is scored"


ONES = ["", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
        "sixteen", "seventeen", "eighteen", "nineteen"]  # fmt: skip
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def english(number: int) -> str:
    if number < 20:
        return ONES[number]
    if number < 100:
        return f"{TENS[number // 10]}-{ONES[number % 10]}".strip("-")
    if number < 1000:
        return f"{ONES[number // 100]} hundred and {english(number % 100)}".removesuffix(" and ")
    return f"{english(number // 1000)} thousand {english(number % 1000)}".strip()


def chinese(number: int) -> str:
    said, gap = "", False
    for scale, sign in ((10000, "万"), (1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, scale)
        if digit:
            said += ("零" if gap and said else "") + "零一二三四五六七八九"[digit] + sign
        gap = digit == 0
    return said


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 99_999))
def test_every_number_is_read_as_it_is_written(number: int) -> None:
    for words in (english(number), chinese(number), str(number), f"{number:,}"):
        assert [one.value for one in SPELLED.found(words)] == [number], words


@pytest.mark.parametrize(
    ("text", "constraints"),
    [
        ("under two hundred", ["price < 200"]),
        ("under twenty-five dollars", ["price < 25"]),
        ("二百元以内", ["price <= 200"]),
        ("一千元以内", ["price <= 1000"]),
        ("under 1e5", ["price < 100000"]),
        ("under 50%", []),
        ("under several hundred", []),
        ("几百元以内", []),
        ("一百多块", []),
        ("<50", ["price < 50"]),
        ("price < 50", ["price < 50"]),
        ("<= 50", ["price <= 50"]),
        ("at the most 50", ["price <= 50"]),
        ("I only have 50 dollars", ["price <= 50"]),
        ("for 50 dollars", ["price <= 50"]),
        ("I've got 50 dollars", ["price <= 50"]),
        ("my max is 50", ["price <= 50"]),
        ("for 50 people", []),
        ("I <3 this", []),
        ("starting at 20", ["price >= 20"]),
        ("price range 50 to 100", ["price >= 50", "price <= 100"]),
        ("boots 40 to 42", []),
        ("50-100", []),
        ("between fifty and a hundred dollars", ["price >= 50", "price <= 100"]),
        ("two to three hundred dollars", ["price >= 200", "price <= 300"]),
        ("2-3k dollars", ["price >= 2000", "price <= 3000"]),
        ("十到一百元", ["price >= 10", "price <= 100"]),
        ("价格在50到100之间", ["price >= 50", "price <= 100"]),
        ("最多只能花50元", ["price <= 50"]),
        ("我有50块", ["price <= 50"]),
        ("九块九以下", ["price <= 9.9"]),
        ("9块9包邮以内", []),
        ("50元2个", []),
        ("全家一起看", []),
        ("from the nineties", ["year >= 1990", "year <= 1999"]),
        ("九十年代", ["year >= 1990", "year <= 1999"]),
        ("in her nineties", []),
        ("before the nineties", ["year < 1990"]),
        ("after the 90s", ["year > 1999"]),
        ("90年代以后", ["year >= 1990"]),
        ("from the eighties to the nineties", ["year >= 1980", "year <= 1999"]),
        ("pre-1990", ["year < 1990"]),
        ("from 1985 to 1995", ["year >= 1985", "year <= 1995"]),
        ("1985年到1995年", ["year >= 1985", "year <= 1995"]),
        ("1985-1995年", ["year >= 1985", "year <= 1995"]),
        ("from 1990 or 1995", ["year >= 1990", "year <= 1995", "year is not 1991 to 1994"]),
        ("from 1990, 1995 or 2000", ["year >= 1990", "year <= 2000", "year is not 1991 to 1994 or 1996 to 1999"]),
        ("1990或1995年", ["year >= 1990", "year <= 1995", "year is not 1991 to 1994"]),
        ("from 20 up to 40", ["price >= 20", "price <= 40"]),
        ("at least four stars", ["rating >= 4"]),
    ],
)
def test_bounds(text: str, constraints: list[str]) -> None:
    assert [str(constraint) for constraint in understand(text, NAMES).constraints] == constraints
