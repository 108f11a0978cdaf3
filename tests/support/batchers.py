"""A client of the accounts service in a fault run that sends many things at once.

Mixed batches of entries, holds and what becomes of them; groups that are carried out together or
not at all; and streams of batches, which break in the middle and are gone on with.
"""

from __future__ import annotations

from pathlib import Path

from tanzhang.accounts.v1 import accounts_pb2 as pb

from tests.support.lanzhou import available, leg
from tests.support.patient import Asked, Step
from tests.support.traders import ASSETS, MUCH, LiveHold, Trader, held, place
from tests.support.world import World

LIVES_MS = (None, None, 1500, 4000)  # of a hold, until it expires
FAILING = 0.25  # of the groups have a member that is refused


class Batcher(Trader):
    """As a trader, in batches; what is held outside of one is ended in another."""

    def __init__(self, name: str, world: World, seed: str, folder: Path) -> None:
        super().__init__(name, world, seed, folder)
        self._in_batches: list[LiveHold] = []

    def steps(self) -> tuple[Step, ...]:
        return (
            (self.posts_a_batch, 5),
            (self.posts_a_group, 4),
            (self.streams, 3),
            (self.reads, 2),
        )

    def posts_a_batch(self) -> None:
        self.ask("PostBatch", self._mixed())

    def posts_a_group(self) -> None:
        """One or two groups, what is linked to nothing before, between and after them."""
        asked = [self._payment(), *self._group(), self._payment()]
        if self.chance.random() < 0.5:
            asked += [*self._group(), self._payment()]
        self.ask("PostBatch", asked)

    def streams(self) -> None:
        """Batches of entries alone, and mixed ones, in one stream."""
        self.ask_in_stream(
            [
                [self._payment() for _ in range(self.chance.randint(1, 8))]
                if self.chance.random() < 0.5
                else self._mixed()
                for _ in range(self.chance.randint(2, 10))
            ]
        )

    def _mixed(self) -> list[Asked]:
        """Entries beside holds that are placed, paid out in parts, released or left to expire."""
        asked: list[Asked] = []
        for _ in range(self.chance.randint(1, 4)):
            asked += self.chance.choice(
                (self._payments, self._hold_and_its_end, self._hold_for_later, self._end_of_one)
            )()
        if self.chance.random() < 0.5:
            asked += self._group()
        return asked or self._payments()

    def _payments(self) -> list[Asked]:
        return [self._payment() for _ in range(self.chance.randint(1, 3))]

    def _payment(self) -> Asked:
        asset, (source, target) = self.chance.choice(ASSETS), self._two()
        amount = MUCH if self.chance.random() < 0.1 else self.chance.randint(1, 3)
        return self._entry([leg(amount, asset, available(source), available(target))])

    def _hold_and_its_end(self) -> list[Asked]:
        """Placed, paid out in parts, and more than is left; released or not, in one batch."""
        placed, one = self._of_a_few(None)
        parts = [self._part(one, 1) for _ in range(self.chance.randint(0, one.amount))]
        paid = len(parts)
        asked = [placed, *parts]
        if self.chance.random() < 0.3:
            asked.append(self._part(one, one.amount - paid + 1))
        if paid < one.amount:
            asked.append(self._rest(one, one.amount - paid))
        return asked

    def _hold_for_later(self) -> list[Asked]:
        placed, one = self._of_a_few(self.chance.choice(LIVES_MS))
        self._in_batches.append(one)
        return [placed]

    def _end_of_one(self) -> list[Asked]:
        """Of a hold of an earlier batch: it may have expired, or never have been placed."""
        if not self._in_batches:
            return self._payments()
        one = self._in_batches.pop(self.chance.randrange(len(self._in_batches)))
        return [self._part(one, 1)] if self.chance.random() < 0.3 else [self._rest(one, one.amount)]

    def _group(self) -> list[Asked]:
        """Linked, of all kinds; the numbers of a refusal in it are those of a trial."""
        members = [self._payment_of_little() for _ in range(self.chance.randint(1, 3))]
        if self.chance.random() < 0.5:
            placed, one = self._of_a_few(None)
            members += [placed, self._rest(one, one.amount)]
        if self.chance.random() < FAILING:
            source, target = self._two()
            much = self._entry(
                [leg(MUCH, self.chance.choice(ASSETS), available(source), available(target))]
            )
            members.insert(self.chance.randint(0, len(members)), much)
        if len(members) == 1:
            members.append(self._payment_of_little())
        for one_of_them in members:
            one_of_them.of = None
            one_of_them.group = members[0].item.id
            one_of_them.item.linked = one_of_them is not members[-1]
        return members

    def _payment_of_little(self) -> Asked:
        source, target = self._two()
        asset = self.chance.choice(ASSETS)
        return self._entry([leg(1, asset, available(source), available(target))])

    def _of_a_few(self, life_ms: int | None) -> tuple[Asked, LiveHold]:
        return self._hold(self.chance.randint(2, 5), life_ms)

    def _part(self, one: LiveHold, amount: int) -> Asked:
        """The rest stays held."""
        item = pb.HoldPost(id=self.world.new_id(), hold=one.id, amount=amount, keep_rest=True)
        source, target = held(one.holder, one.id), available(one.to)
        return Asked(
            item,
            "HoldPosted",
            ((place(source, one.asset), place(target, one.asset), amount),),
        )

    def _rest(self, one: LiveHold, amount: int) -> Asked:
        """What is left of it is paid out, or released."""
        source = place(held(one.holder, one.id), one.asset)
        if self.chance.random() < 0.5:
            item = pb.HoldPost(id=self.world.new_id(), hold=one.id, amount=amount)
            return Asked(
                item, "HoldPosted", ((source, place(available(one.to), one.asset), amount),)
            )
        back = place(available(one.holder), one.asset)
        release = pb.HoldRelease(id=self.world.new_id(), hold=one.id)
        return Asked(release, "HoldReleased", ((source, back, amount),))
