"""Protobuf to command and back for what authorities order: freezes, transfers with a document."""

from __future__ import annotations

import asyncio
from typing import Any

from tanzhang.accounts.v1 import accounts_pb2 as pb

from kernel.rpc.batch import carry_out
from kernel.rpc.interceptors import current_caller
from kernel.rpc.items import timestamp_of
from kernel.rpc.pages import page_limit, page_place, page_token
from kernel.values import parse_instant
from services.accounts import queries
from services.accounts.base_rpc import AccountsPart
from services.accounts.domain import commands, events
from services.accounts.domain.state import Freeze, FreezeKey
from services.accounts.legs_rpc import PURPOSE_NUMBERS, check_words, range_messages


class OrdersRpc(AccountsPart):
    """The methods about freezes and transfers that are no trades."""

    async def FreezeUnits(self, request: pb.FreezeUnitsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "FreezeUnits", request.orders, freeze_units)
        return pb.FreezeUnitsResponse(results=results)

    async def UnfreezeUnits(self, request: pb.UnfreezeUnitsRequest, context: object) -> Any:
        results = await carry_out(self._writer, "UnfreezeUnits", request.orders, unfreeze_units)
        return pb.UnfreezeUnitsResponse(results=results)

    async def ListFreezes(self, request: pb.ListFreezesRequest, context: object) -> Any:
        caller = current_caller()
        if "registrar" not in caller.roles:
            self._check_may_view(request.holder, "")
        (after,), limit = page_place(request.page_token, 1), page_limit(request.page_size)
        rows, position = await self._writer.read(
            lambda state: queries.list_freezes(state, request.holder, after, limit),
            request.min_position,
        )
        token = page_token(rows[-1][0]) if len(rows) == limit else ""
        return pb.ListFreezesResponse(
            freezes=[_freeze_message(name, freeze) for _, name, freeze in rows],
            next_page_token=token,
            as_of_position=position,
        )

    async def PostTransfers(self, request: pb.PostTransfersRequest, context: object) -> Any:
        results = await carry_out(self._writer, "PostTransfers", request.orders, post_transfer)
        return pb.PostTransfersResponse(results=results)

    async def ConfirmTransfers(self, request: pb.ConfirmTransfersRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "ConfirmTransfers", request.transfers, confirm_transfer
        )
        return pb.ConfirmTransfersResponse(results=results)

    async def WithdrawTransfers(self, request: pb.WithdrawTransfersRequest, context: object) -> Any:
        results = await carry_out(
            self._writer, "WithdrawTransfers", request.transfers, withdraw_transfer
        )
        return pb.WithdrawTransfersResponse(results=results)

    async def ListFiledTransfers(
        self, request: pb.ListFiledTransfersRequest, context: object
    ) -> Any:
        (after,), limit = page_place(request.page_token, 1), page_limit(request.page_size)
        rows, position = await self._writer.read(
            lambda state: queries.list_filed(state, after, limit), request.min_position
        )
        return pb.ListFiledTransfersResponse(
            transfers=[_filed_message(filed) for filed in rows],
            next_page_token=page_token(after + len(rows)) if len(rows) == limit else "",
            as_of_position=position,
        )

    async def ListNonTradeTransfers(
        self, request: pb.ListNonTradeTransfersRequest, context: object
    ) -> Any:
        check_words(asset=request.asset)
        after, limit = page_place(request.page_token, 2), page_limit(request.page_size)
        position = await self._movements.reached(request.min_position)
        rows = await asyncio.to_thread(
            queries.list_transfers, self._engine, request.asset, after, limit
        )
        token = page_token(rows[-1].position, rows[-1].line) if len(rows) == limit else ""
        return pb.ListNonTradeTransfersResponse(
            transfers=[_transfer_message(row) for row in rows],
            next_page_token=token,
            as_of_position=position,
        )


def freeze_units(item: pb.SignedOrder) -> commands.FreezeUnits:
    return commands.FreezeUnits()


def unfreeze_units(item: pb.SignedOrder) -> commands.UnfreezeUnits:
    return commands.UnfreezeUnits()


def post_transfer(item: pb.SignedOrder) -> commands.PostTransfer:
    return commands.PostTransfer()


def confirm_transfer(item: pb.FiledTransferName) -> commands.ConfirmTransfer:
    return commands.ConfirmTransfer(item.transfer)


def withdraw_transfer(item: pb.FiledTransferName) -> commands.WithdrawTransfer:
    return commands.WithdrawTransfer(item.transfer)


def _freeze_message(name: FreezeKey, freeze: Freeze) -> pb.Freeze:
    message = pb.Freeze(
        authority=name[0],
        freeze=name[1],
        document=freeze.document,
        reason=freeze.reason,
        holder=freeze.holder,
        asset=freeze.asset,
        ref=freeze.ref,
        amount=freeze.amount,
        serials=range_messages(freeze.serials),
        until=freeze.until,
    )
    if freeze.purpose:
        message.purpose = PURPOSE_NUMBERS[events.Purpose(freeze.purpose)]
    return message


def _filed_message(filed: events.TransferFiled) -> pb.FiledTransfer:
    return pb.FiledTransfer(
        transfer=filed.transfer,
        nature=filed.nature,
        document=filed.document,
        source=filed.source,
        target=filed.target,
        filed_by=filed.filer.sub,
        moves=[
            pb.TransferMove(asset=leg.asset, amount=leg.amount, serials=range_messages(leg.serials))
            for leg in filed.moves
        ],
    )


def _transfer_message(row: queries.TransferRow) -> pb.NonTradeTransfer:
    return pb.NonTradeTransfer(
        position=row.position,
        at=timestamp_of(parse_instant(row.at)),
        on=timestamp_of(parse_instant(row.on)),
        nature=row.nature,
        document=row.document,
        authority=row.authority,
        asset=row.asset,
        amount=row.amount,
    )
