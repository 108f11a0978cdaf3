"""The registry with the real accounts and ledger: issue, pledge, release, retire, the whole way."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tanzhang.accounts.v1 import accounts_pb2
from tanzhang.ledger.v1 import ledger_pb2, states_pb2, states_pb2_grpc
from tanzhang.registry.v1 import registry_pb2 as pb
from tanzhang.registry.v1 import registry_pb2_grpc

from cli.mirror import mirror_log
from cli.stack.provision import policy_file
from kernel.errors import Conflict, Refused
from kernel.record import decode_record
from kernel.rpc.items import act_message, timestamp_of
from kernel.tlog.balance_tree import BalanceTree, Row
from kernel.tlog.maps import Piece
from kernel.tlog.policy import Policy, parse_policy
from kernel.tlog.proof import verify_proof
from kernel.tlog.serial_tree import SerialTree
from kernel.tlog.states import Account as StateAccount
from kernel.tlog.states import (
    balance_leaf,
    parse_state,
    status_text,
    verify_holding,
    verify_lien,
)
from kernel.values import Act, Caller, format_instant
from services.accounts.domain.commands import PostEntry
from services.accounts.domain.events import Account, Purpose
from services.registry.domain.commands import RegisterPledge, ReleasePledge
from services.registry.domain.events import SerialRange, Valuation
from tests.support import forest
from tests.support.books import person
from tests.support.forest import (
    CHECKER,
    CITY_GROUP_KEY,
    CLERK,
    FIRST_BANK,
    MAKER,
    OTHER_CLERK,
    QIN,
    SECOND_BANK,
    SECOND_BANK_KEY,
    TONNES,
    TREASURER,
    VERIFIER,
    ZHONG,
    morning,
)
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    CITY_GROUP,
    CLAIM,
    FARMER,
    FOREST_T,
    PRICE_FEN_PER_T,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    TICKET,
    ZHONGCHUAN,
    approval,
    available,
    leg,
    pay,
    retired,
)
from tests.support.orders import moved, transfer_order
from tests.support.world import AUDITOR, World, Worlds, accepted, refusal, some_uscc, until

COMMUTER = person("a Shenzhen commuter")
_lien_numbers = iter(range(1000))


def worth_it(lien: str, **changed: Any) -> RegisterPledge:
    """A pledge by the last trade, long before any clock that runs this."""
    valuation = Valuation(PRICE_FEN_PER_T, morning("2026-01-05"), "last trade")
    return forest.pledge(lien, **{"valuation": valuation, **changed})


class Office:
    """The registry as its clients meet it, in a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def stub(self) -> Any:
        return registry_pb2_grpc.RegistryServiceStub(self.world.channel("registry"))

    def ask(self, method: str, request: Any, caller: Caller | None = None) -> Any:
        return self.world.call(getattr(self.stub, method), request, caller, patience_s=60)

    def send(self, method: str, field: str, items: Sequence[Any], caller: Caller) -> list[Any]:
        request = getattr(pb, f"{method}Request")(**{field: items})
        return list(self.ask(method, request, caller).results)

    def id(self) -> str:
        return self.world.new_id()

    # ---- the story ------------------------------------------------------------------------------

    def open_for_business(self) -> None:
        holders = [
            accounts_pb2.Holder(
                id=self.id(),
                holder=holder,
                kind=accounts_pb2.HOLDER_KIND_ENTERPRISE,
                uscc=some_uscc(number),
                name=name,
            )
            for number, (holder, name) in enumerate(
                [(FIRST_BANK, "甲银行"), (SECOND_BANK, "乙银行"), (VERIFIER, "核查机构")]
            )
        ]
        for result in self.world.send("RegisterHolders", holders, REGISTRAR):
            accepted(result)
        for subject, key in forest.KEYS.items():
            if subject.startswith("holder:"):
                self.world.register_key(subject, key)
        until(lambda: self.keys_of("registry") >= set(forest.KEYS), "the registry's keys")
        until(lambda: self.keys_of("accounts") >= set(forest.KEYS), "the keys of accounts")
        self.open_programme()
        for project in (QIN, ZHONG):
            self.verify(project)

    def keys_of(self, book: str) -> set[str]:
        records = self.world.records(book)
        return {json.loads(bytes(r.body))["subject"] for r in records if r.type == "KeyAdmitted"}

    def open_programme(self) -> None:
        opening = forest.opening().opening
        programme = pb.Programme(
            id=self.id(),
            on=timestamp_of(morning("2020-06-01")),
            programme=PROGRAMME,
            name=opening.name,
            unit_kind=pb.UNIT_KIND_TICKET,
            parts=pb.Parts(authority=PROGRAMME, registrar=PROGRAMME),
            terms=pb.Terms(
                steps=[pb.Step(name=one.name, min_days=one.min_days) for one in forest.STEPS],
                project_types=["forest"],
            ),
        )
        accepted(self.send("OpenProgrammes", "programmes", [programme], REGISTRAR)[0])

    def verify(self, project: str) -> None:
        filed = msgspec.structs.asdict(forest.filing(project).filing)
        on = timestamp_of(morning("2021-03-01"))
        message = pb.Project(id=self.id(), on=on, **filed)
        accepted(self.send("FileProjects", "projects", [message], MAKER)[0])
        steps = [
            pb.ProjectStep(
                id=self.id(),
                on=timestamp_of(morning(day)),
                project=project,
                step=step.name,
                document=f"sha256 of {step.name}",
            )
            for step, day in zip(
                forest.STEPS, ("2021-03-01", "2021-03-08", "2021-03-09"), strict=True
            )
        ]
        for result in self.send("AdvanceProjects", "steps", steps, MAKER):
            accepted(result)
        command = forest.verification(project)
        said = pb.Verification(
            id=self.id(),
            on=timestamp_of(morning("2021-05-01")),
            acts=[act_message(forest.verified_by(command))],
            **msgspec.structs.asdict(command.reduction),
        )
        accepted(self.send("VerifyReductions", "verifications", [said], MAKER)[0])

    def propose(self, issuance: str, lots: dict[str, int], asset: str = TICKET) -> Any:
        message = pb.IssuanceProposal(
            id=self.id(),
            issuance=issuance,
            asset=asset,
            batch=issuance,
            lots=[pb.Lot(verification=f"V-{p}", quantity_t=t) for p, t in lots.items()],
            document="sha256 of the notice",
        )
        return self.send("ProposeIssuances", "proposals", [message], MAKER)[0]

    def approve(self, issuance: str, lots: dict[str, int], **changed: Any) -> Any:
        owners = {forest.OWNERS.get(project, QINWANGCHUAN): t for project, t in lots.items()}
        act = approval(issuance, owners, **changed)
        message = pb.IssuanceApproval(id=self.id(), issuance=issuance, acts=[act_message(act)])
        return self.send("ApproveIssuances", "approvals", [message], CHECKER)[0]

    def issuance(self, name: str) -> Any:
        request = pb.GetIssuancesRequest(issuances=[name], settled=True)
        return self.ask("GetIssuances", request).issuances[0]

    def pledge(
        self,
        command: RegisterPledge,
        acts: Sequence[Act],
        caller: Caller,
        on_ms: int | None = None,
    ) -> Any:
        asked = command.pledge
        message = pb.Pledge(
            id=self.id(),
            on=None if on_ms is None else timestamp_of(on_ms),
            lien=asked.lien,
            programme=asked.programme,
            asset=asked.asset,
            pledgor=asked.pledgor,
            pledgee=asked.pledgee,
            quantity_t=asked.quantity_t,
            serials=[
                pb.SerialRange(batch=b.batch, first=b.first, last=b.last) for b in asked.serials
            ],
            loan_fen=asked.loan_fen,
            rate_bp=asked.rate_bp,
            matures_on=asked.matures_on,
            valuation=pb.Valuation(
                price_fen_per_t=asked.valuation.price_fen_per_t,
                source=asked.valuation.source,
                priced_at=timestamp_of(asked.valuation.priced_at_ms),
            ),
            notice=asked.notice,
            acts=[act_message(act) for act in acts],
        )
        return self.send("RegisterPledges", "pledges", [message], caller)[0]

    def pledge_some(self, quantity_t: int, **changed: Any) -> str:
        """A lien of the first bank on the city group's oldest tonnes; answers its name."""
        lien = new_lien()
        fields = {"quantity_t": quantity_t, "matures_on": "2099-11-20", **changed}
        command = worth_it(lien, **fields)
        accepted(self.pledge(command, forest.pledged_by(command), TREASURER))
        return lien

    def lien(self, name: str, caller: Caller = AUDITOR, *, settled: bool = True) -> Any:
        request = pb.GetPledgesRequest(liens=[name], settled=settled)
        return self.ask("GetPledges", request, caller).pledges[0]

    def release(self, command: ReleasePledge, caller: Caller = CLERK) -> Any:
        message = pb.PledgeRelease(
            id=self.id(),
            release=command.release,
            lien=command.lien,
            quantity_t=command.quantity_t,
            acts=[act_message(forest.released_by(command))],
        )
        return self.send("ReleasePledges", "releases", [message], caller)[0]

    def liens_of(self, batch: str, serial: int | None = None) -> list[tuple[int, int, str]]:
        request = pb.GetSerialLiensRequest(asset=TICKET, batch=batch, serial=serial)
        found = self.ask("GetSerialLiens", request).liens
        return [(one.serials.first, one.serials.last, one.lien) for one in found]

    def record(self, book: str, position: int) -> Any:
        return self.world.records(book)[position]


