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


def health(
    target: str,
    deadline_s: float = DEADLINE_S,
    root_certificate: bytes | None = None,
    certified_name: str | None = None,
) -> str:
    """SERVING, NOT_SERVING, or UNREACHABLE when there was no answer in time.

    With a root certificate over TLS: `certified_name` is what the certificate has to name where
    that is not the target's host.
    """
    with _channel(target, root_certificate, certified_name) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=deadline_s)
        except grpc.RpcError:
            return UNREACHABLE
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _channel(target: str, root_certificate: bytes | None, name: str | None) -> grpc.Channel:
    # A channel of its own: a shared one would remember that nobody was there a moment ago.
    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
    if root_certificate is None:
        return grpc.insecure_channel(target, options=options)
    if name is not None:
        options.append(("grpc.ssl_target_name_override", name))
    credentials = grpc.ssl_channel_credentials(root_certificate)
    return grpc.secure_channel(target, credentials, options=options)
