"""The plan of the ACR replay: every row accounted for, every retired serial inside its batch."""

from __future__ import annotations

import csv
import datetime as dt
import os
import random
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.replay.tables import MAX_TEXT_CHARS, RefusedRow
from cli.replay.vrod_plan import (
    DefineAsset,
    DefineHolder,
    Instruction,
    Issue,
    Plan,
    Retire,
    plan_directory,
    plan_rows,
)
from cli.replay.vrod_rows import (
    ISSUANCES_FILE,
    RETIREMENTS_FILE,
    IssuanceRow,
    RetirementRow,
    read_issuances,
    read_retirements,
)
from kernel.errors import Refused

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "vectors" / "vrod"
FOREST = "ACR-CN-901-2019-11"  # 兰州新区's forest: 10,000 t for the project, 2,000 t for the buffer

BAD_ROWS = [
    (ISSUANCES_FILE, 10, "DATE_UNREADABLE"),
    (ISSUANCES_FILE, 11, "NUMBER_NEGATIVE"),
    (ISSUANCES_FILE, 12, "NUMBER_FRACTIONAL"),
    (ISSUANCES_FILE, 13, "NUMBER_TOO_LARGE"),
    (ISSUANCES_FILE, 14, "NUMBER_UNREADABLE"),
    (ISSUANCES_FILE, 15, "VALUE_MISSING"),
    (ISSUANCES_FILE, 16, "TOTAL_NOT_SUM"),
    (ISSUANCES_FILE, 17, "QUANTITY_ZERO"),
    (ISSUANCES_FILE, 18, "CELLS_MISSING_OR_EXTRA"),
    (ISSUANCES_FILE, 19, "ROW_BLANK"),
    (ISSUANCES_FILE, 20, "PROJECT_UNREADABLE"),
    (ISSUANCES_FILE, 21, "VINTAGE_UNREADABLE"),
    (ISSUANCES_FILE, 22, "YEAR_DISAGREES"),
    (ISSUANCES_FILE, 23, "TEXT_UNPRINTABLE"),
    (ISSUANCES_FILE, 24, "VALUE_MISSING"),
    (RETIREMENTS_FILE, 12, "DATE_UNREADABLE"),
    (RETIREMENTS_FILE, 13, "QUANTITY_NOT_RANGE"),
    (RETIREMENTS_FILE, 14, "SERIALS_UNREADABLE"),
    (RETIREMENTS_FILE, 15, "SERIALS_REVERSED"),
    (RETIREMENTS_FILE, 16, "SERIALS_DISAGREE"),
    (RETIREMENTS_FILE, 17, "UNKNOWN_ISSUANCE"),
    (RETIREMENTS_FILE, 18, "RETIRED_BEFORE_ISSUED"),
    (RETIREMENTS_FILE, 19, "BATCH_OF_TWO_ISSUANCES"),
    (RETIREMENTS_FILE, 21, "SERIALS_EXCEED_ISSUANCE"),
    (RETIREMENTS_FILE, 24, "NO_BATCH_LEFT"),
    (RETIREMENTS_FILE, 25, "NUMBER_NEGATIVE"),
    (RETIREMENTS_FILE, 26, "NUMBER_FRACTIONAL"),
    (RETIREMENTS_FILE, 27, "NUMBER_TOO_LARGE"),
    (RETIREMENTS_FILE, 28, "VALUE_MISSING"),
    (RETIREMENTS_FILE, 29, "CELLS_MISSING_OR_EXTRA"),
    (RETIREMENTS_FILE, 30, "YEAR_DISAGREES"),
]


@pytest.fixture(scope="module")
def sample() -> Plan:
    return plan_directory(SAMPLE)


def issues_of(plan: Plan) -> list[Issue]:
    return [each for each in plan.instructions if isinstance(each, Issue)]


def retires_of(plan: Plan) -> list[Retire]:
    return [each for each in plan.instructions if isinstance(each, Retire)]


def ranges_of_row(plan: Plan, row: int) -> list[tuple[str, int, int]]:
    return [(each.batch, each.first, each.last) for each in issues_of(plan) if each.row == row]


