"""One audit from end to end: logs, events, books, report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.audit import kept as kept_states
from cli.audit.accounts import BOOK as ACCOUNTS
from cli.audit.crossing import Pending, compare
from cli.audit.findings import Findings
from cli.audit.logs import LogCheck, LogReport, StateEntries
from cli.audit.opening import GatewayOpener, Opener, open_events
from cli.audit.records import Opened
from cli.audit.report import (
    BookReport,
    Report,
    StatesReport,
    asset_reports,
    batch_reports,
    differences,
    lien_reports,
    registry_report,
)
from cli.audit.sample import chosen
from cli.audit.states import StateChecks
from cli.errors import NOT_TRIED, CliError
from cli.log_sources import FolderLog, HttpLog, LogSource, Web, is_url
from cli.mirror import read_entries
from kernel.errors import Refused
from kernel.tlog.checkpoint import Checkpoint
from kernel.tlog.policy import Policy
from kernel.tlog.receipt import book_of
from kernel.tlog.states import STATE_BOOK, ProvenState, StateEntry

PUBLIC: Final = ("registry",)  # books that show anything to everybody
SAVE_EVERY: Final = 100_000  # events: what an interrupted run has to open again

Progress = Callable[[str, int, int], None]
"""(what, done, of how many)"""


@dataclass(frozen=True)
class Asked:
    """What one run was asked for. `events`: who shows events, None for nobody."""

    source: str
    events: str | None
    policy: Policy
    fingerprint: str  # of the policy's file
    prefix: str  # of the origins to audit, where the policy knows more than one ledger
    folder: Path
    since: Sequence[Checkpoint]
    token: str | None
    map_key: bytes | None
    recheck: bool
    named: Sequence[ProvenState] = ()  # states that are made again whatever is drawn


async def run_audit(asked: Asked, progress: Progress = lambda what, done, of: None) -> Report:
    """Raises CliError when it could not be tried: a host that does not answer, a useless token."""
    web = Web.open(asked.source if is_url(asked.source) else asked.events or "")
    try:
        return await _Audit(asked, web, progress).run()
    finally:
        await web.close()


class _Audit:
    def __init__(self, asked: Asked, web: Web, progress: Progress) -> None:
        self._asked = asked
        self._web = web
        self._progress = progress
        self._logs: dict[str, LogReport] = {}
        # Of this run alone: the logs as they are shown, and the books held against one another.
        self._of_run = Findings()
        asked.folder.mkdir(parents=True, exist_ok=True)
        self._kept = kept_states.load(asked.folder, shows_all=asked.token is not None)
        self._states = StateChecks([], None, self._kept.findings)
        self._looked_at = 0
        self._ahead: list[int] = []
        self._not_compared = 0
        events = asked.events
        self._opener = None if events is None else GatewayOpener(web, events, asked.token)

    async def run(self) -> Report:
        for book, origin in self._books():
            await self._check_log(book, origin)
        opener = self._opener
        states = await self._look_at_states()
        if opener is not None:
            if states is not None:
                await self._choose_states(opener, states)
            for book in self._logs:
                if book != STATE_BOOK and (opener.shows_all or book in PUBLIC):
                    await self._open(opener, book)
            self._keep_states(states)
            kept_states.save(self._asked.folder, self._kept)
        return self._report(self._compare())

    def _books(self) -> list[tuple[str, str]]:
        """The logs to audit. Before the books they speak of: the state, then the registry."""
        named = {log.key.name for log in self._asked.policy.logs}
        origins = sorted(one for one in named if one.startswith(self._asked.prefix))
        books = [book_of(one) for one in origins]
        if not books or len(set(books)) < len(books):
            raise CliError(f"expected the logs of one ledger (--prefix), got {origins}", NOT_TRIED)
        first = {STATE_BOOK: 0, "registry": 1}
        return sorted(zip(books, origins, strict=True), key=lambda one: first.get(one[0], 2))

    # ---- the logs -------------------------------------------------------------------------------

    async def _check_log(self, book: str, origin: str) -> None:
        folder = self._folder(book)
        check = LogCheck(book, origin, self._source(book), folder, self._asked.policy)
        since = [one for one in self._asked.since if one.origin == origin]
        try:
            found = await check.run(
                since,
                self._asked.recheck,
                self._of_run,
                lambda done, of: self._progress(f"log {book}", done, of),
            )
        except Refused as error:
            raise CliError(f"{origin}: {error.message}", NOT_TRIED) from error
        self._logs.pop(book, None)
        if found is not None:
            self._logs[book] = found

    def _folder(self, book: str) -> Path:
        return self._asked.folder / "logs" / book

    def _source(self, book: str) -> LogSource:
        if is_url(self._asked.source):
            return HttpLog(self._web, f"{self._asked.source.rstrip('/')}/log/{book}")
        return FolderLog(Path(self._asked.source) / book)

    # ---- the events -----------------------------------------------------------------------------

    async def _look_at_states(self) -> StateEntries | None:
        """All new entries of the state log, against the checkpoint of accounts fetched after it."""
        state, accounts = self._logs.get(STATE_BOOK), self._logs.get(ACCOUNTS)
        if state is None:
            return None
        if accounts is None:
            self._not_compared = state.tree_size - self._kept.states
            return None
        kept, folder = self._kept, self._folder(STATE_BOOK)
        entries = StateEntries(ACCOUNTS, self._folder(ACCOUNTS), kept.states_size, kept.findings)
        size = accounts.tree_size
        entries.read(folder, kept.states_ahead, kept.states, state.tree_size, size)
        if entries.ahead:
            size = await self._grown(accounts)
            entries.reach(size)
        self._ahead = entries.tell_ahead(size, self._of_run)
        self._looked_at = entries.count
        self._not_compared = len(entries.ahead)
        return entries

    async def _grown(self, accounts: LogReport) -> int:
        """The size of the accounts log by now; when it is no more what it says, as before."""
        await self._check_log(ACCOUNTS, accounts.origin)
        again = self._logs.get(ACCOUNTS)
        if again is None:
            return accounts.tree_size
        again.earlier_tree_size = accounts.earlier_tree_size
        again.tiles_fetched += accounts.tiles_fetched
        again.tiles_kept += accounts.tiles_kept
        return again.tree_size

    async def _choose_states(self, opener: Opener, entries: StateEntries) -> None:
        accounts = self._logs.get(ACCOUNTS)
        if not opener.shows_all or accounts is None:
            return
        begin, size = self._kept.positions.get(ACCOUNTS, 0), accounts.tree_size
        named = self._named(begin)
        waiting = chosen(entries.sample.entries, named, begin, size)
        key = self._asked.map_key or (await opener.map_key() if waiting else None)
        self._states = StateChecks(waiting, key, self._kept.findings)

    def _named(self, begin: int) -> list[StateEntry]:
        """The states that files name, of which the log's history holds the checkpoints."""
        origin = self._logs[STATE_BOOK].origin
        for one in self._asked.named:
            if one.origin != origin:
                raise CliError(f"expected a state of {origin}, got one of {one.origin}", NOT_TRIED)
            if one.entry.size < begin:
                raise CliError(
                    f"the state at {one.entry.position} is of {one.entry.size} events, and {begin}"
                    " are opened already: audit it with another folder (--state)",
                    NOT_TRIED,
                )
        return [one.entry for one in self._asked.named]

    def _keep_states(self, entries: StateEntries | None) -> None:
        if entries is not None:
            self._kept.states += entries.count
            self._kept.states_size = entries.newest_size
            self._kept.states_ahead = self._ahead

    async def _open(self, opener: Opener, book: str) -> None:
        kept, end = self._kept, self._logs[book].tree_size
        begin = kept.positions.get(book, 0)
        entries = read_entries(self._folder(book), end, begin)
        saved = begin
        try:
            async for reached, opened in open_events(
                opener, book, begin, end, entries, kept.findings
            ):
                self._fold(book, reached, opened)
                kept.positions[book] = reached
                self._progress(f"events of {book}", reached, end)
                if reached - saved >= SAVE_EVERY:
                    kept_states.save(self._asked.folder, kept)
                    saved = reached
            if book == "accounts":  # a state of what had been opened before
                self._states.reach(kept.positions.get(book, 0), kept.accounts)
        except Refused as error:
            if opener.shows_all:
                raise CliError(f"{book}: the token opens nothing: {error.message}") from error
        finally:  # a token that ran out: what was opened stays opened
            kept_states.save(self._asked.folder, kept)

    def _fold(self, book: str, reached: int, opened: list[Opened]) -> None:
        types = self._kept.types.setdefault(book, {})
        fold = self._folds.get(book)
        for event in opened:
            types[event.type] = types.get(event.type, 0) + 1
            if fold is None:
                continue
            if book == "accounts":
                self._states.reach(event.position, self._kept.accounts)
            try:
                fold(event, self._kept.findings)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                what = f"a body of {event.type} that can be read"
                self._kept.findings.add("EVENT_BODY", book, event.position, what, repr(error))
        if book == "accounts":
            self._states.reach(reached, self._kept.accounts)
        self._kept.opened[book] = self._kept.opened.get(book, 0) + len(opened)

    @property
    def _folds(self) -> dict[str, Callable[[Opened, Findings], None]]:
        kept = self._kept
        return {
            "accounts": kept.accounts.fold,
            "registry": kept.registry.fold,
            "ledger": kept.ledger.fold,
        }

    # ---- the end --------------------------------------------------------------------------------

    def _compare(self) -> Pending:
        kept = self._kept
        if kept.opened.get("accounts"):
            kept.accounts.check_sums(self._of_run)
        if not (kept.opened.get("accounts") and kept.opened.get("registry")):
            return Pending()
        sizes = (kept.positions["accounts"], kept.positions["registry"])
        pending = compare(kept.accounts, kept.registry, sizes, self._of_run)
        kept_states.save(self._asked.folder, kept)
        return pending

    def _report(self, pending: Pending) -> Report:
        kept = self._kept
        found, by_rule = differences(self._of_run, kept.findings)
        report = Report(
            ok=not by_rule,
            source=self._asked.source,
            policy=self._asked.fingerprint,
            opened_as="auditor" if kept.shows_all else "public",
            logs=list(self._logs.values()),
            books=list(self._book_reports()),
            assets=asset_reports(kept.accounts),
            batches=batch_reports(kept.accounts),
            liens=lien_reports(kept.accounts),
            states=StatesReport(
                self._looked_at, self._states.serials, self._states.balances, self._not_compared
            ),
            overrides=[
                {"book": one.book, "position": one.position, "rule": one.rule}
                for one in kept.ledger.overrides
            ],
            pending=pending,
            differences=found,
            differences_by_rule=by_rule,
        )
        if kept.opened.get("registry"):
            report.registry = registry_report(kept)
        return report

    def _book_reports(self) -> Iterator[BookReport]:
        kept = self._kept
        verified = {
            "accounts": kept.accounts.keys.verified,
            "registry": kept.registry.keys.verified,
        }
        for book, log in self._logs.items():
            if book != STATE_BOOK:
                yield BookReport(
                    book,
                    log.tree_size,
                    kept.opened.get(book, 0),
                    dict(sorted(kept.types.get(book, {}).items())),
                    verified.get(book, 0),
                )
