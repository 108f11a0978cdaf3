"""The bank comes to be: holders, its key in the directory, the agreement with its clearing house.

By the persons of development, whose tokens the data folder can make: registrar, and two operators
of the ledger. Every step may have been done before; then it is left as it is.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.bank_client import BankDesk
from cli.banksim.bank import Bank
from cli.banksim.words import Words
from cli.clients import Account, Asset, Books, Holder, Leg, Persona
from cli.directory import accept, register_keys, wait_until_known
from cli.story.cast import invented_uscc
from kernel.clock import Clock
from kernel.ids import uuid7

REGISTRAR: Final = Persona("registrar of the bank rehearsal", ("registrar",))
THERE_ALREADY: Final = frozenset({"HOLDER_EXISTS", "USCC_EXISTS", "ASSET_EXISTS"})
BACKDATING_DAYS: Final = 5  # a late advice still belongs to its day


async def found_bank(
    bank: Bank, words: Words, key: Ed25519PrivateKey, books: Books, clock: Clock, name: str
) -> None:
    """Returns once the clearing house and the bank have agreed."""
    terms = bank.terms
    await _register(books, clock, bank, name)
    await register_keys(books, clock, {f"bank:{terms.bank}": key})
    external = Account(terms.clearing_house, "external", terms.bank)
    leg = Leg(external, Account(terms.clearing_house), terms.asset, 1)
    teller = Persona("teller", (f"bank:{terms.bank}",))
    await wait_until_known(books, clock, teller, key, (leg,))
    desk = BankDesk(books, terms.clearing_house, terms.asset, terms.bank)
    standing = await desk.standing(REGISTRAR)
    if standing is None:
        await _agree(bank, words, desk, clock)
        standing = await desk.standing(REGISTRAR)
    if standing is not None and not bank.terms.first_day:
        # Agreed, and we died before our own books had it: nothing was paid in meanwhile.
        bank.agreed(standing.first_day, standing.balance_fen)


async def _register(books: Books, clock: Clock, bank: Bank, name: str) -> None:
    terms = bank.terms
    parties = {terms.bank: ("settlement_bank", name)}
    parties.setdefault(terms.clearing_house, ("venue", f"{name} 清算所"))
    holders = [
        Holder(uuid7(clock.now_ms()), holder, kind, called, invented_uscc(holder))
        for holder, (kind, called) in parties.items()
    ]
    money = Asset(
        uuid7(clock.now_ms()), terms.asset, "fen", "人民币", backdating_days=BACKDATING_DAYS
    )
    outcomes = await books.register_holders(REGISTRAR, holders)
    outcomes += await books.define_assets(REGISTRAR, [money])
    for outcome in outcomes:
        if outcome.reason not in THERE_ALREADY:
            accept(outcome)


async def _agree(bank: Bank, words: Words, desk: BankDesk, clock: Clock) -> None:
    """With nothing in it: who has brought money in before agrees by hand."""
    terms, now_ms = bank.terms, clock.now_ms()
    first_day = bank.day_of(now_ms)
    accept(
        await desk.agree(
            REGISTRAR,
            uuid7(now_ms),
            cutoff_minute=terms.cutoff_minute,
            first_day=first_day,
            opening_fen=0,
            document=terms.document,
            act=words.agreement(0, first_day),
        )
    )
    bank.agreed(first_day, 0)
