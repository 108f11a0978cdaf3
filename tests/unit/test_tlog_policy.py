"""Policies made in code, and proofs judged by them."""

from __future__ import annotations

from hashlib import sha256

import pytest

from kernel.tlog import checkpoint as cp
from kernel.tlog import merkle, note
from kernel.tlog.errors import FormatError, NoteError, PolicyError, ProofError
from kernel.tlog.policy import Policy, parse_policy
from kernel.tlog.proof import TlogProof, parse_proof, verify_proof

ORIGIN = "tanzhang.example/market"
LOG = note.Signer(ORIGIN, note.ED25519, sha256(b"market").digest())
CITIES = ("guangzhou", "hubei", "beijing")
WITNESSES = {
    city: note.Signer(f"witness.example/{city}", note.COSIGNATURE, sha256(city.encode()).digest())
    for city in CITIES
}
TRADES = [f"trade {n} at the Guangzhou exchange".encode() for n in range(9)]
LEAVES = [merkle.leaf_hash(trade) for trade in TRADES]
HEAD = cp.Checkpoint(ORIGIN, 9, merkle.root(LEAVES))


def two_of_three() -> Policy:
    policy = Policy()
    policy.add_log(LOG.verifier.vkey, "https://tanzhang.example/market")
    for city, signer in WITNESSES.items():
        policy.add_witness(city, signer.verifier.vkey)
    policy.add_group("cities", "2", CITIES)
    policy.set_quorum("cities")
    return policy


def proof_of(index: int, *cities: str, extra: bytes | None = None) -> bytes:
    signed = cp.sign_checkpoint(HEAD, [LOG, *(WITNESSES[city] for city in cities)], 1_767_225_600)
    path = tuple(merkle.prove_inclusion(index, 9, merkle.ListedLeaves(LEAVES)))
    return TlogProof(index, path, signed, extra).encode()


def test_a_policy_made_in_code_reads_back_the_same() -> None:
    policy = two_of_three()
    again = parse_policy(policy.encode())
    assert again == policy
    assert again.encode() == policy.encode()


def test_a_proof_with_enough_witnesses_says_what_it_proves() -> None:
    proof = verify_proof(proof_of(4, "hubei", "beijing"), TRADES[4], two_of_three())
    assert (proof.origin, proof.index, proof.size, proof.root) == (ORIGIN, 4, 9, HEAD.root)
    assert [s.name for s in proof.cosigners] == ["witness.example/hubei", "witness.example/beijing"]


def test_a_proof_with_too_few_witnesses_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"quorum cities: .* got witness\.example/hubei"):
        verify_proof(proof_of(4, "hubei"), TRADES[4], two_of_three())


def test_a_proof_of_another_entry_is_refused() -> None:
    with pytest.raises(ProofError, match="leads to another root"):
        verify_proof(proof_of(4, "hubei", "beijing"), TRADES[5], two_of_three())


@pytest.mark.parametrize(
    ("quorum", "times_s", "dated_s"),
    [
        ("2", (10, 20), 10),
        ("2", (10, 11, 99), 11),  # the third signs again, long after the two
        ("2", (99, 10, 10), 10),
        ("all", (99, 98, 10), 10),
        ("any", (10, 99, 11), 99),
    ],
)
def test_a_tree_is_as_new_as_its_quorum_says(
    quorum: str, times_s: tuple[int, ...], dated_s: int
) -> None:
    signed = [cosigned(city, at_s) for city, at_s in zip(CITIES, times_s, strict=False)]
    policy = parse_policy(
        two_of_three().encode().replace(b"cities 2", b"cities %b" % quorum.encode())
    )
    dated = policy.dated_by(signed)
    assert dated is not None
    assert dated.timestamp_s == dated_s


def test_a_tree_that_too_few_have_signed_has_no_time_and_without_quorum_the_newest() -> None:
    signed = [cosigned(city, at_s) for city, at_s in zip(CITIES, (10, 99, 20), strict=True)]
    assert two_of_three().dated_by(signed[:1]) is None
    assert two_of_three().dated_by([]) is None
    alone = parse_policy(two_of_three().encode().replace(b"quorum cities", b"quorum none"))
    assert alone.dated_by(signed) == signed[1]
    assert alone.dated_by([]) is None


def cosigned(city: str, at_s: int) -> note.VerifiedSignature:
    key = WITNESSES[city].verifier
    return note.VerifiedSignature(key.name, key.key_id, key.kind, key.public, at_s)


def test_a_log_key_does_not_count_as_a_witness() -> None:
    policy = two_of_three()
    opened = note.open_note(cp.sign_checkpoint(HEAD, [LOG]), [LOG.verifier])
    assert not policy.satisfied_by(opened.verified)


