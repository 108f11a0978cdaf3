"""What changes who holds what: registration, transfers, allocations, retirements, deposits, holds.

Entries are asked for by what they mean; their legs are made here, as the book spells them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.models.parts import (
    Act,
    Amount,
    Asked,
    Count,
    HolderId,
    Instant,
    Name,
    Page,
    Query,
    Ranges,
    Small,
    Timed,
)

HolderKind = Literal[
    "enterprise", "settlement_bank", "venue", "programme", "foreign", "fund", "person"
]
AssetUnit = Literal["t", "fen", "certificate"]

Mandate = Annotated[
    str, Field(max_length=80, description="Under which the caller acts for the holder.")
]
AMOUNT_HELP = "In the asset's own unit: tonnes, fen, certificates."


class Holder(Timed):
    holder: HolderId = Field(description="Opaque, made by the caller.")
    kind: HolderKind
    uscc: str = Field(
        "",
        description="统一社会信用代码; empty only for foreigners, programmes, funds and persons.",
    )
    name: str = Field("", max_length=200, description="Empty for a natural person, and only then.")


class Asset(Timed):
    asset: Name = Field(examples=["CEA-2024", "TICKET-LZXQ-1", "CNY"])
    unit: AssetUnit
    programme: str = Field("", description="Holder id of the programme; empty for money.")
    serialised: bool
    name: Name
    backdating_days: Small = 0


class Moved(Timed):
    """So much of one asset of one holder."""

    holder: HolderId
    asset: Name
    amount: Amount = Field(description=AMOUNT_HELP)
    serials: Ranges = Field(default_factory=list)
    mandate: Mandate = ""

    def leg(self, credit: dict[str, Any]) -> dict[str, Any]:
        debit = {"holder": self.holder, "purpose": "available"}
        serials = [one.model_dump() for one in self.serials]
        return {
            "debit": debit,
            "credit": credit,
            "asset": self.asset,
            "amount": self.amount,
            "serials": serials,
        }

    def entry(self, credit: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return {"on": self.on, "legs": [self.leg(credit)], "mandate": self.mandate, **fields}


class Transfer(Moved):
    """From a holder's available account to somebody else's."""

    to: HolderId

    def item(self) -> dict[str, Any]:
        return self.entry({"holder": self.to, "purpose": "available"})


class Allocation(Moved):
    """To the holder's trading account at a market (划转), under whose rule it then is."""

    venue: Name = Field("market", description="The market's book.")

    def item(self) -> dict[str, Any]:
        return self.entry({"holder": self.holder, "purpose": "trading", "ref": self.venue})


class Retirement(Moved):
    """Used for a claim (注销): the units never move again."""

    beneficiary: Name
    purpose: Name
    details: str = ""

    def item(self) -> dict[str, Any]:
        claim = {
            "beneficiary": self.beneficiary,
            "purpose": self.purpose,
            "details": self.details,
        }
        return self.entry({"holder": self.holder, "purpose": "retired"}, claim=claim)


class Deposit(Timed):
    """Money comes in on the settlement bank's signed advice (入金)."""

    bank: HolderId
    clearing_house: HolderId | Literal[""] = Field("", description="Empty: the bank itself.")
    holder: HolderId
    asset: Name = "CNY"
    amount_fen: Amount
    act: Act

    def item(self) -> dict[str, Any]:
        leg = {
            "debit": {
                "holder": self.clearing_house or self.bank,
                "purpose": "external",
                "ref": self.bank,
            },
            "credit": {"holder": self.holder, "purpose": "available"},
            "asset": self.asset,
            "amount": self.amount_fen,
        }
        return {"on": self.on, "legs": [leg], "acts": [self.act.model_dump()]}


class Hold(Moved):
    """Reserves for somebody, who may then take it or let it go."""

    to: HolderId = Field(description="Whose available account a post goes to.")
    expires_at: Instant | None = None

    def item(self) -> dict[str, Any]:
        return {
            **self.model_dump(exclude={"to"}),
            "to": {"holder": self.to, "purpose": "available"},
        }


class HoldPost(Timed):
    """Pays a hold out, all or part. The rest goes back and the hold ends, unless it is kept."""

    hold: Name
    amount: Amount = Field(description=AMOUNT_HELP)
    mandate: Mandate = ""
    keep_rest: bool = Field(False, description="The rest stays held instead of going back.")


class HoldRelease(Timed):
    hold: Name
    mandate: Mandate = ""


class WithdrawalRequest(Timed):
    """Money out (出金), to the account bound for the holder at this bank."""

    holder: HolderId
    asset: Name = "CNY"
    amount_fen: Amount
    clearing_house: HolderId
    bank: HolderId


class WithdrawalCancellation(Timed):
    withdrawal: Name


class WithdrawalAnswer(Timed):
    """What the bank says of a withdrawal it was asked for, signed by the bank."""

    withdrawal: Name
    act: Act

    def item(self) -> dict[str, Any]:
        acts = [self.act.model_dump()]
        return {"on": self.on, "withdrawal": self.withdrawal, "acts": acts}


class BankStatement(Timed):
    """One signed part of the bank's statement of a day (对账单)."""

    clearing_house: HolderId
    asset: Name = "CNY"
    bank: HolderId
    act: Act

    def item(self) -> dict[str, Any]:
        return {**self.model_dump(exclude={"act"}), "acts": [self.act.model_dump()]}


class Withdrawals(Page):
    bank: str = Field("", max_length=80, description="Empty: at any bank.")
    instructed: bool = Field(False, description="Only those the bank has been asked for.")


class OfBank(Query):
    bank: str = Field("", max_length=80, description="Empty: all banks.")


class OfAsset(Query):
    asset: str = Field("", max_length=80, description="Empty: all assets.")


Purpose = Literal[
    "available",
    "trading",
    "held",
    "pledged",
    "custody",
    "issued",
    "external",
    "surrendered",
    "retired",
    "cancelled",
    "expired",
    "carried_over",
    "buffer",
    "immobilised",
    "clearing",
    "fees",
]


class OfAccounts(OfAsset):
    purpose: Purpose | None = Field(None, description="Absent: all purposes.")
    ref: str | None = Field(None, max_length=80, description="Absent: all of them.")


class Balances(OfAccounts):
    """Now, or at one moment of the past."""

    position: Count | None = Field(
        None, description="After this event of the book. With `on`: what was known then."
    )
    at: Instant | None = Field(
        None, description="After everything recorded at or before this instant."
    )
    on: Instant | None = Field(
        None, description="After everything whose business time is at or before this instant."
    )


class Movements(Page):
    asset: str = Field("", max_length=80, description="Empty: all assets.")


class Outcomes(Asked):
    """Ids whose answers were lost."""

    ids: list[Name] = Field(min_length=1, max_length=1000)
