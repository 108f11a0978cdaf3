"""State proofs: both maps against their definition, and files that must not be believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.tlog import maps
from kernel.tlog.balance_tree import BalanceTree, Row
from kernel.tlog.container import pack_members, unpack_members
from kernel.tlog.errors import FormatError, ProofError, ReceiptError
from kernel.tlog.maps import EMPTY, Leaf, Piece
from kernel.tlog.policy import parse_policy
from kernel.tlog.serial_tree import SerialTree
from kernel.tlog.states import (
    CLAIM,
    PLEDGE,
    PROOF,
    STATE,
    Account,
    SerialRange,
    balance_value,
    batch_key,
    canonical_json,
    kind_of_file,
    status_text,
    verify_holding,
    verify_lien,
)
from tests.support.small_log import SmallLog
from tests.support.small_states import (
    BANK,
    BATCH,
    FOREST,
    LIEN,
    TICKET,
    WITNESSED_AT_S,
    SmallStates,
    pledge_body,
)

AVAILABLE = Account(FOREST, TICKET, "available", "")
PLEDGED = Account(FOREST, TICKET, "pledged", LIEN)
Members = dict[str, bytes]


def defined_root(leaves: Sequence[Leaf], depth: int = 0) -> bytes:
    """The definition of docs/reference/state-proofs.md, word for word."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return maps.leaf_hash(leaves[0])
    sides = [[one for one in leaves if maps.key_bit(one.key, depth) == bit] for bit in (0, 1)]
    return maps.node_hash(*(defined_root(side, depth + 1) for side in sides))


def defined_serials(statuses: Sequence[str | None]) -> bytes:
    if len(set(statuses)) == 1:
        return EMPTY if statuses[0] is None else maps.status_hash(statuses[0])
    half = len(statuses) // 2
    return maps.node_hash(defined_serials(statuses[:half]), defined_serials(statuses[half:]))


@st.composite
def keys(draw: st.DrawFn) -> bytes:
    """Many that share long beginnings, some far apart."""
    head = draw(st.sampled_from([b"\x00\x00\x00", b"\x00\x01", b"\xff\xff\x80", b"\x7f"]))
    return (head + draw(st.binary(min_size=1, max_size=2))).ljust(32, b"\x55")


@given(st.lists(st.tuples(keys(), st.none() | st.integers(-5, 5)), max_size=40), keys())
def test_the_tree_is_what_the_definition_says_after_any_changes(
    changes: list[tuple[bytes, int | None]], asked: bytes
) -> None:
    tree, known = BalanceTree(3), {}
    for key, number in changes:
        value = sha256(b"%d" % (number or 0)).digest()
        tree.put({key: None if number is None else Row(value, number)})
        known[key] = None if number is None else Row(value, number)
    rows = {key: row for key, row in known.items() if row is not None}
    leaves = [Leaf(key, row.value) for key, row in rows.items()]
    frozen = tree.freeze()

    assert frozen.root == defined_root(leaves)
    assert list(frozen.rows()) == sorted(rows.items())
    for key in [*known, asked]:
        found = frozen.find(key)
        assert (None if found is None else found.row) == rows.get(key)
        if found is not None:
            assert maps.present_root(Leaf(key, found.row.value), found.path) == frozen.root


def test_a_frozen_tree_does_not_change_with_the_tree() -> None:
    tree = BalanceTree(2)
    tree.put({b"\x01" * 32: Row(EMPTY, 1)})
    frozen = tree.freeze()
    before = frozen.root
    tree.put({b"\x02" * 32: Row(EMPTY, 2), b"\x01" * 32: None})
    assert (frozen.root, len(list(frozen.rows()))) == (before, 1)
    assert tree.freeze().root == maps.leaf_hash(Leaf(b"\x02" * 32, EMPTY))


moves = st.tuples(st.integers(0, 31), st.integers(0, 31), st.sampled_from(["a", "b", "c"]))


