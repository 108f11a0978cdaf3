"""The registry's second half: liens, signed by both their parties, and released by the pledgee.

A unit carries at most one pledge, and the sum released is at most what was pledged (domain 2.6).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kernel.record import RawRecord
from services.ledger.books.crossings import (
    ACCOUNTS,
    REGISTRY,
    Asked,
    At,
    Crossings,
    Place,
    canonical,
)
from services.ledger.books.days import day_of, parse_day
from services.ledger.books.directory import acts_of
from services.ledger.books.issuing import Issuing
from services.ledger.books.keys import AdmittedKeys
from services.ledger.books.port import RuleBroken, instant_ms, require, require_holds
from services.ledger.books.registry_events import (
    PledgeOverridden,
    PledgeRefused,
    PledgeRegistered,
    PledgeReleased,
    PledgeRequested,
    ReleaseRefused,
    ReleaseRequested,
)
from services.ledger.books.serials import count, merged, require_ranges

DAY_MS = 86_400_000


@dataclass(slots=True)
class Release:
    quantity_t: int
    asked_at: At


@dataclass(slots=True)
class Lien:
    """`left_t`: what lies under it and nobody has asked to release; None: not registered yet."""

    asked: PledgeRequested
    asked_at: At
    left_t: int | None = None
    releases: dict[str, Release] = field(default_factory=dict)  # those without an end
    released: set[str] = field(default_factory=set)  # names there ever were
    overridden_t: int = 0  # taken by orders, which may be told of before it is registered


class Pledging:
    def __init__(self, keys: AdmittedKeys, crossings: Crossings, issuing: Issuing) -> None:
        self._keys = keys
        self._crossings = crossings
        self._issuing = issuing
        self._liens: dict[str, Lien] = {}
        self._named: set[str] = set()  # liens there ever were

    # ---- checking -------------------------------------------------------------------------------

    def check_requested(self, raw: RawRecord, event: PledgeRequested) -> None:
        require("LIEN_NEW", False, event.lien in self._named)
        require_holds("QUANTITY", event.quantity_t > 0, "1 or more", event.quantity_t)
        require_holds("LOAN", event.loan_fen > 0, "1 or more", event.loan_fen)
        require_holds("PLEDGE_PARTIES", event.pledgor != event.pledgee, "two", event.pledgor)
        if event.serials:
            require_ranges(event.serials)
            require("SERIALS_COUNT", event.quantity_t, count(event.serials))
        day, matures = day_of(raw.on), parse_day(event.matures_on)
        require_holds("MATURITY", matures >= day, f"{day} or later", matures)
        self._check_statement(raw, event)
        self._check_value(raw, event)

    def _check_statement(self, raw: RawRecord, event: PledgeRequested) -> None:
        parties = [f"holder:{event.pledgor}", f"holder:{event.pledgee}"]
        statement = self._keys.statement(raw, parties, "pledge")
        expected = {
            "asset": event.asset,
            "kind": "pledge",
            "levels": event.levels,
            "lien": event.lien,
            "loan_fen": event.loan_fen,
            "matures_on": event.matures_on,
            "notice": event.notice,
            "pledgee": event.pledgee,
            "pledgor": event.pledgor,
            "programme": event.programme,
            "quantity_t": event.quantity_t,
            "rate_bp": event.rate_bp,
            "serials": event.serials,
            "valuation": event.valuation,
        }
        require("PLEDGE_STATEMENT", canonical(expected), canonical(statement))

    def _check_value(self, raw: RawRecord, event: PledgeRequested) -> None:
        """Only where the programme's terms limit it; loan over value is rounded half up."""
        terms, valuation = self._issuing.terms_of(event.programme, raw), event.valuation
        value_fen = valuation.price_fen_per_t * event.quantity_t
        if terms.max_ltv_bp is not None:
            within = 20_000 * event.loan_fen < value_fen * (2 * terms.max_ltv_bp + 1)
            loan = f"{event.loan_fen} fen on {value_fen}"
            require_holds("LOAN_TO_VALUE", within, f"at most {terms.max_ltv_bp} bp", loan)
        age_ms = instant_ms(raw.on) - valuation.priced_at_ms
        require_holds("PRICE_AGE", age_ms >= 0, f"a price before {raw.on}", valuation.priced_at_ms)
        if terms.max_price_age_days is not None:
            limit_ms = terms.max_price_age_days * DAY_MS
            require_holds("PRICE_AGE", age_ms <= limit_ms, f"at most {limit_ms} ms", age_ms)

    def check_registered(self, raw: RawRecord, event: PledgeRegistered) -> None:
        done = self._crossings.carried_out(self._requested(event.lien).asked_at, raw.cause)
        require("OUTCOME_SERIALS", done.serials, merged(event.serials))

    def check_refused(self, raw: RawRecord, event: PledgeRefused) -> None:
        self._crossings.check_refused(self._requested(event.lien).asked_at, raw.cause)

    def check_release_requested(self, raw: RawRecord, event: ReleaseRequested) -> None:
        lien = self._liens.get(event.lien)
        if lien is None or lien.left_t is None:
            raise RuleBroken("LIEN_LIVE", "a registered lien", event.lien)
        require("RELEASE_NEW", False, event.release in lien.released)
        limit = f"1..{lien.left_t} of {event.lien}"
        require_holds(
            "RELEASE_WITHIN", 0 < event.quantity_t <= lien.left_t, limit, event.quantity_t
        )
        pledgee = lien.asked.pledgee
        statement = self._keys.statement(raw, [f"holder:{pledgee}"], "pledge-release")
        expected = {
            "kind": "pledge-release",
            "lien": event.lien,
            "pledgee": pledgee,
            "quantity_t": event.quantity_t,
            "release": event.release,
        }
        require("RELEASE_STATEMENT", canonical(expected), canonical(statement))

    def check_released(self, raw: RawRecord, event: PledgeReleased) -> None:
        release = self._releasing(event.lien, event.release)
        require("RELEASE_QUANTITY", release.quantity_t, event.quantity_t)
        done = self._crossings.carried_out(release.asked_at, raw.cause)
        require("OUTCOME_SERIALS", done.serials, merged(event.serials))

    def check_release_refused(self, raw: RawRecord, event: ReleaseRefused) -> None:
        asked_at = self._releasing(event.lien, event.release).asked_at
        self._crossings.check_refused(asked_at, raw.cause)

    def check_overridden(self, raw: RawRecord, event: PledgeOverridden) -> None:
        """What an order took out from under liens in the accounts book, lien by lien, each once."""
        cause = raw.cause
        known = None if cause is None else self._crossings.overridden.get(cause[1])
        if cause is None or cause[0] != ACCOUNTS or known is None:
            raise RuleBroken("OVERRIDE_ORDER", "an order over liens to tell of", cause)
        said = (event.authority, event.document, event.transfer)
        require("OVERRIDE_ORDER", known.order, said)
        lot = known.lots.get(event.lien)
        require("OVERRIDE_LOT", lot, (event.quantity_t, merged(event.serials)))

    def _requested(self, name: str) -> Lien:
        lien = self._liens.get(name)
        if lien is None or lien.left_t is not None:
            raise RuleBroken("REQUEST_OPEN", "a pledge asked for and without an end", name)
        return lien

    def _releasing(self, lien: str, name: str) -> Release:
        known = self._liens.get(lien)
        release = None if known is None else known.releases.get(name)
        if release is None:
            raise RuleBroken("REQUEST_OPEN", "a release asked for and without an end", name)
        return release

    # ---- applying -------------------------------------------------------------------------------

    def apply_requested(self, raw: RawRecord, event: PledgeRequested) -> None:
        at = (REGISTRY, raw.position)
        self._named.add(event.lien)
        self._liens[event.lien] = Lien(event, at)
        source: Place = (event.pledgor, event.asset, "available", "")
        target: Place = (event.pledgor, event.asset, "pledged", event.lien)
        self._crossings.asked[at] = Asked(
            [(source, target, event.quantity_t)],
            sorted({act.statement for act in acts_of(raw)}),
            merged(event.serials) or None,
            lien=(event.lien, event.pledgee, None),
        )

    def apply_registered(self, raw: RawRecord, event: PledgeRegistered) -> None:
        lien = self._liens.get(event.lien)
        if lien is not None and lien.left_t is None:
            lien.left_t = lien.asked.quantity_t - lien.overridden_t
            self._crossings.end(lien.asked_at, raw.cause)

    def apply_refused(self, raw: RawRecord, event: PledgeRefused) -> None:
        lien = self._liens.get(event.lien)
        if lien is not None and lien.left_t is None:
            del self._liens[event.lien]
            self._crossings.end(lien.asked_at, raw.cause)

    def apply_release_requested(self, raw: RawRecord, event: ReleaseRequested) -> None:
        lien = self._liens.get(event.lien)
        if lien is None or lien.left_t is None:
            return
        at = (REGISTRY, raw.position)
        lien.left_t -= event.quantity_t
        lien.released.add(event.release)
        lien.releases[event.release] = Release(event.quantity_t, at)
        pledgor, asset, pledgee = lien.asked.pledgor, lien.asked.asset, lien.asked.pledgee
        source: Place = (pledgor, asset, "pledged", event.lien)
        target: Place = (pledgor, asset, "available", "")
        self._crossings.asked[at] = Asked(
            [(source, target, event.quantity_t)],
            sorted({act.statement for act in acts_of(raw)}),
            lien=(event.lien, pledgee, event.release),
        )

    def apply_released(self, raw: RawRecord, event: PledgeReleased) -> None:
        self._end_release(raw, event.lien, event.release)
        self._forget_empty(event.lien)

    def apply_overridden(self, raw: RawRecord, event: PledgeOverridden) -> None:
        known = None if raw.cause is None else self._crossings.overridden.get(raw.cause[1])
        if raw.cause is not None and known is not None:
            known.lots.pop(event.lien, None)
            if not known.lots:
                del self._crossings.overridden[raw.cause[1]]
        lien = self._liens.get(event.lien)
        if lien is not None:
            lien.overridden_t += event.quantity_t
            if lien.left_t is not None:
                lien.left_t -= event.quantity_t
                self._forget_empty(event.lien)

    def _forget_empty(self, name: str) -> None:
        lien = self._liens.get(name)
        if lien is not None and lien.left_t == 0 and not lien.releases:
            del self._liens[name]  # nothing is left under it: its name is never used again

    def apply_release_refused(self, raw: RawRecord, event: ReleaseRefused) -> None:
        release = self._end_release(raw, event.lien, event.release)
        lien = self._liens.get(event.lien)
        if release is not None and lien is not None and lien.left_t is not None:
            lien.left_t += release.quantity_t

    def _end_release(self, raw: RawRecord, name: str, release: str) -> Release | None:
        lien = self._liens.get(name)
        ended = None if lien is None else lien.releases.pop(release, None)
        if ended is not None:
            self._crossings.end(ended.asked_at, raw.cause)
        return ended
