"""A programme, its two forest projects, what was verified there, and the tickets issued for it.

The steps of the programme and the days between them are data; those here are chosen.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from cli.registry_client import (
    Issuance,
    IssuanceApproval,
    IssuanceProposal,
    Lot,
    Parts,
    Programme,
    Project,
    Step,
    StepTaken,
    Verification,
)
from cli.story.cast import (
    AREA_MU,
    AUDITOR,
    CHECKER,
    FORESTS,
    MAKER,
    QUANTITY_T,
    REGION,
    REGISTRAR,
    Forest,
    name_of,
)
from cli.story.scene import Scene
from cli.telling import expect
from kernel.values import DAY_MS

BOOK: Final = "registry"
PROJECT_TYPE: Final = "forest-carbon-sink"
# Step, days after the one before it, and how long ago it was taken.
STEPS: Final = (
    (Step("measured"), 60),
    (Step("reviewed"), 45),
    (Step("public-notice", 7), 30),
    (Step("certificate"), 20),
)
OPENED_DAYS_AGO: Final = 90
FILED_DAYS_AGO: Final = 75
PERIOD: Final = ("2016-01-01", "2020-12-31")


async def open_programme(scene: Scene) -> None:
    """Rules and parts of the programme, and the projects on their way through its steps."""
    holders = scene.holders
    programme = Programme(
        scene.new_id(),
        holders["programme"],
        name_of("programme"),
        "ticket",
        Parts(
            authority=holders["ecology"],
            registrar=holders["exchange"],
            venue=holders["exchange"],
            clearing_house=holders["clearing"],
            pledge_registrar=holders["exchange"],
        ),
        tuple(step for step, _ in STEPS),
        (PROJECT_TYPE,),
        _days_ago_ms(scene, OPENED_DAYS_AGO),
    )
    scene.take_all(await scene.registry.open_programmes(REGISTRAR, [programme]), BOOK)
    scene.say(f"{programme.name}: authority {name_of('ecology')}, registrar {name_of('exchange')}")
    scene.say(f"steps: {', '.join(step.name for step, _ in STEPS)} (chosen)")
    scene.say("a public notice stands for 7 days or more; no cap on loan over value")
    await _file(scene)
    await _advance(scene)
    await _verify(scene)
    await _tell_projects(scene)


async def _file(scene: Scene) -> None:
    projects = [
        Project(
            scene.new_id(),
            project_of(scene, forest),
            scene.holders["programme"],
            forest.name,
            PROJECT_TYPE,
            scene.holders[forest.owner],
            REGION,
            forest.area_mu,
            _site(scene, forest),
            f"invented design document of {forest.name}",
            _days_ago_ms(scene, FILED_DAYS_AGO),
        )
        for forest in FORESTS
    ]
    scene.take_all(await scene.registry.file_projects(MAKER, projects), BOOK)


async def _advance(scene: Scene) -> None:
    taken = [
        StepTaken(
            scene.new_id(),
            project_of(scene, forest),
            step.name,
            f"invented minutes: {step.name}",
            _days_ago_ms(scene, days_ago),
        )
        for step, days_ago in STEPS
        for forest in FORESTS
    ]
    scene.take_all(await scene.registry.advance_projects(MAKER, taken), BOOK)


async def _verify(scene: Scene) -> None:
    verifications = [_verification(scene, forest) for forest in FORESTS]
    scene.take_all(await scene.registry.verify_reductions(MAKER, verifications), BOOK)


def _verification(scene: Scene, forest: Forest) -> Verification:
    statement: dict[str, Any] = {
        "document": f"invented verification report of {forest.name}",
        "period_first": PERIOD[0],
        "period_last": PERIOD[1],
        "project": project_of(scene, forest),
        "quantity_t": forest.quantity_t,
        "verification": verification_of(scene, forest),
        "verifier": scene.holders["verifier"],
    }
    act = scene.sign("verifier", {"kind": "verification-statement", **statement})
    return Verification(scene.new_id(), acts=(act,), **statement)


async def _tell_projects(scene: Scene) -> None:
    found = await scene.registry.projects(scene.holders["programme"], scene.last[BOOK])
    by_id = {one.project: one for one in found}
    expect("projects", {project_of(scene, one) for one in FORESTS}, by_id.keys())
    for forest in FORESTS:
        one = by_id[project_of(scene, forest)]
        expect("steps done", tuple(step.name for step, _ in STEPS), one.steps_done)
        expect("tonnes verified", forest.quantity_t, one.verified_t)
        scene.say(f"{one.project}: {one.area_mu:,} mu, {one.verified_t:,} t verified")
        scene.figures.projects.append(
            {"project": one.project, "area_mu": one.area_mu, "verified_t": one.verified_t}
        )
    area_mu, verified_t = (sum(one.area_mu for one in found), sum(one.verified_t for one in found))
    expect("mu and tonnes together", (AREA_MU, QUANTITY_T), (area_mu, verified_t))
    scene.say(f"together {area_mu:,} mu and {verified_t:,} t, signed by {name_of('verifier')}")
    scene.say("how both divide, and the years 2016 to 2020, are chosen: not published")


async def issue(scene: Scene) -> None:
    """Proposed by one person, approved by another; the accounts book brings the tickets."""
    name = f"LZXQ-ISSUE-{scene.number}"
    proposal = IssuanceProposal(
        scene.new_id(),
        name,
        scene.ticket,
        f"LZXQ-{scene.number}",
        tuple(Lot(verification_of(scene, one), one.quantity_t) for one in FORESTS),
        f"invented decision {scene.number}",
    )
    (position,) = scene.take_all(await scene.registry.propose_issuances(MAKER, [proposal]), BOOK)
    (proposed,) = await scene.registry.issuances([name], position)
    expect("state", "proposed", proposed.state)
    scene.say(
        f"{MAKER.sub} proposes {name}: serials {proposed.first:,} to {proposed.last:,}"
        f" of {proposed.batch}"
    )
    await _approve(scene, proposed)
    done = await scene.until(
        f"issuance {name}", lambda: _issuance(scene, name), lambda one: one.state != "requested"
    )
    expect("state", ("completed", ""), (done.state, done.refusal.message))
    await _tell_issuance(scene, done)


async def _issuance(scene: Scene, name: str) -> Issuance:
    (one,) = await scene.registry.issuances([name], scene.last[BOOK])
    return one


async def _approve(scene: Scene, proposed: Issuance) -> None:
    approval = {
        "kind": "issuance-approval",
        "asset": proposed.asset,
        "batch": proposed.batch,
        "checker": CHECKER.sub,
        "document": proposed.document,
        "first": proposed.first,
        "last": proposed.last,
        "owners": [{"holder": one.holder, "quantity_t": one.quantity_t} for one in proposed.owners],
        "programme": proposed.programme,
    }
    acts = (scene.sign("authority", approval),)
    mine = IssuanceApproval(scene.new_id(), proposed.issuance, acts)
    (outcome,) = await scene.registry.approve_issuances(MAKER, [mine])
    refused = scene.refused(outcome, "MAKER_IS_CHECKER")
    scene.say(f"{MAKER.sub} approves it too: refused, {refused.reason}")
    theirs = IssuanceApproval(scene.new_id(), proposed.issuance, acts)
    scene.take_all(await scene.registry.approve_issuances(CHECKER, [theirs]), BOOK)
    scene.say(f"{CHECKER.sub} approves it, with the bureau's signature: on its way to accounts")


async def _tell_issuance(scene: Scene, done: Issuance) -> None:
    (total,) = await scene.books.totals(AUDITOR, scene.ticket, done.entry_position)
    expect("tonnes issued", QUANTITY_T, total.issued)
    for forest in FORESTS:
        (held,) = await scene.balances(forest.owner, scene.ticket, done.entry_position)
        expect(f"tonnes of {forest.owner}", forest.quantity_t, held.amount)
        (serials,) = held.serials
        scene.say(
            f"{name_of(forest.owner)}: {held.amount:,} t,"
            f" serials {serials.first:,} to {serials.last:,}"
        )
    scene.say(
        f"{total.issued:,} t issued: position {done.entry_position} of accounts,"
        f" completed at {done.ended_position} of registry"
    )
    scene.figures.issuance = {
        "issuance": done.issuance,
        "batch": done.batch,
        "first": done.first,
        "last": done.last,
        "issued_t": total.issued,
        "completed_position": done.ended_position,
        "entry_position": done.entry_position,
    }


def project_of(scene: Scene, forest: Forest) -> str:
    return f"LZXQ-{forest.project}-{scene.number}"


def verification_of(scene: Scene, forest: Forest) -> str:
    return f"{project_of(scene, forest)}/2016-2020"


def _site(scene: Scene, forest: Forest) -> str:
    """The digest of an invented geometry, another one for every telling."""
    geometry = f"{forest.name} {scene.holders[forest.owner]}"
    return f"sha256:{hashlib.sha256(geometry.encode()).hexdigest()}"


def _days_ago_ms(scene: Scene, days: int) -> int:
    return scene.clock.now_ms() - days * DAY_MS
