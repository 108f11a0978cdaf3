"""Feeding witnesses: a log on a real PostgreSQL, real witnesses, and some that lie."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.stack.ports import free_port
from cli.witness.folder import WitnessFolder
from kernel.clock import SystemClock, monotonic_ms
from kernel.errors import Conflict
from kernel.tlog import merkle
from kernel.tlog.checkpoint import Checkpoint, cosign_line, sign_checkpoint
from kernel.tlog.errors import PolicyError
from kernel.tlog.note import COSIGNATURE, ED25519, MLDSA44, Signer, parse_note
from kernel.tlog.policy import NONE, Policy
from kernel.tlog.witness import SIZE_TYPE, AddCheckpoint, Status, parse_add_checkpoint
from services.ledger import witnessed, witnessing
from services.ledger.clients import WitnessClient, WitnessUnreachable
from services.ledger.log import Halt, Halted
from services.ledger.logkeys import InForce
from services.ledger.witnessed import WitnessedLog, peers_of
from services.ledger.witnessing import Disagreement, Doubt, Feeder, our_lines
from tests.support.authority import Authority
from tests.support.database import Database
from tests.support.ending import end
from tests.support.ledgers import (
    StoredLog,
    commitments_of,
    leaves_of,
    log_signer,
    long_history,
    origin_of,
)
from tests.support.witnesses import HttpAnswer, ask, serving

BOOK = "accounts"
HISTORY = long_history(BOOK, 900)
LEAVES = leaves_of(BOOK, commitments_of(HISTORY))
LOG = log_signer(BOOK)
SOON_S = 20.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of minutes are waits of moments here."""
    monkeypatch.setattr(witnessing, "BACK_OFF_FIRST_S", 0.1)
    monkeypatch.setattr(witnessing, "BACK_OFF_LAST_S", 0.2)
    monkeypatch.setattr(witnessed, "ROUND_EVERY_MS", 20)
    monkeypatch.setattr(witnessed, "GRACE_S", 0.2)
    monkeypatch.setattr(witnessed, "WITNESS_WAIT_S", 0.5)


@pytest.fixture
def log(database: Database, tmp_path: Path) -> StoredLog:
    fresh = StoredLog(database.engine("ledger"), tmp_path)
    fresh.sealer.open(0)
    return fresh


def house(path: Path, name: str, *kinds: int) -> WitnessFolder:
    """The folder of a bank's or a regulator's witness."""
    folder = WitnessFolder(path / name)
    folder.make_keys(f"witness.{name}.example", list(kinds) or [COSIGNATURE])
    logs = Policy()
    logs.add_log(LOG.verifier.vkey)
    logs.set_quorum(NONE)
    folder.policy_path.write_bytes(logs.encode())
    return folder


def policy_of(quorum: str, *fed: tuple[WitnessFolder, str]) -> Policy:
    """All of these witnesses, at their addresses, in one group."""
    policy = Policy()
    policy.add_log(LOG.verifier.vkey)
    for folder, url in fed:
        for n, signer in enumerate(folder.signers()):
            policy.add_witness(f"{folder.path.name}{n or ''}", signer.verifier.vkey, url)
    policy.add_group("witnesses", "all" if quorum == "all" else "any", list(policy.witnesses))
    policy.set_quorum(NONE if quorum == NONE else "witnesses")
    return policy


class Fed(NamedTuple):
    """A log that is sealed and fed."""

    log: StoredLog
    shown: WitnessedLog
    feeders: Sequence[Feeder]
    told: list[Disagreement]
    proven: list[tuple[Halt, bytes]]

    async def grow(self, end: int) -> None:
        await self.log.fold(HISTORY[self.log.log.next_position : end])
        await self.log.sealer.proven(end - 1)

    def standing(self, name: str) -> witnessing.Standing:
        (found,) = [one.standing for one in self.feeders if one.peer.name == name]
        return found


