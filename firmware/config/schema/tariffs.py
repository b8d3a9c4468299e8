"""What calls to outside cost: prices that routes, trunks and line groups name, for the reports."""

from typing import Annotated

from firmware.config.schema.base import Entry, about

#: Decimal text and no binary fraction, so that 0.1 is 0.1. Millionths, because carriers price a minute in parts of a cent.
PRICE = r"^[0-9]{1,6}(\.[0-9]{1,6})?$"
CURRENCY = r"^([A-Z]{3})?$"


class Tariff(Entry, frozen=True, kw_only=True):
    """What a call to outside costs; the table key is the name that routes, trunks and line groups use."""

    price: Annotated[str, about("Price of each started unit in `site.currency`, such as 0.11; 0 is free of charge", pattern=PRICE)]
    unit_s: Annotated[int, about("Length of a unit", unit="s", ge=1, le=3600)] = 60
    setup: Annotated[str, about("Price of the beginning of an answered call", pattern=PRICE)] = "0"
    included_s: Annotated[int, about("Time that `setup` pays for; units begin behind it", unit="s", ge=0, le=3600)] = 0
