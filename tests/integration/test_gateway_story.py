"""The whole way through the gateway alone: Lanzhou's forest tickets, and a metro ride in Shenzhen.

Filed, verified, issued by two persons, allocated, listed, picked, settled, pledged, released and
retired, each over REST with the services as processes; then what a stranger is shown of it. The
tests are one story in order.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.app import run
from cli.stack.provision import policy_file, venue_key
from gateway.clients import answer_model
from kernel.acts import sign_act
from kernel.tlog.policy import parse_policy
from kernel.tlog.receipt import verify_receipt
from kernel.tlog.states import parse_state, verify_lien
from kernel.values import Act, Caller, format_instant, uscc_check_character
from tests.support.books import person
from tests.support.forest import (
    AREA_MU,
    BATCH,
    CHECKER,
    CITY_GROUP_KEY,
    CLERK,
    FIRST_BANK,
    FIRST_BANK_KEY,
    ISSUANCE,
    KEYS,
    LIEN,
    MAKER,
    OWNERS,
    SITES,
    STEPS,
    TONNES,
    TREASURER,
    VERIFIER,
    VERIFIER_KEY,
)
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    CITY_GROUP,
    CNY,
    FARMER,
    FOREST_T,
    PRICE_FEN_PER_T,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    TICKET,
    TOTAL_FEN,
    TOTAL_T,
    approval,
)
from tests.support.shenzhen import METRO, METRO_CLERK, METRO_KEY, POINTS_PER_KG, PUBLIC_TRAVEL
from tests.support.world import AUDITOR, World, Worlds, until

ALL = ("accounts", "registry", "market", "inclusive", "ledger", "gateway")
EXCHANGE = person("exchange of Lanzhou", roles=["exchange"])
PLATFORM = person("wang of the platform", roles=["inclusive-operator"])
PLATFORM_CHECKER = person("li of the platform", roles=["inclusive-operator"])
COMMUTER = person("a Shenzhen commuter", roles=["citizen"])
STRANGER = person("somebody in Chengdu")
INSTRUMENT = "LZXQ-1"
LOAN_FEN = 49_500_000
PLEDGED_T = 11_000
RETIRED_T = 1_000


class Office:
    """Everybody of the story, all of them at the gateway."""

    def __init__(self, world: World, client: httpx.Client) -> None:
        self.world = world
        self.client = client

    def write(
        self, path: str, caller: Caller, status: int = 201, key: str | None = None, /, **body: Any
    ) -> dict[str, Any]:
        answer = self.client.post(
            path,
            json=body,
            headers={
                "Authorization": f"Bearer {self.world.token(caller)}",
                "Idempotency-Key": key or self.world.new_id(),
            },
        )
        found: dict[str, Any] = answer.json()
        assert answer.status_code == status, found
        return found

    def read(
        self, path: str, caller: Caller | None = None, method: str = "", **query: Any
    ) -> dict[str, Any]:
        headers = {}
        if caller is not None:
            headers["Authorization"] = f"Bearer {self.world.token(caller)}"
        answer = self.client.get(path, params=query, headers=headers)
        found: dict[str, Any] = answer.json()
        assert answer.status_code == 200, found
        if method:
            answer_model(method).model_validate(found, strict=True, extra="forbid")
        return found

    def release(self, quantity_t: int, name: str) -> dict[str, Any]:
        """By the bank's own signature; the lien once it is carried out."""
        said = {"lien": LIEN, "quantity_t": quantity_t, "release": name}
        signed = sign_act(FIRST_BANK_KEY, {"kind": "pledge-release", "pledgee": FIRST_BANK, **said})
        self.write("/v1/pledge-releases", CLERK, 202, **said, acts=acts(signed))
        return self.read(f"/v1/pledges/{LIEN}", CLERK, settled=True)

    def balance(self, holder: str, asset: str, purpose: str) -> int:
        found = self.read(f"/v1/holders/{holder}/balances", AUDITOR, asset=asset)
        return sum(
            one["amount"] for one in found["balances"] if one["account"]["purpose"] == purpose
        )