@asynccontextmanager
async def feeding(log: StoredLog, policy: Policy) -> AsyncIterator[Fed]:
    """The sealer and the feeders at work."""
    told: list[Disagreement] = []
    proven: list[tuple[Halt, bytes]] = []

    async def tell(found: Disagreement) -> None:
        told.append(found)

    async def prove(halt: Halt, note: bytes) -> None:
        proven.append((halt, note))

    client = WitnessClient(None)
    shown = WitnessedLog(BOOK, log.sealer, policy)
    peers, keys = peers_of(policy), log.sealer.keys_in_force
    feeders = [
        Feeder(shown, peer, keys, log.tiles.read_tile, client, tell, prove, [SystemClock()])
        for peer in peers
    ]
    running = [
        asyncio.create_task(log.sealer.run()),
        asyncio.create_task(shown.run(peers)),
        *(asyncio.create_task(one.run()) for one in feeders),
    ]
    try:
        yield Fed(log, shown, feeders, told, proven)
        assert not any(task.done() for task in running)
    finally:
        for task in running:
            await end(task)
        await client.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    give_up_ms = monotonic_ms() + SOON_S * 1000
    while not condition():
        assert monotonic_ms() < give_up_ms, f"waited for {what}"
        await asyncio.sleep(0.01)


# ---- witnesses that agree ------------------------------------------------------------------------


async def test_a_log_is_shown_as_far_as_the_quorum_has_cosigned_it(
    log: StoredLog, tmp_path: Path
) -> None:
    bank, mee = house(tmp_path, "lzbank"), house(tmp_path, "mee", COSIGNATURE, MLDSA44)
    with serving(bank) as first, serving(mee) as second:
        policy = policy_of("all", (bank, first), (mee, second))
        async with feeding(log, policy) as fed:
            for size in (1, 256, 300, 900):
                await fed.grow(size)
                await fed.shown.proven(size - 1)
                assert fed.shown.note is not None
                opened = policy.open_checkpoint(fed.shown.note)
                assert opened.checkpoint == fed.shown.published
                assert opened.checkpoint.size == size
                assert len(opened.cosignatures) == 3
            assert fed.standing("lzbank").cosigned == 900
            assert fed.standing("mee").said == "cosigned"
    assert (fed.told, fed.proven) == ([], [])
    assert (bank.evidence(), mee.evidence()) == ([], [])


async def test_without_a_quorum_nothing_waits_and_cosignatures_are_shown_when_they_are_there(
    log: StoredLog, tmp_path: Path
) -> None:
    bank = house(tmp_path, "lzbank")
    port = free_port()
    policy = policy_of(NONE, (bank, f"http://127.0.0.1:{port}"))
    async with feeding(log, policy) as fed:
        await fed.grow(300)
        await fed.shown.proven(299)
        assert fed.shown.note == log.sealer.note
        with serving(bank, port):
            await until(lambda: fed.standing("lzbank").said == "cosigned", "the bank")
            assert fed.shown.note is not None
            assert len(policy.open_checkpoint(fed.shown.note).cosignatures) == 1


async def test_while_a_witness_is_away_sealing_goes_on_and_who_waits_is_told_who_is_missing(
    log: StoredLog, tmp_path: Path
) -> None:
    bank, mee = house(tmp_path, "lzbank"), house(tmp_path, "mee")
    port = free_port()
    with serving(bank) as first:
        policy = policy_of("all", (bank, first), (mee, f"http://127.0.0.1:{port}"))
        async with feeding(log, policy) as fed:
            await fed.grow(300)
            with pytest.raises(Conflict, match=r"missing mee") as caught:
                await fed.shown.proven(299)
            assert caught.value.reason == "NOT_WITNESSED_YET"
            assert (fed.shown.published.size, fed.shown.note) == (0, None)
            assert log.sealer.published.size == 300
            with serving(mee, port):
                await until(lambda: fed.shown.published.size == 300, "the regulator to come back")
            # Away again: what was witnessed stays shown, and the log grows on.
            await fed.grow(500)
            assert fed.shown.published.size == 300
            await until(lambda: "Connect" in fed.standing("mee").said, "its absence to be seen")


async def test_after_a_restart_the_last_signed_checkpoint_is_cosigned_again(
    log: StoredLog, tmp_path: Path
) -> None:
    bank = house(tmp_path, "lzbank")
    with serving(bank) as url:
        policy = policy_of("all", (bank, url))
        async with feeding(log, policy) as fed:
            await fed.grow(300)
            await fed.shown.proven(299)
        again = StoredLog(log.engine, tmp_path)
        again.sealer.open(again.log.known)
        async with feeding(again, policy) as fed:
            await until(lambda: fed.shown.published.size == 300, "the bank to cosign again")
            await fed.grow(400)
            await fed.shown.proven(399)


