"""The box as a machine in the branch's network: its addresses, the name servers it asks, the clocks it follows."""

from typing import Annotated

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about
from firmware.config.schema.system import HostName

_FOUR = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
Resolver = Annotated[str, Meta(pattern=r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:]{2,45})$")]


class Interface(Entry, frozen=True):
    """A connection of the box to a network; the table key is its name here, for example lan or voice."""

    device: Annotated[
        str, about("Network device, as `show interfaces` names it", pattern=r"^[a-zA-Z][a-zA-Z0-9_-]{0,9}$", role="admin")
    ] = "eth0"
    vlan: Annotated[int, about("VLAN of this connection on the device; 0: frames without a tag", ge=0, le=4094, role="admin")] = 0
    address: Annotated[
        str,
        about("Fixed address with the length of its network, 192.168.1.10/24; empty: asked of the network by DHCP",
              pattern=rf"^({_FOUR}/[0-9]{{1,2}})?$", role="admin"),
    ] = ""  # fmt: skip
    gateway: Annotated[
        str,
        about("Router to everywhere else, with a fixed address; empty: none by this connection", pattern=rf"^({_FOUR})?$", role="admin"),
    ] = ""


class Host(Entry, frozen=True):
    """Addresses and clock of the box, put into force by `branchpbx host` on an appliance image; elsewhere the machine's own system does."""

    interfaces: Annotated[
        dict[str, Interface], about("Connections by name; none: the first device asks for its address by DHCP", max_length=8, role="admin")
    ] = {}
    name_servers: Annotated[
        list[Resolver], about("Name servers of the box; none: those that DHCP tells", max_length=3, role="admin")
    ] = field(default_factory=list)
    time_servers: Annotated[
        list[HostName], about("NTP servers that the clock follows; none: the clock is left alone", max_length=4, role="admin")
    ] = field(default_factory=list)
