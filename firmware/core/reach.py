"""Reach: which address a peer is told, and over which flow a host that only has a name is reached (L5).

Theory of operation
-------------------
Joins the pure parts (`sip/networks.py`, `sip/locate.py`) with what only the machine knows: the address that a route starts from, and
DNS. `told` is asked for each message that comes in; `locate` gives whoever calls a carrier the flows to try, best first, each with our
address as that carrier is to be told it. An external address that is a name is looked up again and again: it belongs to an uplink
whose address changes. While DNS does not answer, the last address known holds.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from firmware.config.schema.tree import Config
from firmware.control.gate import Gate
from firmware.control.network_commands import NetworkRow, ShowNetworks
from firmware.runtime.clock import Clock
from firmware.sip.flow import Address, Flow
from firmware.sip.locate import Kind, Locator, Target, is_numeric
from firmware.sip.networks import ELSEWHERE, OUTSIDE, Networks
from firmware.sip.uri import Uri

EXTERNAL_EVERY_MS = 60_000
_ANY_PORT = 9        # only the address of the answer is used

log = logging.getLogger("branchpbx.reach")


class Reach:
    """`source(host)` is our address on the way to a host, "" where there is no way; `ports` are those that we listen on, by transport.

    `ask()` has the questions of the locator sent; `draw()` gives numbers from 0 up to 1.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        source: Callable[[str], str],
        ports: Mapping[str, int],
        draw: Callable[[], float],
        families: Sequence[Kind] = ("A",),
    ) -> None:
        self._clock = clock
        self._source = source
        self._ports = dict(ports)
        self._configured = dict(config.networks)
        self._name = "" if is_numeric(config.sip.external_address) else config.sip.external_address
        self.networks = Networks(
            ((network.subnets, network.address) for network in config.networks.values()),
            "" if self._name else config.sip.external_address,
        )
        self.locator = Locator(draw, transports=[one for one in ("tls", "tcp", "udp") if one in ports], families=families)
        self.ask: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Find the external address where it is a name; `ask` works from now on."""
        if self._name:
            self._find_external()

    def told(self, remote: str, local: Address) -> Address:
        """The address that a peer is told where its message arrived at `local`."""
        return self.networks.told(remote, local)

    def flow(self, target: Target) -> Flow | None:
        """The flow to a target, None where there is no way."""
        local = self._source(target.host)
        if not local:
            return None
        own = self.networks.told(target.host, (local, self._ports.get(target.transport, 0)))
        return Flow(target.transport, target.address, own, target.name if target.transport == "tls" else "")

    def locate(self, uri: Uri, then: Callable[[list[tuple[Target, Flow]]], None], *, transports: Sequence[str] = ()) -> None:
        """Give `then` the flows to a URI in the order of trying, at once or when DNS has answered; none where it cannot be reached."""

        def found(targets: list[Target]) -> None:
            then([(target, flow) for target in targets if (flow := self.flow(target)) is not None])

        self.locator.locate(uri, self._clock.now(), found, transports=transports)
        self.ask()

    def failed(self, target: Target, retry_after_s: int = 0) -> None:
        """A target did not answer, could not be reached, or asked to be left alone for a while."""
        self.locator.failed(target, self._clock.now(), retry_after_s)

    def works(self, target: Target) -> None:
        """A target answered."""
        self.locator.works(target)

    # --- what is shown ------------------------------------------------------------------------------------------------

    def attach(self, gate: Gate, phones: Callable[[], Iterable[str]]) -> None:
        """Answer `show networks`; `phones()` are the addresses that telephones are registered from."""
        gate.handle(ShowNetworks, lambda _: self._rows(Counter(self.networks.which(host) for host in phones())))

    def _rows(self, phones: Mapping[int, int]) -> list[NetworkRow]:
        rows = [
            NetworkRow(name, name, ", ".join(network.subnets), network.address, phones.get(place, 0), "", "")
            for place, (name, network) in enumerate(self._configured.items())
        ]
        external = self.networks.external
        if self._name or external:
            lost = bool(self._name) and not external
            rows.append(NetworkRow(
                "public network", "公网", "", f"{external} ({self._name})" if self._name and external else external or self._name,
                phones.get(OUTSIDE, 0), "DNS does not know this name; check sip.external_address and the name servers" if lost else "",
                "DNS 查不到该名称；请检查 sip.external_address 和域名服务器" if lost else "",
            ))  # fmt: skip
        rows.append(NetworkRow("elsewhere", "其他", "", "", phones.get(ELSEWHERE, 0), "", ""))
        return rows

    # --- the external address -----------------------------------------------------------------------------------------

    def _find_external(self) -> None:
        self._clock.call_later(EXTERNAL_EVERY_MS, self._find_external)
        self.locator.locate(Uri("sip", self._name, port=_ANY_PORT), self._clock.now(), self._external, transports=("udp",))
        self.ask()

    def _external(self, targets: list[Target]) -> None:
        if not targets:
            log.warning("the external address %s is not found; %s holds", self._name, self.networks.external or "none")
            return
        if targets[0].host != self.networks.external:
            log.info("external address %s is %s", self._name, targets[0].host)
        self.networks.use(targets[0].host)
