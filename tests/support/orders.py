"""What the authority and a court of Lanzhou sign over accounts: freezes, and what lifts them."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.acts import sign_act
from kernel.values import Act
from tests.support.lanzhou import (
    AUTHORITY_KEY,
    CITY_GROUP,
    PROGRAMME,
    QINWANGCHUAN,
    TICKET,
    seeded_key,
)

COURT_KEY = seeded_key("the intermediate court of Lanzhou")
COURT = "court:lanzhou-intermediate"
AUTHORITY = f"authority:{PROGRAMME}"
SUBJECTS = {id(COURT_KEY): COURT, id(AUTHORITY_KEY): AUTHORITY}


def freeze(name: str, key: Ed25519PrivateKey = COURT_KEY, **changed: object) -> Act:
    """A court freezes all that the city group has; `changed` says otherwise."""
    return sign_act(
        key,
        {
            "amount": None,
            "asset": "",
            "authority": SUBJECTS.get(id(key), COURT),
            "document": "(2026) 甘01执保 17",
            "freeze": name,
            "holder": CITY_GROUP,
            "kind": "freeze",
            "purpose": "",
            "reason": "a contract of sale is in dispute",
            "ref": "",
            "serials": [],
            "until": "",
            **changed,
        },
    )


def freeze_serials(
    name: str,
    *ranges: tuple[str, int, int],
    key: Ed25519PrivateKey = COURT_KEY,
    asset: str = TICKET,
    **changed: object,
) -> Act:
    serials = [{"batch": batch, "first": first, "last": last} for batch, first, last in ranges]
    return freeze(name, key, asset=asset, holder="", serials=serials, **changed)


def unfreeze(name: str, key: Ed25519PrivateKey = COURT_KEY, **changed: object) -> Act:
    return sign_act(
        key,
        {
            "authority": SUBJECTS.get(id(key), COURT),
            "document": "(2026) 甘01执保 17-1",
            "freeze": name,
            "kind": "unfreeze",
            "reason": "the parties have settled",
            **changed,
        },
    )


def moved(
    amount: int, asset: str = TICKET, lien: str = "", *ranges: tuple[str, int, int]
) -> dict[str, object]:
    serials = [{"batch": batch, "first": first, "last": last} for batch, first, last in ranges]
    return {"amount": amount, "asset": asset, "lien": lien, "serials": serials}


def transfer_order(
    name: str, *moves: dict[str, object], key: Ed25519PrivateKey = COURT_KEY, **changed: object
) -> Act:
    """The court gives to 秦王川林场 what was the city group's."""
    return sign_act(
        key,
        {
            "authority": SUBJECTS.get(id(key), COURT),
            "document": "(2026) 甘01执 88",
            "freezes": [],
            "kind": "transfer-order",
            "moves": list(moves),
            "nature": "court" if key is COURT_KEY else "succession",
            "source": CITY_GROUP,
            "target": QINWANGCHUAN,
            "transfer": name,
            **changed,
        },
    )


def overriding(*names: tuple[str, str]) -> list[dict[str, str]]:
    return [{"authority": authority, "freeze": freeze} for authority, freeze in names]


def agreement(
    name: str, *moves: dict[str, object], keys: Sequence[Ed25519PrivateKey], **changed: object
) -> list[Act]:
    """The city group merges into 秦王川林场, and both sign."""
    said = {
        "document": "merger contract of 2026-11-01",
        "kind": "transfer-agreement",
        "moves": [{k: v for k, v in move.items() if k != "lien"} for move in moves],
        "nature": "merger",
        "source": CITY_GROUP,
        "target": QINWANGCHUAN,
        "transfer": name,
        **changed,
    }
    return [sign_act(key, said) for key in keys]