@pytest.mark.parametrize("quorum", ["all", NONE])
async def test_when_a_key_is_retired_an_idle_log_is_cosigned_under_the_other_one_at_once(
    log: StoredLog, tmp_path: Path, quorum: str
) -> None:
    bank, other = house(tmp_path, "lzbank"), Signer(origin_of(BOOK), ED25519, b"n" * 32)
    known = Policy()
    for signer in (LOG, other):
        known.add_log(signer.verifier.vkey)
    known.set_quorum(NONE)
    bank.policy_path.write_bytes(known.encode())
    with serving(bank) as url:
        async with feeding(log, policy_of(quorum, (bank, url))) as fed:
            await fed.grow(300)
            await until(lambda: _signers(fed) == {LOG.key_id, bank_id(bank)}, "the bank")
            log.keys.now = InForce((other,), (LOG.verifier, other.verifier))
            await until(lambda: _signers(fed) == {other.key_id, bank_id(bank)}, "the other key")
            assert fed.shown.published.size == 300


def _signers(fed: Fed) -> set[int]:
    """The ids of the keys under what is shown."""
    return (
        set() if fed.shown.note is None else {one.key_id for one in parse_note(fed.shown.note)[1]}
    )


def bank_id(folder: WitnessFolder) -> int:
    return folder.signers()[0].key_id


async def test_a_witness_that_hangs_holds_up_neither_sealing_nor_the_others(
    log: StoredLog, tmp_path: Path
) -> None:
    bank, other = house(tmp_path, "lzbank"), house(tmp_path, "hung")
    release = threading.Event()

    def hang(path: str, body: bytes) -> HttpAnswer:
        release.wait(SOON_S)
        return HttpAnswer(500, b"", "text/plain")

    with serving(bank) as first, lying(hang) as second:
        policy = policy_of("any", (bank, first), (other, second))
        async with feeding(log, policy) as fed:
            for size in (100, 300, 500):
                await fed.grow(size)
                await fed.shown.proven(size - 1)
                assert fed.shown.published.size == size
        release.set()


async def test_a_witness_is_asked_over_tls_and_believed_to_be_who_our_authorities_say(
    tmp_path: Path,
) -> None:
    bank, authority = house(tmp_path, "lzbank"), Authority(tmp_path)
    body = AddCheckpoint(0, (), checkpoint_of(300)).encode()
    with serving(bank, tls=authority.issue(tmp_path / "tls", "witness.lzbank.example")) as url:
        known, stranger = WitnessClient(authority.certificate), WitnessClient(None)
        assert (await known.add_checkpoint(url, body)).status == Status.COSIGNED
        assert (await known.latest(url, origin_of(BOOK))).status == Status.COSIGNED
        with pytest.raises(WitnessUnreachable, match="certificate verify failed"):
            await stranger.add_checkpoint(url, body)
        await known.close()
        await stranger.close()


# ---- witnesses that lie, and answers of any kind -------------------------------------------------


Lie = Callable[[str, bytes], HttpAnswer]


