"""What a holder's operators say of its own safeguards: rules, destinations, proposed transfers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.models.accounts import AMOUNT_HELP
from gateway.models.parts import Amount, Asked, Count, HolderId, Name, Ranges, Timed

MAX_LIMITS = 50


class SafeguardLimit(Asked):
    asset: Name
    amount: Count = Field(description="To others in a day of Shanghai, by one operator alone.")


class SafeguardRules(Asked):
    delay_ms: Count | None = Field(None, description="At most 60 days; absent: four days.")
    approve_within_ms: Count | None = Field(None, description="At most 30 days; absent: one day.")
    limits: Annotated[list[SafeguardLimit], Field(max_length=MAX_LIMITS)] = Field(
        default_factory=list, description="One per asset, in the order of their names."
    )
    unlisted: bool = Field(
        False, description="Whether a transfer to somebody not on the list may be proposed."
    )


class SafeguardsProposal(Timed):
    """One operator proposes; another confirms."""

    holder: HolderId
    rules: SafeguardRules | None = Field(None, description="Absent: no safeguards any more.")


class SafeguardsConfirmation(Timed):
    holder: HolderId
    proposal: Name = Field(description="The id of what was proposed.")


class SafeguardsWithdrawal(Timed):
    """Gives up what was proposed, and what was confirmed and does not count yet."""

    holder: HolderId


class Destination(Timed):
    holder: HolderId
    destination: Name = Field(description="Another holder, or venue:<name>.")


class TransferProposal(Timed):
    """Beyond what one operator may send: held until another approves."""

    holder: HolderId
    to: HolderId
    asset: Name
    amount: Amount = Field(description=AMOUNT_HELP)
    serials: Ranges = Field(default_factory=list)


class TransferApproval(Timed):
    hold: Name = Field(description="The id of what was proposed.")


class TransferRefusal(Timed):
    hold: Name
    reason: Name
