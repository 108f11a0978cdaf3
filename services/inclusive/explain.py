"""A trip in words, zh-CN and en: the formula, or why it earned nothing (domain section 6).

Made from what the journal says in clear, so it stands when everything sealed is gone. Integer
arithmetic only: 145,950 mg are shown as 145.95 g, never rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from services.inclusive.domain.events import MethodologyProposed, TripCredited, TripRefused
from services.inclusive.domain.measure import distance_of_m


class Words(NamedTuple):
    zh: str
    en: str


MODES: Final = {
    "metro": Words("地铁", "metro"),
    "bus": Words("公交", "bus"),
    "bike": Words("单车", "bike"),
    "ebike": Words("电单车", "e-bike"),
}

NOT_SALEABLE: Final = {
    "COUNTERFACTUAL": Words("仅为测算，不计积分，不可出售", "a what-if: no points, not for sale"),
    "METHODOLOGY_IS_REPORT": Words(
        "方法学为研究报告，不可出售",
        "measured by a report, not by a filed methodology: not for sale",
    ),
    "EVIDENCE_TOO_WEAK": Words("证据等级不足，不可出售", "the evidence is too weak: not for sale"),
    "NO_CONSENT_TO_SELL": Words("未同意出售", "you have not agreed to sell it"),
}

# By reason, with the numbers of its details; tests hold this to the rules.
REFUSED: Final = {
    "TRIP_KNOWN": Words("该订单已计入，不重复计算", "this order has earned already"),
    "UNKNOWN_RIDER": Words("该乘客未登记", "nobody enrolled under this rider's number"),
    "NO_CONSENT": Words("您未同意计量", "you had not agreed to be measured"),
    "MODE_NOT_OPERATED": Words(
        "该运营方不经营此方式（登记：{expected}；上报：{actual}）",
        "its operator runs {expected}, the trip says {actual}",
    ),
    "TAP_WITHOUT_PARTNER": Words(
        "只有单次刷卡，缺少{missing_zh}", "the trip has no {missing}: a tap without its partner"
    ),
    "TRIP_BACKWARDS": Words(
        "结束早于开始（{actual_s} 秒）", "it ends before it begins ({actual_s} s)"
    ),
    "TRIP_IN_FUTURE": Words(
        "结束时间晚于上报时间 {ahead_s} 秒", "it ends {ahead_s} s after it was reported"
    ),
    "TRIP_TOO_OLD": Words(
        "行程距今 {actual_days} 天，上限 {limit_days} 天",
        "it is {actual_days} days old, {limit_days} is the limit",
    ),
    "PHONE_ALONE": Words(
        "仅凭手机无法确认{mode_zh}出行", "a phone alone cannot tell a {mode} trip from a car"
    ),
    "ENTRY_IS_EXIT": Words("进站与出站相同", "it ends where it began"),
    "ROUND_TRIP_NEEDS_TRACK": Words("往返骑行需要轨迹", "a round trip needs a track"),
    "PAID_AREA_EXCEEDED": Words(
        "付费区停留 {actual_min} 分钟，上限 {limit_min} 分钟",
        "{actual_min} min in the paid area, {limit_min} min is the limit",
    ),
    "TOO_LONG": Words(
        "历时 {actual_min} 分钟，上限 {limit_min} 分钟",
        "it took {actual_min} min, {limit_min} min is the limit",
    ),
    "DISTANCE_MISSING": Words("没有里程来源", "nobody could say how far it was"),
    "DISTANCE_OUT_OF_RANGE": Words(
        "里程超出范围（上限 {limit_m} 米）", "its distance is not within 0..{limit_m} m"
    ),
    "DISTANCE_TOO_SHORT": Words("不足 {needed_m} 米", "it is shorter than {needed_m} m"),
    "TOO_FAST": Words(
        "平均 {actual_kmh} 公里/小时，上限 {limit_kmh} 公里/小时",
        "{actual_kmh} km/h on average, {limit_kmh} km/h is the limit",
    ),
    "TRIPS_OVERLAP": Words(
        "与另一行程重叠 {actual_s} 秒，容许 {limit_s} 秒",
        "{actual_s} s in common with another trip, {limit_s} s are allowed",
    ),
    "NO_METHODOLOGY": Words(
        "{on} 在{region}没有适用于{mode_zh}的方法学",
        "no approved methodology measures {mode} in {region} on {on}",
    ),
}
_MISSING: Final = {"start": "起点", "end": "终点"}


def explain_credit(trip: TripCredited, methodology: MethodologyProposed) -> Words:
    """`10.00 km × 46.8 g/km = 468 g`, and what is to be known besides."""
    words = _formula(trip, methodology)
    if trip.because:
        why = NOT_SALEABLE[trip.because]
        words = Words(f"{words.zh}；{why.zh}", f"{words.en}; {why.en}")
    return words


def _formula(trip: TripCredited, methodology: MethodologyProposed) -> Words:
    if not trip.reduction_mg:  # only declared: half the points, and no reduction to compute
        return Words(
            f"自行申报：0 克，{trip.points} 积分（减半）",
            f"self-declared: 0 g, {trip.points} points (half)",
        )
    factor = methodology.factor_mg_per_km
    km = format_km(distance_of_m(trip.reduction_mg, factor))
    per_km, reduction = format_g(factor), format_g(trip.reduction_mg)
    return Words(
        f"{km} 公里 × {per_km} 克/公里 = {reduction} 克",
        f"{km} km × {per_km} g/km = {reduction} g",
    )


def explain_refusal(trip: TripRefused) -> Words:
    return _refusal(trip.reason, trip.details)


def _refusal(reason: str, details: Mapping[str, str]) -> Words:
    words = REFUSED.get(reason)
    if words is None:  # of a rule that a later version of this program knows
        return Words(reason, reason)
    shown = dict(details)
    if "missing" in shown:
        shown["missing_zh"] = _MISSING.get(shown["missing"], shown["missing"])
    if "mode" in shown:
        mode = MODES[shown["mode"]]
        shown["mode_zh"], shown["mode"] = mode.zh, mode.en
    return Words(words.zh.format_map(shown), words.en.format_map(shown))


def format_km(distance_m: int) -> str:
    """Metres, a multiple of 10, as kilometres with two places."""
    return f"{distance_m // 1000}.{distance_m % 1000 // 10:02d}"


def format_g(amount_mg: int) -> str:
    """Milligrams as grams, exactly: 145950 is 145.95, 468000 is 468."""
    grams, rest_mg = divmod(amount_mg, 1000)
    return f"{grams}.{rest_mg:03d}".rstrip("0").rstrip(".")