def new_lien() -> str:
    digits = f"{next(_lien_numbers):04d}"
    return "l-lanzhoubank" + "a" + "".join("abcdefghij"[int(digit)] for digit in digits)


def under(lien: str) -> Account:
    return Account(CITY_GROUP, Purpose.PLEDGED, lien)


@pytest.fixture(scope="module")
def office(worlds: Worlds) -> Iterator[Office]:
    """12,000 t issued through the registry; the city group has bought them all."""
    with worlds.open(("accounts", "registry", "ledger")) as world:
        made = Office(world)
        made.open_for_business()
        lots = dict(TONNES)
        accepted(made.propose(forest.ISSUANCE, lots))
        accepted(made.approve(forest.ISSUANCE, lots))
        assert made.issuance(forest.ISSUANCE).state == pb.PROCESS_STATE_COMPLETED
        for farm, quantity_t in FOREST_T.items():
            world.post(pay(farm, CITY_GROUP, quantity_t), FARMER)
        yield made


# ---- issue ---------------------------------------------------------------------------------------


def test_what_two_persons_and_the_authority_approved_is_issued_to_the_owners(
    office: Office,
) -> None:
    done = office.issuance(forest.ISSUANCE)
    assert (done.first, done.last, done.refusal.reason) == (1, 12_000, "")
    entry = office.record("accounts", done.entry_position)
    approved = entry.cause[1]
    assert (entry.cause[0], office.record("registry", approved).type) == (
        "registry",
        "IssuanceApproved",
    )
    legs = json.loads(bytes(entry.body))["legs"]
    assert [(one["credit"]["holder"], one["serials"][0]["last"]) for one in legs] == [
        (QINWANGCHUAN, 7000),
        (ZHONGCHUAN, 12_000),
    ]
    end = office.record("registry", done.ended_position)
    assert (end.type, end.cause) == ("IssuanceCompleted", ("accounts", done.entry_position))
    listed = office.ask("ListProjects", pb.ListProjectsRequest()).projects
    assert [one.verifications[0].issued_t for one in listed] == [7000, 5000]