@pytest.fixture(scope="module")
def office(worlds: Worlds) -> Iterator[Office]:
    with worlds.open(ALL) as world:
        keys = {
            **{subject: key for subject, key in KEYS.items() if key is not AUTHORITY_KEY},
            f"holder:{METRO}": METRO_KEY,
            "venue:market": venue_key(world.directory),
        }
        for subject, key in keys.items():
            world.register_key(subject, key)
        for book in ("accounts", "registry", "inclusive"):
            await_keys(world, book, len(keys))
        url = f"http://{world.supervisor.target('gateway')}"
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield Office(world, client)


def await_keys(world: World, book: str, count: int) -> None:
    def known() -> bool:
        return sum(one.type == "KeyAdmitted" for one in world.records(book)) >= count

    until(known, f"{book} to know the keys")


def acts(*signed: Act) -> list[dict[str, str]]:
    return [
        {"key_id": one.key_id, "signature": one.signature, "statement": one.statement}
        for one in signed
    ]


def test_a_bank_is_registered_and_two_forest_projects_are_filed_and_verified(
    office: Office,
) -> None:
    code = "91620000MA7FIRST1"[:17].replace("I", "1").replace("S", "5")
    office.write(
        "/v1/holders",
        REGISTRAR,
        holder=FIRST_BANK,
        kind="enterprise",
        uscc=code + uscc_check_character(code),
        name="a first bank",
    )
    office.write(
        "/v1/programmes",
        REGISTRAR,
        programme=PROGRAMME,
        name="丝路碳票",
        unit_kind="ticket",
        parts={"authority": PROGRAMME, "clearing_house": PROGRAMME},
        terms={
            "steps": [{"name": one.name, "min_days": 0} for one in STEPS],
            "project_types": ["forest"],
        },
    )
    for project, owner in OWNERS.items():
        office.write(
            "/v1/projects",
            MAKER,
            project=project,
            programme=PROGRAMME,
            name=project,
            project_type="forest",
            owner=owner,
            region="甘肃省兰州新区",
            area_mu=AREA_MU[project],
            site=SITES[project],
            document="sha256 of the design document",
        )
        for step in STEPS:
            office.write(
                "/v1/project-steps", MAKER, project=project, step=step.name, document="sha256"
            )
        statement = {
            "document": "sha256 of the report",
            "period_first": "2018-01-01",
            "period_last": "2020-12-31",
            "project": project,
            "quantity_t": TONNES[project],
            "verification": f"V-{project}",
            "verifier": VERIFIER,
        }
        signed = sign_act(VERIFIER_KEY, {"kind": "verification-statement", **statement})
        last = office.write("/v1/verifications", MAKER, **statement, acts=acts(signed))
    found = office.read(
        "/v1/projects", method="registry.ListProjects", min_position=last["position"]
    )
    assert sum(one["project"]["area_mu"] for one in found["projects"]) == 11_700
    verified = [one["verifications"][0]["quantity_t"] for one in found["projects"]]
    assert sum(verified) == TOTAL_T


def test_one_person_proposes_an_issuance_and_only_another_one_approves(office: Office) -> None:
    office.write(
        "/v1/issuance-proposals",
        MAKER,
        issuance=ISSUANCE,
        asset=TICKET,
        batch=BATCH,
        lots=[{"verification": f"V-{project}", "quantity_t": q} for project, q in TONNES.items()],
        document="sha256 of the notice",
    )
    approved = {"issuance": ISSUANCE, "acts": acts(approval(BATCH, FOREST_T))}
    refused = office.write("/v1/issuance-approvals", MAKER, 403, **approved)
    assert refused["reason"] == "MAKER_IS_CHECKER"
    office.write("/v1/issuance-approvals", CHECKER, 202, **approved)
    issued = office.read(f"/v1/issuances/{ISSUANCE}", settled=True)
    assert (issued["state"], issued["first"], issued["last"]) == ("completed", 1, TOTAL_T)
    assert office.balance(QINWANGCHUAN, TICKET, "available") == FOREST_T[QINWANGCHUAN]


