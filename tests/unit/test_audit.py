"""An audit names each planted lie and where it is, and finds nothing where all is well."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.app import run
from cli.audit.accounts import AccountsBook
from cli.audit.crossing import compare
from cli.audit.findings import Findings
from cli.audit.keys import Keys
from cli.audit.records import NotTheEvent, Opened, read_canonical
from cli.audit.registry import RegistryBook
from cli.audit.sample import MAX_RECOMPUTED, Sample, chosen
from kernel.tlog import merkle
from kernel.tlog.checkpoint import open_checkpoint
from kernel.tlog.encoding import encode_base64
from kernel.tlog.maps import leaf_hash
from kernel.tlog.note import COSIGNATURE, ED25519, Signer
from kernel.tlog.proof import TlogProof
from kernel.tlog.states import (
    Account,
    BalanceProof,
    StateEntry,
    StateProof,
    balance_leaf,
    make_holding,
)
from tests.support.audited import (
    BATCH,
    LIEN,
    MAP_KEY,
    TICKET,
    TOKEN,
    Audited,
    account,
    leg,
    person,
    serve,
)
from tests.support.checkout import ROOT
from tests.support.small_log import FOREST, LANZHOU, SmallLog

LAST = 8  # of the accounts book: money that was paid in


class Auditor:
    """With a folder, a policy and a token of her own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._read = capsys.readouterr
        (folder / "token").write_text(TOKEN + "\n")

    def audit(
        self, audited: Audited, *options: str, token: bool = True, trusts: Audited | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Exit code and report."""
        policy = self.folder / "policy.txt"
        if not policy.exists():
            policy.write_bytes((trusts or audited).policy.encode())
        with serve(audited) as url:
            arguments = ["audit", url, "--policy", str(policy), "--state", str(self.folder / "s")]
            shown = ["--token", str(self.folder / "token")] if token else []
            code = run([*arguments, *shown, "--json", *options])
        told = self._read()
        return code, json.loads(told.out) if told.out else {"error": told.err}


@pytest.fixture
def auditor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Auditor:
    return Auditor(tmp_path, capsys)


@pytest.fixture
def audited() -> Audited:
    made = Audited()
    made.tell()
    return made


def rules(report: dict[str, Any]) -> set[str]:
    return set(report["differences_by_rule"])


def the_difference(report: dict[str, Any]) -> dict[str, Any]:
    (found,) = report["differences"]
    return dict(found)


# ---- all is well ---------------------------------------------------------------------------------


def test_what_is_as_it_should_be_differs_in_nothing(auditor: Auditor, audited: Audited) -> None:
    code, report = auditor.audit(audited)
    assert (code, report["differences"]) == (0, [])
    sums = {one["asset"]: one["purposes"] for one in report["assets"]}
    parts = {"available": 3_000, "pledged": 6_000, "retired": 1_000}
    assert sums[TICKET] == {"issued": -10_000, **parts}
    assert sums["CNY"] == {"external": -50_000, "available": 50_000}
    assert report["batches"] == [
        {"asset": TICKET, "batch": BATCH, "issued": 10_000, "purposes": parts}
    ]
    assert report["liens"] == [
        {"lien": LIEN, "asset": TICKET, "amount": 6_000, "serials": [[BATCH, 1, 6_000]]}
    ]
    assert report["registry"]["issued_t"] == 10_000
    assert report["pending"] == {"issuances": 0, "retirements": 0, "liens": 0}
    assert {one["book"]: one["opened"] for one in report["books"]} == {
        book: len(log.records) for book, log in audited.logs.items()
    }
    assert sum(one["acts_verified"] for one in report["books"]) == 3


def test_a_stranger_opens_the_public_facts_alone(auditor: Auditor, audited: Audited) -> None:
    code, report = auditor.audit(audited, token=False)
    assert (code, report["opened_as"], report["differences"]) == (0, "public", [])
    opened = {one["book"]: one["opened"] for one in report["books"]}
    assert opened == {"accounts": 0, "ledger": 0, "registry": len(audited.registry.records) - 2}
    assert report["registry"]["retired_t"] == 1_000
    assert (report["liens"], report["assets"]) == ([], [])


def test_a_second_run_reads_only_what_is_new(auditor: Auditor, audited: Audited) -> None:
    auditor.audit(audited)
    audited.asked.clear()
    before = len(audited.accounts.records)
    audited.move(account(FOREST), account(LANZHOU), 100, 9_001)
    code, report = auditor.audit(audited)
    assert (code, report["differences"]) == (0, [])
    log = next(one for one in report["logs"] if one["book"] == "accounts")
    assert (log["earlier_tree_size"], log["tree_size"]) == (before, before + 1)
    asked = [path for path in audited.asked if "disclosed-events" in path]
    assert asked == [f"/v1/logs/accounts/disclosed-events?begin={before}&limit=1"]


def test_what_the_other_book_cannot_know_yet_is_pending_and_no_difference(
    auditor: Auditor, audited: Audited
) -> None:
    audited.registry.records.pop()  # the retirement is not told yet
    audited.registry.entries.pop()
    audited.registry._hashes.pop()
    code, report = auditor.audit(audited)
    assert (code, report["pending"]["retirements"]) == (0, 1)


def test_books_that_are_cut_at_whatever_moments_differ_in_nothing(audited: Audited) -> None:
    for accounts_size in range(1, len(audited.accounts.records) + 1):
        for registry_size in range(1, len(audited.registry.records) + 1):
            findings = Findings()
            accounts, registry = AccountsBook(Keys("accounts")), RegistryBook(Keys("registry"))
            for book, log, size in (
                (accounts, audited.accounts, accounts_size),
                (registry, audited.registry, registry_size),
            ):
                for position, record in enumerate(log.records[:size]):
                    fields = json.loads(record)
                    book.fold(Opened(position, fields["type"], fields), findings)
            sizes = (accounts_size, registry_size)
            compare(accounts, registry, sizes, findings)
            accounts.check_sums(findings)
            assert findings.kept == [], sizes


def test_the_report_for_people_says_what_was_done(
    auditor: Auditor, audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    (auditor.folder / "policy.txt").write_bytes(audited.policy.encode())
    with serve(audited) as url:
        folder = ["--policy", str(auditor.folder / "policy.txt"), "--state", str(auditor.folder)]
        assert run(["audit", url, *folder, "--token", str(auditor.folder / "token")]) == 0
    told = capsys.readouterr().out
    assert "tanzhang.test/accounts: 9 entries, no witness" in told
    assert f"{TICKET}: issued -10000, available 3000, pledged 6000, retired 1000 t" in told
    assert told.endswith("no difference\n")


def test_a_folder_of_mirrors_is_audited_without_any_host(
    auditor: Auditor, audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    auditor.audit(audited)
    copies, state = str(auditor.folder / "s" / "logs"), str(auditor.folder / "other")
    policy = ["--policy", str(auditor.folder / "policy.txt"), "--state", state, "--json"]
    assert run(["audit", copies, *policy]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {one["tree_size"] for one in report["logs"]} == {
        len(log.records) for log in audited.logs.values()
    }
    assert all(one["opened"] == 0 for one in report["books"])


def test_what_was_opened_stays_opened_when_a_token_runs_out(
    auditor: Auditor, audited: Audited
) -> None:
    answer = audited.answer
    audited.answer = lambda path, token: (  # type: ignore[method-assign]
        answer(path, "" if "/logs/ledger/" in path else token)
    )
    assert auditor.audit(audited)[0] == 2
    audited.answer = answer  # type: ignore[method-assign]
    audited.asked.clear()
    code, report = auditor.audit(audited)
    assert (code, report["differences"]) == (0, [])
    assert not [one for one in audited.asked if "registry/disclosed-events" in one]


def test_pages_that_end_early_are_asked_for_their_rest(auditor: Auditor, audited: Audited) -> None:
    events = audited._events
    audited._events = lambda book, name, query, token: events(  # type: ignore[method-assign]
        book, name, {**query, "limit": ["2"]}, token
    )
    code, report = auditor.audit(audited)
    assert (code, report["differences"]) == (0, [])
    assert all(one["opened"] == one["entries"] for one in report["books"])


def test_a_policy_of_two_ledgers_needs_to_be_told_which(auditor: Auditor, audited: Audited) -> None:
    policy = audited.policy
    other = Signer("elsewhere.test/accounts", ED25519, b"\x08" * 32)
    policy.add_log(other.verifier.vkey)
    (auditor.folder / "policy.txt").write_bytes(policy.encode())
    code, told = auditor.audit(audited)
    assert (code, "--prefix" in told["error"]) == (2, True)
    assert auditor.audit(audited, "--prefix", "tanzhang.test/")[0] == 0


# ---- lies in the logs ----------------------------------------------------------------------------


def test_a_changed_tile_is_named(auditor: Auditor, audited: Audited) -> None:
    def changed(book: str, path: str, data: bytes) -> bytes:
        if (book, path[:7]) != ("accounts", "tile/0/"):
            return data
        return bytes([data[0] ^ 1]) + data[1:]

    audited.tile = changed
    code, report = auditor.audit(audited)
    assert code == 1
    assert (the_difference(report)["rule"], the_difference(report)["book"]) == ("TILE", "accounts")
    assert "tile/0/000" in the_difference(report)["actual"]


def test_a_log_that_forked_since_last_time_is_named_with_both_roots(
    auditor: Auditor, audited: Audited
) -> None:
    auditor.audit(audited)
    other = Audited()
    other.open()
    other.pay_in()
    other.tell()
    code, report = auditor.audit(other)
    assert code == 1
    found = next(one for one in report["differences"] if one["book"] == "accounts")
    assert found["rule"] == "FORK"
    size = len(audited.accounts.records)
    for root in (audited.accounts.root(), other.accounts.root(size)):
        assert encode_base64(root) in found["actual"]
    notes = [
        path.read_bytes()
        for path in (auditor.folder / "s" / "logs" / "accounts.evidence").glob("*.checkpoint")
    ]
    key = audited.accounts.signer.verifier
    assert len({open_checkpoint(note, key).checkpoint.root for note in notes}) == 2


def test_a_fork_is_not_forgotten_when_the_old_history_is_shown_again(
    auditor: Auditor, audited: Audited
) -> None:
    auditor.audit(audited)
    other = Audited()
    other.open()
    for step in (other.pay_in, other.verify, other.issue, other.pledge, other.retire):
        step()
    auditor.audit(other)
    code, report = auditor.audit(audited)
    assert (code, rules(report)) == (1, {"FORK"})
    assert all(one["opened"] == one["entries"] for one in report["books"])


def test_a_log_that_went_back_is_named(auditor: Auditor, audited: Audited) -> None:
    auditor.audit(audited)
    audited.checkpoint = lambda book, note: audited.logs[book].checkpoint(3)
    code, report = auditor.audit(audited)
    assert code == 1
    assert rules(report) == {"WENT_BACK"}


def test_a_checkpoint_kept_elsewhere_holds_the_log_to_its_word(
    auditor: Auditor, audited: Audited, tmp_path: Path
) -> None:
    other = Audited()
    other.open()
    other.pay_in()
    since = tmp_path / "kept.checkpoint"
    since.write_bytes(other.accounts.checkpoint())
    code, report = auditor.audit(audited, "--since", str(since))
    assert code == 1
    assert (the_difference(report)["rule"], the_difference(report)["book"]) == ("FORK", "accounts")


def test_a_missing_cosignature_is_named(auditor: Auditor, audited: Audited) -> None:
    witness = Signer("witness.test/w1", COSIGNATURE, b"\x07" * 32)
    policy = audited.policy
    policy.quorum = None
    policy.add_witness("w1", witness.verifier.vkey)
    policy.set_quorum("w1")
    (auditor.folder / "policy.txt").write_bytes(policy.encode())
    code, report = auditor.audit(audited)
    assert code == 1
    assert rules(report) == {"COSIGNATURES"}
    assert "quorum w1" in report["differences"][0]["actual"]


def test_another_key_than_the_policys_is_named(auditor: Auditor, audited: Audited) -> None:
    foreign = Audited(b"foreign")
    foreign.tell()
    code, report = auditor.audit(foreign, trusts=audited)
    assert (code, rules(report)) == (1, {"CHECKPOINT_SIGNATURE"})


def test_one_books_log_in_the_place_of_anothers_is_named(
    auditor: Auditor, audited: Audited
) -> None:
    audited.checkpoint = lambda book, note: audited.registry.checkpoint()
    code, report = auditor.audit(audited)
    assert (code, report["differences_by_rule"]["ORIGIN"]) == (1, 2)


def test_an_entry_that_is_no_commitment_is_named(auditor: Auditor, audited: Audited) -> None:
    log = audited.ledger
    log.append({"key_id": "k"}, "KeyRevoked")
    log.entries[-1] = b'{"book":"ledger","note":"something else"}'
    from kernel.tlog.merkle import leaf_hash

    log._hashes[-1] = leaf_hash(log.entries[-1])
    code, report = auditor.audit(audited)
    assert code == 1
    assert rules(report) == {"ENTRY_SHAPE", "COMMITMENT_DIFFERS"}


# ---- lies in what is shown -----------------------------------------------------------------------


def test_an_event_that_is_not_what_the_log_committed_to_is_named(
    auditor: Auditor, audited: Audited
) -> None:
    def changed(book: str, position: int, event: dict[str, Any]) -> dict[str, Any]:
        if (book, position) != ("accounts", LAST):
            return event
        record = base64.b64decode(event["record"]).replace(b"50000", b"90000")
        return {**event, "record": base64.b64encode(record).decode()}

    audited.shown = changed
    code, report = auditor.audit(audited)
    assert code == 1
    found = the_difference(report)
    assert (found["rule"], found["position"]) == ("COMMITMENT_DIFFERS", LAST)


def test_a_withheld_event_is_named(auditor: Auditor, audited: Audited) -> None:
    audited.shown = lambda book, position, event: (
        None if (book, position) == ("accounts", LAST) else event
    )
    code, report = auditor.audit(audited)
    assert code == 1
    found = the_difference(report)
    assert (found["rule"], found["position"]) == ("EVENT_WITHHELD", LAST)


def test_a_withheld_public_fact_leaves_a_hole(auditor: Auditor, audited: Audited) -> None:
    audited.shown = lambda book, position, event: (
        None if b"IssuanceProposed" in base64.b64decode(event["record"]) else event
    )
    code, report = auditor.audit(audited, token=False)
    assert (code, rules(report)) == (1, {"ISSUANCE_UNKNOWN"})


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (b'{"book":"ledger","position":1}', "RECORD_SHAPE"),
        (b'{"book":"ledger", "position":1}', "RECORD_NOT_CANONICAL"),
        (b'{"position":1,"book":"ledger"}', "RECORD_NOT_CANONICAL"),
        (b'{"book":"ledger","position":1,"position":1}', "RECORD_NOT_CANONICAL"),
        (b'{"book":"ledger","position":1.0}', "RECORD_NOT_CANONICAL"),
        (b'{"book":"ledger","n":9007199254740993,"position":1}', "RECORD_NOT_CANONICAL"),
        (b'{"book":"ledger","position":2}', "RECORD_ELSEWHERE"),
        (b"[" * 5000, "RECORD_NOT_CANONICAL"),
        (b"\xff", "RECORD_NOT_CANONICAL"),
    ],
)
def test_a_record_that_is_committed_to_and_is_no_event_is_named(
    auditor: Auditor, audited: Audited, record: bytes, rule: str
) -> None:
    audited.ledger.append_record(record)
    audited._event = lambda book, position: {  # type: ignore[method-assign]
        "raw": {
            "position": position,
            "record": base64.b64encode(audited.logs[book].records[position]).decode(),
            "salt": base64.b64encode(audited.logs[book].salt(position)).decode(),
        },
        "type": "Anything",
    }
    code, report = auditor.audit(audited)
    assert code == 1
    assert (the_difference(report)["rule"], the_difference(report)["book"]) == (rule, "ledger")


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        ('"details":{"b":"1","a":"2"},"lien":"l-1"', True),  # as older records have them
        ('"details":{"a":"2","b":"1"},"lien":"l-1"', True),
        ('"lien":"l-1","details":{"b":"1","a":"2"}', False),
        ('"details":{"a":"2","a":"1"},"lien":"l-1"', False),
        ('"details":{"a":"2", "b":"1"},"lien":"l-1"', False),
        ('"other":{"b":"1","a":"2"}', False),
    ],
)
def test_the_details_of_a_refusal_may_stand_in_the_order_they_came(
    body: str, accepted: bool
) -> None:
    data = f'{{"body":{{{body}}},"book":"registry","position":1}}'.encode()
    if accepted:
        assert read_canonical(data)["position"] == 1
    else:
        with pytest.raises(NotTheEvent, match="RECORD_NOT_CANONICAL"):
            read_canonical(data)


# ---- lies in the books ---------------------------------------------------------------------------


def told(*steps: Callable[[Audited], Any]) -> Audited:
    made = Audited()
    made.open()
    for step in steps:
        step(made)
    return made


MONEY_OUT_OF_NOTHING = leg(account(LANZHOU), account(FOREST), 7, asset="CNY")
SHORT = {**leg(account(FOREST), account(LANZHOU), 9, 1), "amount": 10}


def verify(made: Audited) -> None:
    made.verify()


def issue(made: Audited) -> None:
    made.issue()


LIES: dict[str, tuple[Audited, set[str]]] = {
    "a unit in two places": (
        told(
            verify,
            issue,
            lambda one: one.move(account(FOREST), account(LANZHOU), 10, 1),
            lambda one: one.move(account(FOREST), account(FOREST, "trading", "market"), 10, 1),
        ),
        {"SERIAL_NOT_THERE", "BALANCE_DIFFERS"},
    ),
    "serials that are issued again": (
        told(
            verify,
            issue,
            lambda one: one.move(account("h-x", "issued"), account(FOREST), 10, 1),
        ),
        {"SERIAL_TWICE", "ISSUED_TWICE", "BALANCE_DIFFERS", "BATCH_COUNT", "ISSUANCE_DIFFERS"},
    ),
    "a retirement that moves again": (
        told(
            verify,
            issue,
            lambda one: one.retire(),
            lambda one: one.move(account(FOREST, "retired"), account(LANZHOU), 10, 6_001),
        ),
        {"TERMINAL_MOVED"},
    ),
    "an issuance over its approval": (
        told(lambda one: one.verify(9_999), issue),
        {"ISSUANCE_OVER_APPROVAL"},
    ),
    "more entered than approved": (
        told(verify, lambda one: one.issue(9_000, entered_t=9_001)),
        {"ISSUANCE_DIFFERS"},
    ),
    "issued out of nothing": (
        told(lambda one: one.move(account("h-x", "issued"), account(FOREST), 10, 1)),
        {"ISSUED_WITHOUT_APPROVAL"},
    ),
    "a balance below zero": (
        told(lambda one: one.accounts.append({"legs": [MONEY_OUT_OF_NOTHING]})),
        {"NEGATIVE_BALANCE"},
    ),
    "fewer serials than the amount": (
        told(verify, issue, lambda one: one.accounts.append({"legs": [SHORT]})),
        {"SERIALS_COUNT", "BALANCE_DIFFERS"},
    ),
    "a retirement told otherwise": (
        told(verify, issue, lambda one: one.retire(told_t=999)),
        {"RETIREMENT_DIFFERS"},
    ),
    "a retirement that is not told": (
        told(
            verify,
            issue,
            lambda one: one.move(account(FOREST), account(FOREST, "retired"), 5, 9_001),
            lambda one: one.retire(),
        ),
        {"RETIREMENT_NOT_TOLD"},
    ),
    "a pledge of other serials than registered": (
        told(verify, issue, lambda one: one.pledge(entered_first=2)),
        {"PLEDGE_DIFFERS"},
    ),
    "a pledged unit that moves away": (
        told(
            verify,
            issue,
            lambda one: one.pledge(),
            lambda one: one.move(account(FOREST, "pledged", LIEN), account(LANZHOU), 10, 1),
        ),
        {"PLEDGE_DIFFERS"},
    ),
    "an event with a body that cannot be read": (
        told(lambda one: one.accounts.append({"legs": [{"amount": 1}]})),
        {"EVENT_BODY"},
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_the_books_is_named(auditor: Auditor, lie: str) -> None:
    made, expected = LIES[lie]
    code, report = auditor.audit(made)
    assert (code, rules(report)) == (1, expected), report["differences"]


def test_an_approval_by_a_false_signature_is_named(auditor: Auditor) -> None:
    made = Audited()
    made.open()
    made.verify()
    record = json.loads(made.registry.records[-1])
    signature = bytearray(base64.b64decode(record["acts"][0]["signature"]))
    signature[0] ^= 1
    forged = {**record["acts"][0], "signature": base64.b64encode(signature).decode()}
    made.registry.append(
        {**record["body"], "verification": "v-2"}, "ReductionVerified", acts=[forged]
    )
    code, report = auditor.audit(made)
    assert (code, rules(report)) == (1, {"ACT_SIGNATURE", "ACT_MISSING"})


def test_an_issuance_by_one_person_is_named(auditor: Auditor) -> None:
    made = Audited()
    append = made.registry.append
    made.registry.append = lambda *given, **named: append(  # type: ignore[method-assign]
        *given, **{**named, "actor": person("li.checker")}
    )
    made.open()
    made.verify()
    made.issue()
    code, report = auditor.audit(made)
    assert (code, rules(report)) == (1, {"TWO_PERSONS"})


# ---- the state log ------------------------------------------------------------------------------


@pytest.fixture
def map_key(tmp_path: Path) -> list[str]:
    (tmp_path / "map.key").write_text(MAP_KEY.hex())
    return ["--map-key", str(tmp_path / "map.key")]


def test_both_maps_of_a_state_are_made_again(
    auditor: Auditor, audited: Audited, map_key: list[str]
) -> None:
    audited.commit_state()
    code, report = auditor.audit(audited, *map_key)
    assert (code, report["differences"]) == (0, [])
    made_again = {"looked_at": 1, "serials_made_again": 1, "balances_made_again": 1}
    assert report["states"] == {**made_again, "not_compared": 0}


def test_a_state_of_what_was_opened_before_is_made_again_too(
    auditor: Auditor, audited: Audited
) -> None:
    audited.commit_state()
    auditor.audit(audited)
    audited.commit_state()
    last = audited.commit_state(serials=bytes(32))
    code, report = auditor.audit(audited)
    assert (code, the_difference(report)["position"]) == (1, last)
    assert report["states"]["serials_made_again"] == 2


def test_a_gateway_gives_the_map_key_to_an_auditor(auditor: Auditor, audited: Audited) -> None:
    audited.gives_map_key = True
    audited.commit_state(balances=bytes(32))
    code, report = auditor.audit(audited)
    assert (code, rules(report)) == (1, {"STATE_BALANCES"})


def test_without_the_map_key_the_serial_map_alone_is_made_again(
    auditor: Auditor, audited: Audited
) -> None:
    audited.commit_state(balances=bytes(32))  # nobody without the key can tell
    code, report = auditor.audit(audited)
    assert (code, report["states"]["balances_made_again"]) == (0, 0)


def test_of_many_states_all_are_looked_at_and_the_newest_is_always_made_again(
    auditor: Auditor, audited: Audited
) -> None:
    for _ in range(40):
        audited.commit_state()
    last = audited.commit_state(serials=bytes(32))
    code, report = auditor.audit(audited)
    assert (code, the_difference(report)["position"]) == (1, last)
    assert (report["states"]["looked_at"], report["states"]["serials_made_again"]) == (41, 16)


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ({"serials": bytes(32)}, "STATE_SERIALS"),
        ({"balances": bytes(32)}, "STATE_BALANCES"),
        ({"root": bytes(32)}, "STATE_OF_ROOT"),
        ({"position": 5}, "STATE_ENTRY"),
        ({"book": "registry"}, "STATE_ENTRY"),
        ({"size": 1_000_000}, "STATE_AHEAD"),
    ],
)
def test_a_state_that_the_books_do_not_bear_out_is_named(
    auditor: Auditor, audited: Audited, map_key: list[str], said: dict[str, Any], rule: str
) -> None:
    audited.commit_state()
    at = audited.commit_state(**said)
    code, report = auditor.audit(audited, *map_key)
    assert code == 1
    assert (the_difference(report)["rule"], the_difference(report)["position"]) == (rule, at)


def test_a_state_of_fewer_events_than_before_is_named(auditor: Auditor, audited: Audited) -> None:
    audited.commit_state()
    audited.commit_state(size=3, root=audited.accounts.root(3))
    code, report = auditor.audit(audited)
    assert code == 1
    assert rules(report) == {"STATE_WENT_BACK", "STATE_SERIALS"}


def test_a_state_of_fewer_events_than_in_the_run_before_is_named(
    auditor: Auditor, audited: Audited
) -> None:
    audited.commit_state()
    assert auditor.audit(audited)[0] == 0
    at = audited.commit_state(size=3, root=audited.accounts.root(3), serials=bytes(32))
    audited.commit_state()
    code, report = auditor.audit(audited)
    found = the_difference(report)
    assert (code, found["rule"], found["position"]) == (1, "STATE_WENT_BACK", at)


def test_a_state_ahead_of_its_book_hides_none_after_it_and_is_told_in_every_run(
    auditor: Auditor, audited: Audited
) -> None:
    audited.commit_state()
    ahead = audited.commit_state(size=len(audited.accounts.entries) + 1)
    false = audited.commit_state(root=bytes(32))
    code, report = auditor.audit(audited)
    places = {(one["rule"], one["position"]) for one in report["differences"]}
    assert (code, places) == (1, {("STATE_AHEAD", ahead), ("STATE_OF_ROOT", false)})
    assert (report["states"]["looked_at"], report["states"]["not_compared"]) == (3, 1)

    last = audited.commit_state(serials=bytes(32))
    code, report = auditor.audit(audited)
    told = [(one["rule"], one["position"]) for one in report["differences"]]
    assert sorted(told) == [
        ("STATE_AHEAD", ahead),
        ("STATE_OF_ROOT", false),
        ("STATE_SERIALS", last),
    ]


class Behind:
    """Shows the accounts log one entry short, so many times."""

    def __init__(self, audited: Audited, times: int) -> None:
        self._log = audited.accounts
        self.times = times
        audited.checkpoint = self._show

    def _show(self, book: str, note: bytes) -> bytes:
        if book != "accounts" or not self.times:
            return note
        self.times -= 1
        return self._log.checkpoint(len(self._log.entries) - 1)


def test_books_that_grow_while_they_are_fetched_put_no_state_ahead(
    auditor: Auditor, audited: Audited
) -> None:
    audited.commit_state()
    behind = Behind(audited, 1)
    code, report = auditor.audit(audited)
    assert (code, behind.times, report["differences"]) == (0, 0, [])
    assert (report["states"]["serials_made_again"], report["states"]["not_compared"]) == (1, 0)
    log = next(one for one in report["logs"] if one["book"] == "accounts")
    assert (log["earlier_tree_size"], log["tree_size"]) == (None, len(audited.accounts.entries))


@pytest.mark.parametrize("said", [{}, {"root": bytes(32)}])
def test_a_state_that_was_ahead_is_held_to_its_book_once_that_is_there(
    auditor: Auditor, audited: Audited, said: dict[str, Any]
) -> None:
    audited.commit_state(**said)
    Behind(audited, 2)
    code, report = auditor.audit(audited)
    assert (code, rules(report)) == (1, {"STATE_AHEAD"})
    code, report = auditor.audit(audited)
    assert (code, rules(report)) == ((1, {"STATE_OF_ROOT"}) if said else (0, set()))
    assert report["states"]["serials_made_again"] == 1


def test_states_are_looked_at_where_nobody_shows_events(
    auditor: Auditor, audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    audited.commit_state(size=1_000_000)
    auditor.audit(audited)
    copies, state = str(auditor.folder / "s" / "logs"), str(auditor.folder / "other")
    policy = ["--policy", str(auditor.folder / "policy.txt"), "--state", state, "--json"]
    assert run(["audit", copies, *policy]) == 1
    assert rules(json.loads(capsys.readouterr().out)) == {"STATE_AHEAD"}


def test_states_that_are_held_to_no_book_are_said_to_be(auditor: Auditor, audited: Audited) -> None:
    audited.commit_state()
    assert audited.states is not None
    (auditor.folder / "policy.txt").write_bytes(audited.states.policy.encode())
    code, report = auditor.audit(audited)
    assert (code, report["states"]["not_compared"]) == (0, 1)


# ---- which states are made again -----------------------------------------------------------------


def state_at(position: int) -> StateEntry:
    none = bytes(32)
    return StateEntry(position, "2026-11-20T08:30:10.000Z", "accounts", 9, none, none, none)


def test_nobody_knows_before_which_states_are_made_again() -> None:
    entries = [state_at(position) for position in range(40)]
    drawn = [{one.position for one in chosen(entries, [], 0, 9)} for _ in range(100)]
    assert all(len(one) == MAX_RECOMPUTED and 39 in one for one in drawn)
    assert set().union(*drawn) == set(range(40))
    assert {one.position for one in chosen(entries, [entries[5]], 0, 9)} >= {5, 39}


def test_of_more_states_than_are_kept_any_may_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.audit.sample.MAX_SAMPLE", 8)
    kept = set()
    for _ in range(200):
        sample = Sample()
        for position in range(40):
            sample.add(state_at(position))
        places = [one.position for one in sample.entries]
        assert (places[-1], len(places) <= 9) == (39, True)
        kept |= set(places)
    assert kept == set(range(40))


def holding_of_a_lie(audited: Audited, folder: Path) -> tuple[int, str]:
    """A state among many in which the forest has more than there is, and a proof of it."""
    where, amount = Account(FOREST, TICKET, "available", ""), 9_000_000
    leaf, salt = balance_leaf(MAP_KEY, where, amount)
    for _ in range(20):
        audited.commit_state()
    at = audited.commit_state(balances=leaf_hash(leaf))
    for _ in range(20):
        audited.commit_state()
    log = audited.states
    assert log is not None
    leaves = [merkle.leaf_hash(one) for one in log.entries]
    path = merkle.prove_inclusion(at, len(leaves), merkle.ListedLeaves(leaves))
    proof = TlogProof(at, tuple(path), log.checkpoint()).encode()
    shown = BalanceProof(where, amount, leaf.key, [], salt)
    file = folder / "forest.holding"
    file.write_bytes(make_holding(StateProof(log.entries[at], proof), shown))
    return at, str(file)


def test_a_state_that_a_proof_names_is_made_again_whatever_is_drawn(
    auditor: Auditor, audited: Audited, map_key: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.audit.sample.MAX_RECOMPUTED", 1)  # the newest alone
    at, file = holding_of_a_lie(audited, auditor.folder)
    code, report = auditor.audit(audited, *map_key, "--proof", file)
    found = the_difference(report)
    assert (code, found["rule"], found["position"]) == (1, "STATE_BALANCES", at)
    assert report["states"]["balances_made_again"] == 2


def test_a_proof_holds_the_state_log_to_its_checkpoint(
    auditor: Auditor, audited: Audited, map_key: list[str]
) -> None:
    at, file = holding_of_a_lie(audited, auditor.folder)
    assert audited.states is not None
    kept = audited.states.entries[:at]
    audited.states = SmallLog("state", b"s")
    for entry in kept:
        audited.states.append_entry(entry)
    for _ in range(30):
        audited.commit_state()  # as if it had never said so
    code, report = auditor.audit(audited, *map_key, "--proof", file)
    assert (code, rules(report)) == (1, {"FORK"})


def test_a_proof_whose_state_cannot_be_made_again_ends_without_a_verdict(
    auditor: Auditor, audited: Audited
) -> None:
    _, file = holding_of_a_lie(audited, auditor.folder)
    code, told = auditor.audit(audited, "--proof", file, token=False)
    assert (code, "--token" in told["error"]) == (2, True)
    audited.pay_in()
    auditor.audit(audited)
    code, told = auditor.audit(audited, "--proof", file)
    assert (code, "another folder" in told["error"]) == (2, True)


# ---- what could not be tried ---------------------------------------------------------------------


def test_a_token_that_is_refused_ends_without_a_verdict(auditor: Auditor, audited: Audited) -> None:
    (auditor.folder / "token").write_text("somebody-else")
    code, told = auditor.audit(audited)
    assert code == 2
    assert "HTTP 401" in told["error"]


def test_a_token_goes_over_https_only(
    auditor: Auditor, audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    (auditor.folder / "policy.txt").write_bytes(audited.policy.encode())
    policy = ["--policy", str(auditor.folder / "policy.txt"), "--state", str(auditor.folder / "s")]
    token = ["--token", str(auditor.folder / "token"), "--events", "http://ledger.example"]
    assert run(["audit", str(auditor.folder), *policy, *token]) == 2
    assert "https only" in capsys.readouterr().err


# ---- the page ------------------------------------------------------------------------------------


def test_the_reference_page_names_every_rule_and_no_other() -> None:
    sources = [*(ROOT / "cli" / "audit").glob("*.py"), ROOT / "cli" / "mirror.py"]
    taker = re.compile(
        r'(?:\.add|NotTheEvent|MirrorRefused|_compare|_fork)\(\s*(?:\*\(|entry, )?"([A-Z_]+)"'
    )
    used = {rule for path in sources for rule in taker.findall(path.read_text())}
    used |= {"SERIAL_TWICE", "SERIAL_NOT_THERE", "COSIGNATURES", "ORIGIN"}  # chosen by a condition
    page = (ROOT / "docs" / "reference" / "audit.md").read_text()
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE)) == used