def test_a_policy_without_logs_verifies_no_checkpoint() -> None:
    signed = cp.sign_checkpoint(HEAD, [LOG])
    with pytest.raises(PolicyError, match="policy knows no log at all"):
        parse_policy(b"quorum none\n").open_checkpoint(signed)


def test_witnesses_alone_do_not_make_a_checkpoint() -> None:
    lines = [signer.line(HEAD.text(), 1) for signer in WITNESSES.values()]
    with pytest.raises(NoteError, match="expected a signature of"):
        two_of_three().open_checkpoint(note.sign_note(HEAD.text(), lines))


def test_a_policy_under_construction_decides_nothing() -> None:
    policy = Policy()
    for ask in (policy.encode, lambda: policy.satisfied_by([])):
        with pytest.raises(PolicyError, match="expected a quorum"):
            ask()


def test_what_could_not_be_read_back_is_not_added() -> None:
    policy = two_of_three()
    key = note.Signer("witness.example/x", note.COSIGNATURE, bytes(32)).verifier.vkey
    for name in ("two words", "", "line\nbreak", "none", "cities"):
        with pytest.raises(PolicyError, match="expected a"):
            policy.add_witness(name, key)
    with pytest.raises(PolicyError, match="expected a word"):
        policy.add_log(note.Signer("x.example/y", 1, bytes(32)).verifier.vkey, "two urls")
    with pytest.raises(PolicyError, match=r"expected 1\.\.0 of its members"):
        policy.add_group("nobody", "all", [])
    with pytest.raises(PolicyError, match="expected one quorum"):
        policy.set_quorum("cities")


def test_names_that_are_no_utf8_are_kept_as_they_are() -> None:
    key = WITNESSES["hubei"].verifier.vkey.encode()
    text = b"witness \xff " + key + b"\nquorum \xff\n"
    assert parse_policy(text).encode() == text


def test_the_policy_and_its_parts_are_bounded() -> None:
    with pytest.raises(PolicyError, match="at most 1048576 bytes"):
        parse_policy(b"#" * 1_048_577)
    logs = b"".join(
        b"log " + note.Signer(f"x.example/{n}", 1, sha256(bytes([n % 256, n // 256])).digest())
        .verifier.vkey.encode() + b"\n"
        for n in range(257)
    )  # fmt: skip
    with pytest.raises(PolicyError, match="line 257: expected at most 256 logs"):
        parse_policy(logs + b"quorum none\n")


def test_a_proof_reads_back_with_and_without_extra_data() -> None:
    for extra in (None, b"", "碳票".encode()):
        data = proof_of(3, extra=extra)
        assert parse_proof(data).extra == extra
        assert parse_proof(data).encode() == data


def test_a_tree_of_one_leaf_has_a_proof_without_hashes() -> None:
    head = cp.Checkpoint(ORIGIN, 1, LEAVES[0])
    data = TlogProof(0, (), cp.sign_checkpoint(head, [LOG])).encode()
    policy = parse_policy(f"log {LOG.verifier.vkey}\nquorum none\n".encode())
    assert verify_proof(data, TRADES[0], policy).size == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"proof@v1", b"proof@v2"),
        (b"index 3\n", b""),
        (b"index 3\n", b"index 03\n"),
        (b"index 3\n", b"index  3\n"),
        (b"index 3\n", b"index 3\r\n"),
        (b"index 3\n", b"index -3\n"),
        (b"index 3\n", b"index 3\nextra YQ==\n"),
        (b"index 3\n", b"extra YR==\nindex 3\n"),
        (b"index 3\n", b"extra YQ==\nextra YQ==\nindex 3\n"),
        (b"index 3\n", b"index 3\nYWJj\n"),
        (b"index 3\n", "index ３\n".encode()),
        (b"index 3\n", b"index 3\n" + (b"A" * 43 + b"=\n") * 65),
        (b"=\n\n", b"=\n"),
        (b"\n\n" + ORIGIN.encode(), b"\n" + ORIGIN.encode()),
    ],
)
def test_a_proof_file_in_any_other_form_is_refused(old: bytes, new: bytes) -> None:
    data = proof_of(3)
    assert data.count(old) >= 1
    with pytest.raises(FormatError, match="expected"):
        parse_proof(data.replace(old, new, 1))


def test_a_proof_file_beyond_its_cap_is_refused_unread() -> None:
    with pytest.raises(FormatError, match="at most"):
        parse_proof(b"x" * 400_000)


def test_a_proof_that_could_not_be_read_back_is_not_written() -> None:
    signed = cp.sign_checkpoint(HEAD, [LOG])
    for proof in (
        TlogProof(-1, (), signed),
        TlogProof(0, (bytes(31),), signed),
        TlogProof(0, (), b"no note"),
    ):
        with pytest.raises(FormatError, match="expected"):
            proof.encode()
