"""Pledges and releases: both signatures, one lien a serial, loan over value to the basis point.

The published deal: 12,000 t at 41.94 CNY/t are worth 503,280.00 CNY, pledged for 495,000.00 CNY: a
loan-to-value of 98.35 % and a break-even of 41.25 CNY/t. A fixed cap of 70 % would refuse it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kernel.errors import Kind
from kernel.values import DAY_MS
from services.registry.clients import open_pledges, open_releases, pledged_legs, released_legs
from services.registry.domain.commands import (
    CompletePledge,
    CompleteRelease,
    RefusePledge,
    RefuseRelease,
    RegisterPledge,
    SetTerms,
)
from services.registry.domain.events import (
    Levels,
    PledgeRefused,
    PledgeRegistered,
    PledgeReleased,
    PledgeRequested,
    ReleaseRefused,
    ReleaseRequested,
    SerialRange,
    Valuation,
)
from services.registry.domain.rules import break_even_fen_per_t, ltv_bp
from services.registry.domain.state import Refusal, Stage
from tests.support.books import MORNING_MS, person
from tests.support.forest import (
    BATCH,
    CITY_GROUP_KEY,
    CLERK,
    FIRST_BANK,
    FIRST_BANK_KEY,
    LIEN,
    LOAN_FEN,
    MAKER,
    OTHER_CLERK,
    PLEDGED_T,
    REGISTRAR,
    SECOND_BANK,
    SECOND_BANK_KEY,
    TERMS,
    TREASURER,
    VERIFIER_KEY,
    RegistryBook,
    check_registry,
    issued,
    pledge,
    pledge_requested,
    pledged,
    pledged_by,
    release,
    released_by,
)
from tests.support.lanzhou import (
    CITY_GROUP,
    PRICE_FEN_PER_T,
    PROGRAMME,
    STRANGER,
    SYSTEM,
    TICKET,
    TOTAL_FEN,
    TOTAL_T,
)

NO = RefusePledge(LIEN, "INSUFFICIENT_BALANCE", "too little", {"needed": "6000", "available": "1"})
SECOND_LIEN = "l-lanzhoubankbbbbb"


def ask(book: RegistryBook, command: RegisterPledge, **said: Any) -> list[Any]:
    return book.when(command, TREASURER, acts=pledged_by(command), **said)


def refusal(book: RegistryBook, **changed: Any) -> Any:
    command = pledge(**changed)
    return book.refusal(command, TREASURER, acts=pledged_by(command))


# ---- the figures ---------------------------------------------------------------------------------


def test_the_lanzhou_deal_has_its_published_ratios() -> None:
    value_fen = TOTAL_T * PRICE_FEN_PER_T
    assert value_fen == TOTAL_FEN == 50_328_000
    assert ltv_bp(49_500_000, value_fen) == 9835
    assert break_even_fen_per_t(49_500_000, TOTAL_T) == 4125
    assert ltv_bp(PRICE_FEN_PER_T - 4125, PRICE_FEN_PER_T) == 165  # so far the price may fall


@pytest.mark.parametrize(
    ("loan_fen", "value_fen", "expected_bp"),
    [
        (1, 20_000, 1),  # half a basis point: up
        (4999, 100_000_000, 0),
        (5000, 100_000_000, 1),
        (15_000, 100_000_000, 2),
        (10_000, 10_000, 10_000),
        (30_000, 10_000, 30_000),
        (1, 0, 0),  # nothing is pledged any more
        (2**53 - 1, 1, 2**53 - 1),  # beyond what a record holds: the largest number it can
    ],
)
def test_loan_over_value_is_rounded_half_up(
    loan_fen: int, value_fen: int, expected_bp: int
) -> None:
    assert ltv_bp(loan_fen, value_fen) == expected_bp


@pytest.mark.parametrize(
    ("loan_fen", "quantity_t", "expected_fen"), [(100, 3, 34), (99, 3, 33), (1, 3, 1), (7, 0, 0)]
)
def test_break_even_is_rounded_up_to_whole_fen(
    loan_fen: int, quantity_t: int, expected_fen: int
) -> None:
    assert break_even_fen_per_t(loan_fen, quantity_t) == expected_fen


# ---- asking --------------------------------------------------------------------------------------


def test_a_lien_is_asked_for_by_either_side_with_both_signatures() -> None:
    for caller in (TREASURER, CLERK):
        book, command = issued(), pledge()
        assert book.when(command, caller, acts=pledged_by(command)) == [command.pledge]
        (errand,) = open_pledges(book.state)
        assert (errand.id, errand.position) == (book.envelopes[-1].id, book.envelopes[-1].position)
        check_registry(book)


def test_without_a_cap_the_real_deal_passes_at_98_35_percent() -> None:
    command = pledge(quantity_t=TOTAL_T, loan_fen=49_500_000)
    assert len(ask(issued(), command)) == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"lien": "the lien"}, "LIEN_MALFORMED"),
        ({"programme": STRANGER}, "UNKNOWN_PROGRAMME"),
        ({"asset": "tickets"}, "ASSET_MALFORMED"),
        ({"pledgor": "city group"}, "HOLDER_MALFORMED"),
        ({"pledgee": "bank"}, "HOLDER_MALFORMED"),
        ({"pledgee": CITY_GROUP}, "PLEDGED_TO_ONESELF"),
        ({"quantity_t": 0}, "AMOUNT_OUT_OF_RANGE"),
        ({"quantity_t": 2**53}, "AMOUNT_OUT_OF_RANGE"),
        ({"serials": [SerialRange(BATCH, 1, 5999)]}, "SERIALS_DISAGREE"),
        ({"serials": [SerialRange(BATCH, 0, 5999)]}, "RANGE_MALFORMED"),
        ({"serials": [SerialRange(BATCH, 6000, 1)]}, "RANGE_MALFORMED"),
        ({"serials": [SerialRange("", 1, 6000)]}, "MISSING_VALUE"),
        ({"serials": [SerialRange(BATCH, n, n) for n in range(1, 258)]}, "TOO_MANY_RANGES"),
        (
            {"serials": [SerialRange(BATCH, 1, 3000), SerialRange(BATCH, 3000, 5999)]},
            "SERIALS_OVERLAP",
        ),
        ({"loan_fen": 0}, "AMOUNT_OUT_OF_RANGE"),
        ({"rate_bp": -1}, "NUMBER_OUT_OF_RANGE"),
        ({"matures_on": "20271120"}, "DAY_MALFORMED"),
        ({"matures_on": "2026-11-19"}, "MATURITY_PASSED"),
        ({"levels": Levels(9500, 9000, 0)}, "LEVELS_DESCEND"),
        ({"levels": Levels(0, 9000, 9500)}, "LEVELS_DESCEND"),
        ({"levels": Levels(0, -1, 0)}, "NUMBER_OUT_OF_RANGE"),
        ({"valuation": Valuation(0, MORNING_MS, "last trade")}, "AMOUNT_OUT_OF_RANGE"),
        ({"valuation": Valuation(4194, MORNING_MS, "")}, "MISSING_VALUE"),
        ({"valuation": Valuation(4194, MORNING_MS + 1, "last trade")}, "PRICE_FROM_FUTURE"),
        ({"valuation": Valuation(2**52, MORNING_MS, "appraisal")}, "VALUE_TOO_LARGE"),
        ({"notice": "公" * 301}, "TEXT_TOO_LONG"),
    ],
)
def test_a_pledge_that_makes_no_sense_is_refused(changed: dict[str, Any], reason: str) -> None:
    assert refusal(issued(), **changed).reason == reason


@pytest.mark.parametrize(
    "levels",
    [Levels(0, 0, 0), Levels(9900, 10_000, 9850), Levels(0, 9900, 9850), Levels(9900, 9900, 9900)],
    ids=str,
)
def test_levels_that_are_set_ascend(levels: Levels) -> None:
    assert len(ask(issued(), pledge(levels=levels))) == 1


def test_a_loan_may_mature_today() -> None:
    assert len(ask(issued(), pledge(matures_on="2026-11-20"))) == 1


def test_a_stranger_cannot_ask_for_a_lien() -> None:
    command = pledge()
    refused = issued().refusal(command, OTHER_CLERK, acts=pledged_by(command))
    assert (refused.reason, refused.kind) == ("NOT_YOUR_ACCOUNT", Kind.FORBIDDEN)


@pytest.mark.parametrize(
    "keys",
    [
        (CITY_GROUP_KEY,),
        (FIRST_BANK_KEY,),
        (CITY_GROUP_KEY, CITY_GROUP_KEY),
        (CITY_GROUP_KEY, SECOND_BANK_KEY),
        (VERIFIER_KEY, FIRST_BANK_KEY),
        (CITY_GROUP_KEY, FIRST_BANK_KEY, VERIFIER_KEY),
    ],
    ids=range(6),
)
def test_one_signature_or_anothers_is_not_both(keys: tuple[Any, ...]) -> None:
    command = pledge()
    refused = issued().refusal(command, TREASURER, acts=pledged_by(command, *keys))
    assert refused.reason in {"ACT_MISSING", "ACT_SUBJECT"}


@pytest.mark.parametrize(
    "field",
    [
        *("asset", "lien", "loan_fen", "matures_on", "notice", "pledgee", "pledgor", "programme"),
        *("levels", "quantity_t", "rate_bp", "serials", "valuation"),
    ],
)
def test_both_must_have_signed_what_is_asked(field: str) -> None:
    command = pledge()
    others: dict[str, Any] = {
        "levels": {"call_bp": 1, "enforcement_bp": 0, "warning_bp": 0},
        "loan_fen": 1,
        "quantity_t": 1,
        "rate_bp": 1,
        "serials": [],
        "valuation": {"price_fen_per_t": 1, "priced_at_ms": 0, "source": "wishful"},
    }
    other = others.get(field, "something else")
    if field == "serials":
        command = pledge(serials=[SerialRange(BATCH, 1, PLEDGED_T)])
    acts = pledged_by(command, **{field: other})
    refused = issued().refusal(command, TREASURER, acts=acts)
    assert (refused.reason, refused.details["field"]) == ("ACT_DIFFERS", field)


def test_pledgor_and_pledgee_must_have_signed_the_same() -> None:
    command = pledge()
    acts = [pledged_by(command)[0], pledged_by(command, loan_fen=1)[1]]
    refused = issued().refusal(command, TREASURER, acts=acts)
    assert (refused.reason, refused.details["field"]) == ("ACT_DIFFERS", "statement")


def test_a_lien_is_named_once_even_when_it_was_refused() -> None:
    book = pledge_requested()
    assert refusal(book).reason == "LIEN_EXISTS"
    book.when(NO, SYSTEM)
    assert refusal(book).reason == "LIEN_EXISTS"


# ---- terms of the programme ----------------------------------------------------------------------


def with_terms(**changed: Any) -> RegistryBook:
    book = issued()
    change = SetTerms(PROGRAMME, MORNING_MS, msgspec.structs.replace(TERMS, **changed))
    book.when(change, REGISTRAR)
    return book


def test_a_programme_may_cap_loan_over_value() -> None:
    value: dict[str, Any] = {"quantity_t": TOTAL_T, "loan_fen": 49_500_000}
    refused = refusal(with_terms(max_ltv_bp=7000), **value)
    assert refused.reason == "LTV_TOO_HIGH"
    assert refused.details == {"limit": 7000, "actual": 9835}
    assert refusal(with_terms(max_ltv_bp=9834), **value).reason == "LTV_TOO_HIGH"
    assert len(ask(with_terms(max_ltv_bp=9835), pledge(**value))) == 1


def test_a_cap_does_not_judge_what_is_dated_before_it() -> None:
    command = pledge(valuation=Valuation(4194, MORNING_MS - 2 * DAY_MS, "last trade"))
    assert len(ask(with_terms(max_ltv_bp=7000), command, on_ms=MORNING_MS - DAY_MS)) == 1


@pytest.mark.parametrize(("age_ms", "passes"), [(DAY_MS, True), (DAY_MS + 1, False)])
def test_a_programme_may_limit_the_age_of_a_price(age_ms: int, passes: bool) -> None:
    book = with_terms(max_price_age_days=1)
    command = pledge(valuation=Valuation(4194, MORNING_MS - age_ms, "last trade"))
    if passes:
        assert len(ask(book, command)) == 1
        return
    refused = book.refusal(command, TREASURER, acts=pledged_by(command))
    assert refused.reason == "PRICE_TOO_OLD"
    assert refused.details == {"limit_days": 1, "actual": 1}


# ---- what the accounts book says -----------------------------------------------------------------


def test_the_entry_moves_the_units_under_the_lien() -> None:
    (leg,) = pledged_legs(pledge_requested().state.liens[LIEN])
    assert (leg.asset, leg.amount, list(leg.serials)) == (TICKET, PLEDGED_T, [])
    assert (leg.debit.holder, leg.credit.holder) == (CITY_GROUP, CITY_GROUP)
    assert (leg.debit.ref, leg.credit.ref) == ("", LIEN)


def test_a_registered_lien_covers_the_serials_the_entry_moved() -> None:
    book = pledged()
    lien = book.state.liens[LIEN]
    assert (lien.process.stage, lien.process.entry_position) == (Stage.COMPLETED, 23)
    assert (lien.pledged_t, lien.serials) == (PLEDGED_T, [SerialRange(BATCH, 1, PLEDGED_T)])
    assert book.state.serial_liens == {(TICKET, BATCH): [(1, PLEDGED_T, LIEN)]}
    assert open_pledges(book.state) == []
    check_registry(book)


def test_serials_that_are_not_as_many_as_were_asked_are_refused() -> None:
    command = CompletePledge(LIEN, [SerialRange(BATCH, 1, 5999)])
    assert pledge_requested().refusal(command, SYSTEM).reason == "SERIALS_DISAGREE"


def test_an_asset_without_serials_is_pledged_without_any() -> None:
    book = pledge_requested()
    assert book.when(CompletePledge(LIEN, []), SYSTEM) == [PledgeRegistered(LIEN, [])]
    assert book.state.liens[LIEN].pledged_t == PLEDGED_T
    command = release(1)
    book.when(command, CLERK, acts=[released_by(command)])
    assert book.when(CompleteRelease(LIEN, "r-1", []), SYSTEM) == [
        PledgeReleased(LIEN, 1, "r-1", [])
    ]
    assert book.state.liens[LIEN].pledged_t == PLEDGED_T - 1
    assert book.replayed() == book.state


def test_a_refusal_is_kept_with_its_numbers() -> None:
    book = pledge_requested()
    assert book.when(NO, SYSTEM) == [
        PledgeRefused(
            {"needed": "6000", "available": "1"}, LIEN, "too little", "INSUFFICIENT_BALANCE"
        )
    ]
    lien = book.state.liens[LIEN]
    assert lien.process.stage == Stage.REFUSED
    assert lien.process.refusal == Refusal(
        "INSUFFICIENT_BALANCE", "too little", {"needed": "6000", "available": "1"}
    )
    assert lien.pledged_t == 0
    check_registry(book)


@pytest.mark.parametrize("command", [CompletePledge(LIEN, []), NO], ids=["yes", "no"])
def test_nobody_but_the_errand_says_how_a_pledge_ended(
    command: CompletePledge | RefusePledge,
) -> None:
    assert pledge_requested().refusal(command, CLERK).reason == "ROLE_MISSING"
    assert issued().refusal(command, SYSTEM).reason == "UNKNOWN_LIEN"
    assert pledged().refusal(command, SYSTEM).reason == "LIEN_STAGE"


# ---- release -------------------------------------------------------------------------------------


def let_go(book: RegistryBook, quantity_t: int, name: str, *serials: SerialRange) -> None:
    command = release(quantity_t, name)
    book.when(command, CLERK, acts=[released_by(command)])
    book.when(CompleteRelease(LIEN, name, list(serials)), SYSTEM, cause=("accounts", 29))


def test_the_pledgee_releases_a_part_and_then_the_rest() -> None:
    book = pledged()
    let_go(book, 2000, "r-1", SerialRange(BATCH, 1, 2000))
    lien = book.state.liens[LIEN]
    assert (lien.pledged_t, lien.serials) == (4000, [SerialRange(BATCH, 2001, 6000)])
    assert book.state.serial_liens == {(TICKET, BATCH): [(2001, 6000, LIEN)]}
    assert lien.releases["r-1"].process.entry_position == 29
    check_registry(book)
    let_go(book, 4000, "r-2", SerialRange(BATCH, 2001, 6000))
    assert (lien.pledged_t, lien.serials, book.state.serial_liens) == (0, [], {})
    check_registry(book)
    refused = book.refusal(release(1, "r-3"), CLERK, acts=[released_by(release(1, "r-3"))])
    assert refused.reason == "INSUFFICIENT_PLEDGE"
    assert refused.details == {"needed": 1, "available": 0}


def test_a_release_asks_for_its_entry() -> None:
    book, command = pledged(), release(2000)
    asked = book.when(command, CLERK, acts=[released_by(command)])
    assert asked == [ReleaseRequested(LIEN, 2000, "r-1")]
    (errand,) = open_releases(book.state)
    assert errand.position == book.envelopes[-1].position
    (leg,) = released_legs(errand.what)
    assert (leg.debit.holder, leg.debit.ref) == (CITY_GROUP, LIEN)
    assert (leg.credit.holder, leg.credit.ref, leg.amount) == (CITY_GROUP, "", 2000)


def test_what_is_on_its_way_out_is_not_released_again() -> None:
    book, command = pledged(), release(4000)
    book.when(command, CLERK, acts=[released_by(command)])
    more = release(2001, "r-2")
    refused = book.refusal(more, CLERK, acts=[released_by(more)])
    assert refused.details == {"needed": 2001, "available": 2000}
    no = RefuseRelease(LIEN, "r-1", "BOOK_HALTED", "halted", {})
    assert book.when(no, SYSTEM) == [ReleaseRefused({}, LIEN, "halted", "BOOK_HALTED", "r-1")]
    check_registry(book)
    assert len(book.when(more, CLERK, acts=[released_by(more)])) == 1


@pytest.mark.parametrize("quantity_t", [0, -1, PLEDGED_T + 1])
def test_a_release_is_of_what_is_pledged(quantity_t: int) -> None:
    command = release(quantity_t)
    refused = pledged().refusal(command, CLERK, acts=[released_by(command)])
    assert refused.reason in {"AMOUNT_OUT_OF_RANGE", "INSUFFICIENT_PLEDGE"}


def test_a_release_is_named_once() -> None:
    book = pledged()
    let_go(book, 1, "r-1", SerialRange(BATCH, 1, 1))
    command = release(1, "r-1")
    assert book.refusal(command, CLERK, acts=[released_by(command)]).reason == "RELEASE_EXISTS"


def test_a_pledge_must_stand_before_it_is_released() -> None:
    command, act = release(), released_by(release())
    assert issued().refusal(command, CLERK, acts=[act]).reason == "UNKNOWN_LIEN"
    refused = pledge_requested().refusal(command, CLERK, acts=[act])
    assert refused.reason == "LIEN_STAGE"
    assert refused.details == {"expected": "completed", "actual": "requested"}


def test_the_pledgor_cannot_release_its_own_units() -> None:
    command = release()
    by_treasurer = pledged().refusal(command, TREASURER, acts=[released_by(command)])
    assert by_treasurer.reason == "NOT_YOUR_ACCOUNT"
    for key in (CITY_GROUP_KEY, SECOND_BANK_KEY):
        refused = pledged().refusal(command, CLERK, acts=[released_by(command, key)])
        assert refused.reason == "ACT_SUBJECT"
        assert refused.details["expected"] == f"holder:{FIRST_BANK}"
    assert pledged().refusal(command, CLERK).reason == "ACT_MISSING"


def test_the_registry_may_enter_a_release_but_not_without_the_pledgees_signature() -> None:
    book, command = pledged(), release()
    assert book.refusal(command, MAKER).reason == "ACT_MISSING"
    assert len(book.when(command, MAKER, acts=[released_by(command)])) == 1


@pytest.mark.parametrize(
    "changed",
    [{"lien": SECOND_LIEN}, {"pledgee": SECOND_BANK}, {"quantity_t": 1}, {"release": "x"}],
)
def test_the_pledgee_must_have_signed_this_release(changed: dict[str, Any]) -> None:
    act = released_by(release(), FIRST_BANK_KEY, **changed)
    refused = pledged().refusal(release(), CLERK, acts=[act])
    assert (refused.reason, refused.details["field"]) == ("ACT_DIFFERS", next(iter(changed)))


def test_nobody_but_the_errand_says_how_a_release_ended() -> None:
    book, command = pledged(), release()
    book.when(command, CLERK, acts=[released_by(command)])
    yes = CompleteRelease(LIEN, "r-1", [SerialRange(BATCH, 1, PLEDGED_T)])
    no = RefuseRelease(LIEN, "r-1", "BOOK_HALTED", "halted", {})
    for ended in (yes, no):
        assert book.refusal(ended, CLERK).reason == "ROLE_MISSING"
        assert pledged().refusal(ended, SYSTEM).reason == "UNKNOWN_RELEASE"
    short = CompleteRelease(LIEN, "r-1", [SerialRange(BATCH, 1, 1)])
    assert book.refusal(short, SYSTEM).reason == "SERIALS_DISAGREE"


# ---- two lenders ---------------------------------------------------------------------------------


def test_each_of_two_banks_has_its_own_lien_and_event() -> None:
    book = pledged()
    command = pledge(SECOND_LIEN, pledgee=SECOND_BANK)
    acts = pledged_by(command, CITY_GROUP_KEY, SECOND_BANK_KEY)
    (event,) = book.when(command, OTHER_CLERK, acts=acts)
    assert isinstance(event, PledgeRequested)
    assert FIRST_BANK not in msgspec.json.encode(event).decode()
    book.when(CompletePledge(SECOND_LIEN, [SerialRange(BATCH, 6001, 12_000)]), SYSTEM)
    assert book.state.liens_by_holder[CITY_GROUP] == [LIEN, SECOND_LIEN]
    assert book.state.liens_by_holder[FIRST_BANK] == [LIEN]
    assert 2 * LOAN_FEN == 49_500_000
    check_registry(book)


def test_a_person_who_operates_for_nobody_is_told_so_by_name() -> None:
    command = pledge()
    commuter = person("a Shenzhen commuter")
    refused = issued().refusal(command, commuter, acts=pledged_by(command))
    assert "a Shenzhen commuter" in refused.message