def test_the_tickets_are_listed_and_picked_and_delivery_and_payment_settle_together(
    office: Office,
) -> None:
    office.world.fund(CITY_GROUP, TOTAL_FEN)
    office.write(
        "/v1/instruments",
        EXCHANGE,
        instrument=INSTRUMENT,
        asset=TICKET,
        name="丝路碳票 1",
        reference_price_fen_per_t=PRICE_FEN_PER_T,
        terms={"matching_mode": "pick", "tick_fen": 1, "lot_t": 1, "band_bp": 1000},
    )
    for farm, quantity_t in FOREST_T.items():
        office.write("/v1/allocations", FARMER, holder=farm, asset=TICKET, amount=quantity_t)
    last = office.write(
        "/v1/allocations", TREASURER, holder=CITY_GROUP, asset=CNY, amount=TOTAL_FEN
    )
    office.read(
        f"/v1/holders/{CITY_GROUP}/positions",
        TREASURER,
        "market.GetPositions",
        min_accounts_position=last["position"],
    )
    for farm, quantity_t in FOREST_T.items():
        office.write(
            "/v1/orders",
            FARMER,
            instrument=INSTRUMENT,
            holder=farm,
            side="sell",
            price_fen_per_t=PRICE_FEN_PER_T,
            quantity_t=quantity_t,
        )
    book = office.read(f"/v1/instruments/{INSTRUMENT}/book", method="market.GetBook")
    assert [(one["price_fen_per_t"], one["open_t"]) for one in book["asks"]] == [
        (PRICE_FEN_PER_T, TOTAL_T)
    ]
    picked = office.write(
        "/v1/picks",
        TREASURER,
        202,
        instrument=INSTRUMENT,
        holder=CITY_GROUP,
        side="buy",
        quantity_t=TOTAL_T,
        limit_fen_per_t=PRICE_FEN_PER_T,
    )
    trades = office.read(
        f"/v1/holders/{CITY_GROUP}/trades",
        TREASURER,
        "market.ListTrades",
        min_position=picked["position"],
        settled=True,
    )["trades"]
    assert {one["state"] for one in trades} == {"completed"}
    assert sum(one["quantity_t"] for one in trades) == TOTAL_T
    assert sum(one["quantity_t"] * one["price_fen_per_t"] for one in trades) == TOTAL_FEN
    assert office.balance(CITY_GROUP, TICKET, "trading") == TOTAL_T
    assert office.balance(QINWANGCHUAN, CNY, "trading") == 7_000 * PRICE_FEN_PER_T
    quotes = office.read(f"/v1/instruments/{INSTRUMENT}/quotes", method="market.GetQuotes")
    assert quotes["last_fen_per_t"] == PRICE_FEN_PER_T
    assert quotes["day"]["turnover_fen"] == TOTAL_FEN


def test_a_farm_cannot_see_the_other_sides_orders(office: Office) -> None:
    answer = office.client.get(
        f"/v1/holders/{CITY_GROUP}/orders",
        headers={"Authorization": f"Bearer {office.world.token(FARMER)}"},
    )
    assert answer.status_code == 403


def test_what_was_bought_comes_back_from_the_market(office: Office) -> None:
    key = office.world.new_id()
    office.write(
        "/v1/market-releases",
        TREASURER,
        202,
        key,
        holder=CITY_GROUP,
        asset=TICKET,
        amount=TOTAL_T,
    )
    found = office.read(f"/v1/market-releases/{key}", TREASURER, settled=True)
    assert found["state"] == "completed"
    assert office.balance(CITY_GROUP, TICKET, "available") == TOTAL_T