@given(st.lists(moves, min_size=1, max_size=25), st.integers(0, 31), st.integers(0, 31))
def test_the_serials_are_what_the_definition_says_after_any_moves(
    made: list[tuple[int, int, str]], one: int, other: int
) -> None:
    tree = SerialTree()
    statuses: list[str | None] = [None] * 32
    for begin, end, status in made:
        first, last = min(begin, end), max(begin, end)
        tree.move("A", "B", [Piece(first, last, status)])
        statuses[first : last + 1] = [status] * (last - first + 1)
    frozen = tree.freeze()
    asked = (min(one, other), max(one, other))
    proof = frozen.prove("A", "B", [asked])
    width = 1 << proof.bits
    assert set(statuses[width:]) <= {None}

    root, pieces = maps.shown_serials(proof.tokens, proof.bits)
    assert root == defined_serials(statuses[:width])
    leaf = Leaf(batch_key("A", "B"), maps.batch_value(proof.bits, root))
    assert maps.present_root(leaf, proof.path) == frozen.root
    told = {at: piece.status for piece in pieces for at in range(piece.first, piece.last + 1)}
    assert all(told[at] == statuses[at] for at in range(asked[0], min(asked[1] + 1, width)))
    for status in "abc":
        ranges = frozen.ranges("A", "B", status, [(0, 31)])
        covered = [at for first, last in ranges for at in range(first, last + 1)]
        assert covered == [at for at in range(32) if statuses[at] == status]
        some = frozen.ranges("A", "B", status, [asked])
        within = [at for first, last in some for at in range(first, last + 1)]
        assert within == [at for at in covered if asked[0] <= at <= asked[1]]
        assert all(before[1] + 1 < after[0] for before, after in pairwise(ranges))


def test_a_range_among_six_million_serials_takes_some_twenty_pieces() -> None:
    tree = SerialTree()
    tree.move("A", "B", [Piece(1, 6_000_000, "a")])
    tree.move("A", "B", [Piece(1_234_567, 2_345_678, "b")])
    proof = tree.freeze().prove("A", "B", [(1_234_567, 2_345_678)])
    _, pieces = maps.shown_serials(proof.tokens, proof.bits)
    maps.require_status(pieces, 1_234_567, 2_345_678, "b")
    assert len(pieces) < 2 * proof.bits


@pytest.mark.parametrize(
    ("tokens", "bits"),
    [
        (["/", "=a", "=a"], 1),  # one leaf would say it
        (["/", "-", "-"], 1),
        (["/", "=a"], 1),
        (["=a", "=a"], 1),
        (["/", "=a", "/"], 1),  # below the last bit
        (["="], 1),
        (["#AAAA"], 1),
        (["x"], 1),
        ([], 1),
        (["-"], 0),
        (["-"], 54),
    ],
)
def test_another_spelling_of_serials_is_refused(tokens: list[str], bits: int) -> None:
    with pytest.raises(FormatError):
        maps.shown_serials(tokens, bits)


def test_what_is_hidden_has_no_status() -> None:
    pieces = [Piece(0, 3, "a"), Piece(8, 15, "a")]
    maps.require_status(pieces, 1, 3, "a")
    with pytest.raises(ProofError, match="serial 4: expected a, got a part that is not shown"):
        maps.require_status(pieces, 2, 9, "a")
    with pytest.raises(ProofError, match="serial 0: expected b, got a"):
        maps.require_status(pieces, 0, 1, "b")
    with pytest.raises(ProofError, match="serial 16"):
        maps.require_status(pieces, 15, 16, "a")


# ---- files --------------------------------------------------------------------------------------


@pytest.fixture
def states() -> SmallStates:
    made = SmallStates()
    made.commit()
    return made


def test_a_holding_shows_a_balance_at_a_state(states: SmallStates) -> None:
    data = states.holding(AVAILABLE, 0)
    told = verify_holding(data, states.policy)
    assert (told.account, told.amount) == (AVAILABLE, 4_000)
    assert (told.state.entry.size, told.state.entry.book) == (4, "accounts")
    assert [one.timestamp_s for one in told.state.cosigners] == [WITNESSED_AT_S] * 2
    assert kind_of_file(data) == "holding"


def test_a_lien_shows_its_serials_its_pledgee_and_the_entry_that_made_it(
    states: SmallStates,
) -> None:
    data = states.lien(0)
    told = verify_lien(data, states.policy)
    assert (told.lien, told.pledgor, told.pledgee) == (LIEN, FOREST, BANK)
    assert (told.asset, told.quantity) == (TICKET, 6_000)
    assert told.serials == (SerialRange(BATCH, 1, 6_000),)
    assert told.pledge.position == 3
    assert kind_of_file(data) == "lien"
    assert len(data) < 12_000