def test_an_issuance_the_accounts_book_refuses_frees_its_lots(office: Office) -> None:
    office.verify("LZXQ-THIRD")
    lots = {"LZXQ-THIRD": 60}
    accepted(office.propose("NO-SUCH-ASSET", lots, asset="TICKET-NOWHERE-1"))
    accepted(office.approve("NO-SUCH-ASSET", lots, asset="TICKET-NOWHERE-1"))
    done = office.issuance("NO-SUCH-ASSET")
    assert (done.state, done.refusal.reason) == (pb.PROCESS_STATE_REFUSED, "UNKNOWN_ASSET")
    accepted(office.propose("LZXQ-2022", {"LZXQ-THIRD": 100}))
    waiting = office.ask("GetIssuances", pb.GetIssuancesRequest()).issuances
    assert [(one.issuance, one.state) for one in waiting] == [
        ("LZXQ-2022", pb.PROCESS_STATE_PROPOSED)
    ]


def test_nobody_without_the_role_proposes(office: Office) -> None:
    with pytest.raises(Refused) as refused:
        office.send("ProposeIssuances", "proposals", [], COMMUTER)
    assert refused.value.reason == "ROLE_MISSING"


# ---- pledge --------------------------------------------------------------------------------------


def test_a_pledge_moves_the_oldest_units_under_the_lien(office: Office) -> None:
    lien = office.pledge_some(600, loan_fen=2_475_000)
    found = office.lien(lien, CLERK)
    assert found.state == pb.PROCESS_STATE_COMPLETED
    assert (found.value_fen, found.ltv_bp, found.break_even_fen_per_t) == (2_516_400, 9835, 4125)
    assert office.world.balance(under(lien), TICKET) == 600
    (block,) = found.serials
    assert office.liens_of(block.batch, block.first) == [(block.first, block.last, lien)]
    entry = office.record("accounts", found.entry_position)
    assert entry.cause == ("registry", found.requested_position)
    assert len(entry.acts) == 2
    end = office.record("registry", found.ended_position)
    assert (end.type, end.cause) == ("PledgeRegistered", ("accounts", found.entry_position))
    office.world.prove("registry", found.ended_position)


