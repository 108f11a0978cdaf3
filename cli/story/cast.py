"""Who takes part in the story, and the published figures it keeps to.

The case is that of 2021 (丝路碳票): two forest projects in 兰州新区, 11,700 mu, 12,000 t, sold at
41.94 CNY/t and pledged to two banks for 495,000 CNY together. What is chosen because no source says
it is marked so. Names of holders, persons and credit codes are invented.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cli.clients import Persona
from kernel.values import uscc_check_character

MONEY: Final = "CNY"
MARKET: Final = "market"  # the market's book, and its ref in the accounts book
VENUE: Final = f"venue:{MARKET}"
TICKETS: Final = "TICKET-LZXQ"
INSTRUMENT: Final = "LZXQ"
REGION: Final = "甘肃兰州新区"

PRICE_FEN_PER_T: Final = 4_194
LOAN_FEN: Final = 49_500_000  # of both banks together
MONEY_IN_FEN: Final = 60_000_000  # chosen: more than the price, so that some is left
RETIRED_T: Final = 1_000  # chosen
FIXED_CAP_BP: Final = 7_000  # the cap on loan over value that is often proposed

REGISTRAR: Final = Persona("chen.registrar", ("registrar",))
CASHIER: Final = Persona("zhao.cashier", ("cashier",))
MAKER: Final = Persona("wang.ecology", ("registry",))
CHECKER: Final = Persona("li.ecology", ("registry",))
EXCHANGE: Final = Persona("he.exchange", ("exchange",))
PLATFORM_MAKER: Final = Persona("xu.inclusive", ("inclusive-operator",))
PLATFORM_CHECKER: Final = Persona("deng.inclusive", ("inclusive-operator",))
AUDITOR: Final = Persona("an.auditor", ("auditor",))


@dataclass(frozen=True)
class Part:
    """A holder of the story."""

    key: str
    kind: str
    name: str


PARTS: Final = (
    Part("north", "enterprise", "兰州新区秦王川林场"),
    Part("south", "enterprise", "兰州新区中川林场"),
    Part("group", "enterprise", "兰州新区城市发展集团"),
    Part("lender_a", "enterprise", "兰州新区第一贷款银行"),
    Part("lender_b", "enterprise", "兰州新区第二贷款银行"),
    Part("bank", "settlement_bank", "兰州结算银行"),
    Part("clearing", "enterprise", "甘肃环交所清算"),
    Part("exchange", "venue", "甘肃环交所"),
    Part("verifier", "enterprise", "西北碳核证"),
    Part("ecology", "enterprise", "兰州新区生态环境局"),
    Part("programme", "programme", "兰州新区丝路碳票"),
    Part("rides", "enterprise", "深圳绿色出行 (地铁、公交、单车)"),
)


@dataclass(frozen=True)
class Forest:
    """A project. How mu and tonnes divide is chosen: only their sums are published."""

    owner: str
    project: str
    name: str
    area_mu: int
    quantity_t: int


FORESTS: Final = (
    Forest("north", "QINWANGCHUAN", "秦王川造林碳汇项目", 6_825, 7_000),
    Forest("south", "ZHONGCHUAN", "中川造林碳汇项目", 4_875, 5_000),
)
AREA_MU: Final = 11_700
QUANTITY_T: Final = 12_000
PRICE_FEN: Final = QUANTITY_T * PRICE_FEN_PER_T

LENDERS: Final = ("lender_a", "lender_b")
PLEDGED_T: Final = QUANTITY_T // len(LENDERS)  # chosen: the split is not published
EACH_LOAN_FEN: Final = LOAN_FEN // len(LENDERS)


def name_of(key: str) -> str:
    return next(part.name for part in PARTS if part.key == key)


def invented_uscc(holder: str) -> str:
    """A unified social credit code that belongs to no company and to this holder alone.

    Registered by "Y" (others), in 兰州 (620100); the check characters of the organisation code
    (GB 11714-1997) and of the whole (GB 32100-2015) hold.
    """
    digits = f"{int.from_bytes(hashlib.sha256(holder.encode()).digest()[:6], 'big') % 10**8:08d}"
    weighed = sum(int(ch) * weight for ch, weight in zip(digits, _ORGANISATION, strict=True))
    check = "0123456789X"[-weighed % 11]
    first_17 = f"Y1620100{digits}{check}"
    return first_17 + uscc_check_character(first_17)


_ORGANISATION: Final = (3, 7, 9, 10, 5, 8, 4, 2)
