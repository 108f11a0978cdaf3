"""Changes on the wire: what was proposed comes back as it was asked for."""

from __future__ import annotations

import pytest

from services.accounts.changes_rpc import change_message, change_of
from services.accounts.domain.changes import Change, Rebinding, RequiredSafeguards
from services.accounts.holders import holders_in
from services.accounts.parties import parties_of
from tests.support.companies import closing, opening, terms
from tests.support.lanzhou import BANK, CITY_GROUP, QINWANGCHUAN, VENUE

REBINDING = Rebinding("acct-" + "z" * 26, BANK, BANK, CITY_GROUP, "the branch has moved")


@pytest.mark.parametrize(
    "change",
    [
        Change(closing=closing(QINWANGCHUAN, VENUE)),
        Change(closing=closing(QINWANGCHUAN)),
        Change(rebinding=REBINDING),
        Change(terms=terms(safeguards=RequiredSafeguards(5, 0))),
        Change(terms=terms()),
        Change(opening=opening(QINWANGCHUAN)),
    ],
)
def test_a_change_goes_over_the_wire_and_back(change: Change) -> None:
    assert change_of(change_message(change)) == change


def test_whose_account_is_changed_sees_what_is_proposed_and_what_came_of_it() -> None:
    assert holders_in(Change(rebinding=REBINDING)) == [CITY_GROUP]
    assert holders_in(Change(closing=closing(QINWANGCHUAN))) == [QINWANGCHUAN]
    said = {"rebinding": {"bank": BANK, "clearing_house": BANK, "holder": CITY_GROUP}}
    for body in (said, {"change": said}):
        assert parties_of(body)[0] == {BANK, CITY_GROUP}