def test_a_pledge_beyond_what_is_held_is_refused_with_the_numbers(office: Office) -> None:
    held = office.world.balance(available(CITY_GROUP), TICKET)
    lien = office.pledge_some(held + 1)
    found = office.lien(lien, TREASURER)
    assert (found.state, found.refusal.reason) == (
        pb.PROCESS_STATE_REFUSED,
        "INSUFFICIENT_BALANCE",
    )
    assert (found.refusal.details["needed"], found.refusal.details["available"]) == (
        str(held + 1),
        str(held),
    )
    assert (found.pledged_t, found.value_fen, found.ltv_bp) == (0, 0, 0)


def test_a_claimed_business_time_is_that_of_the_entry_too(office: Office) -> None:
    lien, on_ms = new_lien(), office.world.clock.now_ms() - 3_600_000
    command = worth_it(lien, quantity_t=1, matures_on="2099-11-20", loan_fen=1)
    accepted(office.pledge(command, forest.pledged_by(command), TREASURER, on_ms))
    found = office.lien(lien)
    assert found.state == pb.PROCESS_STATE_COMPLETED
    assert office.record("accounts", found.entry_position).on == format_instant(on_ms)


def test_named_serials_go_under_the_lien_and_nobody_elses(office: Office) -> None:
    block = SerialRange(forest.BATCH, 11_901, 11_950)
    lien = office.pledge_some(50, serials=[block])
    found = office.lien(lien)
    assert [(one.batch, one.first, one.last) for one in found.serials] == [
        (forest.BATCH, 11_901, 11_950)
    ]
    again = office.pledge_some(1, serials=[SerialRange(forest.BATCH, 11_950, 11_950)])
    assert office.lien(again).refusal.reason == "SERIALS_NOT_HELD"
    assert office.liens_of(forest.BATCH, 11_950) == [(11_901, 11_950, lien)]
    assert office.liens_of(forest.BATCH, 11_951) == []
    assert (11_901, 11_950, lien) in office.liens_of(forest.BATCH)


def test_two_banks_have_each_their_own_lien_and_see_no_other(office: Office) -> None:
    first = office.pledge_some(10)
    second = new_lien()
    command = worth_it(
        second, pledgee=SECOND_BANK, quantity_t=20, matures_on="2099-11-20", loan_fen=1
    )
    acts = forest.pledged_by(command, CITY_GROUP_KEY, SECOND_BANK_KEY)
    accepted(office.pledge(command, acts, OTHER_CLERK))
    assert office.lien(second, OTHER_CLERK).pledged_t == 20
    for lien, stranger in ((first, OTHER_CLERK), (second, CLERK), (first, COMMUTER)):
        with pytest.raises(Refused) as refused:
            office.lien(lien, stranger)
        assert refused.value.reason == "NOT_YOUR_LIEN"
    mine = office.ask("GetPledges", pb.GetPledgesRequest(holder=SECOND_BANK), OTHER_CLERK).pledges
    assert [one.pledge.lien for one in mine] == [second]
    with pytest.raises(Refused) as refused:
        office.ask("GetPledges", pb.GetPledgesRequest(holder=SECOND_BANK), CLERK)
    assert refused.value.reason == "NOT_YOUR_ACCOUNT"


def test_only_public_facts_are_disclosed_to_everybody(office: Office) -> None:
    found = office.lien(office.pledge_some(5))
    own = pb.DiscloseEventsRequest(positions=[found.requested_position, found.ended_position])
    for party in (CLERK, TREASURER, AUDITOR):
        events = office.ask("DiscloseEvents", own, party).events
        assert [decode_record(one.record).position for one in events] == list(own.positions)
    for position in own.positions:
        for stranger in (COMMUTER, OTHER_CLERK):
            one = pb.DiscloseEventsRequest(positions=[position])
            with pytest.raises(Refused) as refused:
                office.ask("DiscloseEvents", one, stranger)
            assert refused.value.reason == "NOT_A_PARTY"
    public = [r.position for r in office.world.records("registry") if r.type == "ProjectFiled"]
    request = pb.DiscloseEventsRequest(positions=public)
    assert len(office.ask("DiscloseEvents", request, COMMUTER).events) == len(public)
    noted = office.world.sql(
        "SELECT position FROM registry.disclosures WHERE principal LIKE %s", "%commuter"
    )
    assert {position for (position,) in noted} >= set(public)
    assert found.ended_position not in {position for (position,) in noted}


