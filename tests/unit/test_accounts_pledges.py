"""Units under a lien: both parties sign the pledge, the pledgee alone lets them free again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import sign_act
from kernel.values import Act
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import (
    Account,
    Claim,
    EntryPosted,
    HolderKind,
    HolderRegistered,
    Pledge,
    Purpose,
    SerialRange,
)
from tests.support.books import MORNING_MS
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CNY,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRY,
    TICKET,
    AccountsBook,
    admitted,
    available,
    balance,
    check_books,
    deposit,
    issue,
    leg,
    seeded_key,
    serials,
    the_place,
)

LENDER = "h-lzlender22222222"
LIEN = "l-qinwangchuan2222"
GROUP_KEY = seeded_key("the city group")
LENDER_KEY = seeded_key("a bank that lends")
STRANGERS_KEY = seeded_key("a bank that does not lend")
PLEDGED_T = 6000


def pledged(lien: str = LIEN) -> Account:
    return Account(CITY_GROUP, Purpose.PLEDGED, lien)


def pledge_entry(
    amount_t: int = PLEDGED_T, lien: str = LIEN, ranges: Sequence[SerialRange] = ()
) -> PostEntry:
    return PostEntry([leg(amount_t, TICKET, available(CITY_GROUP), pledged(lien), *ranges)])


def statement(**changed: object) -> dict[str, object]:
    return {
        "asset": TICKET,
        "kind": "pledge",
        "levels": {"call_bp": 9_950, "enforcement_bp": 0, "warning_bp": 0},
        "lien": LIEN,
        "loan_fen": 24_750_000,
        "matures_on": "2027-11-20",
        "notice": "",
        "pledgee": LENDER,
        "pledgor": CITY_GROUP,
        "programme": PROGRAMME,
        "quantity_t": PLEDGED_T,
        "rate_bp": 435,
        "serials": [],
        "valuation": {
            "price_fen_per_t": 4_194,
            "priced_at_ms": MORNING_MS,
            "source": "last trade",
        },
        **changed,
    }


def both_sign(*keys: Ed25519PrivateKey, **changed: object) -> list[Act]:
    said = statement(**changed)
    return [sign_act(key, said) for key in keys or (GROUP_KEY, LENDER_KEY)]


def release_entry(amount_t: int = PLEDGED_T) -> PostEntry:
    return PostEntry([leg(amount_t, TICKET, pledged(), available(CITY_GROUP))])


def release_act(
    amount_t: int = PLEDGED_T, key: Ed25519PrivateKey = LENDER_KEY, **changed: object
) -> Act:
    said = {
        "kind": "pledge-release",
        "lien": LIEN,
        "pledgee": LENDER,
        "quantity_t": amount_t,
        "release": "paid back",
        **changed,
    }
    return sign_act(key, said)


def group_with_tickets() -> AccountsBook:
    book = the_place().given(
        HolderRegistered(LENDER, HolderKind.ENTERPRISE, "兰州一家贷款银行", "916200002244160568"),
        admitted(GROUP_KEY, f"holder:{CITY_GROUP}"),
        admitted(LENDER_KEY, f"holder:{LENDER}"),
    )
    issue(book, "LZXQ-2021", {CITY_GROUP: 12_000})
    return book


def with_lien() -> AccountsBook:
    book = group_with_tickets()
    book.when(pledge_entry(), REGISTRY, acts=both_sign())
    return book


def test_pledged_units_lie_under_their_lien_and_the_event_names_the_pledgee() -> None:
    book = group_with_tickets()
    (event,) = book.when(pledge_entry(), REGISTRY, acts=both_sign())
    assert event.pledge == Pledge(lien=LIEN, pledgee=LENDER)
    assert serials(book.state, pledged()) == [("LZXQ-2021", 1, PLEDGED_T)]
    assert balance(book.state, available(CITY_GROUP)) == 6000
    check_books(book)


def test_named_serials_are_those_both_signed() -> None:
    book = group_with_tickets()
    block = SerialRange("LZXQ-2021", 101, 100 + PLEDGED_T)
    said = [{"batch": block.batch, "first": block.first, "last": block.last}]
    refused = book.refusal(pledge_entry(ranges=[block]), REGISTRY, acts=both_sign())
    assert (refused.reason, refused.details["field"]) == ("ACT_DIFFERS", "serials")
    book.when(pledge_entry(ranges=[block]), REGISTRY, acts=both_sign(serials=said))
    assert serials(book.state, pledged()) == [("LZXQ-2021", 101, 6100)]


def test_what_is_pledged_cannot_be_pledged_sold_or_retired_again() -> None:
    book = with_lien()
    lien = "l-zhongchuan222222"
    second = book.refusal(
        pledge_entry(6001, lien), REGISTRY, acts=both_sign(lien=lien, quantity_t=6001)
    )
    assert second.reason == "INSUFFICIENT_BALANCE"
    assert (second.details["needed"], second.details["available"]) == (6001, 6000)
    for credit in (available(QINWANGCHUAN), Account(CITY_GROUP, Purpose.RETIRED, "")):
        claim = Claim("中川", "", "neutral") if credit.purpose == Purpose.RETIRED else None
        entry = PostEntry([leg(6001, TICKET, available(CITY_GROUP), credit)], claim)
        assert book.refusal(entry, BUYER).reason == "INSUFFICIENT_BALANCE"


@pytest.mark.parametrize(
    ("reason", "acts"),
    [
        ("ACT_MISSING", []),
        ("ACT_MISSING", both_sign(GROUP_KEY)),
        ("ACT_MISSING", both_sign(LENDER_KEY)),
        ("ACT_MISSING", both_sign(GROUP_KEY, GROUP_KEY)),
        ("ACT_KEY_UNKNOWN", both_sign(GROUP_KEY, STRANGERS_KEY)),
        ("ACT_MISSING", both_sign(GROUP_KEY, LENDER_KEY, LENDER_KEY)),
        ("ACT_SUBJECT", both_sign(LENDER_KEY, LENDER_KEY)),
        ("ACT_DIFFERS", both_sign(pledgee=QINWANGCHUAN)),
        ("ACT_DIFFERS", both_sign(quantity_t=5999)),
        ("ACT_DIFFERS", both_sign(lien="l-another")),
        ("ACT_DIFFERS", both_sign(asset="TICKET-LZXQ-2")),
        ("ACT_DIFFERS", both_sign(programme=QINWANGCHUAN)),
        ("ACT_DIFFERS", both_sign(pledgor=QINWANGCHUAN)),
        ("ACT_DIFFERS", [*both_sign(GROUP_KEY), *both_sign(LENDER_KEY, loan_fen=1)]),
        ("ACT_MISSING", [*both_sign(GROUP_KEY), release_act()]),
    ],
)
def test_a_pledge_that_not_both_have_signed_is_refused(reason: str, acts: list[Act]) -> None:
    assert group_with_tickets().refusal(pledge_entry(), REGISTRY, acts=acts).reason == reason


def test_a_signature_of_another_statement_does_not_hold() -> None:
    good, other = both_sign(), both_sign(quantity_t=1)
    forged = [Act(a.key_id, b.signature, a.statement) for a, b in zip(good, other, strict=True)]
    refused = group_with_tickets().refusal(pledge_entry(), REGISTRY, acts=forged)
    assert refused.reason == "ACT_SIGNATURE"


def test_only_the_registry_moves_units_under_a_lien_and_out_of_it() -> None:
    book = with_lien()
    assert book.refusal(pledge_entry(), BUYER, acts=both_sign()).reason == "ROLE_MISSING"
    refused = book.refusal(release_entry(), BUYER, acts=[release_act()])
    assert refused.reason == "ROLE_MISSING"


def test_a_lien_is_registered_once_for_ever() -> None:
    book = with_lien()
    book.when(release_entry(), REGISTRY, acts=[release_act()])
    assert book.refusal(pledge_entry(), REGISTRY, acts=both_sign()).reason == "LIEN_EXISTS"


def test_a_pledge_goes_to_a_lien_of_the_pledgors_own_and_never_money() -> None:
    book = group_with_tickets()
    deposit(book, CITY_GROUP, 100, "line 1")
    for credit in (Account(QINWANGCHUAN, Purpose.PLEDGED, LIEN), pledged("")):
        entry = PostEntry([leg(PLEDGED_T, TICKET, available(CITY_GROUP), credit)])
        assert book.refusal(entry, REGISTRY, acts=both_sign()).reason == "CREDIT_NOT_ALLOWED"
    money = PostEntry([leg(100, CNY, available(CITY_GROUP), pledged())])
    assert book.refusal(money, REGISTRY, acts=both_sign()).reason == "MONEY_NOT_PLEDGEABLE"
    two = PostEntry([*pledge_entry(1).legs, *pledge_entry(1).legs])
    assert book.refusal(two, REGISTRY, acts=both_sign()).reason == "LEGS_COUNT"


def test_the_pledgee_releases_all_or_part_each_release_once() -> None:
    book = with_lien()
    first: list[EntryPosted] = book.when(
        release_entry(1000), REGISTRY, acts=[release_act(1000, release="part")]
    )
    assert first[0].pledge == Pledge(lien=LIEN, pledgee=LENDER, release="part")
    again = book.refusal(release_entry(1000), REGISTRY, acts=[release_act(1000, release="part")])
    assert again.reason == "RELEASE_BOOKED"
    book.when(release_entry(5000), REGISTRY, acts=[release_act(5000, release="rest")])
    assert balance(book.state, available(CITY_GROUP)) == 12_000
    more = book.refusal(release_entry(1), REGISTRY, acts=[release_act(1, release="more")])
    assert more.reason == "INSUFFICIENT_BALANCE"
    check_books(book)


@pytest.mark.parametrize(
    ("reason", "acts"),
    [
        ("ACT_MISSING", []),
        ("ACT_SUBJECT", [release_act(key=GROUP_KEY)]),
        ("ACT_KEY_UNKNOWN", [release_act(key=STRANGERS_KEY)]),
        ("ACT_DIFFERS", [release_act(5999)]),
        ("ACT_DIFFERS", [release_act(lien="l-another")]),
        ("ACT_DIFFERS", [release_act(pledgee=CITY_GROUP)]),
        ("ACT_MISSING", both_sign(LENDER_KEY)),
        ("MISSING_VALUE", [release_act(release="")]),
    ],
)
def test_nothing_leaves_a_lien_without_the_pledgees_word(reason: str, acts: list[Act]) -> None:
    assert with_lien().refusal(release_entry(), REGISTRY, acts=acts).reason == reason


def test_a_release_goes_back_to_the_pledgor_and_from_a_lien_that_is() -> None:
    book = with_lien()
    away = PostEntry([leg(PLEDGED_T, TICKET, pledged(), available(LENDER))])
    assert book.refusal(away, REGISTRY, acts=[release_act()]).reason == "CREDIT_NOT_ALLOWED"
    other = Account(CITY_GROUP, Purpose.PLEDGED, "l-never")
    entry = PostEntry([leg(1, TICKET, other, available(CITY_GROUP))])
    assert book.refusal(entry, REGISTRY, acts=[release_act(1)]).reason == "UNKNOWN_LIEN"