def test_the_bank_takes_a_pledge_at_9_835_basis_points_and_a_stranger_sees_only_serials(
    office: Office,
) -> None:
    said = {
        "asset": TICKET,
        "lien": LIEN,
        "loan_fen": LOAN_FEN * PLEDGED_T // TOTAL_T,
        "matures_on": "2030-11-20",
        "pledgee": FIRST_BANK,
        "pledgor": CITY_GROUP,
        "programme": PROGRAMME,
        "quantity_t": PLEDGED_T,
        "serials": [],
    }
    priced_at_ms = office.world.clock.now_ms()
    statement = {
        "kind": "pledge",
        "levels": {"call_bp": 0, "enforcement_bp": 0, "warning_bp": 0},
        "notice": "",
        "rate_bp": 385,
        "valuation": {
            "price_fen_per_t": PRICE_FEN_PER_T,
            "priced_at_ms": priced_at_ms,
            "source": "last trade",
        },
        **said,
    }
    signed = [sign_act(key, statement) for key in (CITY_GROUP_KEY, FIRST_BANK_KEY)]
    office.write(
        "/v1/pledges",
        TREASURER,
        202,
        **said,
        rate_bp=385,
        valuation={
            "price_fen_per_t": PRICE_FEN_PER_T,
            "source": "last trade",
            "priced_at": format_instant(priced_at_ms),
        },
        acts=acts(*signed),
    )
    lien = office.read(f"/v1/pledges/{LIEN}", CLERK, settled=True)
    assert (lien["state"], lien["pledged_t"]) == ("completed", PLEDGED_T)
    assert (lien["ltv_bp"], lien["break_even_fen_per_t"]) == (9_835, 4_125)
    assert office.balance(CITY_GROUP, TICKET, "pledged") == PLEDGED_T
    public = office.read(
        "/v1/serial-liens", method="registry.GetSerialLiens", asset=TICKET, batch=BATCH
    )
    assert (
        sum(one["serials"]["last"] - one["serials"]["first"] + 1 for one in public["liens"])
        == PLEDGED_T
    )
    assert FIRST_BANK not in json.dumps(public)
    hidden = office.client.get(
        f"/v1/pledges/{LIEN}",
        headers={"Authorization": f"Bearer {office.world.token(STRANGER)}"},
    )
    assert hidden.status_code in (403, 404)


def test_what_is_pledged_cannot_be_retired_and_what_is_free_is_shown_retired_to_everyone(
    office: Office,
) -> None:
    claim = {
        "holder": CITY_GROUP,
        "asset": TICKET,
        "beneficiary": "兰州新区城投",
        "purpose": "2026 annual meeting",
    }
    refused = office.write("/v1/retirements", TREASURER, 422, **claim, amount=RETIRED_T + 1)
    assert refused["details"]["available"] == RETIRED_T
    entry = office.write("/v1/retirements", TREASURER, **claim, amount=RETIRED_T)
    found = office.read(
        "/v1/retirements",
        method="registry.ListRetirements",
        asset=TICKET,
        min_accounts_position=entry["position"],
    )
    (retired,) = found["retirements"]
    assert (retired["quantity_t"], retired["entry_position"]) == (RETIRED_T, entry["position"])
    assert retired["beneficiary"] == "兰州新区城投"