# ---- release -------------------------------------------------------------------------------------


def test_the_pledgee_releases_a_part_then_the_rest(office: Office) -> None:
    lien = office.pledge_some(100)
    before = office.lien(lien)
    accepted(office.release(forest.release(40, "r-1", lien)))
    found = office.lien(lien)
    assert (found.pledged_t, [one.release for one in found.releases]) == (60, ["r-1"])
    (done,) = found.releases
    assert done.state == pb.PROCESS_STATE_COMPLETED
    moved = sum(block.last - block.first + 1 for block in done.serials)
    left = sum(block.last - block.first + 1 for block in found.serials)
    assert (moved, left) == (40, 60)
    assert office.world.balance(under(lien), TICKET) == 60
    assert refusal(office.release(forest.release(61, "r-2", lien))) == "INSUFFICIENT_PLEDGE"
    accepted(office.release(forest.release(60, "r-3", lien), MAKER))
    assert office.lien(lien).pledged_t == 0
    (block,) = before.serials
    assert office.liens_of(block.batch, block.first) == []


def test_a_release_named_twice_is_refused(office: Office) -> None:
    lien = office.pledge_some(10)
    office.lien(lien)
    accepted(office.release(forest.release(1, "r-1", lien)))
    assert refusal(office.release(forest.release(1, "r-1", lien))) == "RELEASE_EXISTS"


# ---- retirement ----------------------------------------------------------------------------------


def test_a_retirement_in_the_accounts_book_becomes_a_public_one(office: Office) -> None:
    entry = PostEntry([leg(3, TICKET, available(CITY_GROUP), retired(CITY_GROUP))], CLAIM)
    on_ms = office.world.clock.now_ms() - 86_400_000
    message = office.world.entry(entry, on_ms=on_ms)
    (result,) = office.world.send("PostEntries", [message], person("b", holders=[CITY_GROUP]))
    position = accepted(result)
    request = pb.ListRetirementsRequest(holder=CITY_GROUP, min_accounts_position=position)
    (found,) = office.ask("ListRetirements", request).retirements
    assert (found.quantity_t, found.beneficiary, found.purpose) == (
        3,
        CLAIM.beneficiary,
        CLAIM.purpose,
    )
    assert (found.entry_position, found.on) == (position, timestamp_of(on_ms))
    assert sum(block.last - block.first + 1 for block in found.serials) == 3
    event = office.record("registry", found.position)
    assert (event.type, event.cause) == ("UnitsRetired", ("accounts", position))
    other = pb.ListRetirementsRequest(asset="CCER-7-2020", min_accounts_position=position)
    assert not office.ask("ListRetirements", other).retirements


def test_an_order_over_a_lien_ends_the_pledge_as_far_as_it_reached(office: Office) -> None:
    lien = office.pledge_some(40)
    assert office.lien(lien).pledged_t == 40
    act = transfer_order(f"over {lien}", moved(15, lien=lien), key=AUTHORITY_KEY)
    item = accounts_pb2.SignedOrder(id=office.id(), acts=[act_message(act)])
    (result,) = office.world.send("PostTransfers", [item], REGISTRAR)
    position = accepted(result)
    until(lambda: office.lien(lien).pledged_t == 25, "the registry to hear of it")
    (told,) = office.lien(lien).overrides
    assert (told.quantity_t, told.entry_position) == (15, position)
    assert told.authority == f"authority:{PROGRAMME}"
    assert sum(one.last - one.first + 1 for one in office.lien(lien).serials) == 25
    accepted(office.release(forest.release(25, "the rest", lien)))
    assert office.lien(lien).pledged_t == 0


def test_retirements_come_in_pages(office: Office) -> None:
    for _ in range(2):
        position = office.world.retire(CITY_GROUP, 1, person("b", holders=[CITY_GROUP]))
    request = pb.ListRetirementsRequest(page_size=1, min_accounts_position=position)
    seen = []
    while True:
        answer = office.ask("ListRetirements", request)
        seen += [one.position for one in answer.retirements]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert len(seen) >= 2
    assert seen == sorted(set(seen))


# ---- reads and errors ----------------------------------------------------------------------------


