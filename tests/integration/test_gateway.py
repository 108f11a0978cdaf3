"""The gateway over real services: what a desk or a phone asks, and what the books then say.

The application runs in this process, over ASGI; accounts and ledger are processes of a world. What
is written through it is noted like every command of a world, so its journals are held to it too.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.judging import judge_files
from cli.stack.provision import policy_file
from cli.trust import find_trust
from kernel.ids import derived_holder_id
from kernel.tlog.checkpoint import open_checkpoint
from kernel.tlog.policy import parse_policy
from kernel.tlog.receipt import commitment, leaf_data, verify_receipt
from kernel.tlog.tiles import decode_bundle, root_at, tile_path
from tests.support.books import person
from tests.support.gateway_desk import Desk, act_of, open_desk, problem, shown
from tests.support.lanzhou import (
    BANK,
    BUYER,
    CASHIER,
    CITY_GROUP,
    CNY,
    FARMER,
    PROGRAMME,
    QINWANGCHUAN,
    REGISTRAR,
    STRANGER,
    TICKET,
    VENUE,
    advice,
)
from tests.support.world import AUDITOR, FUNDS_FEN, World

COMMUTER = person("a Shenzhen commuter", holders=[STRANGER])
RETIREMENT = {
    "holder": CITY_GROUP,
    "asset": TICKET,
    "beneficiary": "兰州新区城投",
    "purpose": "2026 annual meeting",
    "details": "carbon-neutral event",
}


@pytest.fixture(scope="module")
def batch(world: World) -> int:
    """A hundred tonnes of the forest farm, sold to the city group by hand."""
    return world.issue("LZXQ-2021", {QINWANGCHUAN: 100, CITY_GROUP: 100})


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    async with open_desk(world) as desk:
        yield desk


def amount_of(balances: dict[str, Any], asset: str, purpose: str) -> int:
    return sum(
        one["amount"]
        for one in balances["balances"]
        if (one["asset"], one["account"]["purpose"]) == (asset, purpose)
    )


# ---- writing -------------------------------------------------------------------------------------


async def test_a_retirement_is_recorded_shown_at_its_position_and_proven(
    desk: Desk, batch: int
) -> None:
    answer = await desk.write("/v1/retirements", {**RETIREMENT, "amount": 3}, BUYER)
    recorded = answer.json()
    assert answer.status_code == 201, recorded
    assert (recorded["book"], recorded["events"], recorded["repeated"]) == ("accounts", 1, False)
    path = f"/v1/holders/{CITY_GROUP}/balances"
    found = await desk.read(path, BUYER, min_position=recorded["position"])
    balances = shown(found, "accounts.GetBalances")
    assert balances["as_of_position"] >= recorded["position"]
    (retired,) = [one for one in balances["balances"] if one["account"]["purpose"] == "retired"]
    assert retired["amount"] == 3
    assert retired["serials"] == [{"batch": "LZXQ-2021", "first": 101, "last": 103}]
    proofs = await desk.read("/v1/logs/accounts/proofs", positions=recorded["position"])
    (proof,) = shown(proofs, "ledger.GetProofs")["proofs"]
    assert base64.b64decode(proof["tlog_proof"]).startswith(b"c2sp.org/tlog-proof@v1\n")


async def test_the_same_key_is_carried_out_once(desk: Desk, batch: int) -> None:
    key, body = desk.world.new_id(), {**RETIREMENT, "amount": 1}
    first = await desk.write("/v1/retirements", body, BUYER, key)
    again = await desk.write("/v1/retirements", body, BUYER, key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {**first.json(), "repeated": True}
    other = await desk.write("/v1/retirements", {**body, "amount": 2}, BUYER, key)
    problem(other, 422, "ID_REUSED")


async def test_a_refusal_says_needed_and_available_and_says_it_again(
    desk: Desk, batch: int
) -> None:
    key, body = desk.world.new_id(), {**RETIREMENT, "amount": 100_000}
    first = await desk.write("/v1/retirements", body, BUYER, key)
    details = problem(first, 422, "INSUFFICIENT_BALANCE")["details"]
    assert details["needed"] == 100_000
    assert details["available"] < 100
    again = await desk.write("/v1/retirements", body, BUYER, key)
    assert again.json() == first.json()


async def test_cannot_retire_what_belongs_to_somebody_else(desk: Desk, batch: int) -> None:
    body = {**RETIREMENT, "holder": QINWANGCHUAN, "amount": 1}
    problem(await desk.write("/v1/retirements", body, BUYER), 403, "NOT_YOUR_ACCOUNT")


async def test_an_item_that_names_something_unknown_is_no_missing_address(desk: Desk) -> None:
    body = {**RETIREMENT, "asset": "TICKET-NOWHERE-1", "amount": 1}
    problem(await desk.write("/v1/retirements", body, BUYER), 422, "UNKNOWN_ASSET")


async def test_units_and_money_are_allocated_transferred_and_paid_in(
    desk: Desk, batch: int
) -> None:
    line = {
        "bank": BANK,
        "holder": CITY_GROUP,
        "amount_fen": 41_940,
        "act": act_of(advice(CITY_GROUP, 41_940, "line of the gateway")),
    }
    paid_in = await desk.write("/v1/deposits", line, CASHIER)
    assert paid_in.status_code == 201, paid_in.text
    allocation = {"holder": CITY_GROUP, "asset": CNY, "amount": 4_194, "venue": VENUE}
    allocated = await desk.write("/v1/allocations", allocation, BUYER)
    assert allocated.status_code == 201, allocated.text
    named = [{"batch": "LZXQ-2021", "first": 7, "last": 8}]
    sale = {"holder": QINWANGCHUAN, "to": CITY_GROUP, "asset": TICKET, "amount": 2}
    sold = await desk.write("/v1/transfers", {**sale, "serials": named}, FARMER)
    assert sold.status_code == 201, sold.text
    balances = shown(
        await desk.read(
            f"/v1/holders/{CITY_GROUP}/balances", BUYER, min_position=sold.json()["position"]
        ),
        "accounts.GetBalances",
    )
    assert amount_of(balances, CNY, "trading") == 4_194
    assert amount_of(balances, CNY, "available") == FUNDS_FEN + 41_940 - 4_194
    history = await desk.read(
        f"/v1/serials/{TICKET}/LZXQ-2021/7/movements", BUYER, min_position=sold.json()["position"]
    )
    moves = shown(history, "accounts.GetSerialHistory")["movements"]
    assert [one["credit"]["holder"] for one in moves] == [QINWANGCHUAN, CITY_GROUP]


async def test_a_bank_advice_that_somebody_else_signed_is_refused(desk: Desk) -> None:
    forged = advice(CITY_GROUP, 5, "line forged", key=Ed25519PrivateKey.generate())
    line = {
        "bank": BANK,
        "holder": CITY_GROUP,
        "amount_fen": 5,
        "act": act_of(forged),
    }
    problem(await desk.write("/v1/deposits", line, CASHIER), 422, "ACT_KEY_UNKNOWN")


async def test_a_hold_is_placed_posted_in_part_and_let_go(desk: Desk, batch: int) -> None:
    reserve = {"holder": CITY_GROUP, "asset": CNY, "amount": 500, "to": QINWANGCHUAN}
    key = desk.world.new_id()
    placed = await desk.write(
        "/v1/holds", {**reserve, "expires_at": "2030-01-01T00:00:00Z"}, BUYER, key
    )
    assert placed.status_code == 201, placed.text
    taken = await desk.write("/v1/hold-posts", {"hold": key, "amount": 200}, FARMER)
    assert taken.status_code == 201, taken.text
    other = desk.world.new_id()
    assert (await desk.write("/v1/holds", reserve, BUYER, other)).status_code == 201
    let_go = await desk.write("/v1/hold-releases", {"hold": other}, FARMER)
    assert let_go.status_code == 201, let_go.text
    problem(await desk.write("/v1/hold-releases", {"hold": other}, FARMER), 422, "UNKNOWN_HOLD")


async def test_a_registrar_registers_and_a_buyer_may_not(desk: Desk) -> None:
    holder = {
        "holder": derived_holder_id("lanzhou", "皋兰 forest farm"),
        "kind": "foreign",
        "name": "皋兰林场",
    }
    asset = {
        "asset": "TICKET-LZXQ-9",
        "unit": "t",
        "programme": PROGRAMME,
        "serialised": True,
        "name": "丝路碳票 9",
    }
    assert (await desk.write("/v1/holders", holder, REGISTRAR)).status_code == 201
    assert (await desk.write("/v1/assets", asset, REGISTRAR)).status_code == 201
    problem(await desk.write("/v1/assets", asset, BUYER), 403, "ROLE_MISSING")
    problem(await desk.write("/v1/assets", asset, REGISTRAR), 422, "ASSET_EXISTS")


async def test_a_lost_answer_can_be_asked_for_by_its_key(desk: Desk, batch: int) -> None:
    key = desk.world.new_id()
    recorded = (await desk.write("/v1/retirements", {**RETIREMENT, "amount": 1}, BUYER, key)).json()
    never = desk.world.new_id()
    answer = await desk.client.post(
        "/v1/accounts-outcomes", json={"ids": [key, never]}, headers=desk.bearer(BUYER)
    )
    (result,) = shown(answer, "accounts.GetOutcomes")["results"]
    assert result["accepted"]["first_position"] == recorded["position"]
    assert (result["id"], result["refused"]) == (key, None)


# ---- reading -------------------------------------------------------------------------------------


async def test_cannot_see_what_somebody_else_has(desk: Desk) -> None:
    for what in ("balances", "movements", "events"):
        answer = await desk.read(f"/v1/holders/{CITY_GROUP}/{what}", COMMUTER)
        problem(answer, 403, "NOT_YOUR_ACCOUNT")


async def test_movements_come_in_pages_that_join_without_gap_or_overlap(
    desk: Desk, batch: int
) -> None:
    for _ in range(5):
        desk.world.pay(1)
    last = desk.world.pay(1)
    path = f"/v1/holders/{CITY_GROUP}/movements"
    whole = shown(
        await desk.read(path, BUYER, min_position=last, page_size=1000), "accounts.ListMovements"
    )
    pages: list[Any] = []
    token = ""
    while True:
        answer = await desk.read(path, BUYER, page_size=4, page_token=token)
        page = shown(answer, "accounts.ListMovements")
        pages += page["movements"]
        token = page["next_page_token"]
        if not token:
            break
    assert pages == whole["movements"]
    assert len(pages) > 4


async def test_a_position_that_is_far_away_is_waited_for_and_then_said_to_be_away(
    desk: Desk,
) -> None:
    answer = await desk.read(f"/v1/holders/{CITY_GROUP}/balances", BUYER, min_position=10**9)
    problem(answer, 409, "POSITION_NOT_REACHED")
    assert int(answer.headers["retry-after"]) >= 1


async def test_totals_are_for_auditors_and_add_up(desk: Desk, batch: int) -> None:
    problem(await desk.read("/v1/totals", BUYER), 403, "ROLE_MISSING")
    totals = shown(await desk.read("/v1/totals", AUDITOR), "accounts.GetTotals")["totals"]
    assert {one["sum"] for one in totals} == {0}
    assert {one["asset"] for one in totals} >= {TICKET, CNY}


async def test_a_service_that_is_away_leaves_the_others_served(desk: Desk) -> None:
    problem(await desk.read("/v1/market-state"), 503, "UNAVAILABLE")
    ready = await desk.read("/readyz")
    assert ready.status_code == 200
    assert ready.json()["services"]["accounts"] == "serving"
    assert ready.json()["services"]["market"] == "away"


async def test_everyone_sees_how_far_the_logs_are_and_whose_keys_count(desk: Desk) -> None:
    status = shown(await desk.read("/v1/logs/status"), "ledger.GetStatus")
    assert {one["book"] for one in status["books"]} >= {"accounts", "ledger"}
    assert all(one["halt"] is None for one in status["books"])
    keys = shown(await desk.read("/v1/keys"), "ledger.ListKeys")["keys"]
    assert f"authority:{PROGRAMME}" in {one["subject"] for one in keys}
    registered = [one["position"] for one in keys]  # 0 opened the book: no key stands there
    assert len(set(registered)) == len(registered)
    assert 0 not in registered


# ---- the logs ------------------------------------------------------------------------------------


async def test_a_stranger_rebuilds_the_root_from_tiles_and_entries(desk: Desk, batch: int) -> None:
    answer = await desk.read("/log/accounts/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["access-control-allow-origin"] == "*"
    (log,) = [
        one
        for one in parse_policy(policy_file(desk.world.directory).read_bytes()).logs
        if one.key.name.endswith("/accounts")
    ]
    checkpoint = open_checkpoint(answer.content, log.key).checkpoint
    size = checkpoint.size
    hashes = await desk.read(f"/log/accounts/{tile_path(0, 0, size)}")
    assert hashes.headers["content-type"] == "application/octet-stream"
    assert "immutable" in hashes.headers["cache-control"]
    assert "content-encoding" not in hashes.headers
    assert root_at(size, lambda level, n, width: hashes.content) == checkpoint.root
    entries = await desk.read(f"/log/accounts/tile/entries/000.p/{size}")
    assert len(decode_bundle(entries.content, size)) == size


async def test_bundles_are_packed_for_who_takes_it_and_tags_tell_them_apart(
    desk: Desk, batch: int
) -> None:
    path = "/log/accounts/tile/entries/000.p/20"
    answers = {
        how: await desk.client.get(path, headers={"Accept-Encoding": how})
        for how in ("gzip", "identity", "gzip;q=0")
    }
    packed, plain = answers["gzip"], answers["identity"]
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert packed.content == plain.content == answers["gzip;q=0"].content
    assert "content-encoding" not in answers["gzip;q=0"].headers
    assert packed.headers["etag"] != plain.headers["etag"]
    assert len(gzip.compress(plain.content)) < len(plain.content)


async def test_who_has_a_tile_is_told_so_and_head_has_no_body(desk: Desk, batch: int) -> None:
    path = "/log/accounts/tile/0/000.p/20"
    whole = await desk.read(path)
    known = await desk.client.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert known.headers["etag"] == whole.headers["etag"]
    other = await desk.client.get(path, headers={"If-None-Match": '"another"'})
    assert other.content == whole.content
    head = await desk.client.head(path)
    assert head.headers["content-length"] == str(20 * 32)
    assert head.headers["etag"] == whole.headers["etag"]


async def test_the_index_names_every_log_its_key_and_its_path(desk: Desk) -> None:
    answer = await desk.read("/log")
    assert answer.headers["access-control-allow-origin"] == "*"
    known = {one["origin"]: one for one in answer.json()["logs"]}
    for log in parse_policy(policy_file(desk.world.directory).read_bytes()).logs:
        if (found := known.get(log.key.name)) is not None:
            assert found["verifier_key"] == log.key.vkey
            note = await desk.read(f"{found['path']}checkpoint")
            assert open_checkpoint(note.content, log.key).checkpoint.size > 0
    assert any(origin.endswith("/accounts") for origin in known)


async def test_what_no_checkpoint_covers_is_not_there(desk: Desk) -> None:
    missing = await desk.read("/log/accounts/tile/0/999")
    problem(missing, 404, "TILE_NOT_COVERED")
    # it may be there soon, and a web page that asks is told so
    assert missing.headers["cache-control"] == "public, max-age=2"
    assert missing.headers["access-control-allow-origin"] == "*"
    problem(await desk.read("/log/nothing/checkpoint"), 404, "UNKNOWN_BOOK")
    problem(await desk.read("/log/accounts/tile/0/1"), 400, "TILE_PATH_MALFORMED")


async def test_an_auditor_reads_events_by_ranges_and_each_answer_is_noted(
    desk: Desk, batch: int
) -> None:
    path = "/v1/logs/accounts/disclosed-events"
    answer = shown(await desk.read(path, AUDITOR, begin=2, limit=5), "accounts.DiscloseRange")
    assert [one["position"] for one in answer["events"]] == [2, 3, 4, 5, 6]
    assert answer["next_position"] == 7
    entries = decode_bundle((await desk.read("/log/accounts/tile/entries/000.p/7")).content, 7)
    for one in answer["events"]:
        salt, record = base64.b64decode(one["salt"]), base64.b64decode(one["record"])
        leaf = leaf_data("accounts", one["position"], commitment(salt, record))
        assert entries[one["position"]] == leaf
    noted = desk.world.sql(
        "SELECT first, last FROM accounts.disclosed_ranges WHERE principal LIKE %s",
        f"%{AUDITOR.actor.sub}",
    )
    assert noted == [(2, 6)]
    end = shown(await desk.read(path, AUDITOR, begin=10**9), "accounts.DiscloseRange")
    assert (end["events"], end["next_position"]) == ([], 10**9)
    problem(await desk.read(path, BUYER), 403, "ROLE_MISSING")
    problem(await desk.read(path), 401, "TOKEN_MISSING")
    problem(await desk.read("/v1/logs/nothing/disclosed-events", AUDITOR), 404, "UNKNOWN_BOOK")
    problem(await desk.read(path, AUDITOR, limit=1001), 400, "REQUEST_MALFORMED")


async def test_the_accounts_book_makes_nothing_public(desk: Desk, batch: int) -> None:
    answer = shown(
        await desk.read("/v1/logs/accounts/public-events", limit=5), "accounts.ListPublicEvents"
    )
    assert (answer["events"], answer["next_position"]) == ([], 5)


async def test_a_party_gets_a_receipt_that_verifies_offline_and_a_stranger_gets_none(
    desk: Desk, batch: int, tmp_path: Path
) -> None:
    position = desk.world.pay(7)
    answer = await desk.read(f"/v1/logs/accounts/receipts/{position}", BUYER)
    assert answer.status_code == 200, answer.text
    assert f"accounts-{position}.receipt" in answer.headers["content-disposition"]
    policy = parse_policy(policy_file(desk.world.directory).read_bytes())
    verified = verify_receipt(answer.content, policy)
    assert (verified.book, verified.position) == ("accounts", position)
    assert CITY_GROUP in verified.record.decode()
    both = await desk.read(
        "/v1/logs/accounts/receipts", BUYER, positions=[position, 10**12], cose="true"
    )
    given, missing = shown(both, "receipts.GetReceipts")["receipts"]
    assert verify_receipt(base64.b64decode(given["file"]), policy).position == position
    assert (missing["file"], missing["refused"]["reason"]) == (None, "UNKNOWN_POSITION")
    cose = await desk.read(f"/v1/logs/accounts/receipts/{position}/cose", BUYER)
    assert cose.headers["content-type"] == "application/cose"
    (tmp_path / f"accounts-{position}.receipt").write_bytes(answer.content)
    (tmp_path / f"accounts-{position}.cose").write_bytes(cose.content)
    paths = [tmp_path / f"accounts-{position}.{kind}" for kind in ("receipt", "cose")]
    judged = judge_files(paths, find_trust(policy_file(desk.world.directory)))
    assert [one.valid for one in judged] == [True, True]
    refused = await desk.read(f"/v1/logs/accounts/receipts/{position}", COMMUTER)
    problem(refused, 403, "NOT_A_PARTY")
    nowhere = await desk.read(f"/v1/logs/nothing/receipts/{position}", BUYER)
    problem(nowhere, 404, "UNKNOWN_BOOK")