def check(plan: Plan) -> None:
    """What must hold of every plan, whatever the tables said."""
    keys = Counter(each.key for each in plan.instructions)
    assert max(keys.values(), default=1) == 1, "two instructions share an id"

    defined: set[str] = set()
    batches: dict[str, Issue] = {}
    by_row: defaultdict[tuple[str, int], int] = defaultdict(int)
    for each in plan.instructions:
        if isinstance(each, DefineHolder):
            defined.add(each.key)
        elif isinstance(each, DefineAsset):
            defined.add(each.asset)
        elif isinstance(each, Issue):
            assert each.batch not in batches, "one batch issued twice"
            assert each.asset in defined
            assert each.legs[0].first == each.first
            assert each.legs[-1].last == each.last
            assert all(leg.holder in defined for leg in each.legs)
            assert all(leg.quantity_t == leg.last - leg.first + 1 > 0 for leg in each.legs)
            batches[each.batch] = each
            by_row[each.asset.split("-")[1], each.row] += each.last - each.first + 1
        else:
            batch = batches[each.batch]  # issued before, or this fails
            assert batch.asset == each.asset
            assert batch.first <= each.first <= each.last <= batch.last
            assert each.quantity_t == each.last - each.first + 1
            assert each.holder in {leg.holder for leg in batch.legs}
            assert batch.on <= each.on

    counts = plan.counts
    issued_rows = {each.row for each in issues_of(plan)}
    refused = Counter(row.file for row in plan.refused)
    assert len({(row.file, row.row) for row in plan.refused}) == len(plan.refused)
    assert len(issued_rows) + refused[ISSUANCES_FILE] == counts.issuance_rows
    assert len(retires_of(plan)) + refused[RETIREMENTS_FILE] == counts.retirement_rows
    assert sum(by_row.values()) == sum(plan.issued_t.values())
    assert sum(each.quantity_t for each in retires_of(plan)) == sum(plan.retired_t.values())
    assert counts.batches == len(batches)
    assert counts.batches == (
        counts.batches_with_published_id + counts.batches_with_made_id + counts.batches_cut_off
    )


def test_the_sample_plan_keeps_every_promise(sample: Plan) -> None:
    check(sample)


def test_each_kind_of_bad_row_is_refused_by_its_reason_and_spreadsheet_row(sample: Plan) -> None:
    assert [(row.file, row.row, row.reason) for row in sample.refused] == BAD_ROWS


def test_a_refusal_says_what_was_expected_and_what_came(sample: Plan) -> None:
    messages = {(row.file, row.row): row.message for row in sample.refused}
    assert messages[ISSUANCES_FILE, 16] == (
        "total credits issued: expected project 60 + buffer 30 = 90, got '100'"
    )
    assert messages[RETIREMENTS_FILE, 21] == (
        "expected at most 50 serials of ACR-CN-905-2020-51, got 60"
    )
    assert all(", got " in message for message in messages.values())


def test_good_rows_after_bad_ones_still_go_in(sample: Plan) -> None:
    assert sample.counts.issuance_rows == 25
    assert sample.counts.retirement_rows == 30
    assert ranges_of_row(sample, 26) == [("ACR901-2019-20200701-made-1", 1, 70)]
    assert sample.issued_t == {
        "ACR901": 12_570,
        "ACR902": 1_600,
        "ACR903": 500,
        "ACR904": 200,
        "ACR905": 50,
    }


def test_rows_are_counted_as_records_where_cells_hold_newlines(sample: Plan) -> None:
    # rows 2, 3 and 26 of the forest have a two-line place name; its retirement row 3 two-line words
    assert {each.row for each in issues_of(sample) if each.asset == "ACR-901-2018"} == {3}
    words = {each.row: each.details for each in retires_of(sample)}
    assert words[3] == "first day, line 1 line 2"


def test_definitions_come_first_then_days_then_issues_then_file_order(sample: Plan) -> None:
    kinds = [type(each) for each in sample.instructions]
    assert kinds[:13] == [DefineHolder] * 6 + [DefineAsset] * 7
    dated = [each for each in sample.instructions if isinstance(each, Issue | Retire)]
    order = [(each.on, isinstance(each, Retire), each.row) for each in dated]
    assert order == sorted(order)
    same_day = [each for each in dated if each.on == dt.date(2020, 6, 1)]
    assert [type(each) for each in same_day] == [Issue, Issue, Issue, Retire]


