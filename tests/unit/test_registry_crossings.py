"""What crosses the registry's border: entries read, calls cut to size, answers within bounds."""

from __future__ import annotations

import msgspec
import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.errands import MAX_ERRANDS
from kernel.errors import Kind, Refused
from kernel.record import RawRecord
from kernel.rpc.pages import page_limit, page_place
from kernel.values import Actor
from services.accounts.domain.events import (
    Claim,
    EntryPosted,
    HoldPosted,
    Leg,
    SerialRange,
)
from services.registry import queries
from services.registry.clients import MAX_CALL_BYTES, calls_of, open_pledges
from services.registry.domain.commands import RetiredLot, RetireUnits
from services.registry.domain.events import SerialRange as Moved
from services.registry.reactions import react_to_accounts
from services.registry.rpc import MAX_ANSWER_BYTES, fitting
from tests.support.books import person
from tests.support.forest import (
    BATCH,
    CLERK,
    FIRST_BANK,
    LIEN,
    OTHER_CLERK,
    TREASURER,
    issued,
    pledge,
    pledged,
    pledged_by,
)
from tests.support.lanzhou import (
    CITY_GROUP,
    CLAIM,
    CNY,
    QINWANGCHUAN,
    TICKET,
    available,
    leg,
    retired,
    trading,
)

AUDITOR = person("auditor", roles=["auditor"])


def recorded(event: msgspec.Struct) -> RawRecord:
    """As the accounts book publishes it."""
    return RawRecord(
        actor=Actor("lanzhou", "buyer"),
        at="2026-11-20T01:30:00.000Z",
        body=msgspec.Raw(msgspec.json.encode(event)),
        book="accounts",
        by="019a9ee7-e2b7-7abc-8def-0123456789ab",
        cause=None,
        on="2026-11-20T01:30:00.000Z",
        position=31,
        type=type(event).__name__,
        v=1,
    )


def retiring(holder: str, asset: str, *blocks: SerialRange) -> Leg:
    amount = sum(block.amount for block in blocks) or 4
    return leg(amount, asset, available(holder), retired(holder), *blocks)


# ---- retirements ---------------------------------------------------------------------------------


def test_a_retirement_is_read_as_a_lot_per_holder_and_asset() -> None:
    entry = EntryPosted(
        claim=CLAIM,
        legs=[
            retiring(CITY_GROUP, TICKET, SerialRange(BATCH, 1, 3)),
            retiring(CITY_GROUP, "CCER-7-2020"),
            leg(5, TICKET, available(CITY_GROUP), available(QINWANGCHUAN)),
            retiring(QINWANGCHUAN, TICKET, SerialRange(BATCH, 9, 9)),
            retiring(CITY_GROUP, TICKET, SerialRange(BATCH, 4, 4), SerialRange("LZXQ-2022", 1, 1)),
        ],
    )
    assert react_to_accounts(recorded(entry)) == RetireUnits(
        CLAIM.beneficiary,
        CLAIM.purpose,
        CLAIM.details,
        [
            RetiredLot(
                TICKET,
                CITY_GROUP,
                5,
                [Moved(BATCH, 1, 3), Moved(BATCH, 4, 4), Moved("LZXQ-2022", 1, 1)],
            ),
            RetiredLot("CCER-7-2020", CITY_GROUP, 4, []),
            RetiredLot(TICKET, QINWANGCHUAN, 1, [Moved(BATCH, 9, 9)]),
        ],
    )


@pytest.mark.parametrize(
    "event",
    [
        EntryPosted(legs=[leg(5, CNY, available(CITY_GROUP), trading(CITY_GROUP))]),
        EntryPosted(
            legs=[leg(5, TICKET, available(CITY_GROUP), available(QINWANGCHUAN))],
            claim=Claim("兰州新区城投", "", "nothing is retired"),
        ),
        HoldPosted("019a9ee7", [retiring(CITY_GROUP, TICKET)]),
    ],
    ids=["no claim", "no retirement", "no entry"],
)
def test_what_retires_nothing_is_none_of_our_business(event: msgspec.Struct) -> None:
    assert react_to_accounts(recorded(event)) is None


def test_fields_that_accounts_may_add_later_do_not_stop_us() -> None:
    entry = EntryPosted(claim=CLAIM, legs=[retiring(CITY_GROUP, TICKET, SerialRange(BATCH, 1, 3))])
    body = msgspec.json.decode(msgspec.json.encode(entry))
    body["legs"][0]["serials"][0]["vintage"] = 2020
    body["weather"] = "sandstorm"
    raw = msgspec.structs.replace(recorded(entry), body=msgspec.Raw(msgspec.json.encode(body)))
    assert react_to_accounts(raw) == react_to_accounts(recorded(entry))


# ---- errands -------------------------------------------------------------------------------------


