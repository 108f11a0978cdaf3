"""A client that does not give up: what got no answer it asks again by the same ids.

A `PatientClient` is a thread with a chance of its own, drawn from the run's seed. It tries one
process of the service after another until one answers; now and then it loses patience, and then it
does not know (tests/support/history.py). What it does are its `steps`.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import msgspec
from tanzhang.accounts.v1 import accounts_pb2 as pb
from tanzhang.kernel.v1 import items_pb2

from kernel.errors import Conflict, Refused, TanzhangError
from kernel.rpc.client import metadata
from kernel.rpc.problems import from_rpc_error
from kernel.values import Caller
from tests.support.books import person
from tests.support.history import Answer, Command, Diary, Move, Place
from tests.support.proxied import ProxiedSupervisor
from tests.support.world import World

CALL_S = 2.0  # then the call is taken for lost and asked again
PATIENCE_S = 45.0  # longer than anything that is done to a service lasts
IMPATIENT = 0.08  # of the commands are asked once and given up
ASKED_AGAIN = 0.05  # of the answered ones are asked once more
PAUSE_S = (0.02, 0.12)  # between two steps
RETRY_S = 0.05
OLD_S = 150.0  # a writer has ids of two minutes in memory; older ones it looks up
OLD_KEPT = 200  # calls that are asked again when they are old

OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
]

T = TypeVar("T")
Step = tuple[Callable[[], None], int]  # and how often, beside the others


class Asked(msgspec.Struct):
    """An item on its way, and what is to be written down about it."""

    item: Any
    type: str  # of the event it becomes
    moves: tuple[Move, ...] = ()
    of: Place | None = None  # where a refusal's numbers are looked up: of commands of one leg
    group: str = ""


class Trying(msgspec.Struct):
    """A call or stream on its way: since when, until when, and what is noted of it by now."""

    begun_s: float
    give_up_s: float
    before: int  # attempts of this client
    call: str = ""
    noted: int = 0


class Service(msgspec.Struct, frozen=True):
    """What is spoken to: its book, its stub, its batches, and where each answer is to be had."""

    book: str
    stub: Callable[[grpc.Channel], Any]
    batches: Mapping[str, tuple[Any, str]]  # method -> what makes a request of which field
    outcomes: Any  # request type of GetOutcomes
    processes: tuple[str, ...]
    # Refusals of a whole call that say nothing of the items in it.
    passing: frozenset[str] = frozenset()


class PatientClient:
    """One client. `start` it, `stop` it, `join` it; then `diary.seen` is all it saw."""

    def __init__(
        self, name: str, world: World, service: Service, caller: Caller, seed: str, folder: Path
    ) -> None:
        self.name = name
        self.diary = Diary(folder / f"{name}.jsonl")
        self.answered_by = service.processes[0]
        self.asked_again_for: Counter[str] = Counter()  # why calls were repeated
        self.broken: BaseException | None = None
        self.world = world
        self.chance = random.Random(f"{seed} {name}")
        self._caller = caller
        self._service = service
        self._processes = list(service.processes)
        self._channels: dict[str, grpc.Channel] = {}
        self.asked_of_old = 0
        self._old: deque[tuple[float, str, Any, list[int]]] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def steps(self) -> tuple[Step, ...]:
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Asks to stop; `join` waits for the step on its way, which is not given up for that."""
        self._stopping.set()

    def join(self) -> None:
        self._thread.join(PATIENCE_S * 2)
        assert not self._thread.is_alive(), f"{self.name} does not end"
        for channel in self._channels.values():
            channel.close()
        self.diary.__exit__(None, None, None)

    def _run(self) -> None:
        steps, weights = zip(*self.steps(), (self.ask_of_old, 1), strict=True)
        try:
            while not self._stopping.is_set():
                self.chance.choices(steps, weights)[0]()
                self._stopping.wait(self.chance.uniform(*PAUSE_S))
        except BaseException as error:  # told by whoever joins
            self.broken = error

    def ask(self, method: str, asked: Sequence[Asked]) -> list[bool]:
        """Sent until it is answered, then written down; whether each was accepted."""
        request_type, field = self._service.batches[method]
        request = request_type(**{field: [one.item for one in asked]})
        trying = self._begin()
        answer = self.call(method, request, trying.give_up_s)
        answered_s = time.monotonic()
        results = None if answer is None else answer.results
        again: Any = None
        if answer is not None and self.chance.random() < ASKED_AGAIN:
            again = self.call(method, request, time.monotonic() + PATIENCE_S)
        places = self._note(trying, asked, answered_s, results, again)
        if answer is not None and len(self._old) < OLD_KEPT:
            self._old.append((answered_s, method, request, places))
        return [result.HasField("accepted") for result in results or ()] or [False] * len(asked)

    def ask_in_stream(self, batches: Sequence[Sequence[Asked]]) -> None:
        """One stream, gone on with where it breaks: what was not answered is sent again."""
        requests = [_stream_request([one.item for one in batch]) for batch in batches]
        answers: list[tuple[float, Any]] = []
        trying = self._begin()
        self._patiently(lambda process: self._go_on(process, requests, answers), trying.give_up_s)
        for number, batch in enumerate(batches):
            answered_s, results = answers[number] if number < len(answers) else (0.0, None)
            self._note(trying, batch, answered_s, results)

    def _go_on(
        self, process: str, requests: Sequence[Any], answers: list[tuple[float, Any]]
    ) -> bool:
        left = iter(requests[len(answers) :])
        try:
            for answer in self.stub(process).StreamBatches(
                left, timeout=CALL_S, metadata=metadata(self.token())
            ):
                answers.append((time.monotonic(), answer.results))
        except grpc.RpcError as error:
            raise from_rpc_error(cast(Any, error)) from error
        if len(answers) < len(requests):
            raise Conflict("STREAM_ENDED", f"{len(answers)} of {len(requests)} answered")
        return True

    def _begin(self) -> Trying:
        now_s = time.monotonic()
        patience_s = 0.0 if self.chance.random() < IMPATIENT else PATIENCE_S
        return Trying(now_s, now_s + patience_s, self.asked_again_for.total())

    def _note(
        self,
        trying: Trying,
        asked: Sequence[Asked],
        answered_s: float,
        results: Sequence[items_pb2.ItemResult] | None,
        again: Any = None,
    ) -> list[int]:
        """What became of each, in its order; answers where in the diary it stands."""
        attempts = 1 + self.asked_again_for.total() - trying.before
        places: list[int] = []
        for i, one in enumerate(asked):
            trying.call = trying.call or one.item.id
            command = Command(
                book=self._service.book,
                client=self.name,
                id=one.item.id,
                type=one.type,
                invoked_s=trying.begun_s,
                answered_s=None if results is None else answered_s,
                attempts=attempts,
                moves=one.moves,
                group=one.group,
                call=trying.call,
                place=trying.noted,
            )
            trying.noted += 1
            told = command if results is None else _told(command, one, results[i])
            if again is not None:
                told = _told_again(told, again.results[i])
            places.append(self.diary.note(told))
        return places

    def ask_of_old(self) -> None:
        """An answered call once more, when its ids are no longer in anybody's memory."""
        if not self._old or time.monotonic() - self._old[0][0] < OLD_S:
            return
        _, method, request, places = self._old.popleft()
        again = self.call(method, request, time.monotonic() + PATIENCE_S)
        for place, result in zip(places, () if again is None else again.results, strict=False):
            told = self.diary.seen[place]
            assert isinstance(told, Command)
            self.diary.amend(place, _told_again(told, result))
        self.asked_of_old += again is not None

    def call(self, method: str, request: Any, give_up_s: float) -> Any:
        """One call, of one process after another, until it is answered; None when given up."""
        return self._patiently(lambda process: self.attempt(process, method, request), give_up_s)

    def _patiently(self, attempt: Callable[[str], T], give_up_s: float) -> T | None:
        while True:
            process = self._processes[0]
            try:
                answer = attempt(process)
                self.answered_by = process
                return answer
            except TanzhangError as known:
                reason = known.reason if isinstance(known, Refused | Conflict) else "FAULT"
                if isinstance(known, Refused) and reason not in self._service.passing:
                    raise
                self.asked_again_for[reason] += 1
                self._processes.append(self._processes.pop(0))
            if time.monotonic() >= give_up_s:
                return None
            time.sleep(RETRY_S)

    def attempt(self, process: str, method: str, request: Any) -> Any:
        """One call of one process; raises what it answers, in the families of our errors."""
        go = getattr(self.stub(process), method)
        try:
            return go(request, timeout=CALL_S, metadata=metadata(self.token()))
        except grpc.RpcError as error:
            raise from_rpc_error(cast(Any, error)) from error

    def stub(self, process: str) -> Any:
        if process not in self._channels:
            self._channels[process] = grpc.insecure_channel(self.address(process), OPTIONS)
        return self._service.stub(self._channels[process])

    def token(self) -> str:
        return self.world.token(self._caller)

    def address(self, process: str) -> str:
        """Of this client's own way to a process."""
        supervisor = self.world.supervisor
        assert isinstance(supervisor, ProxiedSupervisor)
        return f"127.0.0.1:{supervisor.way(self.name, process).port}"


