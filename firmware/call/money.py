"""Amounts of money as whole numbers of millionths of the currency's unit, and as text (L1, pure).

Theory of operation. Carriers price a minute in parts of a cent, so a cent is too coarse and a binary fraction never exact: prices are
decimal text in the configuration, and what is added up is the whole number of millionths that the text says. `exact` loses nothing;
`shown` rounds half away from zero to the smallest coin (ISO 4217), for people, and only what is shown: sums are made of exact amounts.
"""

from __future__ import annotations

UNIT = 1_000_000
#: Currencies whose smallest coin is not the hundredth (ISO 4217, list one): digits behind the dot.
DIGITS = {"BHD": 3, "CLP": 0, "IQD": 3, "ISK": 0, "JOD": 3, "JPY": 0, "KRW": 0, "KWD": 3, "LYD": 3, "OMR": 3, "PYG": 0, "TND": 3, "UGX": 0,
          "VND": 0, "XAF": 0, "XOF": 0, "XPF": 0}  # fmt: skip
OF_COUNTRY = {"CN": "CNY", "US": "USD", "UK": "GBP", "DE": "EUR", "FR": "EUR", "AU": "AUD"}


def digits(currency: str) -> int:
    """Digits behind the dot of the smallest coin."""
    return DIGITS.get(currency, 2)


def millionths(text: str) -> int:
    """A price or amount as decimal text ("0.11", at most six digits behind the dot) in millionths."""
    whole, _, part = text.partition(".")
    return int(whole) * UNIT + int(part.ljust(6, "0") if part else 0)


def exact(amount: int, currency: str) -> str:
    """An amount of millionths, not below 0, as decimal text with nothing lost: at least the digits of the smallest coin."""
    least = digits(currency)
    part = f"{amount % UNIT:06}".rstrip("0").ljust(least, "0")
    return f"{amount // UNIT}.{part}" if part else str(amount // UNIT)


def shown(amount: int, currency: str) -> str:
    """An amount of millionths, not below 0, rounded to the smallest coin, with the currency behind it."""
    places = digits(currency)
    coin = 10 ** (6 - places)
    coins = (amount + coin // 2) // coin
    return f"{coins // 10**places}.{coins % 10**places:0{places}} {currency}" if places else f"{coins} {currency}"