def test_many_large_entries_are_sent_in_several_calls_in_order() -> None:
    large = "x" * (MAX_CALL_BYTES // 3)
    entries = [pb.Entry(id=f"{n}", claim=pb.Claim(details=large)) for n in range(8)]
    parts = list(calls_of(entries))
    assert [one.id for part in parts for one in part] == [str(n) for n in range(8)]
    assert [len(part) for part in parts] == [2, 2, 2, 2]
    assert all(sum(one.ByteSize() for one in part) <= MAX_CALL_BYTES for part in parts)
    assert list(calls_of([])) == []


def test_a_single_entry_is_sent_however_large() -> None:
    entry = pb.Entry(claim=pb.Claim(details="x" * 2 * MAX_CALL_BYTES))
    assert list(calls_of([entry, entry])) == [[entry], [entry]]


def test_no_more_errands_are_listed_than_one_call_takes() -> None:
    book = issued()
    for n in range(MAX_ERRANDS + 1):
        lien = "l-" + f"{n:016d}".translate(str.maketrans("0123456789", "abcdefghij"))
        book.given(pledge(lien).pledge)
    listed = open_pledges(book.state)
    assert len(listed) == MAX_ERRANDS
    assert [one.position for one in listed] == sorted(one.position for one in listed)


# ---- answers -------------------------------------------------------------------------------------


def test_a_page_is_cut_where_a_message_would_grow_too_large() -> None:
    large = pb.Entry(claim=pb.Claim(details="x" * (MAX_ANSWER_BYTES // 3)))
    assert fitting([large] * 5, 100) == ([large] * 2, True)
    assert fitting([large] * 2, 100) == ([large] * 2, False)
    assert fitting([large] * 2, 2) == ([large] * 2, True)
    assert fitting([pb.Entry()] * 0, 2) == ([], False)


def test_a_page_holds_at_least_one_row_however_large() -> None:
    huge = pb.Entry(claim=pb.Claim(details="x" * 2 * MAX_ANSWER_BYTES))
    assert fitting([huge, huge], 100) == ([huge], True)


# ---- who may see, and how much -------------------------------------------------------------------


def test_a_lien_is_seen_by_its_parties_and_auditors() -> None:
    state = pledged().state
    for caller in (TREASURER, CLERK, AUDITOR):
        assert len(queries.pledges(state, caller, [LIEN], "")) == 1
    with pytest.raises(Refused) as refused:
        queries.pledges(state, OTHER_CLERK, [LIEN], "")
    assert (refused.value.reason, refused.value.kind) == ("NOT_YOUR_LIEN", Kind.FORBIDDEN)


def test_a_holder_that_is_not_named_has_no_liens_to_show() -> None:
    with pytest.raises(Refused) as refused:
        queries.pledges(pledged().state, CLERK, [], "")
    assert refused.value.reason == "NOT_YOUR_ACCOUNT"
    assert len(queries.pledges(pledged().state, CLERK, [], FIRST_BANK)) == 1


def test_more_liens_than_an_answer_takes_are_asked_for_by_name() -> None:
    book = issued()
    for n in range(queries.MAX_NAMED + 1):
        lien = "l-" + f"{n:016d}".translate(str.maketrans("0123456789", "abcdefghij"))
        book.given(pledge(lien).pledge)
    with pytest.raises(Refused) as refused:
        queries.pledges(book.state, TREASURER, [], CITY_GROUP)
    assert refused.value.reason == "TOO_MANY_ITEMS"


def test_a_lien_is_settled_when_nothing_of_it_is_on_its_way() -> None:
    book = issued()
    command = pledge()
    book.when(command, TREASURER, acts=pledged_by(command))
    assert not queries.is_settled(book.state.liens[LIEN])
    assert queries.is_settled(pledged().state.liens[LIEN])


@pytest.mark.parametrize("token", ["x", "-1", "٣", "１", "1" * 17, str(2**53)])
def test_a_page_token_is_one_we_gave(token: str) -> None:
    with pytest.raises(Refused) as refused:
        page_place(token, 1)
    assert refused.value.reason == "PAGE_TOKEN_MALFORMED"
    assert page_place("", 1) == (-1,)
    assert page_place("41", 1) == (41,)


def test_a_page_has_at_least_one_row_and_at_most_a_thousand() -> None:
    assert [page_limit(size) for size in (0, 1, 5000)] == [100, 1, 1000]
    with pytest.raises(Refused) as refused:
        page_limit(-1)
    assert refused.value.reason == "PAGE_SIZE"


def test_projects_come_in_pages_in_the_order_of_their_filing() -> None:
    state = issued().state
    (first,) = queries.projects(state, "", -1, 1)
    (second,) = queries.projects(state, "", first.envelope.position, 5)
    assert [first.filed.project, second.filed.project] == list(state.projects)
    assert queries.projects(state, CITY_GROUP, -1, 5) == []
