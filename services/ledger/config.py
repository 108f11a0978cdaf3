"""What the ledger process is told besides the common settings: whose books it checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from kernel.config import Environment, Settings, is_loopback, load_settings
from kernel.errors import Misconfigured
from kernel.tlog.errors import TlogError
from kernel.tlog.policy import NONE, Policy, parse_policy
from kernel.tlog.states import STATE_BOOK
from services.ledger.books.followed import OWNERS, owner_of

SERVICE = "ledger"
BOOK = "ledger"
ACCOUNTS = "accounts"
DEFAULT_STATE_EVERY_S = 10
MAX_STATE_EVERY_S = 3600
MAP_KEY = "maps.secret"  # beside the logs' keys: 64 hex digits


class Config(msgspec.Struct, frozen=True):
    settings: Settings
    books: tuple[str, ...]  # those it folds and signs; its own is one of them
    peers: Mapping[str, str]  # host:port of the service that owns them
    log_keys: Path  # a folder with one private note key per log, <book>.skey
    policy: Policy  # which witnesses are fed, and how many must have cosigned what is shown
    checkpoints: Path  # a folder outside PostgreSQL: the last signed checkpoint of each log
    state_every_s: int  # between two states, while the book moves and while it does not
    state_mirror: Path | None  # where entries of the log of states are that the database lost

    @property
    def logs(self) -> tuple[str, ...]:
        """Those it signs: of the books it folds, and of how things stand in accounts."""
        return (*self.books, STATE_BOOK) if ACCOUNTS in self.books else self.books


def load_config(env: Environment) -> Config:
    settings = load_settings(SERVICE, env)
    books = _books(env.text("FOLLOWS"))
    owners = sorted({owner_of(book) for book in books} - {SERVICE})
    return Config(
        settings,
        books,
        {owner: _peer(env, owner) for owner in owners},
        env.path("LOG_KEYS"),
        _policy(env.optional_path("POLICY"), production=settings.production),
        env.path("CHECKPOINTS"),
        _state_every_s(env),
        env.optional_path("STATE_MIRROR"),
    )


def _policy(path: Path | None, *, production: bool) -> Policy:
    """The deployment's policy file; without one no witness is asked and none is needed."""
    if path is None:
        none = Policy()
        none.set_quorum(NONE)
        return none
    try:
        policy = parse_policy(path.read_bytes())
    except (OSError, TlogError) as error:
        raise Misconfigured(f"TANZHANG_POLICY: {path}: {error}") from error
    for name, witness in policy.witnesses.items():
        if witness.url is not None:
            _check_url(name, witness.url, production=production)
    return policy


def _check_url(name: str, text: str, *, production: bool) -> None:
    """A witness is asked over TLS; on loopback, or in development, also without."""
    url = urlsplit(text)
    plain = url.scheme == "http" and (not production or is_loopback(url.hostname or ""))
    if not url.hostname or url.query or url.fragment or not (url.scheme == "https" or plain):
        raise Misconfigured(f"TANZHANG_POLICY: witness {name}: expected an https URL, got {text}")


def _state_every_s(env: Environment) -> int:
    every_s = env.integer("STATE_EVERY_S", DEFAULT_STATE_EVERY_S)
    if not 1 <= every_s <= MAX_STATE_EVERY_S:
        raise Misconfigured(
            f"TANZHANG_STATE_EVERY_S: expected 1 to {MAX_STATE_EVERY_S}, got {every_s}"
        )
    return every_s


def _books(text: str) -> tuple[str, ...]:
    books = tuple(book.strip() for book in text.split(","))
    for book in books:
        if owner_of(book) not in OWNERS:
            raise Misconfigured(
                f"TANZHANG_FOLLOWS: expected books of {', '.join(OWNERS)}, got {book!r}"
            )
    if len(set(books)) != len(books):
        raise Misconfigured(f"TANZHANG_FOLLOWS: expected every book once, got {text}")
    if BOOK not in books:  # whose key directory all the others are judged by
        raise Misconfigured(f"TANZHANG_FOLLOWS: expected {BOOK} among the books, got {text}")
    return books


def _peer(env: Environment, owner: str) -> str:
    name = f"PEER_{owner.upper()}"
    target = env.optional(name)
    if target is None:
        raise Misconfigured(f"TANZHANG_{name} is not set, and TANZHANG_FOLLOWS has its book")
    return target