def test_everybody_may_read_programmes_and_projects(office: Office) -> None:
    (programme,) = office.ask("GetProgrammes", pb.GetProgrammesRequest()).programmes
    assert [step.name for step in programme.terms.steps] == [one.name for one in forest.STEPS]
    assert not programme.terms.HasField("max_ltv_bp")
    first = office.ask("ListProjects", pb.ListProjectsRequest(page_size=1, programme=PROGRAMME))
    assert [one.project.project for one in first.projects] == [QIN]
    rest = office.ask("ListProjects", pb.ListProjectsRequest(page_token=first.next_page_token))
    assert [one.project.project for one in rest.projects][:1] == [ZHONG]
    assert first.projects[0].verifications[0].verifier == VERIFIER


@pytest.mark.parametrize("token", ["x", "-1", "1.5", "9" * 17])
def test_a_page_token_of_somebody_elses_is_refused(office: Office, token: str) -> None:
    for method, request in (
        ("ListProjects", pb.ListProjectsRequest(page_token=token)),
        ("ListRetirements", pb.ListRetirementsRequest(page_token=token)),
    ):
        with pytest.raises(Refused) as refused:
            office.ask(method, request)
        assert refused.value.reason == "PAGE_TOKEN_MALFORMED"


def test_unknown_names_are_said_to_be_unknown(office: Office) -> None:
    with pytest.raises(Refused) as refused:
        office.issuance("LZXQ-1999")
    assert refused.value.reason == "UNKNOWN_ISSUANCE"
    with pytest.raises(Refused) as refused:
        office.lien("l-nobodyaaaaaaaaaa")
    assert refused.value.reason == "UNKNOWN_LIEN"
    assert office.liens_of("LZXQ-1999") == []


def test_a_malformed_item_is_refused_and_the_rest_goes_in(office: Office) -> None:
    filed = msgspec.structs.asdict(forest.filing("LZXQ-FOURTH").filing)
    items = [
        pb.Project(id="not an id", **filed),
        pb.Project(id=office.id(), **filed),
        pb.Project(id=office.id(), **{**filed, "project": "LZXQ-FIFTH", "owner": "the farm"}),
    ]
    results = office.send("FileProjects", "projects", items, MAKER)
    assert [refusal(results[0]), refusal(results[2])] == ["ID_MALFORMED", "HOLDER_MALFORMED"]
    accepted(results[1])
    again = office.send("FileProjects", "projects", [items[1]], MAKER)[0]
    assert again.accepted.repeated
    asked = pb.GetOutcomesRequest(ids=[items[1].id])
    (outcome,) = office.ask("GetOutcomes", asked, MAKER).results
    assert outcome.accepted.first_position == results[1].accepted.first_position


def test_what_is_absent_is_not_guessed(office: Office) -> None:
    pledge = pb.Pledge(id=office.id(), valuation=pb.Valuation(price_fen_per_t=1))
    assert refusal(office.send("RegisterPledges", "pledges", [pledge], CLERK)[0]) == "MISSING_VALUE"
    change = pb.TermsChange(id=office.id(), programme=PROGRAMME)
    assert refusal(office.send("SetTerms", "changes", [change], REGISTRAR)[0]) == "MISSING_VALUE"
    programme = pb.Programme(id=office.id(), programme=PROGRAMME, name="丝路碳票")
    refused = office.send("OpenProgrammes", "programmes", [programme], REGISTRAR)[0]
    assert refusal(refused) == "UNKNOWN_VALUE"


# ---- when somebody is away -----------------------------------------------------------------------


def test_a_pledge_waits_for_the_accounts_book_to_come_back(office: Office) -> None:
    office.world.stop_services("accounts")
    lien = office.pledge_some(7)
    assert office.lien(lien, settled=False).state == pb.PROCESS_STATE_REQUESTED
    office.world.bring_back("accounts")
    until(
        lambda: office.lien(lien).state == pb.PROCESS_STATE_COMPLETED, "the lien to be registered"
    )
    assert office.world.balance(under(lien), TICKET) == 7


def test_a_registry_that_dies_before_it_hears_the_answer_moves_nothing_twice(
    office: Office,
) -> None:
    office.world.start_armed("registry", "errand.answered")
    office.world.supervisor.await_serving("registry")
    lien = office.pledge_some(9)
    office.world.await_death("registry")
    office.world.bring_back("registry")
    until(
        lambda: office.lien(lien).state == pb.PROCESS_STATE_COMPLETED, "the lien to be registered"
    )
    assert office.world.balance(under(lien), TICKET) == 9
    request = office.lien(lien).requested_position
    carried_out = [r for r in office.world.records("accounts") if r.cause == ("registry", request)]
    assert len(carried_out) == 1


