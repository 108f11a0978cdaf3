"""Acts: an institution's signature over what binds it, and nothing that merely looks like one."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.acts import key_id, public_bytes, sign_act, verify_act
from kernel.values import Act

BANK = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
VENUE = Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32)
STATEMENT = {"line": "2021/1", "kind": "bank-advice", "amount_fen": 50_328_000, "bank": "兰州银行"}


def test_a_statement_is_signed_as_canonical_json() -> None:
    act = sign_act(BANK, STATEMENT)
    assert act.statement == (
        '{"amount_fen":50328000,"bank":"兰州银行","kind":"bank-advice","line":"2021/1"}'
    )
    assert act.key_id == key_id(public_bytes(BANK))
    assert len(act.key_id) == 16
    assert verify_act(public_bytes(BANK), act)


def test_the_signature_is_over_the_domain_line_and_the_statement() -> None:
    act = sign_act(BANK, STATEMENT)
    BANK.public_key().verify(
        base64.b64decode(act.signature), b"tanzhang-act/v1\n" + act.statement.encode()
    )


def test_another_institutions_key_does_not_fit() -> None:
    assert not verify_act(public_bytes(VENUE), sign_act(BANK, STATEMENT))


@settings(deadline=None)
@given(st.data())
def test_one_changed_bit_of_the_signature_does_not_hold(data: st.DataObject) -> None:
    act = sign_act(BANK, STATEMENT)
    signature = bytearray(base64.b64decode(act.signature))
    signature[data.draw(st.integers(0, 63))] ^= 1 << data.draw(st.integers(0, 7))
    forged = Act(act.key_id, base64.b64encode(signature).decode(), act.statement)
    assert not verify_act(public_bytes(BANK), forged)


@settings(deadline=None)
@given(st.data())
def test_one_changed_character_of_the_statement_does_not_hold(data: st.DataObject) -> None:
    act = sign_act(BANK, STATEMENT)
    at = data.draw(st.integers(0, len(act.statement) - 1))
    letter = chr(ord(act.statement[at]) ^ 1)
    forged = Act(act.key_id, act.signature, act.statement[:at] + letter + act.statement[at + 1 :])
    assert not verify_act(public_bytes(BANK), forged)


@pytest.mark.parametrize("domain", [b"", b"tanzhang-frame/v1\n", b"tanzhang-act/v2\n"])
def test_a_signature_made_for_something_else_is_no_act(domain: bytes) -> None:
    act = sign_act(BANK, STATEMENT)
    signature = base64.b64encode(BANK.sign(domain + act.statement.encode())).decode()
    assert not verify_act(public_bytes(BANK), Act(act.key_id, signature, act.statement))


@pytest.mark.parametrize("signature", ["", "not base64", "AAAA", "签名", "A" * 88])
def test_a_malformed_signature_does_not_hold_and_does_not_break(signature: str) -> None:
    assert not verify_act(public_bytes(BANK), Act("0" * 16, signature, "{}"))


@pytest.mark.parametrize("public_key", [b"", bytes(31), bytes(33)])
def test_a_malformed_key_verifies_nothing(public_key: bytes) -> None:
    assert not verify_act(public_key, sign_act(BANK, STATEMENT))
