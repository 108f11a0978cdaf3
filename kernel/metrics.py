"""Metrics of a process, in Prometheus form on /metrics of its own loopback port.

Names end in the unit; labels are few and bounded (book, method, reason), never an id.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, start_http_server

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

rpc_seconds = Histogram(
    "tanzhang_rpc_seconds", "Time to answer a call", ["method", "code"], buckets=_SECONDS
)
items_total = Counter(
    "tanzhang_items_total", "Items of batches by what became of them", ["method", "result"]
)
committed_position = Gauge(
    "tanzhang_committed_position", "Position of the next event of a book", ["book"]
)
standby = Gauge(
    "tanzhang_standby", "1 while a process follows a book that another one writes", ["book"]
)
commit_seconds = Histogram(
    "tanzhang_commit_seconds", "Time of one journal commit", ["book"], buckets=_SECONDS
)
published_position = Gauge(
    "tanzhang_published_position", "Position up to which frames are on the bus", ["book"]
)
followed_position = Gauge(
    "tanzhang_followed_position", "Position up to which a reader has come", ["reader", "book"]
)
bad_frames_total = Counter(
    "tanzhang_bad_frames_total", "Frames that were not believed", ["book", "rule"]
)
folded_position = Gauge(
    "tanzhang_ledger_folded_position", "Events checked and appended to a log", ["book"]
)
proven_position = Gauge(
    "tanzhang_ledger_proven_position", "Events under the published checkpoint", ["book"]
)
state_seconds = Histogram(
    "tanzhang_ledger_state_seconds", "Time to make the maps of a state", buckets=_SECONDS
)
halted = Gauge("tanzhang_ledger_halted", "1 while a log is halted", ["book"])
witness_cosigned_position = Gauge(
    "tanzhang_witness_cosigned_position",
    "Events under the checkpoint that a witness cosigned last",
    ["book", "witness"],
)
witness_alarm = Gauge(
    "tanzhang_witness_alarm",
    "1 while a witness says of a log what cannot be: that it forked, or is longer than we signed",
    ["book", "witness"],
)
witness_answers_total = Counter(
    "tanzhang_witness_answers_total", "Answers of witnesses", ["book", "witness", "result"]
)
market_stopped = Gauge("tanzhang_market_stopped", "1 while a market takes no orders", ["book"])
disclosures_total = Counter(
    "tanzhang_disclosures_total", "Events handed out to their parties", ["book"]
)
http_seconds = Histogram(
    "tanzhang_http_seconds",
    "Time to answer a request at the gateway, by route as it is written in the table",
    ["method", "route", "status"],
    buckets=_SECONDS,
)
http_streams = Gauge("tanzhang_http_streams", "Live views open at the gateway")


def serve_metrics(port: int, host: str = "127.0.0.1") -> None:
    """Starts the /metrics endpoint in a thread of its own."""
    start_http_server(port, addr=host)
