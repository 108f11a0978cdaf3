"""Plain values: credit codes by GB 32100-2015, instants, fen, text for records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import Kind, Refused
from kernel.values import (
    MAX_INSTANT_MS,
    check_text,
    check_uscc,
    format_fen,
    format_instant,
    parse_instant,
    uscc_check_character,
)

# Codes of well-known companies, from the public register: nobody here computed their last letter.
PUBLISHED = ["914403001922038216", "9144030071526726XG", "91330100799655058B"]

LETTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
# The table printed in GB 32100-2015: weights 3^(i-1) mod 31.
WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)

first_17 = st.builds(
    lambda kind, region, body: kind + region + body,
    st.text(LETTERS, min_size=2, max_size=2),
    st.text("0123456789", min_size=6, max_size=6),
    st.text(LETTERS, min_size=9, max_size=9),
)


def check_by_the_standard(first: str) -> str:
    """GB 32100-2015, 5.3, word for word: C18 = 31 - MOD(sum of Ci x Wi, 31), 31 standing for 0."""
    c18 = 31 - sum(LETTERS.index(c) * w for c, w in zip(first, WEIGHTS, strict=True)) % 31
    return LETTERS[c18 % 31]


@pytest.mark.parametrize("code", PUBLISHED)
def test_a_published_credit_code_is_accepted(code: str) -> None:
    assert check_uscc(code) == code
    assert check_by_the_standard(code[:17]) == code[17]


@given(first_17)
def test_the_check_character_is_the_standards(first: str) -> None:
    assert uscc_check_character(first) == check_by_the_standard(first)
    assert check_uscc(first + check_by_the_standard(first))


@pytest.mark.parametrize("code", PUBLISHED)
def test_every_other_check_character_is_refused_with_the_right_one(code: str) -> None:
    for wrong in set(LETTERS) - {code[17]}:
        with pytest.raises(Refused) as caught:
            check_uscc(code[:17] + wrong)
        assert caught.value.reason == "USCC_CHECK_CHARACTER"
        assert caught.value.details == {"expected": code[17], "actual": wrong}


@given(first_17, st.integers(0, 16), st.sampled_from(LETTERS))
def test_one_changed_character_never_passes(first: str, at: int, other: str) -> None:
    code = first + check_by_the_standard(first)
    changed = code[:at] + other + code[at + 1 :]
    if changed == code:
        return
    with pytest.raises(Refused):
        check_uscc(changed)


@pytest.mark.parametrize("forbidden", list("IOSVZ") + list("abcz -"))
def test_letters_the_standard_leaves_out_are_refused(forbidden: str) -> None:
    with pytest.raises(Refused) as caught:
        check_uscc("91" + "440300" + forbidden + "922038216")
    assert (caught.value.reason, caught.value.kind) == ("USCC_MALFORMED", Kind.INVALID)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "91440300192203821",
        "9144030019220382161",
        "914403001922038216\n",
        "91４４０３００192203821G",  # full-width digits, as a Chinese keyboard writes them
        "91٤٤٠٣٠٠192203821G",
        "91A40300192203821G",
    ],
)
def test_what_is_no_credit_code_is_refused_and_never_breaks(code: str) -> None:
    with pytest.raises(Refused) as caught:
        check_uscc(code)
    assert caught.value.reason == "USCC_MALFORMED"


@given(st.integers(-62_135_596_800_000, MAX_INSTANT_MS))
def test_an_instant_comes_back_as_it_went(at_ms: int) -> None:
    text = format_instant(at_ms)
    assert len(text) == 24
    assert parse_instant(text) == at_ms


@given(st.integers(0, MAX_INSTANT_MS), st.integers(0, MAX_INSTANT_MS))
def test_instants_sort_as_their_text_does(one_ms: int, other_ms: int) -> None:
    assert (one_ms < other_ms) == (format_instant(one_ms) < format_instant(other_ms))


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_795_163_400_007, "2026-11-20T08:30:00.007Z"),
        (MAX_INSTANT_MS, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_known_instants_have_known_texts(at_ms: int, text: str) -> None:
    assert format_instant(at_ms) == text
    assert parse_instant(text) == at_ms


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T08:30:00Z",
        "2026-11-20T08:30:00.00Z",
        "2026-11-20T08:30:00.0000Z",
        "2026-11-20T08:30:00.000+00:00",
        "2026-11-20 08:30:00.000Z",
        "2026-11-20t08:30:00.000z",
        "2026-02-30T08:30:00.000Z",
        "2026-11-20T24:00:00.000Z",
        "２０２６-11-20T08:30:00.000Z",
        "",
    ],
)
def test_any_other_spelling_of_an_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_instant(text)


@pytest.mark.parametrize("at_ms", [MAX_INSTANT_MS + 1, -62_135_596_800_001, 2**60])
def test_an_instant_rfc_3339_cannot_write_is_refused(at_ms: int) -> None:
    with pytest.raises(ValueError, match=str(at_ms)):
        format_instant(at_ms)


@pytest.mark.parametrize(
    ("fen", "text"),
    [
        (50_328_000, "503,280.00"),
        (0, "0.00"),
        (7, "0.07"),
        (-7, "-0.07"),
        (-100, "-1.00"),
        (2**53 - 1, "90,071,992,547,409.91"),
    ],
)
def test_fen_are_shown_as_yuan(fen: int, text: str) -> None:
    assert format_fen(fen) == text


@pytest.mark.parametrize("text", ["兰州新区碳票", "a" * 10, "tea & 茶", " "])
def test_printable_text_passes(text: str) -> None:
    assert check_text(text, "name", 10) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "MISSING_VALUE"),
        ("a" * 11, "TEXT_TOO_LONG"),
        ("two\nlines", "TEXT_NOT_PRINTABLE"),
        ("tab\t", "TEXT_NOT_PRINTABLE"),
        ("nul\x00", "TEXT_NOT_PRINTABLE"),
        ("del\x7f", "TEXT_NOT_PRINTABLE"),
        ("half\ud800", "TEXT_NOT_PRINTABLE"),
    ],
)
def test_other_text_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(Refused) as caught:
        check_text(text, "name", 10)
    assert caught.value.reason == reason
    assert caught.value.kind == Kind.INVALID
    assert caught.value.details["field"] == "name"


def test_absent_text_passes_where_it_may_be_absent() -> None:
    assert check_text("", "ref", 10, required=False) == ""


def test_a_text_too_long_is_told_both_lengths() -> None:
    with pytest.raises(Refused) as caught:
        check_text("a" * 11, "name", 10)
    assert caught.value.details == {"field": "name", "limit": 10, "actual": 11}