def test_an_asset_is_serialised_whole_tonnes_of_one_project_and_vintage(sample: Plan) -> None:
    forest = next(each for each in sample.instructions if isinstance(each, DefineAsset))
    assert forest == DefineAsset(
        key="vrod-2021/asset/ACR-901-2018",
        asset="ACR-901-2018",
        project="ACR901",
        vintage=2018,
        name="兰州新区丝路造林 2018",
        row=3,
    )
    assert (forest.programme, forest.asset_class, forest.unit) == ("ACR", "credit", "t")
    assert forest.decimals == 0
    assert forest.serialised


def test_the_buffer_part_is_a_batch_of_its_own_held_by_the_pool(sample: Plan) -> None:
    project, buffer = (each for each in issues_of(sample) if each.row == 2)
    assert (project.batch, project.first, project.last) == (FOREST, 1, 10_000)
    assert (buffer.batch, buffer.first, buffer.last) == ("ACR-CN-901-2019-12", 1, 2_000)
    assert project.legs[0].holder == "vrod-2021/holder/ACR901"
    assert buffer.legs[0].holder == "vrod-2021/holder/buffer-pool"
    released = next(each for each in retires_of(sample) if each.row == 4)
    assert released.holder == "vrod-2021/holder/buffer-pool"


def test_a_batch_no_retirement_names_gets_a_made_id_and_serials_from_one(sample: Plan) -> None:
    assert ranges_of_row(sample, 3) == [("ACR901-2018-20200601-made-1", 1, 500)]


def test_an_old_range_ends_before_the_next_batch_of_the_running_numbering(sample: Plan) -> None:
    # Meishan's retired serials begin at 213000101, but 1,000 t from there would reach into the next
    assert ranges_of_row(sample, 4) == [("ACR-CN-902-2010-21", 212_999_900, 213_000_899)]


def test_a_part_is_cut_where_the_registry_skipped_serials(sample: Plan) -> None:
    assert ranges_of_row(sample, 5) == [
        ("ACR-CN-902-2011-22", 213_000_900, 213_001_199),
        ("ACR-CN-902-2011-22-p2", 213_001_300, 213_001_599),
    ]
    assert any(
        "issuance row 5" in sentence and "cut in 2" in sentence for sentence in sample.choices
    )


def test_a_run_that_fills_an_issuance_to_its_last_serial_gets_it(sample: Plan) -> None:
    # by batch number 31 would come first and take the larger row; but it ends exactly at 200
    assert ranges_of_row(sample, 6) == [("ACR-CN-903-2014-32", 1, 300)]
    assert ranges_of_row(sample, 7) == [("ACR-CN-903-2014-31", 1, 200)]


def test_an_equal_issuance_row_is_another_issuance_with_its_own_id(sample: Plan) -> None:
    first, second = (each for each in issues_of(sample) if each.row in {8, 9})
    assert first.key.replace("-1/project", "-2/project") == second.key
    assert first.batch != second.batch
    assert any("issuance row 9 equals row 8" in sentence for sentence in sample.choices)


def test_a_double_retirement_is_left_for_the_service_to_refuse(sample: Plan) -> None:
    rows = [each.row for each in retires_of(sample) if (each.first, each.last) == (3_999, 4_010)]
    assert rows == [10, 11]
    assert any("retirement row 11 equals row 10" in sentence for sentence in sample.choices)


def test_a_retirement_without_words_goes_in_and_is_said_to_be_nameless(sample: Plan) -> None:
    silent = next(each for each in retires_of(sample) if each.row == 31)
    assert (silent.account_holder, silent.reason, silent.details) == ("", "", "")
    assert any("retirement rows 31" in sentence for sentence in sample.unchecked)


def test_two_runs_make_the_same_plan(sample: Plan) -> None:
    assert plan_directory(SAMPLE) == sample


def test_another_data_set_has_other_ids(sample: Plan) -> None:
    other = plan_directory(SAMPLE, dataset="vrod-2022")
    ours = {each.key for each in sample.instructions}
    assert ours.isdisjoint(each.key for each in other.instructions)


def without_row(each: Instruction) -> Instruction:
    return msgspec.structs.replace(each, row=0)


@pytest.mark.parametrize("seed", range(5))
def test_reordered_rows_give_the_same_instructions_under_the_same_ids(
    sample: Plan, tmp_path: Path, seed: int
) -> None:
    for name in (ISSUANCES_FILE, RETIREMENTS_FILE):
        with (SAMPLE / name).open(encoding="utf-8", newline="") as lines:
            header, *rows = csv.reader(lines)
        random.Random(seed).shuffle(rows)
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as lines:
            csv.writer(lines).writerows([header, *rows])
    shuffled = plan_directory(tmp_path)
    check(shuffled)
    before = {each.key: without_row(each) for each in sample.instructions}
    after = {each.key: without_row(each) for each in shuffled.instructions}
    assert after == before


