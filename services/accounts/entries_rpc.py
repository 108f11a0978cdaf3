"""Protobuf to command and back for holders, assets, entries and holds: the hot path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET
from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.rpc.batch import carry_out, carry_out_briefly
from kernel.rpc.items import enum_of, instant_of
from kernel.rpc.streams import in_order
from services.accounts.base_rpc import AccountsPart
from services.accounts.changes_rpc import KINDS
from services.accounts.domain import commands, events
from services.accounts.legs_rpc import account_of, leg_of, ranges_of

_UNITS: Final = {pb.Unit.Value(f"UNIT_{unit.name}"): unit for unit in events.Unit}


class EntriesRpc(AccountsPart):
    """The methods that register, define, post, hold and release."""

    async def RegisterHolders(self, request: pb.RegisterHoldersRequest, context: object) -> Any:
        results = await carry_out(self._writer, "RegisterHolders", request.holders, register_holder)
        return pb.RegisterHoldersResponse(results=results)

    async def DefineAssets(self, request: pb.DefineAssetsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "DefineAssets", request.assets, define_asset)
        return pb.DefineAssetsResponse(results=results)

    async def PostEntries(self, request: pb.PostEntriesRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PostEntries", request.entries, post_entry)
        return pb.PostEntriesResponse(results=results)

    async def PostEntriesInBulk(self, request: pb.PostEntriesInBulkRequest, context: object) -> Any:
        positions, told = await carry_out_briefly(
            self._writer, "PostEntriesInBulk", request.entries, post_entry
        )
        return pb.PostEntriesInBulkResponse(positions=positions, results=told)

    async def PlaceHolds(self, request: pb.PlaceHoldsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PlaceHolds", request.holds, place_hold)
        return pb.PlaceHoldsResponse(results=results)

    async def PostHolds(self, request: pb.PostHoldsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PostHolds", request.posts, post_hold)
        return pb.PostHoldsResponse(results=results)

    async def ReleaseHolds(self, request: pb.ReleaseHoldsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "ReleaseHolds", request.releases, release_hold)
        return pb.ReleaseHoldsResponse(results=results)

    async def PostBatch(self, request: pb.PostBatchRequest, context: object) -> Any:
        items = [inner_item(item) for item in request.items]
        results = await carry_out(self._writer, "PostBatch", items, command_of)
        return pb.PostBatchResponse(results=results)

    async def StreamBatches(
        self, requests: AsyncIterator[pb.StreamBatchesRequest], context: object
    ) -> AsyncIterator[pb.StreamBatchesResponse]:
        async for results in in_order(requests, self._stream_batch):
            yield pb.StreamBatchesResponse(results=results)

    async def _stream_batch(self, request: pb.StreamBatchesRequest) -> list[Any]:
        items = [*request.entries, *(inner_item(item) for item in request.items)]
        return await carry_out(self._writer, "StreamBatches", items, command_of)


def register_holder(item: pb.Holder) -> commands.RegisterHolder:
    kind = enum_of(KINDS, item.kind, "kind")
    return commands.RegisterHolder(item.holder, kind, item.uscc, item.name)


def define_asset(item: pb.Asset) -> commands.DefineAsset:
    return commands.DefineAsset(
        item.asset,
        enum_of(_UNITS, item.unit, "unit"),
        item.programme,
        item.serialised,
        item.name,
        item.backdating_days,
    )


def post_entry(item: pb.Entry) -> commands.PostEntry:
    claim = None
    if item.HasField("claim"):
        claim = events.Claim(item.claim.beneficiary, item.claim.details, item.claim.purpose)
    legs = [leg_of(leg) for leg in item.legs[:]]  # a copy costs less than iterating the message's
    return commands.PostEntry(legs, claim, item.mandate or UNSET)


def place_hold(item: pb.Hold) -> commands.PlaceHold:
    return commands.PlaceHold(
        item.holder,
        item.asset,
        item.amount,
        ranges_of(item.serials),
        account_of(item.to),
        instant_of(item.expires_at, "expires_at") if item.HasField("expires_at") else None,
        item.mandate or UNSET,
    )


def post_hold(item: pb.HoldPost) -> commands.PostHold:
    return commands.PostHold(item.hold, item.amount, item.mandate or UNSET, item.keep_rest)


def release_hold(item: pb.HoldRelease) -> commands.ReleaseHold:
    return commands.ReleaseHold(item.hold, item.mandate or UNSET)


def inner_item(item: pb.BatchItem) -> Any:
    """The one that is set; of none an entry without an id, which is refused as malformed."""
    return getattr(item, item.WhichOneof("item") or "entry")


def command_of(item: Any) -> msgspec.Struct:
    return _TO_COMMAND[type(item)](item)


_TO_COMMAND: Final[dict[type[Any], Callable[[Any], msgspec.Struct]]] = {
    pb.Entry: post_entry,
    pb.Hold: place_hold,
    pb.HoldPost: post_hold,
    pb.HoldRelease: release_hold,
}
