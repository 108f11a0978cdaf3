"""`tanzhang verify`, judged as a bank's clerk would: what is proved, as of when, by whom."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.app import run
from cli.columns import WIDTH, columns
from kernel.acts import SUITE_ED25519, key_id, public_bytes, sign_act
from kernel.tlog import cose, merkle
from kernel.tlog.maps import Piece
from kernel.tlog.policy import parse_policy, policy_fingerprint
from kernel.tlog.states import Account, status_text
from tests.support.small_log import SmallLog, sale_body
from tests.support.small_states import (
    BANK,
    COMMITTED_AT,
    FOREST,
    LIEN,
    TICKET,
    SmallStates,
    pledge_statement,
)

WITNESSED = "2026-11-18T11:06:40Z"
Verify = Callable[..., str]


@pytest.fixture
def states() -> SmallStates:
    states = SmallStates()
    states.commit()
    return states


@pytest.fixture
def desk(tmp_path: Path, states: SmallStates, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clerk's folder: the policy she was given, and what she was sent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    (tmp_path / "policy.txt").write_bytes(states.policy.encode())
    (tmp_path / "bank.lien").write_bytes(states.lien(0))
    (tmp_path / "forest.holding").write_bytes(
        states.holding(Account(FOREST, TICKET, "available", ""), 0)
    )
    (tmp_path / "accounts-3.receipt").write_bytes(states.pledge())
    return tmp_path


@pytest.fixture
def verify(desk: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    def verified(*arguments: str, code: int = 0, policy: str = "policy.txt") -> str:
        assert run(["verify", *arguments, "--policy", policy]) == code
        return capsys.readouterr().out

    return verified


def flat(text: str) -> str:
    """A page as one line: where it is folded does not matter."""
    return " ".join(text.split())


def sign_for(key: Ed25519PrivateKey, **fields: Any) -> dict[str, str]:
    act = sign_act(key, fields)
    return {"key_id": act.key_id, "signature": act.signature, "statement": act.statement}


# ---- liens and holdings --------------------------------------------------------------------------


def test_a_bank_learns_that_these_serials_are_pledged_to_it_alone(verify: Verify) -> None:
    page = flat(verify("bank.lien"))
    assert page.startswith("VERIFIED: bank.lien")
    for said in (
        f"6,000 {TICKET} of {FOREST} lie pledged under lien {LIEN} of {BANK}.",
        "1 to 6,000 of LZXQ-2021",
        "it is under no other lien, and neither retired nor surrendered",
        "2026-11-20T08:30:10Z (16:30:10 in Beijing), as the ledger says",
        f"The witness bank saw the log at {WITNESSED} (19:06:40 in Beijing): this was the newest",
        "the log tanzhang.test/state, key ",
        f"regulator (witness.example/regulator): agrees, {WITNESSED}",
        "needed: 2 of 2: bank, regulator",
        "made by accounts, position 3",
        "Whether an authority or a court has frozen these units",
        "can show it false",
    ):
        assert said in page


def test_the_page_says_the_same_in_chinese_and_fits_a_terminal(verify: Verify) -> None:
    page = verify("bank.lien", "--lang", "zh-CN")
    for said in (
        "验证通过",
        "质押在",
        "不在其他质权之下，也未注销、未清缴",
        "北京时间 2026-11-20",
        "未证明",
    ):
        assert said in page
    assert len(page.splitlines()) <= 40
    assert [
        line for line in page.splitlines() if columns(line) > WIDTH and "sha256" not in line
    ] == []


def test_a_time_that_no_witness_could_have_seen_is_said(verify: Verify) -> None:
    assert "The ledger's clock is ahead of the witness's" in flat(verify("bank.lien"))


def test_a_proof_from_before_newer_states_says_that_there_are_newer_ones(
    desk: Path, states: SmallStates, verify: Verify
) -> None:
    states.commit()
    states.commit()
    (desk / "old.lien").write_bytes(states.lien(0))
    page = flat(verify("old.lien"))
    assert page.startswith("VERIFIED, BUT NOT THE NEWEST STATE: old.lien")
    assert "2 newer states stood in it by then. Ask for a newer proof." in page
    told = json.loads(verify("old.lien", "--json"))
    (old,) = told["files"]
    assert (old["state"]["newer_states"], old["as_of"]) == (2, None)
    assert json.loads(verify("bank.lien", "--json"))["files"][0]["as_of"] == WITNESSED


def test_json_dates_a_lien_by_the_quorum_and_not_by_the_last_witness(
    desk: Path, verify: Verify, states: SmallStates
) -> None:
    (desk / "two.txt").write_bytes(states.collude(1_895_000_000).encode())
    (desk / "old.lien").write_bytes(states.lien(0))
    (told,) = json.loads(verify("old.lien", "--json", policy="two.txt"))["files"]
    assert told["as_of"] == WITNESSED
    assert told["witnesses"][2]["signed_at"].startswith("2030-")


def test_json_names_the_part_of_an_act_that_is_over_another_pledge(
    desk: Path, verify: Verify
) -> None:
    other = SmallStates(acts=[sign_act(LENDER, pledge_statement(lien="l-another00000001"))])
    other.commit()
    (desk / "other.lien").write_bytes(other.lien(0))
    (desk / "institutions.json").write_text(json.dumps(directory_of(LENDER)))
    (told,) = json.loads(verify("other.lien", "--json", code=1))["files"]
    assert (told["valid"], told["part"]) == (False, "act")
    assert "signed something else" in told["error"]


def test_a_lien_in_many_pieces_still_fits_on_a_page(desk: Path, verify: Verify) -> None:
    pieces = SmallStates(5_000)
    pledged = [Piece(n, n, status_text("pledged", LIEN)) for n in range(1, 10_000, 2)]
    free = [Piece(n, n, status_text("available", "")) for n in range(2, 10_001, 2)]
    pieces.pieces = [*pledged, *free]
    pieces.commit()
    (desk / "pieces.lien").write_bytes(pieces.lien(0))
    page = verify("pieces.lien")
    assert "and 4,988 more ranges; --json lists them all" in page
    assert len(page.splitlines()) < 50
    serials = json.loads(verify("pieces.lien", "--json"))["files"][0]["lien"]["serials"]
    assert len(serials) == 5_000


def test_a_lien_that_has_ended_is_not_told_as_one_that_stands(desk: Path, verify: Verify) -> None:
    ended = SmallStates(0)
    ended.commit()
    (desk / "ended.lien").write_bytes(ended.lien(0))
    page = flat(verify("ended.lien"))
    assert page.startswith("VERIFIED, AND NOTHING IS PLEDGED ANY MORE: ended.lien")
    assert f"Nothing lies under lien {LIEN} of {BANK} any more" in page
    assert "no other lien" not in page


def test_a_holder_shows_what_it_holds(verify: Verify) -> None:
    page = flat(verify("forest.holding"))
    assert f"The account available of {FOREST} holds 4,000 {TICKET}." in page
    told = json.loads(verify("forest.holding", "--json"))["files"][0]
    assert told["holding"]["amount"] == 4_000
    assert told["state"]["at"] == COMMITTED_AT


def test_a_lien_that_was_changed_is_refused_by_its_part(
    desk: Path, states: SmallStates, verify: Verify
) -> None:
    data = states.lien(0)
    (desk / "cut.lien").write_bytes(data[:-1])
    other = SmallStates(5_000)
    other.commit()
    (desk / "other.lien").write_bytes(other.lien(0)[:-900] + data[-900:])
    for name in ("cut.lien", "other.lien"):
        page = verify(name, code=1)
        assert page.startswith(f"DOES NOT VERIFY: {name}\n")
        assert "Do not rely on this file." in page


# ---- receipts ------------------------------------------------------------------------------------


def test_a_receipt_tells_by_when_the_log_held_it_and_which_witness_saw(verify: Verify) -> None:
    page = flat(verify("accounts-3.receipt"))
    assert "The log tanzhang.test/accounts holds this event, unchanged, at position 3." in page
    assert f"{WITNESSED} (19:06:40 in Beijing): by then the log held this, as the witness" in page
    assert "units went under a lien" in page
    assert "How things stand now. A .lien file shows" in page


def test_without_a_witness_no_time_is_proved_and_that_is_said(desk: Path, verify: Verify) -> None:
    log = SmallLog()
    log.append(sale_body())
    (desk / "alone.txt").write_bytes(log.policy.encode())
    (desk / "sale.receipt").write_bytes(log.receipt(0))
    page = flat(verify("sale.receipt", policy="alone.txt"))
    assert "No time is proved. The event says of itself that it was recorded 2026-11-20" in page
    assert "nobody but the log's operator vouches" in page
    assert "your policy asks for no witness" in page
    told = json.loads(verify("sale.receipt", "--json", policy="alone.txt"))["files"][0]
    assert (told["as_of"], told["witnesses"]) == (None, [])


def test_a_witness_that_has_not_signed_is_named(
    desk: Path, states: SmallStates, verify: Verify
) -> None:
    policy = states.policy.encode().replace(b"group both all", b"group both any")
    (desk / "any.txt").write_bytes(policy)
    states.witnesses.pop()
    (desk / "one.lien").write_bytes(states.lien(0))
    assert "regulator (witness.example/regulator): has not signed this one" in flat(
        verify("one.lien", policy="any.txt")
    )
    assert "too few witnesses" in flat(verify("one.lien", code=1))


# ---- institutions' own signatures ----------------------------------------------------------------

LENDER = Ed25519PrivateKey.from_private_bytes(sha256(b"lender").digest())
STATEMENT = {"kind": "pledge", "lien": LIEN, "loan_fen": 24_750_000}


def directory_of(key: Ed25519PrivateKey, **more: Any) -> Mapping[str, Any]:
    public = public_bytes(key)
    row = {
        "key_id": key_id(public),
        "public_key": base64.b64encode(public).decode(),
        "subject": f"bank:{BANK}",
        "suite": SUITE_ED25519,
        **more,
    }
    return {"keys": [row], "as_of_position": 9}


@pytest.fixture
def pledged(desk: Path) -> SmallLog:
    """A registry whose event the lender has signed."""
    log = SmallLog("registry")
    log.append({"lien": LIEN}, "PledgeRequested", acts=[sign_for(LENDER, **STATEMENT)])
    log.append(
        {"lien": LIEN},
        "PledgeRequested",
        acts=[{**sign_for(LENDER, **STATEMENT), "signature": "AAAA"}],
    )
    (desk / "registry.txt").write_bytes(log.policy.encode())
    for position in (0, 1):
        (desk / f"registry-{position}.receipt").write_bytes(log.receipt(position))
    return log


def test_an_institutions_signature_is_checked_with_the_key_the_reader_has_pinned(
    desk: Path, pledged: SmallLog, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    page = flat(verify("registry-0.receipt", policy="registry.txt"))
    assert "(its signature is not checked: you have pinned no such key)" in page
    assert "The signatures of institutions inside: 1 of 1 not checked" in page
    (desk / "institutions.json").write_text(json.dumps(directory_of(LENDER)))
    page = flat(verify("registry-0.receipt", policy="registry.txt"))
    assert (
        f"signed by bank:{BANK} with key {key_id(public_bytes(LENDER))}: the signature holds"
        in page
    )
    assert "not checked" not in page
    assert run(["policy", "pin", "registry.txt", "--keys", "institutions.json"]) == 0
    assert run(["verify", "registry-0.receipt", "--dir", "elsewhere"]) == 0
    assert "the signature holds" in flat(capsys.readouterr().out)
    (desk / "revoked.json").write_text(json.dumps(directory_of(LENDER, revoked=True)))
    page = flat(verify("registry-0.receipt", "--keys", "revoked.json", policy="registry.txt"))
    assert "the key was revoked since" in page


def test_a_false_signature_of_an_institution_is_refused(
    desk: Path, pledged: SmallLog, verify: Verify
) -> None:
    (desk / "institutions.json").write_text(json.dumps(directory_of(LENDER)))
    told = json.loads(verify("registry-1.receipt", "--json", policy="registry.txt", code=1))
    assert (told["valid"], told["files"][0]["part"]) == (False, "act")
    page = flat(verify("registry-1.receipt", policy="registry.txt", code=1))
    assert f"the signature of bank:{BANK} with key" in page


def test_a_receipt_of_the_keys_registration_shows_the_key(
    desk: Path, pledged: SmallLog, verify: Verify
) -> None:
    (row,) = directory_of(LENDER)["keys"]
    ledger = SmallLog("ledger", b"ledger")
    ledger.append({name: row[name] for name in ("public_key", "subject", "suite")}, "KeyRegistered")
    both = pledged.policy
    both.add_log(ledger.signer.verifier.vkey)
    (desk / "both.txt").write_bytes(both.encode())
    (desk / "key.receipt").write_bytes(ledger.receipt(0))
    page = flat(verify("registry-0.receipt", "key.receipt", policy="both.txt"))
    assert f"signed by bank:{BANK} with key" in page


def test_an_event_that_two_persons_accepted_is_told_so_where_their_receipt_is_given(
    desk: Path, pledged: SmallLog, verify: Verify
) -> None:
    ledger = SmallLog("ledger", b"ledger")
    ledger.fill(4)
    for position in (0, 7):
        body = {"book": "registry", "position": position, "rule": "PLEDGE_EXCLUSIVE"}
        ledger.append(body, "OverrideAccepted")
    both = pledged.policy
    both.add_log(ledger.signer.verifier.vkey)
    (desk / "both.txt").write_bytes(both.encode())
    for position in (4, 5):
        (desk / f"ledger-{position}.receipt").write_bytes(ledger.receipt(position))
    files = ("registry-0.receipt", "ledger-4.receipt", "ledger-5.receipt")
    page = flat(verify(*files, policy="both.txt"))
    assert page.count("It broke rule PLEDGE_EXCLUSIVE, and two persons accepted it") == 1
    told = json.loads(verify(*files, "--json", policy="both.txt"))["files"]
    assert told[0]["overrides"] == [{"rule": "PLEDGE_EXCLUSIVE", "position": 4}]
    assert "accepted it all the same" not in verify("registry-0.receipt", policy="both.txt")


@pytest.mark.parametrize("text", ["", "[]", '{"keys":[{"key_id":"00"}]}', '{"keys":[1]}'])
def test_a_directory_that_is_none_cannot_be_tried(
    desk: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "keys.json").write_text(text)
    arguments = ["verify", "bank.lien", "--policy", "policy.txt", "--keys", "keys.json"]
    assert run(arguments) == 2
    assert "expected keys as /v1/keys answers" in capsys.readouterr().err


def test_a_key_that_is_not_what_its_id_says_is_not_believed(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "keys.json").write_text(json.dumps(directory_of(LENDER, key_id="0" * 16)))
    assert run(["verify", "bank.lien", "--policy", "policy.txt", "--keys", "keys.json"]) == 2
    assert "is not what its id says" in capsys.readouterr().err


# ---- COSE ----------------------------------------------------------------------------------------


def test_a_cose_receipt_is_verified_with_the_event_beside_it(
    desk: Path, states: SmallStates, verify: Verify
) -> None:
    log = states.accounts
    leaves = [merkle.leaf_hash(one) for one in log.entries]
    path = tuple(merkle.prove_inclusion(3, len(leaves), merkle.ListedLeaves(leaves)))
    made = cose.make_cose_receipt(
        log.signer, f"{log.signer.name}/3", 3, len(leaves), path, merkle.root(leaves)
    )
    (desk / "accounts-3.cose").write_bytes(made)
    page = flat(verify("accounts-3.cose"))
    assert "has signed a root under which this event stands at position 3" in page
    assert "a COSE receipt has no witness and does not sign the size" in page
    (desk / "accounts-3.cose").write_bytes(made[:-1] + bytes([made[-1] ^ 1]))
    assert "DOES NOT VERIFY" in verify("accounts-3.cose", code=1)
    (desk / "accounts-3.receipt").unlink()
    verify("accounts-3.cose", code=2)


def test_a_cose_receipt_of_another_event_does_not_verify(
    desk: Path, states: SmallStates, verify: Verify
) -> None:
    log = states.accounts
    leaves = [merkle.leaf_hash(one) for one in log.entries]
    path = tuple(merkle.prove_inclusion(2, len(leaves), merkle.ListedLeaves(leaves)))
    made = cose.make_cose_receipt(log.signer, "x", 2, len(leaves), path, merkle.root(leaves))
    (desk / "accounts-3.cose").write_bytes(made)
    told = json.loads(verify("accounts-3.cose", "--json", code=1))
    assert told["files"][0]["part"] == "cose"


# ---- several files, policies ---------------------------------------------------------------------


def test_of_several_files_the_worst_decides(desk: Path, verify: Verify) -> None:
    (desk / "bad.receipt").write_bytes(b"PK")
    assert verify("bank.lien", "forest.holding").count("VERIFIED") == 2
    page = verify("bank.lien", "bad.receipt", "missing.receipt", code=1)
    assert "DOES NOT VERIFY: bad.receipt" in page
    verify("bank.lien", "missing.receipt", code=2)
    told = json.loads(verify("bank.lien", "bad.receipt", "missing.receipt", "--json", code=1))
    assert [one["valid"] for one in told["files"]] == [True, False, None]
    assert told["valid"] is False


def test_a_pinned_policy_is_used_where_no_other_is_named(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", "bank.lien"]) == 2
    assert "tanzhang policy pin" in capsys.readouterr().err
    assert run(["policy", "pin", "policy.txt"]) == 0
    fingerprint = policy_fingerprint((desk / "policy.txt").read_bytes())
    assert fingerprint in capsys.readouterr().out
    assert run(["verify", "bank.lien"]) == 0
    assert fingerprint in capsys.readouterr().out
    assert run(["policy", "show"]) == 0
    assert "needed: 2 of 2: bank, regulator" in flat(capsys.readouterr().out)


def test_another_policy_than_the_pinned_one_is_said_to_be_another(
    desk: Path, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["policy", "pin", "policy.txt"]) == 0
    other = (desk / "policy.txt").read_bytes().replace(b"group both all", b"group both any")
    (desk / "other.txt").write_bytes(other)
    capsys.readouterr()
    assert "not the policy you have pinned" in flat(verify("bank.lien", policy="other.txt"))
    assert run(["policy", "pin", "other.txt"]) == 1
    assert "another policy is pinned" in capsys.readouterr().err
    assert run(["policy", "pin", "other.txt", "--replace"]) == 0
    pinned = desk / "config/tanzhang/policy.txt"
    assert pinned.read_bytes() == other
    assert parse_policy(other).satisfied_by([]) is False


def test_what_is_no_policy_is_not_pinned(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "pin", "bank.lien"]) == 2
    assert not (desk / "config").exists()
    assert "policy bank.lien" in capsys.readouterr().err


def test_a_file_beyond_all_bounds_is_not_read(desk: Path, verify: Verify) -> None:
    with (desk / "huge.receipt").open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    verify("huge.receipt", code=2)