def write_tables(directory: Path, name: str, old: bytes, new: bytes) -> None:
    for file in (ISSUANCES_FILE, RETIREMENTS_FILE):
        content = (SAMPLE / file).read_bytes()
        if file == name:
            assert content.count(old) == 1
            content = content.replace(old, new)
        (directory / file).write_bytes(content)


@pytest.mark.parametrize(
    ("old", "new", "row", "reason"),
    [
        (b"released from the buffer", b"released \xff from", 4, "TEXT_NOT_UTF8"),
        (b"released from the buffer", b"x" * (MAX_TEXT_CHARS + 1), 4, "TEXT_TOO_LONG"),
        (b"released from the buffer", b'"released" from', 4, "CSV_BROKEN"),
        (b"11-1 to 4000", b"11-0 to 3999", 2, "SERIALS_REVERSED"),
        (b"8/1/20", b"", 2, "VALUE_MISSING"),
        (b"8/1/20", b"2020-08-01", 2, "DATE_UNREADABLE"),
        (b'"4,000"', b'"40,00"', 2, "NUMBER_UNREADABLE"),
        (b'"4,000"', b"9" * 5_000, 2, "TEXT_TOO_LONG"),
        (b'"4,000"', b"9" * 900, 2, "NUMBER_TOO_LARGE"),
    ],
)
def test_a_damaged_cell_costs_its_own_row_only(
    sample: Plan, tmp_path: Path, old: bytes, new: bytes, row: int, reason: str
) -> None:
    write_tables(tmp_path, RETIREMENTS_FILE, old, new)
    plan = plan_directory(tmp_path)
    check(plan)
    fresh = set(plan.refused) - set(sample.refused)
    assert [(each.row, each.reason) for each in fresh] == [(row, reason)]
    assert plan.counts.retirement_rows == sample.counts.retirement_rows


def test_a_quote_left_open_is_refused_with_the_lines_it_swallowed(tmp_path: Path) -> None:
    write_tables(tmp_path, RETIREMENTS_FILE, b"ACR904,2015,,10", b'ACR904,2015,"')
    plan = plan_directory(tmp_path)
    check(plan)
    last = plan.refused[-1]
    assert (last.row, last.reason) == (28, "CSV_BROKEN")
    assert last.message.startswith("lines ")


def test_a_four_digit_year_and_a_byte_order_mark_are_read(tmp_path: Path, sample: Plan) -> None:
    write_tables(tmp_path, RETIREMENTS_FILE, b"8/1/20", b"8/1/2020")
    path = tmp_path / ISSUANCES_FILE
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert plan_directory(tmp_path).refused == sample.refused


def test_a_missing_table_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=ISSUANCES_FILE) as caught:
        plan_directory(tmp_path)
    assert caught.value.reason == "FILE_MISSING"


@pytest.mark.parametrize("new", [b"Vintage Year", b"Project ID"])
def test_a_header_without_its_columns_is_refused(tmp_path: Path, new: bytes) -> None:
    write_tables(tmp_path, ISSUANCES_FILE, b"Vintage", new)
    with pytest.raises(Refused, match="Vintage") as caught:
        list(read_issuances(tmp_path))
    assert caught.value.reason == "HEADER_BROKEN"


def test_an_empty_table_is_refused_for_its_header(tmp_path: Path) -> None:
    (tmp_path / RETIREMENTS_FILE).write_bytes(b"")
    with pytest.raises(Refused, match="Offset Credit Serial Numbers"):
        list(read_retirements(tmp_path))


# Shenzhen compost: small tables at random, so that prefixes compete for parts in every way.

DAY = dt.date(2015, 1, 9)


@st.composite
def issuance_rows(draw: st.DrawFn) -> list[IssuanceRow]:
    sizes = draw(
        st.lists(
            st.tuples(st.integers(0, 30), st.integers(0, 12)).filter(lambda size: sum(size) > 0),
            max_size=4,
        )
    )
    return [
        IssuanceRow(
            row=number + 2,
            digest=f"{number:02x}" * 32,
            ordinal=1,
            issued_on=DAY,
            project="ACR903",
            project_name="Shenzhen Food Waste Composting",
            vintage=2014,
            total_t=project_t + buffer_t,
            project_t=project_t,
            buffer_t=buffer_t,
        )
        for number, (project_t, buffer_t) in enumerate(sizes)
    ]


