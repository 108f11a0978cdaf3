"""The one mapping between the three error families and google.rpc.Status (design section 6).

    Refused INVALID          INVALID_ARGUMENT      Conflict QUEUE_FULL   RESOURCE_EXHAUSTED
    Refused RULE             FAILED_PRECONDITION   Conflict otherwise    UNAVAILABLE
    Refused FORBIDDEN        PERMISSION_DENIED     anything else         INTERNAL, without words
    Refused UNKNOWN          NOT_FOUND
    Refused UNAUTHENTICATED  UNAUTHENTICATED

The reason travels as ErrorInfo (domain "tanzhang"), its numbers as metadata, a pause as RetryInfo.
"""

from __future__ import annotations

from typing import Final, cast

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from tanzhang.kernel.v1 import items_pb2

from kernel.asks import Result
from kernel.errors import Conflict, Fault, Kind, Refused, TanzhangError
from kernel.journal.port import Refusal

DOMAIN: Final = "tanzhang"

_CODES: Final = {
    Kind.INVALID: code_pb2.INVALID_ARGUMENT,
    Kind.RULE: code_pb2.FAILED_PRECONDITION,
    Kind.FORBIDDEN: code_pb2.PERMISSION_DENIED,
    Kind.UNKNOWN: code_pb2.NOT_FOUND,
    Kind.UNAUTHENTICATED: code_pb2.UNAUTHENTICATED,
}
_KINDS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: Kind.INVALID,
    grpc.StatusCode.FAILED_PRECONDITION: Kind.RULE,
    grpc.StatusCode.PERMISSION_DENIED: Kind.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: Kind.UNKNOWN,
    grpc.StatusCode.UNAUTHENTICATED: Kind.UNAUTHENTICATED,
}


def to_status(error: Exception) -> status_pb2.Status:
    """What a caller is told. A fault says nothing of itself: its words are in the log."""
    if isinstance(error, Refused):
        return _status(
            _CODES[error.kind],
            error.message,
            error_details_pb2.ErrorInfo(
                reason=error.reason,
                domain=DOMAIN,
                metadata={name: str(value) for name, value in error.details.items()},
            ),
        )
    if isinstance(error, Conflict):
        full = error.reason == "QUEUE_FULL"
        seconds, rest_ms = divmod(error.retry_after_ms, 1000)
        return _status(
            code_pb2.RESOURCE_EXHAUSTED if full else code_pb2.UNAVAILABLE,
            error.message,
            error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN),
            error_details_pb2.RetryInfo(
                retry_delay=Duration(seconds=seconds, nanos=rest_ms * 1_000_000)
            ),
        )
    return _status(
        code_pb2.INTERNAL,
        "a fault on our side; it has been logged",
        error_details_pb2.ErrorInfo(reason="FAULT", domain=DOMAIN),
    )


def _status(
    code: int, message: str, *details: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo
) -> status_pb2.Status:
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> TanzhangError:
    """The inverse, for our clients: the same family and reason the server raised."""
    code, message = error.code(), error.details() or ""
    reason, details, pause_ms = str(code.name), {}, 0
    status = rpc_status.from_call(cast(grpc.Call, error))
    for packed in status.details if status is not None else ():
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if packed.Unpack(info):
            reason, details = info.reason, dict(info.metadata)
        elif packed.Unpack(retry):
            pause_ms = retry.retry_delay.ToMilliseconds()
    if code in _KINDS:
        return Refused(reason, message, _KINDS[code], **details)
    if code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
    ):
        return Conflict(reason, message, pause_ms)
    return Fault(f"{code.name}: {message}")


def to_item_result(result: Result) -> items_pb2.ItemResult:
    """A writer's result as one item of a batch response."""
    outcome = result.outcome
    if outcome.refusal is not None:
        return refused_item(outcome.id, outcome.refusal)
    return items_pb2.ItemResult(
        id=outcome.id,
        accepted=items_pb2.Accepted(
            first_position=outcome.first, events=outcome.events, repeated=result.repeated
        ),
    )


def refused_item(id: str, refusal: Refusal) -> items_pb2.ItemResult:
    return items_pb2.ItemResult(id=id, refused=refusal_message(refusal))


def refusal_message(refusal: Refusal | Refused) -> items_pb2.Refusal:
    return items_pb2.Refusal(
        reason=refusal.reason,
        message=refusal.message,
        details={name: str(value) for name, value in refusal.details.items()},
        kind=items_pb2.RefusalKind.Value(f"REFUSAL_KIND_{refusal.kind.name}"),
    )
