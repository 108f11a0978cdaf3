"""Which books a ledger is told to check, and what it says when it is told half of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernel.config import Environment
from kernel.errors import Misconfigured
from services.ledger.books.followed import make_checkers, owner_of
from services.ledger.books.market import MarketBook
from services.ledger.config import Config, load_config
from tests.support.witnesses import witness_signer
from tests.unit.test_config import GOOD

WHOLE = "accounts,registry,market,inclusive,ledger"
PEERS = {
    f"TANZHANG_PEER_{name}": f"127.0.0.1:{port}"
    for port, name in enumerate(("ACCOUNTS", "REGISTRY", "MARKET", "INCLUSIVE"), start=7001)
}
OWN = {"TANZHANG_LOG_KEYS": "/keys/logs", "TANZHANG_CHECKPOINTS": "/checkpoints"}


def config_of(follows: str, **peers: str) -> Config:
    named = {"TANZHANG_FOLLOWS": follows} if follows else {}
    return load_config(Environment({**GOOD, **OWN, **peers, **named}))


def test_every_followed_book_has_the_service_that_owns_it() -> None:
    config = config_of(WHOLE, **PEERS)
    assert config.books == ("accounts", "registry", "market", "inclusive", "ledger")
    assert config.peers == {
        "accounts": "127.0.0.1:7001",
        "inclusive": "127.0.0.1:7004",
        "market": "127.0.0.1:7003",
        "registry": "127.0.0.1:7002",
    }


def test_a_smaller_ledger_needs_fewer_peers() -> None:
    config = config_of("accounts,ledger", TANZHANG_PEER_ACCOUNTS="127.0.0.1:7001")
    assert config.peers == {"accounts": "127.0.0.1:7001"}


def test_books_of_one_service_have_one_peer() -> None:
    config = config_of("market-lzxq, market-shenzhen ,ledger", **PEERS)
    assert config.books == ("market-lzxq", "market-shenzhen", "ledger")
    assert config.peers == {"market": "127.0.0.1:7003"}
    assert owner_of("inclusive-07of16") == "inclusive"
    checkers = make_checkers(config.books)
    assert all(isinstance(checkers[book], MarketBook) for book in config.books[:2])


@pytest.mark.parametrize(
    ("follows", "peers", "message"),
    [
        ("", PEERS, "TANZHANG_FOLLOWS is not set"),
        ("accounts,ledger", {}, "TANZHANG_PEER_ACCOUNTS is not set"),
        ("market-lzxq,ledger", {}, "TANZHANG_PEER_MARKET is not set"),
        ("accounts,mall,ledger", PEERS, "got 'mall'"),
        ("accounts,,ledger", PEERS, "got ''"),
        ("accounts,accounts,ledger", PEERS, "every book once"),
        ("accounts,registry", PEERS, "expected ledger among the books"),
    ],
)
def test_what_is_missing_or_unknown_is_named(
    follows: str, peers: dict[str, str], message: str
) -> None:
    with pytest.raises(Misconfigured, match=message):
        config_of(follows, **peers)


# ---- which witnesses it feeds --------------------------------------------------------------------

BANK = witness_signer("witness.lzbank.example/w1").verifier.vkey


def config_with(tmp_path: Path, url: str, mode: str = "production") -> Config:
    path = tmp_path / "policy.txt"
    path.write_text(f"witness bank {BANK} {url}\nquorum bank\n")
    told = {"TANZHANG_POLICY": str(path), "TANZHANG_MODE": mode}
    return config_of("accounts,ledger", TANZHANG_PEER_ACCOUNTS="127.0.0.1:7001", **told)


def test_without_a_policy_no_witness_is_asked_and_none_is_needed() -> None:
    config = config_of("accounts,ledger", TANZHANG_PEER_ACCOUNTS="127.0.0.1:7001")
    assert (config.policy.quorum, dict(config.policy.witnesses)) == ("none", {})


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("https://witness.lzbank.example/tanzhang", "production"),
        ("http://127.0.0.1:7480", "production"),
        ("http://witness.lzbank.example", "development"),
    ],
)
def test_a_witness_is_asked_where_the_policy_says(tmp_path: Path, url: str, mode: str) -> None:
    assert config_with(tmp_path, url, mode).policy.witnesses["bank"].url == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://witness.lzbank.example", "ftp://witness.lzbank.example", "https://"),
        *("witness.lzbank.example", "https://witness.lzbank.example/?a=b"),
    ],
)
def test_in_production_a_witness_is_asked_over_tls_or_on_loopback(tmp_path: Path, url: str) -> None:
    with pytest.raises(Misconfigured, match="witness bank: expected an https URL"):
        config_with(tmp_path, url)


def test_a_policy_that_cannot_be_read_keeps_the_ledger_from_starting(tmp_path: Path) -> None:
    told = {"TANZHANG_POLICY": str(tmp_path / "policy.txt")}
    with pytest.raises(Misconfigured, match="TANZHANG_POLICY"):
        config_of("accounts,ledger", TANZHANG_PEER_ACCOUNTS="127.0.0.1:7001", **told)