def test_a_bank_that_watches_its_lien_is_told_of_every_change(
    office: Office, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "token"
    token.write_text(office.world.token(CLERK))
    asked = [LIEN, "--url", str(office.client.base_url), "--token", str(token)]
    policy = ["--policy", str(policy_file(office.world.directory))]
    kept = ["--keep", str(tmp_path), "--once", "--json"]

    def round_of(*more: str) -> tuple[int, dict[str, Any]]:
        code = run(["watch", *asked, *policy, *kept, *more])
        said = capsys.readouterr()
        assert said.err == ""
        return code, json.loads(said.out)

    code, told = round_of()
    assert (code, told["alerts"]) == (0, [])
    assert (told["seen"]["quantity"], told["seen"]["pledgee"]) == (PLEDGED_T, FIRST_BANK)
    office.release(PLEDGED_T - 1_000, "r-0")
    head = office.world.head("accounts") - 1
    state = office.read("/v1/state", method="states.GetState", min_position=head)
    assert parse_state(base64.b64decode(state["entry"])).size > head
    code, told = round_of()
    assert (code, [one["kind"] for one in told["alerts"]]) == (1, ["CHANGED"])
    assert told["seen"]["quantity"] == 1_000
    assert round_of()[0] == 0
    fetched = ["proof", "lien", *asked, *policy, "--out", str(tmp_path)]
    assert run(fetched) == 0
    assert f"1000 {TICKET} under {LIEN}, for {FIRST_BANK}" in capsys.readouterr().out
    policy_known = parse_policy(policy_file(office.world.directory).read_bytes())
    assert verify_lien((tmp_path / f"{LIEN}.lien").read_bytes(), policy_known).quantity == 1_000

    seen_file = tmp_path / f"{LIEN}.json"  # what a log showed before must lie under what it shows
    seen = json.loads(seen_file.read_text())
    seen["log_root"] = base64.b64encode(bytes(32)).decode()
    seen_file.write_text(json.dumps(seen))
    code, told = round_of()
    assert (code, [one["kind"] for one in told["alerts"]]) == (1, ["FORK"])


def test_the_bank_releases_its_lien_by_its_own_signature(office: Office) -> None:
    lien = office.release(1_000, "r-1")
    assert lien["releases"][0]["state"] == "completed"
    assert office.balance(CITY_GROUP, TICKET, "available") == PLEDGED_T


def test_a_ride_by_metro_over_ten_kilometres_is_468_grams_and_is_explained(
    office: Office,
) -> None:
    office.write(
        "/v1/methodologies",
        PLATFORM,
        methodology=PUBLIC_TRAVEL,
        version="2021",
        title="深圳市低碳公共出行",
        region="深圳",
        mode="metro",
        status="filed",
        factor_mg_per_km=46_800,
        gas="CO2",
        source="深圳市生态环境局 2021",
        valid_first="2021-01-01",
    )
    named = {"methodology": PUBLIC_TRAVEL, "version": "2021"}
    refused = office.write("/v1/methodology-approvals", PLATFORM, 403, **named)
    assert refused["reason"] == "MAKER_IS_CHECKER"
    office.write("/v1/methodology-approvals", PLATFORM_CHECKER, **named)
    office.write(
        "/v1/point-rules",
        PLATFORM,
        mode="metro",
        valid_first="2021-01-01",
        points_per_kg=POINTS_PER_KG,
    )
    office.write(
        "/v1/operators",
        PLATFORM,
        operator=METRO,
        name="深圳地铁",
        city="深圳",
        city_has_metro=True,
        modes=["metro"],
    )
    enrolled = office.write(
        "/v1/citizens",
        COMMUTER,
        measure=True,
        sell=True,
        riders=[{"operator": METRO, "rider_ref": "card 1"}],
    )
    assert len(enrolled["citizens"]) == 1
    reported = office.write("/v1/trip-batches", METRO_CLERK, **trip_batch(office, 10_000))
    good, unknown = reported["trips"]
    assert (good["credit"]["reduction_mg"], good["credit"]["points"]) == (468_000, 468)
    assert unknown["refused"]["reason"] == "UNKNOWN_RIDER"
    me = office.read(
        "/v1/citizens/me", COMMUTER, "inclusive.GetCitizen", min_position=good["position"]
    )
    assert me["citizen"]["measured_mg"] == 468_000
    trips = office.read(
        "/v1/citizens/me/trips", COMMUTER, "inclusive.ListTrips", min_position=good["position"]
    )["trips"]
    assert "468" in trips[0]["explanation_en"]
    assert trips[0]["from_place"] == "福田"
    sums = office.read("/v1/inclusion-sums", method="inclusive.GetSums")
    assert [one["reduction_mg"] for one in sums["methodologies"]] == [468_000]


def trip_batch(office: Office, metres: int) -> dict[str, Any]:
    """A ride of this morning by somebody enrolled, and one by somebody nobody knows."""
    ended_ms = office.world.clock.now_ms() // 1000 * 1000 - 600_000
    started_ms = ended_ms - 1_200_000
    trips = []
    for order, rider in (("SZ-1", "card 1"), ("SZ-2", "card 2")):
        trips.append(
            {
                "order": order,
                "rider_ref": rider,
                "mode": "metro",
                "evidence": "fare_gate",
                "from_place": "福田",
                "to_place": "科学馆",
                "distances": [{"source": "network", "metres": metres, "least_metres": 0}],
            }
        )
    signed = [{**one, "started_ms": started_ms, "ended_ms": ended_ms} for one in trips]
    canonical = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    said = {
        "batch": "morning",
        "count": len(trips),
        "digest": hashlib.sha256(canonical.encode()).hexdigest(),
        "operator": METRO,
    }
    times = {"started_at": format_instant(started_ms), "ended_at": format_instant(ended_ms)}
    return {
        "operator": METRO,
        "batch": "morning",
        "trips": [{**one, **times} for one in trips],
        "acts": acts(sign_act(METRO_KEY, {"kind": "trip-batch", **said})),
    }


def test_a_citizen_takes_her_consent_back_and_is_forgotten(office: Office) -> None:
    changed = office.write("/v1/citizens/me/consents", COMMUTER, measure=True, sell=False)
    me = office.read("/v1/citizens/me", COMMUTER, min_position=changed["position"])
    assert (me["citizen"]["measure"], me["citizen"]["sell"]) == (True, False)
    office.write("/v1/citizens/me/forgettings", COMMUTER)
    answer = office.client.get(
        "/v1/citizens/me", headers={"Authorization": f"Bearer {office.world.token(COMMUTER)}"}
    )
    assert answer.status_code == 404


def test_every_book_shows_itself_proven_and_a_bank_keeps_a_receipt(office: Office) -> None:
    lien = office.read(f"/v1/pledges/{LIEN}", CLERK)
    answer = office.client.get(
        f"/v1/logs/registry/receipts/{lien['ended_position']}",
        headers={"Authorization": f"Bearer {office.world.token(CLERK)}"},
    )
    assert answer.status_code == 200, answer.text
    policy = parse_policy(policy_file(office.world.directory).read_bytes())
    assert verify_receipt(answer.content, policy).book == "registry"
    status = office.read("/v1/logs/status", method="ledger.GetStatus")
    halted = {one["book"]: one["halt"] for one in status["books"] if one["halt"] is not None}
    assert halted == {}
    assert {one["book"] for one in status["books"]} >= {"accounts", "registry", "market"}


def test_an_auditor_finds_nothing_to_differ_in_and_a_stranger_nothing_in_what_is_public(
    office: Office, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "token"
    token.write_text(office.world.token(AUDITOR))
    policy = ["--policy", str(policy_file(office.world.directory)), "--json"]
    asked = ["audit", str(office.client.base_url), *policy]
    auditor = ["--token", str(token), "--state", str(tmp_path / "auditor")]
    assert run([*asked, *auditor]) == 0
    first = json.loads(capsys.readouterr().out)
    ticket = {one["asset"]: one["purposes"] for one in first["assets"]}[TICKET]
    assert (ticket["issued"], ticket["retired"]) == (-TOTAL_T, RETIRED_T)
    assert first["registry"]["retired_t"] == RETIRED_T
    assert all(one["opened"] == one["entries"] > 0 for one in first["books"])
    assert sum(one["acts_verified"] for one in first["books"]) > 5
    assert first["states"]["serials_made_again"] == first["states"]["balances_made_again"] > 0
    assert run([*asked, *auditor]) == 0
    again = json.loads(capsys.readouterr().out)
    assert all(one["earlier_tree_size"] > 0 for one in again["logs"])
    assert again["assets"] == first["assets"]
    assert run([*asked, "--state", str(tmp_path / "stranger")]) == 0
    public = json.loads(capsys.readouterr().out)
    opened = {one["book"]: one["opened"] for one in public["books"]}
    assert (opened["accounts"], public["registry"]) == (0, first["registry"])
    assert public["liens"] == []
