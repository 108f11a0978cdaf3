"""Freezes, transfers by order and a holder's safeguards, through gRPC, by the running services.

The module's world is checked at the end: the ledger has signed all of it, and the read models can
be made again.
"""

from __future__ import annotations

from typing import Any

import pytest
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.kernel.v1 import items_pb2

from kernel.errors import Refused
from kernel.rpc.items import act_message
from kernel.values import DAY_MS, Act, Caller, shanghai_day
from tests.support.books import person
from tests.support.lanzhou import (
    BUYER,
    CITY_GROUP,
    CNY,
    FARMER,
    QINWANGCHUAN,
    REGISTRAR,
    TICKET,
    ZHONGCHUAN,
    available,
    pay,
    seeded_key,
)
from tests.support.orders import (
    COURT,
    COURT_KEY,
    agreement,
    freeze,
    freeze_serials,
    moved,
    overriding,
    transfer_order,
    unfreeze,
)
from tests.support.world import World, accepted, details, refusal, until

BATCH = "LZXQ-2031"
SECOND = person("second buyer", holders=[CITY_GROUP])
SECOND_REGISTRAR = person("second registrar", roles=["registrar"])
COMMUTER = person("a Shenzhen commuter")
GROUP_KEY, FARM_KEY = seeded_key("the city group"), seeded_key("秦王川林场")


@pytest.fixture(scope="module", autouse=True)
def courts(world: World) -> None:
    """A court and two holders have keys; the city group has 1,000 t."""
    keys = {COURT: COURT_KEY, f"holder:{CITY_GROUP}": GROUP_KEY, f"holder:{QINWANGCHUAN}": FARM_KEY}
    before = admitted(world)
    for subject, key in keys.items():
        world.register_key(subject, key)
    until(lambda: admitted(world) == before + len(keys), "accounts to admit the keys")
    world.issue(BATCH, {CITY_GROUP: 1000})


def admitted(world: World) -> int:
    return sum(raw.type == "KeyAdmitted" for raw in world.records("accounts"))


def order(world: World, method: str, *acts: Act, caller: Caller = REGISTRAR) -> Any:
    item = pb.SignedOrder(id=world.new_id(), acts=[act_message(act) for act in acts])
    (result,) = world.send(method, [item], caller)
    return result


def give(world: World, amount: int, caller: Caller = BUYER, to: str = QINWANGCHUAN) -> Any:
    entry = world.entry(pay(CITY_GROUP, to, amount, TICKET))
    (result,) = world.send("PostEntries", [entry], caller)
    return result


def frozen(world: World, holder: str = CITY_GROUP) -> dict[str, int]:
    request = pb.GetBalancesRequest(holder=holder, min_position=world.head("accounts") - 1)
    answer = world.call(world.accounts.GetBalances, request, BUYER)
    return {row.asset: row.frozen for row in answer.balances if row.frozen}


def test_what_a_court_froze_lies_still_is_shown_and_is_lifted(world: World) -> None:
    act = freeze_serials("17/1", (BATCH, 1, 100))
    position = accepted(order(world, "FreezeUnits", act))
    refused = give(world, 950)
    assert refusal(refused) == "FROZEN"
    assert details(refused)["available"] == "900"
    assert frozen(world) == {TICKET: 100}
    request = pb.ListFreezesRequest(holder=CITY_GROUP, min_position=position)
    (shown,) = world.call(world.accounts.ListFreezes, request, BUYER).freezes
    assert (shown.authority, shown.freeze, shown.document) == (COURT, "17/1", "(2026) 甘01执保 17")
    everything = pb.ListFreezesRequest()
    assert world.call(world.accounts.ListFreezes, everything, REGISTRAR).freezes == [shown]
    for asked, caller in ((everything, BUYER), (request, COMMUTER)):
        with pytest.raises(Refused):
            world.call(world.accounts.ListFreezes, asked, caller)
    accepted(order(world, "UnfreezeUnits", unfreeze("17/1")))
    assert frozen(world) == {}


def test_only_a_registrar_hands_an_order_in(world: World) -> None:
    with pytest.raises(Refused) as refused:
        order(world, "FreezeUnits", freeze("17/2"), caller=BUYER)
    assert refused.value.reason == "ROLE_MISSING"


def test_a_freeze_ends_by_itself_after_its_last_day(world: World) -> None:
    act = freeze("17/3", asset=CNY, until=day_of(world))
    accepted(order(world, "FreezeUnits", act))
    assert frozen(world)[CNY] > 0
    world.advance_clock(DAY_MS)
    until(lambda: frozen(world) == {}, "the freeze to end")


def day_of(world: World) -> str:
    return shanghai_day(world.clock.now_ms())


def test_an_order_moves_what_it_names_and_anyone_may_read_of_it_but_not_whose(
    world: World,
) -> None:
    accepted(order(world, "FreezeUnits", freeze_serials("17/4", (BATCH, 301, 400))))
    move = moved(50, TICKET, "", (BATCH, 301, 350))
    act = transfer_order("88", move, freezes=overriding((COURT, "17/4")))
    position = accepted(order(world, "PostTransfers", act))
    assert frozen(world) == {TICKET: 50}
    request = pb.ListNonTradeTransfersRequest(asset=TICKET, min_position=position)
    (row,) = world.call(world.accounts.ListNonTradeTransfers, request, COMMUTER).transfers
    assert (row.position, row.nature, row.amount) == (position, "court", 50)
    assert (row.document, row.authority) == ("(2026) 甘01执 88", COURT)
    assert QINWANGCHUAN not in str(row)
    disclose = pb.DiscloseEventsRequest(positions=[position])
    assert world.call(world.accounts.DiscloseEvents, disclose, FARMER).events
    with pytest.raises(Refused):
        world.call(world.accounts.DiscloseEvents, disclose, COMMUTER)
    accepted(order(world, "UnfreezeUnits", unfreeze("17/4")))