@contextmanager
def lying(answer: Lie) -> Iterator[str]:
    """An HTTP server that answers whatever a liar wants to."""

    class Liar(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._say(answer(self.path, body))

        def do_GET(self) -> None:
            self._say(answer(self.path, b""))

        def _say(self, said: HttpAnswer) -> None:
            self.send_response(said.status)
            self.send_header("Content-Type", said.content_type)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def text(status: int, body: bytes = b"") -> HttpAnswer:
    return HttpAnswer(status, body, "text/plain")


NO_ANSWERS = (
    (text(200), "expected signature lines"),
    (text(200, b"ok\n"), "expected '— <name> <base64>'"),
    (text(200, b"\xff\n"), "expected UTF-8"),
    (text(200, b"x" * 300_000), "expected up to 262144 bytes"),
    (text(200, "— witness.lzbank.example AAAAAAAA\n".encode()), "expected a cosignature of"),
    (text(302, b"elsewhere"), "302: elsewhere"),
    (text(403), "403: "),
    (text(404, b"unknown log\x1b[31m"), "404: unknown log\ufffd[31m"),
    (text(500, b"broken"), "500: broken"),
    (text(409, b"7\n"), "409: 7"),
    (HttpAnswer(409, b"07\n", SIZE_TYPE), "without leading zeroes"),
    (HttpAnswer(409, b"12\n\n", SIZE_TYPE), "expected a decimal"),
    (HttpAnswer(409, b"0\n", SIZE_TYPE), "another size at every try"),
)


async def test_what_is_no_cosignature_is_noted_and_asked_for_again(
    log: StoredLog, tmp_path: Path
) -> None:
    bank = house(tmp_path, "lzbank")
    answering = [text(500)]
    with lying(lambda path, body: answering[0]) as url:
        async with feeding(log, policy_of("all", (bank, url))) as fed:
            await fed.grow(300)
            for answer, said in NO_ANSWERS:
                answering[0] = answer
                await until(functools.partial(_has_said, fed, said), said)
            assert fed.shown.published.size == 0
            assert (fed.told, fed.proven) == ([], [])


def _has_said(fed: Fed, what: str) -> bool:
    return what in fed.standing("lzbank").said


@pytest.mark.parametrize("at_s", [253_402_300_800, 2**63 - 1, 1, -3600, 3600])
async def test_a_cosignature_of_another_time_is_not_counted_and_never_shown(
    log: StoredLog, tmp_path: Path, at_s: int
) -> None:
    """The first is no date at all to who is shown the status; the last two are an hour off."""
    bank = house(tmp_path, "lzbank")
    now_s = SystemClock().now_ms() // 1000
    signed_at = [now_s + at_s if abs(at_s) == 3600 else at_s]

    def sign(path: str, body: bytes) -> HttpAnswer:
        checkpoint = parse_add_checkpoint(body).checkpoint
        return text(200, cosign_line(checkpoint, bank.signers()[0], signed_at[0]).encode())

    with lying(sign) as url:
        async with feeding(log, policy_of(NONE, (bank, url))) as fed:
            await fed.grow(300)
            await until(lambda: _has_said(fed, f"got {signed_at[0]}"), "the refusal")
            assert fed.standing("lzbank").cosigned_at_s == 0
            assert fed.shown.note == log.sealer.note
            signed_at[0] = now_s
            await until(lambda: fed.standing("lzbank").cosigned_at_s == now_s, "its true time")


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (HttpAnswer(409, b"999999\n", SIZE_TYPE), "WITNESS_AHEAD"),
        (text(422, b"another root"), "FORKED"),
    ],
    ids=["it is ahead", "it has another tree"],
)
async def test_the_bare_word_of_a_witness_raises_an_alarm_and_proves_nothing(
    log: StoredLog, tmp_path: Path, answer: HttpAnswer, rule: str
) -> None:
    bank = house(tmp_path, "lzbank")
    thief = Checkpoint(origin_of(BOOK), 300, bytes(32))
    no_key_of_ours = log_signer("registry")
    forged = sign_checkpoint(Checkpoint(no_key_of_ours.name, 300, bytes(32)), [no_key_of_ours])
    shown = [b"", forged, thief.text().encode() + b"\n" + forged.rpartition(b"\n\n")[2]]

    def say(path: str, body: bytes) -> HttpAnswer:
        if path.endswith("/add-checkpoint"):
            return answer
        shown.append(shown.pop(0))
        return text(200, shown[0])

    with lying(say) as url:
        async with feeding(log, policy_of("all", (bank, url))) as fed:
            await fed.grow(300)
            await until(lambda: len(fed.told) > 4, "several alarms")
            assert {(one.book, one.witness, one.rule) for one in fed.told} == {
                (BOOK, "lzbank", rule)
            }
            assert fed.standing("lzbank").alarm.startswith(rule)
            assert fed.proven == []
            await fed.grow(400)


def checkpoint_of(size: int, leaves: Sequence[bytes] = LEAVES) -> bytes:
    head = Checkpoint(origin_of(BOOK), size, merkle.root(leaves[:size]))
    return sign_checkpoint(head, [LOG])


def cosigned_elsewhere(url: str, checkpoint: bytes) -> None:
    """Somebody else, with our key, was at this witness before us."""
    asked = ask(f"{url}/add-checkpoint", AddCheckpoint(0, (), checkpoint).encode())
    assert asked.status == Status.COSIGNED