def test_a_registry_that_dies_over_a_retirement_shows_it_once(office: Office) -> None:
    office.world.start_armed("registry", "reaction.called")
    office.world.supervisor.await_serving("registry")
    position = office.world.retire(CITY_GROUP, 1, person("b", holders=[CITY_GROUP]))
    office.world.await_death("registry")
    office.world.bring_back("registry")
    request = pb.ListRetirementsRequest(page_size=1000, min_accounts_position=position)
    found = office.ask("ListRetirements", request).retirements
    assert [one.entry_position for one in found].count(position) == 1


def test_the_state_is_the_same_after_a_restart(office: Office) -> None:
    def seen() -> list[bytes]:
        everything = [
            office.ask("GetProgrammes", pb.GetProgrammesRequest()).programmes,
            office.ask("ListProjects", pb.ListProjectsRequest()).projects,
            office.ask("GetPledges", pb.GetPledgesRequest(holder=FIRST_BANK), AUDITOR).pledges,
            office.ask("ListRetirements", pb.ListRetirementsRequest()).retirements,
        ]
        return [one.SerializeToString(deterministic=True) for part in everything for one in part]

    before = seen()
    office.world.stop_services("registry")
    office.world.bring_back("registry")
    assert seen() == before


# ---- as a bank proves it -------------------------------------------------------------------------


def states(office: Office) -> Any:
    return states_pb2_grpc.StateServiceStub(office.world.channel("ledger"))


def policy_of(office: Office) -> Policy:
    return parse_policy(policy_file(office.world.directory).read_bytes())


def lien_file(office: Office, lien: str, caller: Caller) -> bytes:
    """After everything that the accounts book has by now."""
    after = office.world.head("accounts") - 1
    request = states_pb2.GetLienRequest(lien=lien, min_position=after)
    answer = office.world.call(
        states(office).GetLien, request, caller, patience_s=60, deadline_s=60
    )
    return bytes(answer.file)


def test_a_bank_is_shown_its_lien_and_what_became_of_it(office: Office) -> None:
    lien = office.pledge_some(100)
    (block,) = office.lien(lien).serials
    file = lien_file(office, lien, CLERK)
    shown = verify_lien(file, policy_of(office))
    assert (shown.lien, shown.pledgor, shown.pledgee) == (lien, CITY_GROUP, FIRST_BANK)
    assert (shown.asset, shown.quantity) == (TICKET, 100)
    assert [tuple(one) for one in shown.serials] == [(block.batch, block.first, block.last)]

    accepted(office.release(forest.release(40, "r-1", lien)))
    assert office.lien(lien).pledged_t == 60
    again = verify_lien(lien_file(office, lien, TREASURER), policy_of(office))
    assert again.quantity == 60
    assert again.state.entry.position > shown.state.entry.position
    accepted(office.release(forest.release(60, "r-2", lien)))
    assert office.lien(lien).pledged_t == 0
    ended = verify_lien(lien_file(office, lien, AUDITOR), policy_of(office))
    assert (ended.quantity, ended.serials) == (0, ())
    for stranger in (OTHER_CLERK, COMMUTER):
        with pytest.raises(Refused) as refused:
            lien_file(office, lien, stranger)
        assert refused.value.reason == "NOT_A_PARTY"
    with pytest.raises(Refused) as refused:
        lien_file(office, "l-nobody-has-it", CLERK)
    assert refused.value.reason == "UNKNOWN_LIEN"


def test_a_holder_is_shown_what_it_holds_and_nothing_of_what_it_does_not(office: Office) -> None:
    head = office.world.head("accounts")
    asked = [
        states_pb2.StateAccount(holder=CITY_GROUP, asset=TICKET, purpose="available"),
    ]
    request = states_pb2.GetHoldingsRequest(accounts=asked, min_position=head - 1)
    answer = office.world.call(
        states(office).GetHoldings, request, TREASURER, patience_s=60, deadline_s=60
    )
    amounts = [verify_holding(one.file, policy_of(office)).amount for one in answer.holdings]
    assert amounts == [one.amount for one in answer.holdings]
    assert amounts == [office.world.balance(available(CITY_GROUP), TICKET)]
    nothing = states_pb2.StateAccount(holder=CITY_GROUP, asset=TICKET, purpose="held", ref="none")
    other = states_pb2.GetHoldingsRequest(accounts=[nothing], min_position=head - 1)
    with pytest.raises(Refused) as refused:
        office.world.call(states(office).GetHoldings, other, TREASURER, patience_s=60)
    assert refused.value.reason == "NOTHING_HELD"
    with pytest.raises(Refused) as refused:
        office.world.call(states(office).GetHoldings, request, COMMUTER, patience_s=60)
    assert refused.value.reason == "NOT_YOUR_ACCOUNT"