def test_a_merger_takes_two_registrars(world: World) -> None:
    acts = agreement("m-1", moved(10), keys=(GROUP_KEY, FARM_KEY))
    position = accepted(order(world, "PostTransfers", *acts))
    request = pb.ListFiledTransfersRequest(min_position=position)
    (filed,) = world.call(world.accounts.ListFiledTransfers, request, REGISTRAR).transfers
    assert (filed.transfer, filed.filed_by) == ("m-1", REGISTRAR.actor.sub)
    for caller, reason in ((REGISTRAR, "MAKER_IS_CHECKER"), (SECOND_REGISTRAR, "")):
        item = pb.FiledTransferName(id=world.new_id(), transfer="m-1")
        (result,) = world.send("ConfirmTransfers", [item], caller)
        if reason:
            assert refusal(result) == reason
        else:
            accepted(result)


def one(world: World, method: str, kind: Any, caller: Caller, **fields: Any) -> Any:
    item = kind(id=world.new_id(), **fields)
    (result,) = world.send(method, [item], caller)
    return item.id, result


def test_safeguards_send_by_two_what_one_may_not_send_alone(world: World) -> None:
    for caller, method in ((BUYER, "AddDestinations"), (SECOND, "ConfirmDestinations")):
        for to in (QINWANGCHUAN, "venue:market-lzxq"):
            fields: dict[str, Any] = {"holder": CITY_GROUP, "destination": to}
            accepted(one(world, method, pb.DestinationItem, caller, **fields)[1])
    limit = pb.SafeguardLimit(asset=TICKET, amount=20)
    rules = pb.SafeguardRules(delay_ms=DAY_MS, limits=[limit])
    proposal, result = one(
        world, "ProposeSafeguards", pb.SafeguardsProposal, BUYER, holder=CITY_GROUP, rules=rules
    )
    accepted(result)
    confirm = {"holder": CITY_GROUP, "proposal": proposal}
    _, result = one(world, "ConfirmSafeguards", pb.SafeguardsConfirmation, BUYER, **confirm)
    assert refusal(result) == "MAKER_IS_CHECKER"
    _, result = one(world, "ConfirmSafeguards", pb.SafeguardsConfirmation, SECOND, **confirm)
    accepted(result)

    accepted(give(world, 20))
    assert refusal(give(world, 1)) == "APPROVAL_NEEDED"
    assert refusal(give(world, 1, to=ZHONGCHUAN)) == "DESTINATION_NOT_TRUSTED"
    fields = {"holder": CITY_GROUP, "to": QINWANGCHUAN, "asset": TICKET, "amount": 200}
    hold, result = one(world, "ProposeTransfers", pb.TransferProposal, BUYER, **fields)
    position = accepted(result)
    request = pb.ListProposedTransfersRequest(holder=CITY_GROUP, min_position=position)
    (waiting,) = world.call(world.accounts.ListProposedTransfers, request, SECOND).transfers
    assert (waiting.hold, waiting.amount, waiting.proposed_by) == (hold, 200, BUYER.actor.sub)
    _, result = one(world, "ApproveTransfers", pb.TransferApproval, BUYER, hold=hold)
    assert refusal(result) == "MAKER_IS_CHECKER"
    before = world.balance(available(QINWANGCHUAN), TICKET)
    _, result = one(world, "ApproveTransfers", pb.TransferApproval, SECOND, hold=hold)
    accepted(result)
    assert world.balance(available(QINWANGCHUAN), TICKET) == before + 200

    out, result = one(world, "ProposeSafeguards", pb.SafeguardsProposal, BUYER, holder=CITY_GROUP)
    accepted(result)
    confirm = {"holder": CITY_GROUP, "proposal": out}
    accepted(one(world, "ConfirmSafeguards", pb.SafeguardsConfirmation, SECOND, **confirm)[1])
    assert refusal(give(world, 1)) == "APPROVAL_NEEDED"
    shown = safeguards(world)
    assert shown.rules.limits[0].amount == 20
    assert shown.HasField("next_from")
    world.advance_clock(DAY_MS)
    accepted(give(world, 21, to=ZHONGCHUAN))
    assert not safeguards(world).HasField("rules")


def safeguards(world: World) -> pb.GetSafeguardsResponse:
    request = pb.GetSafeguardsRequest(holder=CITY_GROUP)
    answer: pb.GetSafeguardsResponse = world.call(world.accounts.GetSafeguards, request, BUYER)
    return answer


def test_what_waits_is_refused_or_expires(world: World) -> None:
    result: items_pb2.ItemResult
    _, result = one(world, "RefuseTransfers", pb.TransferRefusal, BUYER, hold="none", reason="x")
    assert refusal(result) == "UNKNOWN_TRANSFER"
