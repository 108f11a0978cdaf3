"""What `verify` and the verify page say, in English and Chinese: data files for both.

`events.json`: by book and type what an event says, the labels of its fields, their units, and the
words of values that are one of a few. `verify.json`: what was proved, by whom, and what not. The
page's build reads the same files. This module only looks words up; what is said when, and how
figures are written, is cli/reading.py and cli/explaining.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

EN, ZH_CN = "en", "zh-CN"
LANGUAGES: Final = (EN, ZH_CN)
ANY_BOOK: Final = "*"
_EVENTS: Final = Path(__file__).with_name("events.json")
_VERIFY: Final = Path(__file__).with_name("verify.json")


class Words:
    """All words in one language."""

    def __init__(self, language: str) -> None:
        self.language = language

    def event(self, book: str, type: str) -> str | None:
        """What an event of this type says; None of a type that is not known."""
        events = _file(_EVENTS)["events"]
        known = events.get(book, {}).get(type) or events[ANY_BOOK].get(type)
        return None if known is None else self._of(known)

    def entry(self, rule: str) -> str | None:
        """What an entry is, by the rule that recognised it."""
        return self._known("entries", rule)

    def statement(self, kind: str) -> str:
        """What an institution signed: `pledge`, `bank-advice`, …"""
        return self._known("statements", kind) or kind

    def label(self, field: str) -> str:
        """A field's name without its unit: `matures_on` as `matures on`."""
        return self._known("fields", field) or field.replace("_", " ")

    def value(self, field: str, value: str) -> str:
        """A value that is one of a few, where this field has such; else the value itself."""
        known = _file(_EVENTS)["values"].get(field, {}).get(value)
        return value if known is None else self._of(known)

    def unit(self, ending: str) -> str:
        """The unit behind a figure: `_fen_per_t` as `CNY/t`."""
        return self._of(_file(_EVENTS)["units"][ending])

    def say(self, sentence: str, **values: object) -> str:
        """A sentence with its values filled in."""
        known = _file(_VERIFY)["sentences"].get(sentence) or _file(_EVENTS)["sentences"][sentence]
        return self._of(known).format(**values)

    def _known(self, part: str, key: str) -> str | None:
        known = _file(_EVENTS)[part].get(key)
        return None if known is None else self._of(known)

    def _of(self, known: Mapping[str, str]) -> str:
        return known[self.language]


ENGLISH: Final = Words(EN)
CHINESE: Final = Words(ZH_CN)


def words_in(language: str) -> Words:
    """ValueError for a language there are no words in."""
    if language not in LANGUAGES:
        raise ValueError(f"expected {' or '.join(LANGUAGES)}, got {language}")
    return CHINESE if language == ZH_CN else ENGLISH


def language_of(environment: Mapping[str, str]) -> str:
    """The language a terminal asks for (POSIX: LC_ALL, then LC_MESSAGES, then LANG)."""
    asked = (environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return ZH_CN if next(filter(None, asked), "").lower().startswith("zh") else EN


def unit_forms() -> dict[str, str]:
    """How figures with these endings are written: `_bp` as hundredths. Longest endings first."""
    return {ending: unit["form"] for ending, unit in _file(_EVENTS)["units"].items()}


def listed(part: str) -> frozenset[str]:
    """The field names in one of the file's lists: `durations`, `no_limit_at_zero`, `of_asset`."""
    return frozenset(_file(_EVENTS)[part])


@lru_cache(maxsize=2)
def _file(path: Path) -> dict[str, Any]:
    words: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return words
