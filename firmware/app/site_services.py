"""What manage offers to a site beside its console: telephones' settings, tables, documents of the centre, updates, DHCP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from firmware.app.backup_part import BackupPart
from firmware.app.central import CentralPart
from firmware.app.configuration import Configuration
from firmware.app.handover import Handover
from firmware.app.host import rows_of
from firmware.app.importing import ImportPart
from firmware.app.phones import PhonesPart
from firmware.app.site import site_of_tree
from firmware.app.start import Wanted
from firmware.app.update_part import UpdatePart
from firmware.app.upkeep import Upkeep
from firmware.config.schema.tree import Config
from firmware.control.dhcp_commands import DhcpResult, ShowDhcp
from firmware.control.gate import Gate, Peer, Reply
from firmware.control.host_commands import AddressRow, ShowAddresses
from firmware.runtime.supervisor import Child
from firmware.store.audit import AuditTrail
from firmware.store.files import write_atomic

FOREIGN = AddressRow(
    "all", "foreign", "", "", "this machine's own system looks after its addresses and clock", "地址与时钟由本机系统自行管理"
)


def sip_ports(handover: Handover) -> tuple[int, int]:
    """Where telephones register: UDP and TCP, and TLS (0 for none). To be asked before these sockets are given up."""
    return handover.sip_udp.getsockname()[1], handover.sip_tls.getsockname()[1] if handover.sip_tls is not None else 0


class SiteServices:
    """Made once by manage. `perform` gives a command in somebody's name, `core` asks call control; `ports` as of `sip_ports`."""

    def __init__(
        self, handover: Handover, configuration: Configuration, perform: Callable[[Peer, str, Any], Awaitable[Reply]],
        core: Callable[..., Awaitable[Any]], ports: tuple[int, int], trail: AuditTrail,
    ) -> None:  # fmt: skip
        self._run = handover.run_folder
        self.phones = PhonesPart(
            config=handover.config, state=handover.state, bind=handover.bind, sip_port=ports[0], sip_tls_port=ports[1], perform=perform,
            core=core,
        )  # fmt: skip
        self.phones.proposed = lambda: site_of_tree(configuration.candidate.tree, "candidate").config
        self.central = CentralPart(state=handover.state, config=lambda: configuration.running, perform=perform, trail=trail)
        self.tables = ImportPart(perform, lambda: configuration.running, handover.board)
        self.updates = UpdatePart()
        self.backups = BackupPart(handover.state, lambda: configuration.running, self._restart)
        self.upkeep = Upkeep(handover.state, lambda: configuration.running, self.backups.sealed_to)
        configuration.alarming.append(self.upkeep.alarms)
        configuration.changed.append(self.phones.configure)
        configuration.changed.append(self._want_dhcp)
        self._want_dhcp(handover.config)

    def attach(self, gate: Gate) -> None:
        """Answer all their commands."""
        self.phones.attach(gate)
        self.central.attach(gate)
        self.tables.attach(gate)
        self.backups.attach(gate)
        self.updates.attach(gate)
        self.upkeep.attach(gate)
        gate.handle(ShowDhcp, lambda _: self._dhcp())
        gate.handle(ShowAddresses, lambda _: rows_of() or [FOREIGN])

    def children(self) -> list[Child]:
        """What manage's supervisor keeps alive."""
        return [Child("phones", self.phones.run), Child("central", self.central.run), Child("upkeep", self.upkeep.run)]

    def _restart(self) -> None:
        """Ask the parent to begin anew."""
        write_atomic(self._run / "wanted.json", msgspec.json.encode(Wanted("appliance")), durable=False)
        os.kill(os.getppid(), signal.SIGHUP)

    def _want_dhcp(self, config: Config) -> None:
        """Tell init by a file whether the DHCP server is wanted: it needs rights that no process of the appliance can give it."""
        wanted = self._run / "dhcp.wanted"
        with contextlib.suppress(OSError):
            wanted.touch() if config.dhcp.enabled else wanted.unlink(missing_ok=True)

    def _dhcp(self) -> DhcpResult:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads((self._run / "dhcp.json").read_bytes())
            return DhcpResult(str(said["state"]), str(said["says"]), str(said["says_zh"]))
        return DhcpResult("off", "`branchpbx dhcp` does not run beside the appliance", "branchpbx dhcp 未运行")