def test_a_lien_that_has_ended_is_shown_to_hold_nothing() -> None:
    states = SmallStates(pledged=0)
    states.accounts.append({"legs": []})
    states.commit()
    told = verify_lien(states.lien(0), states.policy)
    assert (told.quantity, told.serials) == (0, ())
    assert verify_holding(states.holding(PLEDGED, 0), states.policy).amount == 0


def changed(data: bytes, change: Callable[[Members], None]) -> bytes:
    """A sound container with other members."""
    limits = {CLAIM: 1 << 22, STATE: 1 << 16, PROOF: 1 << 20}
    if kind_of_file(data) == "lien":
        limits[PLEDGE] = 1 << 20
    members = unpack_members(data, limits)
    change(members)
    return pack_members(members)


def reclaimed(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    def edit(members: Members) -> None:
        claim = json.loads(members[CLAIM])
        change(claim)
        members[CLAIM] = canonical_json(claim)

    return changed(data, edit)


def part_of(data: bytes, states: SmallStates) -> str:
    verify = verify_lien if kind_of_file(data) == "lien" else verify_holding
    with pytest.raises(ReceiptError) as refused:
        verify(data, states.policy)
    return refused.value.part


def more_serials(claim: dict[str, Any]) -> None:
    claim["batches"][0]["serials"] = [[1, 6_001]]


def fewer_serials(claim: dict[str, Any]) -> None:
    claim["batches"][0]["serials"] = [[1, 5_999]]


def twice_the_same(claim: dict[str, Any]) -> None:
    claim["batches"][0]["serials"] = [[1, 3_000], [1, 3_000]]


def relabelled(claim: dict[str, Any]) -> None:
    tree = claim["batches"][0]["tree"]
    status = "=" + status_text("available", "")
    claim["batches"][0]["tree"] = [status if one.startswith("=") else one for one in tree]


def another_batch(claim: dict[str, Any]) -> None:
    claim["batches"][0]["batch"] = "LZXQ-2022"


def more_amount(claim: dict[str, Any]) -> None:
    claim["holding"]["amount"] += 1


def another_lien(claim: dict[str, Any]) -> None:
    claim["lien"] = "l-another000000001"


def own_account(claim: dict[str, Any]) -> None:
    claim["holding"]["account"]["holder"] = BANK


def no_balance(claim: dict[str, Any]) -> None:
    claim["holding"]["amount"] = 0
    del claim["holding"]["salt"]


def nothing_at_another_key(claim: dict[str, Any]) -> None:
    """The live leaf is shown to be what the path to some other key ends in."""
    holding = claim["holding"]
    account = Account(**holding["account"])
    salt = base64.b64decode(holding["salt"])
    value = balance_value(salt, account, holding["amount"])
    key = base64.b64decode(holding["key"])
    other = {"key": holding["key"], "value": base64.b64encode(value).decode()}
    beside = base64.b64encode(key[:-1] + bytes([key[-1] ^ 1])).decode()
    del holding["salt"]
    holding.update(amount=0, key=beside, other=other)
    claim["batches"] = []


def nothing_by_the_same_leaf(claim: dict[str, Any]) -> None:
    claim["holding"]["amount"] = 0
    claim["batches"] = []


def bring_policy(claim: dict[str, Any]) -> None:
    claim["policy"] = "quorum none"


def no_kind(claim: dict[str, Any]) -> None:
    claim["kind"] = "holding"


def bare_number(claim: dict[str, Any]) -> None:
    claim["holding"]["amount"] = "6000"


def true_version(claim: dict[str, Any]) -> None:
    claim["v"] = True


LIES = [
    *(nothing_at_another_key, nothing_by_the_same_leaf),
    *(more_serials, fewer_serials, twice_the_same, relabelled, another_batch, more_amount),
    *(another_lien, own_account, no_balance, bring_policy, no_kind, bare_number, true_version),
]


@pytest.mark.parametrize("lie", LIES, ids=[one.__name__ for one in LIES])
def test_a_changed_claim_is_refused(states: SmallStates, lie: Callable[[Any], None]) -> None:
    assert part_of(reclaimed(states.lien(0), lie), states) == CLAIM


def test_an_ended_lien_lists_no_batches_and_says_so_with_a_list() -> None:
    ended = SmallStates(pledged=0)
    ended.accounts.append({"legs": []})
    ended.commit()

    def no_list(claim: dict[str, Any]) -> None:
        claim["batches"] = {}

    assert part_of(reclaimed(ended.lien(0), no_list), ended) == CLAIM


def test_a_claim_has_one_spelling(states: SmallStates) -> None:
    def spaced(members: Members) -> None:
        members[CLAIM] = json.dumps(json.loads(members[CLAIM])).encode()

    assert part_of(changed(states.lien(0), spaced), states) == CLAIM


def test_a_state_of_another_time_is_refused(states: SmallStates) -> None:
    """The claim of one state does not hold at the next, where half is free again."""
    later = SmallStates(pledged=3_000)
    later.append(states.states.entries[0])
    later.commit()
    old = later.state(1)

    def swap(members: Members) -> None:
        members[STATE], members[PROOF] = old

    assert part_of(changed(states.lien(0), swap), states) == CLAIM


def test_a_state_before_the_pledge_does_not_show_it() -> None:
    states = SmallStates()
    states.commit(size=3)
    assert part_of(states.lien(0), states) == STATE


def test_a_state_that_no_log_holds_is_refused(states: SmallStates) -> None:
    def edit(members: Members) -> None:
        members[STATE] = members[STATE].replace(b'"size":4', b'"size":5')

    assert part_of(changed(states.lien(0), edit), states) == PROOF


def test_a_state_in_another_place_of_the_log_is_refused() -> None:
    states = SmallStates()
    states.append(b'{"position":0}')
    states.commit()
    moved = states.states.entries[1].replace(b'"position":1', b'"position":2')
    states.append(moved)
    states.append(moved)
    assert part_of(states.holding(AVAILABLE, 3), states) == STATE


def test_a_book_s_log_is_not_the_log_of_states(states: SmallStates) -> None:
    """An event whose leaf would read like a state cannot stand in for one."""
    states.accounts.append_entry(states.states.entries[0])
    proof = states.proof(states.accounts, 4)

    def swap(members: Members) -> None:
        members[PROOF] = proof

    assert part_of(changed(states.lien(0), swap), states) == "checkpoint"


def test_a_missing_witness_is_named(states: SmallStates) -> None:
    data = states.lien(0)
    states.witnesses.append(
        type(states.witnesses[0])("witness.example/other", 4, sha256(b"other").digest())
    )
    policy = states.policy.encode().replace(b"all bank regulator", b"all bank regulator other")
    with pytest.raises(ReceiptError) as refused:
        verify_lien(data, parse_policy(policy))
    assert refused.value.part == "policy"


PLEDGES: list[tuple[str, Callable[[], dict[str, Any]]]] = [
    ("of another lien", lambda: pledge_body(lien="l-another000000001")),
    ("a release", lambda: _released(pledge_body())),
    ("no pledge at all", lambda: {"legs": pledge_body()["legs"]}),
    ("of two legs", lambda: {**pledge_body(), "legs": pledge_body()["legs"] * 2}),
    ("of another holder", lambda: _of_bank(pledge_body())),
]


def _released(body: dict[str, Any]) -> dict[str, Any]:
    body["pledge"]["release"] = "r-1"
    return body


def _of_bank(body: dict[str, Any]) -> dict[str, Any]:
    body["legs"][0]["credit"]["holder"] = BANK
    return body


@pytest.mark.parametrize("body", [one for _, one in PLEDGES], ids=[one for one, _ in PLEDGES])
def test_another_entry_does_not_make_the_lien(body: Callable[[], dict[str, Any]]) -> None:
    states = SmallStates()
    other = states.accounts.append(body())
    states.commit()
    data = states.lien(0, pledge=states.pledge(other))
    assert part_of(data, states) == PLEDGE


def test_a_pledge_in_another_log_does_not_make_the_lien(states: SmallStates) -> None:
    elsewhere = SmallLog("registry", b"registry")
    elsewhere.fill(3)
    elsewhere.append(pledge_body())
    proper, states.accounts = states.accounts, elsewhere
    receipt = states.pledge()
    states.accounts = proper
    policy = parse_policy(
        states.policy.encode() + b"log %b\n" % elsewhere.signer.verifier.vkey.encode()
    )
    with pytest.raises(ReceiptError) as refused:
        verify_lien(states.lien(0, pledge=receipt), policy)
    assert refused.value.part == PLEDGE
