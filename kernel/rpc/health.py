"""Asks a process how it is: the standard gRPC health service, without a token, once.

Blocking, for supervisors and tools; a process that does not answer is a state, not an error.
"""

from __future__ import annotations

from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVING: Final = "SERVING"
UNREACHABLE: Final = "UNREACHABLE"
DEADLINE_S: Final = 1.0


def health(target: str, deadline_s: float = DEADLINE_S) -> str:
    """SERVING, NOT_SERVING, or UNREACHABLE when there was no answer in time."""
    # A channel of its own: a shared one would remember that nobody was there a moment ago.
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=deadline_s)
        except grpc.RpcError:
            return UNREACHABLE
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
