"""`tanzhang watch LIEN`: asks again and again what lies under a lien, and says when it changed.

Every round fetches the newest proof, judges it against a policy from elsewhere, and holds the log
of states to what it showed before: it must have grown from there. Kept in a small file between
rounds, so that a restart forgets nothing. Said aloud (ALERT): a change of quantity or serials, a
proof that does not verify, a log that forked or went back, and one that is older than allowed,
also while nobody answers.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from cli.errors import NO, CliError
from cli.log_sources import HttpLog, Web
from cli.mirror import MirrorRefused, check_history, write_whole
from cli.proofs import Desk, Folder, Holder, PolicyFile, Token, Url, fetch_lien
from cli.trust import read_policy
from kernel.errors import Refused
from kernel.tlog.checkpoint import Checkpoint
from kernel.tlog.errors import ReceiptError
from kernel.tlog.policy import Policy
from kernel.tlog.states import STATE_BOOK, SerialRange, VerifiedLien
from kernel.values import parse_instant

MINUTE_MS: Final = 60_000


class Seen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the last good proof showed."""

    lien: str
    asset: str
    quantity: int
    serials: list[SerialRange]
    pledgee: str
    origin: str
    log_size: int
    log_root: bytes
    state: int
    at_ms: int  # by which the quorum of witnesses signed; the log's own time without witnesses

    @property
    def head(self) -> Checkpoint:
        return Checkpoint(self.origin, self.log_size, self.log_root)


class Alert(msgspec.Struct, frozen=True):
    """`kind` is stable: CHANGED, UNBELIEVED, OLD, UNREACHABLE, or a rule of cli/mirror.py."""

    kind: str
    text: str


def seen_of(lien: VerifiedLien, policy: Policy) -> Seen:
    state = lien.state
    dated = policy.dated_by(state.cosigners)
    at_ms = parse_instant(state.entry.at) if dated is None else (dated.timestamp_s or 0) * 1000
    return Seen(
        lien.lien,
        lien.asset,
        lien.quantity,
        list(lien.serials),
        lien.pledgee,
        state.origin,
        state.log_size,
        state.log_root,
        state.entry.position,
        at_ms,
    )


def changes(before: Seen, now: Seen) -> Iterator[Alert]:
    """What became another than it was."""
    if (before.asset, before.pledgee) != (now.asset, now.pledgee):
        text = f"expected {before.asset} for {before.pledgee}, got {now.asset} for {now.pledgee}"
        yield Alert("CHANGED", text)
    if (before.quantity, before.serials) != (now.quantity, now.serials):
        was, what = _told(before), _told(now)
        yield Alert("CHANGED", f"expected {was}, got {what}")
    if now.state < before.state:
        yield Alert("WENT_BACK", f"expected state {before.state} or later, got {now.state}")


def is_old(seen: Seen, now_ms: int, max_age_min: int) -> Iterator[Alert]:
    age_min = (now_ms - seen.at_ms) // MINUTE_MS
    if age_min >= max_age_min:
        yield Alert("OLD", f"expected a state of the last {max_age_min} min, it is {age_min} old")


def _told(seen: Seen) -> str:
    ranges = ", ".join(f"{one.first}..{one.last} of {one.batch}" for one in seen.serials)
    return f"{seen.quantity} {seen.asset}" + (f" ({ranges})" if ranges else "")


class Watch:
    """One lien, one gateway, one file of what was seen."""

    def __init__(self, lien: str, desk: Desk, policy: Policy, kept: Path, max_age_min: int) -> None:
        self._lien = lien
        self._desk = desk
        self._policy = policy
        self._kept = kept
        self._max_age_min = max_age_min
        self.seen = self._read()

    async def once(self, now_ms: int) -> list[Alert]:
        """One round. What was seen is kept only of a proof that stands."""
        alerts: list[Alert] = []
        try:
            _, shown = await fetch_lien(self._desk, self._lien, self._policy)
            now = seen_of(shown, self._policy)
            if self.seen is not None:
                await self._check_grown(self.seen, now)
                alerts += changes(self.seen, now)
            if self.seen is None or now.log_size >= self.seen.log_size:
                self._keep(now)
        except ReceiptError as error:
            alerts.append(Alert("UNBELIEVED", str(error)))
        except MirrorRefused as error:
            alerts.append(Alert(error.rule, str(error)))
        except (CliError, Refused) as error:
            alerts.append(Alert("UNREACHABLE", str(error)))
        if self.seen is not None:
            alerts += is_old(self.seen, now_ms, self._max_age_min)
        return alerts

    async def _check_grown(self, before: Seen, now: Seen) -> None:
        web = Web.open(self._desk.url)
        try:
            log = HttpLog(web, f"{self._desk.url}/log/{STATE_BOOK}")
            await check_history(before.head, now.head, log.tile)
        finally:
            await web.close()

    def _read(self) -> Seen | None:
        try:
            return msgspec.json.decode(self._kept.read_bytes(), type=Seen)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise CliError(f"{self._kept}: expected what was seen before: {error}") from error

    def _keep(self, seen: Seen) -> None:
        self._kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._kept, msgspec.json.format(msgspec.json.encode(seen)) + b"\n")
        self.seen = seen


def watch(
    lien: Annotated[str, typer.Argument(help="the lien's id")],
    url: Url = "",
    token: Token = None,
    holder: Holder = "",
    policy: PolicyFile = None,
    every_s: Annotated[int, typer.Option("--every", min=1, help="seconds between rounds")] = 60,
    max_age_min: Annotated[
        int, typer.Option("--max-age", min=1, help="minutes a state may be old")
    ] = 5,
    once: Annotated[bool, typer.Option("--once", help="one round: exit 1 on any alert")] = False,
    kept: Annotated[Path, typer.Option("--keep", help="folder for what was seen")] = Path("watch"),
    as_json: Annotated[bool, typer.Option("--json", help="a JSON object each round")] = False,
    directory: Folder = Path("var"),
) -> None:
    """Watch a lien: alerts on a change, a fork, an old log.

    Asks a gateway for the newest proof, round after round.

    Exit codes with --once: 0 as before, 1 an alert.
    """
    desk = Desk(url, token, holder, directory)
    trusted = read_policy(policy or desk.policy_file)
    safe = "".join(
        one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in lien
    )
    watched = Watch(lien, desk, trusted, kept / f"{safe}.json", max_age_min)
    raise typer.Exit(asyncio.run(_rounds(watched, every_s, once, as_json)))


async def _rounds(watched: Watch, every_s: int, once: bool, as_json: bool) -> int:
    while True:
        alerts = await watched.once(int(time.time() * 1000))
        _say(watched.seen, alerts, as_json)
        if once:
            return NO if alerts else 0
        await asyncio.sleep(every_s)


def _say(seen: Seen | None, alerts: list[Alert], as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {"alerts": [msgspec.to_builtins(one) for one in alerts]}
        if seen is not None:
            told["seen"] = msgspec.to_builtins(seen)
            told["seen"]["log_root"] = base64.b64encode(seen.log_root).decode()
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    if seen is not None:
        typer.echo(f"{seen.lien}: {_told(seen)}, state {seen.state} of {seen.origin}")
    for one in alerts:
        typer.echo(f"ALERT {one.kind}: {one.text}", err=True)
