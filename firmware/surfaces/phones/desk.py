"""Who gets which file: the rules of the provisioning service, without sockets and clocks.

Theory of operation
-------------------
A telephone is known by its MAC address in the configuration. Each has a standing: a token that makes its link its own, and until when it is
armed. The first file that a known telephone fetches while it is armed holds its passwords; with that it is disarmed, and every later file
is without them (the telephone keeps what it has) until somebody arms it again. Who may fetch: from the site's own networks a known
telephone
with any of its links or none; from elsewhere only with its token. An address that is not in the configuration gets nothing; it is noted (a
bounded number of them) for somebody to approve, or, while an installer has opened a window, assigned to the next free extension.
Over plain HTTP a telephone of the site gets the CA and the HTTPS address, and never a password.
Invariants: no path leads to a file system; every refusal looks the same (404), whatever its reason; passwords leave once for each arming;
tables are bounded.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from msgspec import Struct

from firmware.config.schema.tree import Config
from firmware.surfaces.phones.settings import Service, file_of
from firmware.surfaces.phones.vendors import asked, recognise
from firmware.surfaces.phones.zones import Told

MOST_UNKNOWN = 64
MOST_SOURCES = 1024
MOST_PATH = 160
MOST_AGENT = 200
MINUTE_S = 60
HOUR_S = 3600
OWN_NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "fc00::/7", "fe80::/10", "::1/128")
_PATH = re.compile(r"/(?:(?P<token>[A-Za-z0-9_-]{16,64})/)?(?P<name>[A-Za-z0-9._+-]{1,64})\Z")


class Standing(Struct):
    """What is known of a configured telephone. Times in seconds of Unix time, 0 for never."""

    token: str
    armed_until: int
    web_password: str
    former: str = ""
    """The link over which passwords were served: it stays good for files without them."""
    served: int = 0
    fetched: int = 0
    address: str = ""
    agent: str = ""
    digest: str = ""
    """Of the settings that it has, passwords aside: they differ from those of now when somebody changed them since."""


class Unknown(Struct):
    """A telephone that asked and is not configured."""

    vendor: str
    model: str
    address: str
    agent: str
    first: int
    last: int


class Book(Struct):
    """Everything the service remembers, kept on disk by its owner."""

    phones: dict[str, Standing] = {}
    unknown: dict[str, Unknown] = {}
    window_until: int = 0
    changed: bool = False


class Reply(Struct, frozen=True):
    """What to answer. `assign`: give this telephone (MAC, make, model) an extension, then ask again. `secret`: passwords are in it."""

    status: int
    body: bytes = b""
    content: str = "text/plain"
    assign: tuple[str, str, str] | None = None
    secret: bool = False
    mac: str = ""


NOTHING = Reply(404, b"not found\n")
TOO_MANY = Reply(429, b"too many requests\n")


class Desk:
    """See the theory of operation above. `token()` gives a fresh unguessable word."""

    def __init__(self, book: Book, token: Callable[[], str]) -> None:
        self.book = book
        self._token = token
        self._config = Config()
        self._networks: list[IPv4Network | IPv6Network] = []
        self._sources: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self.service = Service("", 0, 0, "", "")
        self.ca = b""

    def configure(self, config: Config, service: Service, ca: bytes, now: int) -> None:
        """Another configuration: new telephones are armed, those that are gone are forgotten."""
        self._config, self.service, self.ca = config, service, ca
        self._networks = [ip_network(one, strict=False) for one in config.provisioning.networks or OWN_NETWORKS]
        for mac in [mac for mac in self.book.phones if mac not in config.phones]:
            del self.book.phones[mac]
            self.book.changed = True
        for mac in config.phones:
            if mac not in self.book.phones:
                self.book.phones[mac] = Standing(self._token(), self._armed(now), self._token())
                self.book.changed = True
            if self.book.unknown.pop(mac, None) is not None:
                self.book.changed = True

    def _armed(self, now: int) -> int:
        return now + self._config.provisioning.armed_h * HOUR_S

    # --- what people do -----------------------------------------------------------------------------------------------

    def arm(self, mac: str, now: int) -> Standing:
        """The next file holds the passwords again, over a new link or from the site's networks. KeyError for an unknown telephone."""
        standing = self.book.phones[mac]
        standing.former, standing.token, standing.armed_until = standing.token, self._token(), self._armed(now)
        self.book.changed = True
        return standing

    def open_window(self, minutes: int, now: int) -> None:
        """Unknown telephones of the site are given free extensions for so long; 0 ends it."""
        self.book.window_until = now + minutes * MINUTE_S if minutes else 0
        self.book.changed = True

    def free_extension(self) -> str:
        """The lowest SIP extension that no telephone has; "" for none."""
        taken = {number for phone in self._config.phones.values() for number in phone.extensions}
        free = [number for number, entry in self._config.extensions.items() if entry.kind == "sip" and number not in taken]
        return min(free, key=lambda number: (len(number), number), default="")

    # --- requests -----------------------------------------------------------------------------------------------------

    def answer(self, path: str, source: str, agent: str, zone: Told, now: int, *, secure: bool) -> Reply:
        """The reply to GET `path`. Raises nothing, whatever is asked."""
        if not self._admit(source, now):
            return TOO_MANY
        found = _PATH.match(path) if len(path) <= MOST_PATH else None
        if found is None:
            return NOTHING
        if path == "/ca.crt":
            return Reply(200, self.ca, "application/x-x509-ca-cert") if self.ca else NOTHING
        telephone = asked(found["name"])
        if telephone is None:
            return NOTHING
        mac, makes = telephone
        phone, standing = self._config.phones.get(mac), self.book.phones.get(mac)
        near = self._near(source)
        agent = "".join(character for character in agent[:MOST_AGENT] if character.isprintable())
        if phone is None or standing is None:
            return self._stranger(mac, makes, source, agent, now) if near and not found["token"] and phone is None else NOTHING
        token = (found["token"] or "").encode()
        owns = hmac.compare_digest(token, standing.token.encode())
        owned = bool(standing.former) and hmac.compare_digest(token, standing.former.encode())
        if phone.vendor not in makes or not (owns or owned or (near and not token)):
            return NOTHING
        if not secure:
            if not near:
                return NOTHING
            body, content = file_of(self._config, mac, self.service, zone, secrets=False, bootstrap=True)
            return Reply(200, body, content, mac=mac)
        secret = now < standing.armed_until and (owns or near)
        body, content = file_of(
            self._config, mac, self.service, zone, token=standing.token, web_password=standing.web_password, secrets=secret
        )
        standing.fetched, standing.address, standing.agent = now, source, agent
        standing.digest = self.digest(mac, zone)
        if secret:
            standing.armed_until, standing.served = 0, now
        self.book.changed = True
        return Reply(200, body, content, secret=secret, mac=mac)

    def digest(self, mac: str, zone: Told) -> str:
        """Of a telephone's settings as they are now, wherever it asks from."""
        elsewhere = Service("box", self.service.sip_port, self.service.tls_port, "", "")
        body, _ = file_of(self._config, mac, elsewhere, zone, secrets=False)
        return hashlib.sha256(body).hexdigest()[:16]

    def link(self, mac: str) -> str:
        """Where a known telephone fetches its file; "" for an unknown one."""
        standing = self.book.phones.get(mac)
        return f"{self.service.url}{standing.token}/" if standing is not None else ""

    def met(self, mac: str, vendor: str, model: str, source: str, now: int) -> tuple[str, str, str] | None:
        """A telephone of the site asked by multicast: note a stranger; what to assign while the window is open."""
        if not self._near(source) or mac in self._config.phones:
            return None
        return self._stranger(mac, (vendor,) if vendor else (), source, model, now, model).assign

    def _stranger(self, mac: str, makes: tuple[str, ...], source: str, agent: str, now: int, model: str = "") -> Reply:
        vendor, told = recognise(agent, mac)
        vendor = vendor if vendor in makes else makes[0] if len(makes) == 1 else ""
        model = model or told
        unknown = self.book.unknown
        known = unknown.get(mac)
        if known is None:
            while len(unknown) >= MOST_UNKNOWN:
                del unknown[min(unknown, key=lambda one: unknown[one].last)]
            unknown[mac] = Unknown(vendor, model, source, agent, now, now)
        else:
            known.last, known.address, known.agent = now, source, agent
            known.vendor, known.model = vendor or known.vendor, model or known.model
        self.book.changed = True
        if now < self.book.window_until and vendor and self.free_extension():
            return Reply(404, assign=(mac, vendor, model))
        return NOTHING

    def _near(self, source: str) -> bool:
        try:
            address = ip_address(source.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)

    def _admit(self, source: str, now: int) -> bool:
        """Count a request of this minute."""
        minute = now // MINUTE_S
        begun, count = self._sources.pop(source, (minute, 0))
        count = count + 1 if begun == minute else 1
        self._sources[source] = (minute, count)
        while len(self._sources) > MOST_SOURCES:
            self._sources.popitem(last=False)
        return count <= self._config.provisioning.per_minute
