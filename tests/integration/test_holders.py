"""Openings, operators, mandates and statuses as their users meet them: through the real services.

One story in order, in a world of its own: terms, openings, a register, a mandate, an authority's
order. The ledger beside it proves every event.
"""

from __future__ import annotations

from typing import Any

import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.config import DEFAULT_LOG_PREFIX
from kernel.errors import Kind, Refused
from kernel.rpc.items import act_message, timestamp_of
from services.accounts.domain.changes import Status
from tests.support.books import person
from tests.support.companies import BOSS, LI, PAPER, TRADER, WANG, order
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    FARMER,
    PROGRAMME,
    QINWANGCHUAN,
    STRANGER,
    TICKET,
    VENUE,
    ZHONGCHUAN,
    pay,
)
from tests.support.world import AUDITOR, World, accepted, refusal

ISSUER = f"{DEFAULT_LOG_PREFIX}/issuer"
DOCUMENT = pb.Document(digest=PAPER.digest, name=PAPER.name)
RIGHTS = [pb.RIGHT_TRANSFER, pb.RIGHT_VIEW]


def opening(holder: str, account: Any = pb.ACCOUNT_KIND_REGISTRATION, venue: str = "") -> pb.Change:
    return pb.Change(
        opening=pb.Opening(
            holder=holder,
            programme=PROGRAMME,
            account=account,
            venue=venue,
            documents=[DOCUMENT],
            representatives=["p-" + "a" * 16],
        )
    )


def propose(world: World, change: pb.Change, caller: Any = WANG, for_holder: str = "") -> str:
    item = pb.ChangeProposal(id=world.new_id(), change=change, for_holder=for_holder)
    (result,) = world.send("ProposeChanges", [item], caller)
    accepted(result)
    return item.id


def approve(world: World, proposal: str, caller: Any = LI) -> int:
    item = pb.ProposalApproval(id=world.new_id(), proposal=proposal)
    (result,) = world.send("ApproveProposals", [item], caller)
    return accepted(result)


def make(world: World, change: pb.Change) -> int:
    return approve(world, propose(world, change))


def operator(who: Any, *rights: Any, **limits: int) -> pb.Operator:
    return pb.Operator(holder=CITY_GROUP, iss=ISSUER, sub=who.actor.sub, rights=rights, **limits)


def test_01_terms_are_proposed_by_one_registrar_listed_and_approved_by_the_other(
    world: World,
) -> None:
    world.issue("B-0", {QINWANGCHUAN: 500})
    terms = pb.AccountTerms(opening_required=True, barred_kinds=[pb.HOLDER_KIND_VENUE])
    now_ms = world.clock.now_ms()
    change = pb.AccountTermsChange(
        programme=PROGRAMME, effective_from=timestamp_of(now_ms + 60_000), terms=terms
    )
    # Far enough ahead not to be in the past by then; the rest of the story is after it.
    proposal = propose(world, pb.Change(terms=change))
    (open_one,) = world.call(world.accounts.ListProposals, pb.ListProposalsRequest(), LI).proposals
    assert (open_one.proposal, open_one.proposed_by_sub) == (proposal, WANG.actor.sub)
    assert open_one.change.terms == change
    hidden = world.call(world.accounts.ListProposals, pb.ListProposalsRequest(), FARMER)
    assert not hidden.proposals
    item = pb.ProposalApproval(id=world.new_id(), proposal=proposal)
    (result,) = world.send("ApproveProposals", [item], WANG)
    assert refusal(result) == "MAKER_IS_CHECKER"
    position = approve(world, proposal)
    world.advance_clock(61_000)
    listed = world.call(
        world.accounts.ListAccountTerms,
        pb.ListAccountTermsRequest(programme=PROGRAMME, min_position=position),
        FARMER,
    )
    assert list(listed.terms) == [change]