async def test_another_tree_under_our_own_key_is_proof_that_the_log_forked(
    log: StoredLog, tmp_path: Path
) -> None:
    bank = house(tmp_path, "lzbank")
    stolen = checkpoint_of(200, LEAVES[300:])
    with serving(bank) as url:
        cosigned_elsewhere(url, stolen)
        async with feeding(log, policy_of("all", (bank, url))) as fed:
            await fed.grow(300)
            await until(lambda: bool(fed.proven), "the proof")
            halt, note = fed.proven[0]
    ours, theirs = merkle.root(LEAVES[:200]).hex(), merkle.root(LEAVES[300:500]).hex()
    assert halt == Halt(BOOK, 200, "FORKED", ours, theirs)
    assert note == stolen  # without the witness's lines
    (evidence,) = bank.evidence()
    assert (evidence["cosigned_size"], evidence["refused_size"]) == (200, 300)


async def test_more_than_we_signed_under_our_own_key_halts_and_nothing_less_is_signed_after_it(
    log: StoredLog, tmp_path: Path
) -> None:
    """Checkpoint file and database both went back; the witness did not."""
    bank = house(tmp_path, "lzbank")
    with serving(bank) as url:
        cosigned_elsewhere(url, checkpoint_of(800))
        async with feeding(log, policy_of("all", (bank, url))) as fed:
            await fed.grow(300)
            await until(lambda: bool(fed.proven), "the proof")
            halt, note = fed.proven[0]
            assert halt == Halt(
                BOOK, 800, "WITNESS_AHEAD", "a size up to 300", "800 under our own key"
            )
            log.sealer.adopt(note)
            await log.fold(HISTORY[300:799])
            await until(lambda: log.tiles.load_tree().size == 799, "the tree to be stored")
            assert log.sealer.published.size == 300
            await log.fold(HISTORY[799:850])
            await log.sealer.proven(849)
            await fed.shown.proven(849)
            assert fed.standing("lzbank").alarm == ""


async def test_a_larger_tree_under_our_own_key_that_ours_does_not_lead_through_is_never_joined(
    log: StoredLog, tmp_path: Path
) -> None:
    await log.fold(HISTORY[:300])
    await log.seal()
    log.sealer.adopt(checkpoint_of(400, LEAVES[300:]))
    await log.fold(HISTORY[300:500])
    with pytest.raises(Halted) as caught:
        await log.seal()
    assert (caught.value.halt.rule, caught.value.halt.position) == ("TREE_DIFFERS", 400)
    again = StoredLog(log.engine, tmp_path)
    with pytest.raises(Halted):
        again.sealer.open(again.log.known)


# ---- small parts ---------------------------------------------------------------------------------


async def test_a_doubt_is_told_once_and_not_after_two_persons_have_accepted_it() -> None:
    accepted: set[Halt] = set()
    doubt = Doubt(lambda halt: halt in accepted)
    fork, other = Halt(BOOK, 200, "FORKED", "a", "b"), Halt(BOOK, 201, "FORKED", "a", "b")
    doubt.tell(fork)
    doubt.tell(other)  # one at a time
    with pytest.raises(Halted) as caught:
        await doubt.told()
    assert caught.value.halt == fork
    accepted.add(fork)
    doubt.tell(fork)
    waiting = asyncio.create_task(doubt.told())
    await asyncio.sleep(0)
    doubt.tell(other)
    with pytest.raises(Halted) as caught:
        await waiting
    assert caught.value.halt == other


def test_of_a_checkpoint_that_came_back_only_our_own_lines_are_kept() -> None:
    note = checkpoint_of(300)
    stranger = log_signer("registry").line(Checkpoint(origin_of(BOOK), 1, bytes(32)).text())
    assert our_lines(note + stranger.encode(), [LOG.verifier]) == note


def test_a_witness_with_two_keys_is_asked_once_and_one_without_an_address_never(
    tmp_path: Path,
) -> None:
    both, far = house(tmp_path, "mee", COSIGNATURE, MLDSA44), house(tmp_path, "far")
    policy = policy_of("any", (both, "http://127.0.0.1:1/"))
    policy.add_witness("far", far.signers()[0].verifier.vkey)
    (peer,) = peers_of(policy)
    assert (peer.url, peer.names, len(peer.keys)) == ("http://127.0.0.1:1", ("mee", "mee1"), 2)
    with pytest.raises(PolicyError):
        policy.open_checkpoint(checkpoint_of(3))