@st.composite
def retirement_rows(draw: st.DrawFn) -> list[RetirementRow]:
    ranges = draw(
        st.lists(
            st.tuples(
                st.integers(1, 4), st.integers(1, 45), st.integers(0, 12), st.integers(-1, 3)
            ),
            max_size=12,
        )
    )
    return [
        RetirementRow(
            row=number + 2,
            digest=f"{number:02x}" * 32,
            ordinal=1,
            retired_on=DAY + dt.timedelta(days=later),
            issued_on=DAY,
            project="ACR903",
            vintage=2014,
            prefix=f"ACR-CN-903-2014-{batch}",
            batch_number=batch,
            first=first,
            last=first + more,
            quantity_t=more + 1,
            account_holder="深圳湾堆肥",
            reason="Other",
            details="",
        )
        for number, (batch, first, more, later) in enumerate(ranges)
    ]


@given(issuance_rows(), retirement_rows(), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_any_tables_give_a_plan_that_keeps_every_promise_in_any_order(
    issued: list[IssuanceRow], retired: list[RetirementRow], chance: random.Random
) -> None:
    plan = plan_rows(issued, retired)
    check(plan)
    mixed_issued: list[IssuanceRow | RefusedRow] = [*issued]
    mixed_retired: list[RetirementRow | RefusedRow] = [*retired]
    chance.shuffle(mixed_issued)
    chance.shuffle(mixed_retired)
    again = plan_rows(mixed_issued, mixed_retired)
    assert set(again.instructions) == set(plan.instructions)
    assert again.refused == plan.refused


# The published tables.


@pytest.fixture(scope="module")
def published() -> Plan:
    directory = ROOT / os.environ.get("TANZHANG_DATA", "../shared/data") / "vrod-2021"
    if not directory.is_dir():
        message = f"the published data are not there: no {directory.name} under TANZHANG_DATA"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return plan_directory(directory)


@pytest.mark.real_data
def test_the_published_tables_keep_every_promise_and_no_row_is_refused(published: Plan) -> None:
    check(published)
    assert published.refused == ()
    assert published.counts.issuance_rows == 1_053
    assert published.counts.retirement_rows == 2_637


@pytest.mark.real_data
def test_the_published_tonnes_are_all_planned(published: Plan) -> None:
    assert sum(published.issued_t.values()) == 199_823_611
    assert sum(published.retired_t.values()) == 13_912_689
    assert sum(each.last - each.first + 1 for each in issues_of(published)) == 199_823_611
    assert sum(each.quantity_t for each in retires_of(published)) == 13_912_689


@pytest.mark.real_data
def test_no_published_serial_is_retired_twice(published: Plan) -> None:
    by_batch: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for each in retires_of(published):
        by_batch[each.batch].append((each.first, each.last))
    for ranges in by_batch.values():
        ranges.sort()
        pairs = pairwise(ranges)
        assert all(before[1] < after[0] for before, after in pairs)


@pytest.mark.real_data
def test_published_batches_of_the_running_numbering_never_overlap(published: Plan) -> None:
    running = sorted((each.first, each.last) for each in issues_of(published) if each.first > 1)
    assert len(running) == 155
    assert all(before[1] < after[0] for before, after in pairwise(running))


@pytest.mark.real_data
def test_published_buffer_credits_have_batches_of_their_own(published: Plan) -> None:
    assert published.counts.buffer_batches == 246
    assert published.counts.batches_with_published_id == 437
    assert published.counts.batches_with_made_id == 861
    # row 467 issued 127,103 t to ACR212 and 31,776 t to the buffer: both ends were retired exactly
    assert ranges_of_row(published, 467) == [
        ("ACR-US-212-2018-1153", 1, 127_103),
        ("ACR-US-212-2018-1154", 1, 31_776),
    ]


@pytest.mark.real_data
def test_the_one_published_batch_with_skipped_serials_is_cut_there(published: Plan) -> None:
    assert published.counts.batches_cut_off == 1
    assert ranges_of_row(published, 61) == [
        ("ACR-US-114-2009-144", 213_006_540, 213_007_313),
        ("ACR-US-114-2009-144-p2", 213_007_426, 213_007_658),
    ]