def test_02_units_reach_only_who_has_opened(world: World) -> None:
    (result,) = world.send("PostEntries", [world.entry(pay(QINWANGCHUAN, ZHONGCHUAN, 5))], FARMER)
    assert refusal(result) == "ACCOUNT_NOT_OPEN"
    for holder in (QINWANGCHUAN, ZHONGCHUAN, CITY_GROUP):
        make(world, opening(holder))
    position = make(world, opening(CITY_GROUP, pb.ACCOUNT_KIND_TRADING, VENUE))
    world.post(pay(QINWANGCHUAN, ZHONGCHUAN, 5), FARMER)
    found = world.call(
        world.accounts.ListOpenings,
        pb.ListOpeningsRequest(holder=CITY_GROUP, min_position=position),
        BUYER,
    )
    assert [(one.account, one.venue) for one in found.accounts] == [
        (pb.ACCOUNT_KIND_REGISTRATION, ""),
        (pb.ACCOUNT_KIND_TRADING, VENUE),
    ]
    world.prove("accounts", position)


def test_03_from_the_first_operator_on_reads_and_entries_ask_the_register(world: World) -> None:
    asked = pb.GetBalancesRequest(holder=CITY_GROUP)
    world.call(world.accounts.GetBalances, asked, BUYER)
    boss = operator(BOSS, pb.RIGHT_ADMINISTER, *RIGHTS)
    make(world, pb.Change(operator=boss))
    world.call(world.accounts.GetBalances, asked, BOSS)
    for method, request in (
        (world.accounts.GetBalances, asked),
        (world.accounts.ListMovements, pb.ListMovementsRequest(holder=CITY_GROUP)),
        (world.accounts.ListOperators, pb.ListOperatorsRequest(holder=CITY_GROUP)),
    ):
        with pytest.raises(Refused) as caught:
            world.call(method, request, BUYER)
        assert (caught.value.reason, caught.value.kind) == ("NOT_YOUR_ACCOUNT", Kind.FORBIDDEN)
    trader = operator(TRADER, *RIGHTS, max_units=50)
    item = pb.OperatorChange(id=world.new_id(), operator=trader)
    (result,) = world.send("SetOperators", [item], BOSS)
    accepted(result)
    listed = world.call(
        world.accounts.ListOperators, pb.ListOperatorsRequest(holder=CITY_GROUP), AUDITOR
    )
    assert list(listed.operators) == [boss, trader]


def test_04_an_agent_acts_under_the_mandate_it_names_until_it_is_revoked(world: World) -> None:
    mandate = pb.Mandate(
        principal=QINWANGCHUAN,
        agent=CITY_GROUP,
        programmes=[PROGRAMME],
        rights=RIGHTS,
        first_day="2020-01-01",
        last_day="2099-12-31",
        document=DOCUMENT,
    )
    id = propose(world, pb.Change(mandate=mandate), FARMER, QINWANGCHUAN)
    approve(world, id, BOSS)
    (live,) = world.call(
        world.accounts.ListMandates, pb.ListMandatesRequest(holder=QINWANGCHUAN), FARMER
    ).mandates
    assert (live.id, live.mandate) == (id, mandate)
    entry = world.entry(pay(QINWANGCHUAN, ZHONGCHUAN, 50))
    entry.mandate = id
    (result,) = world.send("PostEntries", [entry], TRADER)
    position = accepted(result)
    # The agent sees what it acts for, within the mandate; its receipt is its own.
    asked = pb.GetBalancesRequest(holder=QINWANGCHUAN, asset=TICKET, min_position=position)
    assert world.call(world.accounts.GetBalances, asked, TRADER).balances
    disclosed = pb.DiscloseEventsRequest(positions=[position])
    assert world.call(world.accounts.DiscloseEvents, disclosed, TRADER).events
    item = pb.MandateRevocation(id=world.new_id(), mandate=id, for_holder=QINWANGCHUAN)
    (result,) = world.send("RevokeMandates", [item], FARMER)
    accepted(result)
    again = world.entry(pay(QINWANGCHUAN, ZHONGCHUAN, 1))
    again.mandate = id
    (result,) = world.send("PostEntries", [again], TRADER)
    assert refusal(result) == "UNKNOWN_MANDATE"
    with pytest.raises(Refused):
        world.call(world.accounts.GetBalances, asked, TRADER)
    world.prove("accounts", position)