def batch_item(item: Any) -> pb.BatchItem:
    fields = {pb.Entry: "entry", pb.Hold: "hold", pb.HoldPost: "post", pb.HoldRelease: "release"}
    return pb.BatchItem(**{fields[type(item)]: item})


def _stream_request(items: Sequence[Any]) -> pb.StreamBatchesRequest:
    if all(isinstance(item, pb.Entry) for item in items):
        return pb.StreamBatchesRequest(entries=items)
    return pb.StreamBatchesRequest(items=[batch_item(item) for item in items])


def _told(command: Command, one: Asked, result: items_pb2.ItemResult) -> Command:
    if result.HasField("accepted"):
        first = result.accepted.first_position
        return msgspec.structs.replace(command, answer=Answer.OK, position=first)
    refused = result.refused
    numbered = refused.reason == "INSUFFICIENT_BALANCE" and one.of is not None
    return msgspec.structs.replace(
        command,
        answer=Answer.REFUSED,
        reason=refused.reason,
        needed=int(refused.details["needed"]) if numbered else None,
        available=int(refused.details["available"]) if numbered else None,
        of=one.of if numbered else None,
    )


def _told_again(told: Command, result: items_pb2.ItemResult) -> Command:
    """What a repeat was answered, if it is worth a word: -1 stands for another refusal."""
    if result.HasField("accepted"):
        return msgspec.structs.replace(told, again=result.accepted.first_position)
    if told.answer is not Answer.REFUSED or result.refused.reason != told.reason:
        return msgspec.structs.replace(told, again=-1)
    return told


def outcomes_of(
    world: World, service: Service, process: str, client: str, ids: Sequence[str]
) -> dict[str, int | None]:
    """What a client's ids are answered: the first position, None for a refusal."""
    stub = service.stub(world.channel(process))
    request = service.outcomes(ids=ids)
    answer = world.call(stub.GetOutcomes, request, person(client), patience_s=PATIENCE_S)
    return {
        result.id: result.accepted.first_position if result.HasField("accepted") else None
        for result in answer.results
    }
