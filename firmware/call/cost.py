"""What a call to outside cost, written into its history when its leg is over (L1, pure; O8).

Theory of operation
-------------------
`outbound[].tariff` names the tariff of a call, else that of the trunk or line group by which it left; the name is noted when it is dialled.
When the leg is over its price is worked out, from the answer to the end, and stands in the history ("cost"): a tariff that changes later
changes no report of earlier calls, one that changes within a call holds for all of it. A call without a tariff costs "unknown", never
0. An amount is an estimate where the answer was assumed or hardly proved, and where the carrier joined two of its calls itself and goes on
counting. Emergency calls are told apart ("emergency") and no report charges them. A site without tariffs writes nothing.
"""

from __future__ import annotations

from firmware.call.contact import SURE, Contact
from firmware.call.model import TRUNK, Cause, is_trunk
from firmware.call.money import OF_COUNTRY, exact, millionths
from firmware.call.registry import left
from firmware.call.state import Leg
from firmware.config.schema.tariffs import Tariff
from firmware.config.schema.tree import Config

UNKNOWN, EMERGENCY = "unknown", "emergency"


def currency(config: Config) -> str:
    """The currency of the site's tariffs."""
    return config.site.currency or OF_COUNTRY[config.site.country]


def tariff_of_way(config: Config, endpoint: str) -> str:
    """Name of the tariff of a trunk, or of the group of a line; "" for none."""
    if is_trunk(endpoint):
        trunk = config.trunks.get(endpoint.removeprefix(TRUNK))
        return trunk.tariff if trunk is not None else ""
    line = config.ports.fxo.get(endpoint.removeprefix("line/"))
    group = config.ports.groups.get(line.group) if line is not None else None
    return group.tariff if group is not None else ""


def price(tariff: Tariff, ms: int) -> int:
    """What an answered call of `ms` costs, in millionths: the set-up, and each unit that began behind what it pays for."""
    behind = max(1, ms) - tariff.included_s * 1000
    units = max(0, -(-behind // (tariff.unit_s * 1000)))
    return millionths(tariff.setup) + units * millionths(tariff.price)


@left
def gone(c: Contact, leg: Leg) -> None:
    """A leg is over: write what it cost, if somebody outside was called and answered."""
    config = c.desk.config
    if leg.phone or leg.incoming or leg.answered < 0 or not config.tariffs:
        return
    ms = max(0, leg.ended - leg.answered)
    tariff = config.tariffs.get(leg.tariff)
    unit = currency(config)
    amount = UNKNOWN if tariff is None else exact(price(tariff, ms), unit)
    if c.s.emergency and leg.number == c.s.emergency_number:
        amount = EMERGENCY
    proof = leg.answer_evidence
    estimated = proof is None or proof.confidence < SURE or leg.cause is Cause.TRANSFERRED
    account = {"account": leg.account} if leg.account else {}
    c.record(
        "cost", leg.id, by=leg.payer, **account, way=leg.endpoint, tariff=leg.tariff, ms=ms, amount=amount, currency=unit,
        estimated=estimated,
    )  # fmt: skip
