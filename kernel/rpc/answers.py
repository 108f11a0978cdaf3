"""What another book has said of the items of our errands, before anything is concluded from it.

Two refusals are recorded nowhere and say nothing of what was asked: they must never end an errand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tanzhang.kernel.v1 import items_pb2

from kernel.errors import Conflict

# Ids to a response of GetOutcomes.
GetOutcomes = Callable[[list[str]], Awaitable[Any]]


async def conclusive(
    results: Sequence[items_pb2.ItemResult], get_outcomes: GetOutcomes
) -> list[items_pb2.ItemResult]:
    """The results in their order, with what became of an id that was carried out in other words.

    So it is after a venue's key was replaced, or a new version of ours words it otherwise. Raises
    Conflict when our token may not name the cause: the same id may be carried out later.
    """
    reused = []
    for result in results:
        reason = result.refused.reason if result.HasField("refused") else ""
        if reason == "CAUSE_NOT_YOURS":
            raise Conflict("CAUSE_NOT_YOURS", result.refused.message)
        if reason == "ID_REUSED":
            reused.append(result.id)
    if not reused:
        return list(results)
    answer = await get_outcomes(reused)
    first = {result.id: result for result in answer.results}
    for id in reused:
        if id not in first:
            raise Conflict("OUTCOME_MISSING", f"no outcome of {id} yet")
    return [first.get(result.id, result) for result in results]
