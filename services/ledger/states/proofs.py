"""Files out of the newest committed state: a holding, or what lies under a lien."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kernel.errors import Kind, Refused
from kernel.tlog.receipt import make_receipt
from kernel.tlog.states import (
    Account,
    BalanceProof,
    SerialRange,
    StateProof,
    make_holding,
    make_lien,
)
from services.ledger.books.accounts import PURPOSES, AccountsBook
from services.ledger.clients import ACCOUNTS, Owners
from services.ledger.log import BookLog
from services.ledger.proving import ServedLog, prove
from services.ledger.states.keeper import Committed, StateKeeper
from services.ledger.states.log import StateLog
from services.ledger.states.maps import lien_batches


class StateProofs:
    """`states` is the log of states, `accounts` that of the book they are made from."""

    def __init__(
        self,
        keeper: StateKeeper,
        checker: AccountsBook,
        states: ServedLog[StateLog],
        accounts: ServedLog[BookLog],
        owners: Owners,
    ) -> None:
        self._keeper = keeper
        self._checker = checker
        self._states = states
        self._accounts = accounts
        self._owners = owners

    @property
    def map_key(self) -> bytes:
        return self._keeper.maps.map_key

    async def state(self, size: int) -> tuple[Committed, StateProof]:
        """The newest one of at least so many events of the accounts book, and its proof."""
        committed = await self._keeper.reach(size)
        (proof,) = await prove(self._states, [committed.entry.position])
        return committed, StateProof(committed.entry.encode(), proof)

    async def holdings(
        self, accounts: Sequence[Account], size: int, token: str
    ) -> list[tuple[int, bytes]]:
        """Amount and file of each, to who may see them in the accounts book."""
        for account in accounts:
            _require_purpose(account)
        for holder, asset in sorted({(one.holder, one.asset) for one in accounts}):
            await self._owners.require_view(holder, asset, token)
        committed, state = await self.state(size)
        balances = [self._balance(committed, one) for one in accounts]
        return [(one.amount, make_holding(state, one)) for one in balances]

    def _balance(self, committed: Committed, account: Account) -> BalanceProof:
        """Nothing can be shown of an account without a balance: see kernel/tlog/maps.py."""
        found = self._keeper.maps.balance(committed.maps, account)
        if found is None:
            raise Refused(
                "NOTHING_HELD",
                f"state {committed.entry.position} has nothing in {account.purpose} of"
                f" {account.holder} in {account.asset[:40]}",
                Kind.UNKNOWN,
                holder=account.holder,
                asset=account.asset[:40],
            )
        return found

    async def lien(self, lien: str, size: int, token: str) -> bytes:
        """The file, to who may see the entry that made the lien: its owner judges that."""
        await self._keeper.reach(size)  # so the lien is known here, if the caller knows of it
        liens = self._checker.liens
        position, place = liens.pledged_at.get(lien), liens.places.get(lien)
        if position is None or place is None:
            raise Refused("UNKNOWN_LIEN", f"no lien {lien[:80]!r}", Kind.UNKNOWN, lien=lien[:80])
        (event,) = await self._owners.disclose(ACCOUNTS, [position], token)
        (proof,) = await prove(self._accounts, [position])
        committed, state = await self.state(max(size, position + 1))
        account, maps = Account(*place), committed.maps
        return make_lien(
            lien,
            state,
            self._balance(committed, account),
            lien_batches(maps, account, _pledged(event.record)),
            make_receipt(event.record, event.salt, proof),
        )


def _pledged(record: bytes) -> list[SerialRange]:
    """The serials that an entry put under a lien."""
    (leg,) = msgspec.json.decode(record)["body"]["legs"]
    return [SerialRange(**block) for block in leg["serials"]]


def _require_purpose(account: Account) -> None:
    if account.purpose not in PURPOSES:
        raise Refused(
            "UNKNOWN_VALUE",
            f"expected one of {sorted(PURPOSES)}, got {account.purpose[:40]!r}",
            Kind.INVALID,
            field="purpose",
            actual=account.purpose[:40],
        )