def test_the_maps_of_a_state_are_those_of_the_events_before_it(office: Office) -> None:
    """Made again from the journal alone, as an auditor with the map key would."""
    world = office.world
    request = states_pb2.GetStateRequest(min_position=world.head("accounts") - 1)
    answer = world.call(states(office).GetState, request, patience_s=60, deadline_s=60)
    entry = parse_state(answer.entry)
    verify_proof(answer.tlog_proof, answer.entry, policy_of(office))
    map_key = world.call(states(office).GetMapKey, states_pb2.GetMapKeyRequest(), AUDITOR).map_key
    with pytest.raises(Refused):
        world.call(states(office).GetMapKey, states_pb2.GetMapKeyRequest(), CLERK)

    balances: Counter[StateAccount] = Counter()
    serials = SerialTree()
    for record in world.records("accounts")[: entry.size]:
        for one in json.loads(bytes(record.body)).get("legs", []):
            for side, sign in (("debit", -1), ("credit", 1)):
                balances[StateAccount(asset=one["asset"], **one[side])] += sign * one["amount"]
            status = status_text(one["credit"]["purpose"], one["credit"]["ref"])
            for block in one["serials"]:
                piece = Piece(block["first"], block["last"], status)
                serials.move(one["asset"], block["batch"], [piece])
    tree = BalanceTree()
    for account, amount in balances.items():
        if amount or account.purpose == "pledged":
            leaf, _ = balance_leaf(map_key, account, amount)
            tree.put({leaf.key: Row(leaf.value, amount)})
    assert entry.serials == serials.freeze().root
    assert entry.balances == tree.freeze().root


def test_states_go_on_where_they_were_after_a_restart(office: Office) -> None:
    world = office.world
    lien = office.pledge_some(7)
    assert office.lien(lien).pledged_t == 7
    before = verify_lien(lien_file(office, lien, CLERK), policy_of(office))
    world.supervisor.stop_service("ledger")
    world.bring_back("ledger")
    office.pledge_some(1)
    after = verify_lien(lien_file(office, lien, CLERK), policy_of(office))
    assert after.state.entry.position > before.state.entry.position
    assert (after.quantity, after.serials) == (before.quantity, before.serials)


def mirror_states(office: Office, folder: Path) -> None:
    world, asked = office.world, ledger_pb2.GetCheckpointRequest(book="state")

    async def tile(path: str) -> bytes:
        request = ledger_pb2.GetTileRequest(book="state", path=path)
        return bytes(world.call(world.ledger.GetTile, request).data)

    note = world.call(world.ledger.GetCheckpoint, asked).checkpoint
    asyncio.run(mirror_log(folder, note, policy_of(office), tile))


def test_states_that_a_restored_database_has_lost_come_back_from_a_mirror(
    office: Office, tmp_path: Path
) -> None:
    world = office.world
    tables = ("state_entries", "tiles", "checkpoints")
    backup = {name: world.sql(f"SELECT * FROM ledger.{name}") for name in tables}
    lien = office.pledge_some(3)
    assert office.lien(lien).pledged_t == 3
    newest = verify_lien(lien_file(office, lien, CLERK), policy_of(office)).state
    folder = tmp_path / "state"
    mirror_states(office, folder)

    world.supervisor.stop_service("ledger")
    world.sql("DELETE FROM ledger.state_entries")
    world.sql("DELETE FROM ledger.tiles WHERE book = 'state'")
    for name in ("state_entries", "tiles"):
        for row in backup[name]:
            if name == "state_entries" or row[0] == "state":
                marks = ", ".join(["%s"] * len(row))
                world.sql(f"INSERT INTO ledger.{name} VALUES ({marks})", *row)
    world.bring_back("ledger")
    assert world.await_halt("state").rule == "RESTORED_BACKWARDS"
    office.pledge_some(1)
    with pytest.raises(Conflict) as refused:
        world.call(states(office).GetState, states_pb2.GetStateRequest(), deadline_s=60)
    assert refused.value.reason == "NO_STATE_YET"

    world.supervisor.stop_service("ledger")
    world.supervisor.start_service("ledger", {"TANZHANG_STATE_MIRROR": str(folder)})
    world.supervisor.await_serving("ledger")
    again = verify_lien(lien_file(office, lien, CLERK), policy_of(office))
    assert again.quantity == 3
    assert again.state.entry.position > newest.entry.position
    assert not world.status("state").HasField("halt")
