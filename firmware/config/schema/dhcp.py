"""A small DHCP server for sites whose router cannot tell telephones where their settings are."""

from typing import Annotated

from msgspec import field

from firmware.config.schema.base import Entry, about
from firmware.config.schema.system import NameServer

_ADDRESS = r"^([0-9]{1,3}(\.[0-9]{1,3}){3})?$"


class Dhcp(Entry, frozen=True):
    """Addresses for a site without another DHCP server (`branchpbx dhcp`); never beside one."""

    enabled: Annotated[bool, about("Hand addresses out; it does not start while another server answers", role="admin")] = False
    interface: Annotated[str, about("Network interface that it serves", pattern=r"^[a-zA-Z0-9_.-]{1,15}$", role="admin")] = "eth0"
    first: Annotated[str, about("First address that is handed out", pattern=_ADDRESS, role="admin")] = ""
    last: Annotated[str, about("Last one", pattern=_ADDRESS, role="admin")] = ""
    router: Annotated[str, about("Router that clients are told; empty: none", pattern=_ADDRESS, role="admin")] = ""
    name_servers: Annotated[
        list[NameServer], about("Name servers that clients are told; none: the router", max_length=3, role="admin")
    ] = field(default_factory=list)
    lease_h: Annotated[int, about("A client keeps its address for this long", unit="h", ge=1, le=168, role="admin")] = 12
    voice_vlan: Annotated[
        int, about("VLAN that telephones are told to use (option 132, and LLDP-MED); 0 none", ge=0, le=4094, role="admin")
    ] = 0
