"""What a process is told by its environment, and what it refuses to be told."""

from __future__ import annotations

import pytest

from kernel.config import Environment, is_loopback, load_settings
from kernel.errors import Fault

GOOD = {
    "TANZHANG_DATABASE_URL": "postgresql+psycopg://accounts:x@127.0.0.1:5432/tanzhang",
    "TANZHANG_NATS_URL": "nats://127.0.0.1:4222",
    "TANZHANG_LISTEN": "127.0.0.1:7001",
    "TANZHANG_METRICS_PORT": "9101",
    "TANZHANG_IDENTITIES": "/keys/identities",
    "TANZHANG_OPERATOR_VKEY": "operator+00000000+AAAA",
    "TANZHANG_FRAME_KEY": "/keys/accounts/frames.pem",
    "TANZHANG_TOKEN_KEY": "/keys/accounts/tokens.pem",
}
TLS = {"TANZHANG_TLS_CERTIFICATE": "/tls/cert.pem", "TANZHANG_TLS_KEY": "/tls/key.pem"}


def settings_of(**changed: str) -> object:
    return load_settings("accounts", Environment({**GOOD, **changed}))


def fault_of(values: dict[str, str]) -> str:
    with pytest.raises(Fault) as caught:
        load_settings("accounts", Environment(values))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_full_environment_becomes_plain_values() -> None:
    settings = load_settings("accounts", Environment(GOOD))
    assert settings.listen.address == "127.0.0.1:7001"
    assert settings.metrics_port == 9101
    assert not settings.production
    assert settings.clock_file is None


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_missing_variable_is_named_in_one_line(name: str, how: str) -> None:
    values = {key: value for key, value in GOOD.items() if key != name}
    if how == "empty":
        values[name] = ""
    assert fault_of(values) == f"{name} is not set"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "[::1]"])
def test_loopback_needs_no_certificate(host: str) -> None:
    assert settings_of(TANZHANG_LISTEN=f"{host}:7001")


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "[::]",
        "192.168.1.7",
        "",
        "localhost",
        "accounts.lanzhou.example",
        "127.0.0.1.example",
    ],
)
def test_anything_but_loopback_is_refused_without_tls(host: str) -> None:
    listen = {"TANZHANG_LISTEN": f"{host}:7001"}
    assert "not loopback" in fault_of({**GOOD, **listen})
    for half, value in TLS.items():
        assert "not loopback" in fault_of({**GOOD, **listen, half: value})
    assert settings_of(**listen, **TLS)


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:-1"])
def test_an_address_without_a_port_is_refused_with_what_came(listen: str) -> None:
    message = fault_of({**GOOD, "TANZHANG_LISTEN": listen})
    assert message == f"TANZHANG_LISTEN: expected host:port, got {listen!r}"


def test_a_number_that_is_none_is_named() -> None:
    message = fault_of({**GOOD, "TANZHANG_METRICS_PORT": "many"})
    assert message == "TANZHANG_METRICS_PORT: expected a whole number, got 'many'"


@pytest.mark.parametrize(
    "helper", [{"TANZHANG_CLOCK_FILE": "/var/clock"}, {"TANZHANG_CRASH": "journal.committed"}]
)
def test_production_refuses_the_helpers_of_development(helper: dict[str, str]) -> None:
    assert settings_of(**helper)
    message = fault_of({**GOOD, **helper, "TANZHANG_MODE": "production"})
    assert "refused in production" in message


def test_production_is_told_apart_by_exactly_that_word() -> None:
    assert load_settings(
        "accounts", Environment({**GOOD, "TANZHANG_MODE": "production"})
    ).production


@pytest.mark.parametrize("mode", ["Production", "prod", "live", "development "])
def test_a_mode_nobody_knows_is_not_taken_for_development(mode: str) -> None:
    assert mode in fault_of({**GOOD, "TANZHANG_MODE": mode})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", False),
        ("10.0.0.1", False),
    ],
)
def test_only_addresses_count_as_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
