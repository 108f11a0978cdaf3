"""The accounts book: who may be a holder, what may be an asset, whose keys count."""

from __future__ import annotations

import base64

import pytest

from kernel.acts import key_id, public_bytes
from kernel.errors import Kind
from kernel.keyring import AdmitKey, KeyAdmitted, KeyWithdrawn, WithdrawKey
from services.accounts.domain.commands import DefineAsset, RegisterHolder
from services.accounts.domain.events import (
    AssetDefined,
    HolderKind,
    HolderRegistered,
    Unit,
)
from tests.support.lanzhou import (
    BANK_KEY,
    CITY_GROUP,
    CNY,
    FARMER,
    PROGRAMME,
    REGISTRAR,
    STRANGER,
    SYSTEM,
    TICKET,
    USCCS,
    check_books,
    the_place,
)


def holder(**changed: object) -> RegisterHolder:
    fields = {
        "holder": STRANGER,
        "kind": HolderKind.FOREIGN,
        "uscc": "",
        "name": "Meishan wind farm",
        **changed,
    }
    return RegisterHolder(**fields)  # type: ignore[arg-type]


def asset(**changed: object) -> DefineAsset:
    fields = {
        "asset": "CEA-2024",
        "unit": Unit.T,
        "programme": PROGRAMME,
        "serialised": True,
        "name": "allowances of 2024",
        "backdating_days": 30,
        **changed,
    }
    return DefineAsset(**fields)  # type: ignore[arg-type]


def test_a_holder_is_registered_under_its_opaque_id() -> None:
    book = the_place()
    assert book.when(holder(), REGISTRAR) == [
        HolderRegistered(STRANGER, HolderKind.FOREIGN, "Meishan wind farm", "")
    ]
    check_books(book)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"holder": "Meishan wind farm"}, "HOLDER_MALFORMED"),
        ({"holder": "h-" + "a" * 15}, "HOLDER_MALFORMED"),
        ({"holder": "h-" + "a" * 15 + "1"}, "HOLDER_MALFORMED"),
        ({"holder": "h-" + "A" * 16}, "HOLDER_MALFORMED"),
        ({"holder": "h-" + "a" * 16 + "\n"}, "HOLDER_MALFORMED"),
        ({"holder": CITY_GROUP}, "HOLDER_EXISTS"),
        ({"name": ""}, "MISSING_VALUE"),
        ({"name": "x" * 201}, "TEXT_TOO_LONG"),
        ({"name": "two\nlines"}, "TEXT_NOT_PRINTABLE"),
        ({"kind": HolderKind.ENTERPRISE}, "USCC_MALFORMED"),
        ({"kind": HolderKind.SETTLEMENT_BANK}, "USCC_MALFORMED"),
        ({"kind": HolderKind.VENUE}, "USCC_MALFORMED"),
        ({"uscc": "91330100799655058A"}, "USCC_CHECK_CHARACTER"),
        ({"uscc": "９１３３０１００７９９６５５０５８Ｂ"}, "USCC_MALFORMED"),
        ({"uscc": USCCS[CITY_GROUP]}, "USCC_EXISTS"),
    ],
)
def test_a_holder_that_may_not_be_is_refused(changed: dict[str, object], reason: str) -> None:
    assert the_place().refusal(holder(**changed), REGISTRAR).reason == reason


def test_a_credit_code_taken_names_who_has_it() -> None:
    refused = the_place().refusal(holder(uscc=USCCS[CITY_GROUP]), REGISTRAR)
    assert refused.details == {"holder": CITY_GROUP}


def test_two_holders_without_a_credit_code_do_not_collide() -> None:
    book = the_place()
    book.when(holder(), REGISTRAR)
    assert book.when(holder(holder="h-" + "a" * 16, kind=HolderKind.PROGRAMME), REGISTRAR)


def test_an_asset_is_defined_under_its_name() -> None:
    book = the_place()
    assert book.when(asset(), REGISTRAR) == [
        AssetDefined("CEA-2024", 30, "allowances of 2024", PROGRAMME, True, Unit.T)
    ]


@pytest.mark.parametrize(
    "name",
    [
        "CEA-2024",
        "GDEA-2023",
        "CCER-LZ.7-2021",
        "GEC-MEISHAN-202012",
        "TICKET-LZXQ-2",
        "PHCER-SZ-1",
    ],
)
def test_the_asset_names_of_the_design_are_taken(name: str) -> None:
    assert the_place().when(asset(asset=name), REGISTRAR)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"asset": ""}, "ASSET_MALFORMED"),
        ({"asset": "cea-2024"}, "ASSET_MALFORMED"),
        ({"asset": "CEA 2024"}, "ASSET_MALFORMED"),
        ({"asset": "CEA-"}, "ASSET_MALFORMED"),
        ({"asset": "CEA-２０２４"}, "ASSET_MALFORMED"),
        ({"asset": "CEA-2024\n"}, "ASSET_MALFORMED"),
        ({"asset": "A" * 61}, "ASSET_MALFORMED"),
        ({"asset": TICKET}, "ASSET_EXISTS"),
        ({"name": ""}, "MISSING_VALUE"),
        ({"backdating_days": -1}, "BACKDATING_OUT_OF_RANGE"),
        ({"backdating_days": 36_501}, "BACKDATING_OUT_OF_RANGE"),
        ({"programme": STRANGER}, "UNKNOWN_PROGRAMME"),
        ({"programme": CITY_GROUP}, "UNKNOWN_PROGRAMME"),  # an enterprise is no programme
        ({"unit": Unit.FEN}, "MONEY_WITHOUT_SERIALS"),  # a bank's money comes from no batch
    ],
)
def test_an_asset_that_may_not_be_is_refused(changed: dict[str, object], reason: str) -> None:
    assert the_place().refusal(asset(**changed), REGISTRAR).reason == reason


@pytest.mark.parametrize("command", [holder(), asset()], ids=["holder", "asset"])
def test_nothing_is_registered_with_a_business_time_to_come(command: RegisterHolder) -> None:
    book = the_place()
    at_ms = book.clock.now_ms()
    assert book.refusal(command, REGISTRAR, on_ms=at_ms + 1).reason == "ON_IN_FUTURE"
    assert book.when(command, REGISTRAR, on_ms=at_ms)


def test_keys_come_and_go_by_the_system_alone() -> None:
    book = the_place()
    public = public_bytes(BANK_KEY)
    admit = AdmitKey(key_id(public), base64.b64encode(public).decode(), "bank:x", "ed25519")
    for command in (admit, WithdrawKey(key_id(public))):
        refused = book.refusal(command, FARMER)
        assert (refused.reason, refused.kind) == ("ROLE_MISSING", Kind.FORBIDDEN)
    assert book.when(admit, SYSTEM) == [
        KeyAdmitted(admit.key_id, admit.public_key, "bank:x", "ed25519")
    ]
    assert book.when(WithdrawKey(admit.key_id), SYSTEM) == [KeyWithdrawn(admit.key_id)]
    assert admit.key_id not in book.state.keyring.keys


def test_a_key_never_admitted_can_still_be_withdrawn() -> None:
    """A reaction always ends in an event: that is what moves the watermark of its source."""
    assert the_place().when(WithdrawKey("0" * 16), SYSTEM) == [KeyWithdrawn("0" * 16)]


def test_money_has_no_serials_and_units_have() -> None:
    book = the_place()
    assert not book.state.assets[CNY].serialised
    assert book.state.assets[TICKET].serialised
