"""A log's key signs for its successor on a second person's word: seen as a caller sees it."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tanzhang.ledger.v1 import ledger_pb2 as pb

from kernel.asks import Ask
from kernel.errors import Refused
from kernel.ids import derived_id
from kernel.rpc import interceptors
from kernel.tlog.keychange import open_key_change
from kernel.tlog.note import Signer, parse_note
from kernel.tlog.policy import Policy
from kernel.values import Caller
from services.ledger.domain.commands import Approve, LogKeyNote
from services.ledger.logkeys import KeyFolder, open_keys
from services.ledger.logkeys_rpc import LogKeyRequests
from services.ledger.rpc import LedgerRpc
from tests.support.books import MORNING_MS, person
from tests.support.ledgers import LI, WANG, Desks, open_desks
from tests.unit.test_log_keys import FIRST, PREFIX, SECOND, write

STRANGER = person("stranger")


class Office:
    """The ledger's own RPC on a real writer, with the key files of one log."""

    def __init__(self, folder: Path, desks: Desks) -> None:
        self.files, writer = KeyFolder(folder, PREFIX), desks.ledger.writer
        keys = open_keys(self.files, ("accounts",), writer.state)
        requests = LogKeyRequests(self.files, Policy(), keys, writer, desks.clock)
        engine: Any = None  # of proofs alone
        self.desks, self.rpc = desks, LedgerRpc(writer, {}, engine, requests, "")

    async def propose(self, id: str, who: Caller) -> Any:
        asked = pb.LogKeyAnnouncement(book="accounts", new_vkey=SECOND.verifier.vkey)
        request = pb.ProposeRequest(id=id, announce_log_key=asked)
        return (await self._as(who, self.rpc.Propose, request)).result

    async def approve(self, id: str, proposal: str, who: Caller) -> Any:
        request = pb.ApproveRequest(id=id, proposal_id=proposal)
        return (await self._as(who, self.rpc.Approve, request)).result

    async def withdraw(self, id: str, proposal: str, who: Caller) -> Any:
        request = pb.WithdrawRequest(id=id, proposal_id=proposal)
        return (await self._as(who, self.rpc.Withdraw, request)).result

    async def readable(self) -> str:
        """Every byte that a caller can ask for, and every base64 in it opened."""
        count = len(self.desks.ledger.events())
        request = pb.DiscloseEventsRequest(positions=range(count))
        events = await self._as(STRANGER, self.rpc.DiscloseEvents, request)
        assert len(events.events) == count
        listed = await self._as(STRANGER, self.rpc.ListLogKeys, pb.ListLogKeysRequest())
        raw = events.SerializeToString() + listed.SerializeToString()
        text = raw.decode("utf-8", "replace")
        opened = [_opened(one) for one in re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", text)]
        return "\n".join([text, *opened])

    async def _as(
        self, who: Caller, method: Callable[[Any, object], Coroutine[Any, Any, Any]], request: Any
    ) -> Any:
        with calling(who):
            return await method(request, None)


def _opened(base64_text: str) -> str:
    try:
        return base64.b64decode(base64_text).decode("utf-8", "replace")
    except ValueError:
        return ""


@contextmanager
def calling(who: Caller) -> Iterator[None]:
    token = interceptors._caller.set(who)
    try:
        yield
    finally:
        interceptors._caller.reset(token)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "accounts.skey", FIRST)
    write(tmp_path, f"accounts.{SECOND.key_id:08x}.skey", SECOND)
    return tmp_path


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Office]:
    async with open_desks() as desks:
        yield Office(folder, desks)


def id_of(number: int) -> str:
    return derived_id(MORNING_MS, "log keys", number)


def signatures_by(signer: Signer, readable: str) -> list[str]:
    """Whatever line of a note bears this key's name and id, wherever it stands."""
    lines = re.findall(rf"— {re.escape(signer.name)} ([A-Za-z0-9+/=]+)", readable)
    key_id = signer.key_id.to_bytes(4, "big")
    return [line for line in lines if base64.b64decode(line)[:4] == key_id]


async def test_after_a_proposal_alone_nobody_can_read_a_signature_of_the_old_key(
    folder: Path,
) -> None:
    """Refused to its maker, taken back by the second person: one operator has no announcement."""
    async with opened(folder) as office:
        proposal = id_of(1)
        assert (await office.propose(proposal, WANG)).HasField("accepted")
        refused = await office.approve(id_of(2), proposal, WANG)
        assert refused.refused.reason == "MAKER_IS_CHECKER"
        readable = await office.readable()
        assert SECOND.verifier.vkey in readable
        assert "tanzhang-log-key" not in readable
        assert signatures_by(FIRST, readable) == []
        await office.withdraw(id_of(3), proposal, LI)
        refused = await office.approve(id_of(4), proposal, LI)
        assert refused.refused.reason == "UNKNOWN_PROPOSAL"
        assert signatures_by(FIRST, await office.readable()) == []


async def test_the_old_key_signs_when_a_second_person_approves(folder: Path) -> None:
    async with opened(folder) as office:
        proposal = id_of(1)
        await office.propose(proposal, WANG)
        first = await office.approve(id_of(2), proposal, LI)
        readable = await office.readable()
        assert len(signatures_by(FIRST, readable)) == 2  # in the event, and in the list of keys
        state = office.desks.ledger.writer.state.log_keys["accounts"]
        announcement = open_key_change(base64.b64decode(state.statement))
        assert announcement.announced
        assert announcement.change.old == FIRST.verifier
        assert announcement.change.new == SECOND.verifier
        office.desks.clock.at_ms += 5000  # a note made anew would say another time
        again = await office.approve(id_of(2), proposal, LI)
        assert again.accepted.first_position == first.accepted.first_position
        assert (first.accepted.repeated, again.accepted.repeated) == (False, True)


async def test_a_key_whose_file_is_gone_when_it_is_approved_is_not_announced(folder: Path) -> None:
    async with opened(folder) as office:
        await office.propose(id_of(1), WANG)
        (folder / f"accounts.{SECOND.key_id:08x}.skey").unlink()
        with pytest.raises(Refused, match="the ledger has no file with"):
            await office.approve(id_of(2), id_of(1), LI)
        assert signatures_by(FIRST, await office.readable()) == []


def test_an_approval_without_a_note_is_the_same_request_as_ever() -> None:
    """Its digest is kept for ever: what was asked before there were notes is still a repeat."""

    class Before(msgspec.Struct):
        proposal: str

    plain = Ask(id_of(1), LI, Approve("p"))
    before = msgspec.structs.replace(plain, same=Before("p"))
    noted = Ask(id_of(1), LI, Approve("p", LogKeyNote("accounts", "a", "b", "c")))
    assert plain.digest() == before.digest()
    assert msgspec.structs.replace(noted, same=Approve("p")).digest() == plain.digest()
    assert noted.digest() != plain.digest()


def test_what_is_looked_for_is_found_where_it_is(folder: Path) -> None:
    """The search of these tests is no search for nothing."""
    keys = FIRST.verifier.vkey, SECOND.verifier.vkey
    statement = KeyFolder(folder, PREFIX).announce("accounts", *keys, 1)
    text = _opened(statement)
    assert len(parse_note(text.encode())[1]) == 2
    assert len(signatures_by(FIRST, text)) == len(signatures_by(SECOND, text)) == 1