def test_05_an_authority_orders_and_lifts_and_the_holder_can_see_it(world: World) -> None:
    for to, number in ((Status.FROZEN, "甘碳 1"), (Status.ACTIVE, "甘碳 2")):
        act = order(ZHONGCHUAN, to, number)
        item = pb.StatusOrder(
            id=world.new_id(),
            authority=f"authority:{PROGRAMME}",
            number=number,
            status=pb.StatusChange(
                holder=ZHONGCHUAN,
                status=pb.Status.Value(f"STATUS_{to.name}"),
                reason="an investigation",
                document=DOCUMENT,
            ),
            acts=[act_message(act)],
        )
        (result,) = world.send("OrderStatuses", [item], WANG)
        position = accepted(result)
        shown = world.call(
            world.accounts.GetHolder,
            pb.GetHolderRequest(holder=ZHONGCHUAN, min_position=position),
            FARMER,
        )
        # For the units of its programme alone: what is for everything stays as it is.
        assert shown.status == shown.set_by_registrars == pb.STATUS_ACTIVE
        assert [one.status for one in shown.orders] == (
            [item.status.status] if number == "甘碳 1" else []
        )
        (result,) = world.send(
            "PostEntries", [world.entry(pay(ZHONGCHUAN, QINWANGCHUAN, 1))], FARMER
        )
        assert result.HasField("refused") == (to == Status.FROZEN)
    world.prove("accounts", position)


def test_06_who_asks_about_somebody_elses_holder_is_refused(world: World) -> None:
    for method, request in (
        (world.accounts.GetHolder, pb.GetHolderRequest(holder=CITY_GROUP)),
        (world.accounts.ListOpenings, pb.ListOpeningsRequest(holder=CITY_GROUP)),
        (world.accounts.ListMandates, pb.ListMandatesRequest(holder=CITY_GROUP)),
    ):
        with pytest.raises(Refused) as caught:
            world.call(method, request, person("nobody"))
        assert caught.value.reason == "NOT_YOUR_ACCOUNT"
        world.call(method, request, WANG)
    with pytest.raises(Refused) as caught:
        world.call(world.accounts.GetHolder, pb.GetHolderRequest(holder=STRANGER), WANG)
    assert caught.value.reason == "UNKNOWN_HOLDER"


def test_07_refused_withdrawn_and_malformed_proposals_change_nothing(world: World) -> None:
    closing = pb.Change(
        status=pb.StatusChange(
            holder=ZHONGCHUAN, status=pb.STATUS_SUSPENDED, reason="papers", document=DOCUMENT
        )
    )
    refused_one, withdrawn = propose(world, closing), propose(world, closing)
    item = pb.ProposalRefusal(id=world.new_id(), proposal=refused_one, reason="papers are in order")
    (result,) = world.send("RefuseProposals", [item], LI)
    accepted(result)
    back = pb.ProposalWithdrawal(id=world.new_id(), proposal=withdrawn)
    (result,) = world.send("WithdrawProposals", [back], WANG)
    position = accepted(result)
    empty = pb.ChangeProposal(id=world.new_id(), change=pb.Change())
    answer = world.call(
        world.accounts.ProposeChanges, pb.ProposeChangesRequest(proposals=[empty]), WANG
    )
    assert answer.results[0].refused.reason == "CHANGE_NOT_ONE"
    left = world.call(
        world.accounts.ListProposals, pb.ListProposalsRequest(min_position=position), WANG
    )
    assert not left.proposals
    world.prove("accounts", position)
