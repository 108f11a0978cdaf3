"""Who an event names: whom it may be shown to besides auditors and who asked for it."""

from __future__ import annotations

from typing import Any, Final

# Who is named in what is proposed about holders and in what came of it.
_PARTIES_OF_CHANGES: Final = (
    *(("opening", "holder"), ("operator", "holder"), ("status", "holder"), ("closing", "holder")),
    *(("rebinding", "holder"), ("rebinding", "clearing_house"), ("rebinding", "bank")),
    *(("mandate", "principal"), ("mandate", "agent"), ("fund", "fund"), ("fund", "manager")),
)


def parties_of(body: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Holders named in an event, and the roles of venues and banks that are."""
    accounts = [leg[side] for leg in body.get("legs", ()) for side in ("debit", "credit")]
    if "to" in body:  # whom a hold is promised to
        accounts.append(body["to"])
    parties = {body[name] for name in ("holder", "source", "target") if name in body}
    parties |= {account["holder"] for account in accounts}
    # A settlement bank is named by the external account it answers for, a venue by trading.
    banks = {one["ref"] for one in accounts if one["purpose"] == "external"}
    banks |= {body["bank"]} if "bank" in body else set()
    parties |= banks | ({body["clearing_house"]} if "clearing_house" in body else set())
    if "pledge" in body:
        parties.add(body["pledge"]["pledgee"])
    parties |= {lien["pledgee"] for lien in body.get("liens", ())}
    said = body.get("change", body)  # what is proposed, or what came of it
    parties |= {
        said[what][who] for what, who in _PARTIES_OF_CHANGES if isinstance(said.get(what), dict)
    }
    venues = {f"venue:{one['ref']}" for one in accounts if one["purpose"] == "trading"}
    if isinstance(body.get("venue"), str):  # of settlement files and sessions
        venues.add(f"venue:{body['venue']}")
    if isinstance(body.get("trade"), dict) and "holder" not in body:  # else it tells what one has
        parties |= {body["trade"]["buyer"], body["trade"]["seller"]}
    return parties, venues | {f"bank:{bank}" for bank in banks}
