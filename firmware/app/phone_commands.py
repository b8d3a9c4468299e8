"""Console commands about desk telephones: what they show, and how they change the configuration.

A telephone enters the configuration through the shared candidate, in the name of whoever gave the command. Where nobody else has changes
pending there it is committed at once; else it waits with them, and the answer says so.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from difflib import unified_diff
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from firmware.config.schema.tree import Config
from firmware.control import phone_commands as pc
from firmware.control.gate import Gate, Peer, Reply, asker
from firmware.errors import CommandError
from firmware.net.dhcp import vendor_option

if TYPE_CHECKING:
    from firmware.app.phones import PhonesPart
    from firmware.surfaces.phones.desk import Standing

STATES = {
    "waiting": ("waits for its first fetch", "等待首次获取"),
    "armed": ("armed again, waits", "已重新允许，等待获取"),
    "set up": ("set up", "已配置"),
    "changed": ("set up; its settings were changed since: `phone reboot`", "已配置，之后设置有修改：请执行 phone reboot"),
    "expired": ("did not come in time: arm it again", "超时未获取，请重新允许"),
    "unknown": ("unknown: approve it", "未知话机，请批准"),
}


class PhoneCommands:
    """See the theory of operation above."""

    def __init__(self, part: PhonesPart, perform: Callable[[Peer, str, Any], Awaitable[Reply]]) -> None:
        self._part = part
        self._perform = perform

    def attach(self, gate: Gate) -> None:
        """Attach every handler."""
        gate.handle(pc.PhoneList, self._show)
        gate.handle(pc.ShowPhoneFile, self._file)
        gate.handle(pc.ShowPhoneChanges, self._changes)
        gate.handle(pc.ShowProvisioning, self._provisioning)
        gate.handle(pc.PhoneAdd, self._add)
        gate.handle(pc.PhoneApprove, self._approve)
        gate.handle(pc.PhoneRearm, self._rearm)
        gate.handle(pc.PhoneWindow, self._window)
        gate.handle(pc.PhoneReboot, self._reboot)
        gate.handle(pc.PhonePassword, self._password)

    # --- what is shown ------------------------------------------------------------------------------------------------

    def _show(self, _: pc.PhoneList) -> list[pc.DeskPhoneRow]:
        part, now = self._part, int(time.time())
        desk, zone, rows = part.open_desk(), part.zone(), []
        book = desk.book
        for mac, phone in part.config.phones.items():
            standing = book.phones[mac]
            state = _state(standing, now)
            if state == "set up" and standing.digest != desk.digest(mac, zone):
                state = "changed"
            rows.append(
                pc.DeskPhoneRow(
                    mac, phone.vendor, phone.model, " ".join(phone.extensions), *STATES[state],
                    self._local(standing.fetched), standing.address, standing.agent,
                )
            )  # fmt: skip
        for mac, unknown in book.unknown.items():
            rows.append(
                pc.DeskPhoneRow(
                    mac, unknown.vendor, unknown.model, "", *STATES["unknown"], self._local(unknown.last), unknown.address, unknown.agent
                )
            )
        return rows

    def _local(self, seconds: int) -> str:
        zone = ZoneInfo(self._part.config.site.time_zone)
        return datetime.fromtimestamp(seconds, zone).isoformat(" ", "seconds")[:19] if seconds else ""

    def _file(self, command: pc.ShowPhoneFile) -> str:
        return self._text(self._known(command.phone), self._part.config)

    def _text(self, mac: str, config: Config) -> str:
        """A telephone's file without passwords; "" where the configuration does not have it."""
        from firmware.surfaces.phones.settings import file_of

        if mac not in config.phones:
            return ""
        body, _ = file_of(config, mac, self._part.open_desk().service, self._part.zone(), token="TOKEN", secrets=False)
        return body.decode().replace("\r\n", "\n")

    def _changes(self, command: pc.ShowPhoneChanges) -> list[str]:
        mac, proposed = plain_mac(command.phone), self._part.proposed()
        if proposed is None:
            raise CommandError("the candidate has mistakes; `show plan` lists them")
        if mac not in self._part.config.phones and mac not in proposed.phones:
            raise CommandError(f"there is no telephone {mac}; `phone list` lists them")
        before, after = (self._text(mac, config).splitlines() for config in (self._part.config, proposed))
        return [line for line in unified_diff(before, after, lineterm="", n=0) if not line.startswith(("---", "+++", "@@"))]

    def _provisioning(self, _: pc.ShowProvisioning) -> list[pc.ProvisioningRow]:
        part, desk = self._part, self._part.open_desk()
        if not part.config.provisioning.enabled:
            return [pc.ProvisioningRow("service", "服务", "off: set provisioning.enabled true / 未启用")]
        entrance = part.entrance()
        left = max(0, desk.book.window_until - int(time.time()))
        rows = [
            ("address for telephones", "话机配置地址", entrance),
            ("CA of this box", "本机 CA 证书", desk.service.ca),
            ("DHCP option 66 (text)", "DHCP 选项 66（文本）", entrance),
            ("DHCP option 160 (text)", "DHCP 选项 160（文本）", entrance),
            ("DHCP option 43 (hex, sub-option 1)", "DHCP 选项 43（十六进制，子选项 1）", vendor_option(entrance).hex(":")),
            ("answers 224.0.1.75", "应答 224.0.1.75", "yes / 是" if part.joined else "no / 否"),
            ("window for unknown telephones", "未知话机自动分配", f"{left} s" if left else "closed / 关闭"),
        ]
        return [pc.ProvisioningRow(*row) for row in rows]

    # --- what is changed ----------------------------------------------------------------------------------------------

    async def _add(self, command: pc.PhoneAdd) -> pc.PhoneResult:
        mac = plain_mac(command.phone)
        if mac in self._part.config.phones:
            raise CommandError(f"telephone {mac} is there already; `phone re-arm {mac}` lets it fetch its passwords again")
        says = await self.enter(asker(), mac, command.vendor, command.model, command.extension)
        return pc.PhoneResult(mac, self._link(mac), *says)

    async def _approve(self, command: pc.PhoneApprove) -> pc.PhoneResult:
        mac, book = plain_mac(command.phone), self._part.open_desk().book
        unknown = book.unknown.get(mac)
        if unknown is None:
            raise CommandError(f"no telephone {mac} has asked for settings; `phone list` lists those that have, `phone add` needs none")
        if not unknown.vendor:
            raise CommandError(f"telephone {mac} does not say of which make it is; give it with `phone add {mac} MAKE {command.extension}`")
        says = await self.enter(asker(), mac, unknown.vendor, unknown.model, command.extension)
        return pc.PhoneResult(mac, self._link(mac), *says)

    def _rearm(self, command: pc.PhoneRearm) -> pc.PhoneResult:
        mac, part = self._known(command.phone), self._part
        part.open_desk().arm(mac, int(time.time()))
        part.keep()
        hours = part.config.provisioning.armed_h
        return pc.PhoneResult(
            mac, self._link(mac), f"its next file holds its passwords, within {hours} h; `phone reboot {mac}` makes it fetch now",
            f"{hours} 小时内下一次获取的配置将包含密码；可用 phone reboot {mac} 立即重新获取",
        )  # fmt: skip

    def _window(self, command: pc.PhoneWindow) -> pc.PhoneResult:
        self._part.open_desk().open_window(command.minutes, int(time.time()))
        self._part.keep()
        if not command.minutes:
            return pc.PhoneResult("", self._part.entrance(), "the window is closed", "已关闭自动分配")
        return pc.PhoneResult(
            "", self._part.entrance(), f"for {command.minutes} min telephones of the site that ask get free extensions in order",
            f"{command.minutes} 分钟内，本网络中请求配置的话机将依次获得空闲分机",
        )  # fmt: skip

    async def _reboot(self, command: pc.PhoneReboot) -> list[pc.SyncRow]:
        phone = self._part.config.phones[self._known(command.phone)]
        sent: list[dict[str, str]] = await self._part.core(pc.PhoneSync.path, extension=phone.extensions[0])
        return [pc.SyncRow(row["extension"], row["contact"]) for row in sent]

    def _password(self, command: pc.PhonePassword) -> pc.PasswordResult:
        mac = self._known(command.phone)
        return pc.PasswordResult(mac, self._part.open_desk().book.phones[mac].web_password)

    async def enter(self, peer: Peer, mac: str, vendor: str, model: str, extension: str) -> tuple[str, str]:
        """Write a telephone into the candidate and commit where nothing else waits there; what was done, in both languages."""
        pending = await self._ask(peer, "show diff", {})
        settings = {"vendor": f'"{vendor}"', "extensions": f'["{extension}"]', **({"model": f'"{model}"'} if model else {})}
        try:
            for name, value in settings.items():
                await self._ask(peer, "set", {"setting": f"phones.{mac}.{name}", "value": value})
            if pending:
                return ("written to the candidate, where other changes wait: `show diff`, then `commit`",
                        "已写入候选配置，其中还有其他修改：请查看 show diff 后执行 commit")  # fmt: skip
            await self._ask(peer, "commit", {"note": f"telephone {mac} for extension {extension}"})
        except CommandError:
            path = "delete" if pending else "discard"
            await self._perform(peer, path, {"setting": f"phones.{mac}"} if pending else {})
            raise
        if not self._part.config.provisioning.enabled:
            return ("committed; telephones are served once `set provisioning.enabled true` is committed, too",
                    "已提交；还需提交 set provisioning.enabled true 才能向话机提供配置")  # fmt: skip
        return ("committed; give the telephone this link, or let it find the box (`show provisioning`)",
                "已提交；请在话机上填写此链接，或让话机自动发现（show provisioning）")  # fmt: skip

    async def _ask(self, peer: Peer, path: str, args: dict[str, Any]) -> Any:
        reply = await self._perform(peer, path, args)
        if not reply["ok"]:
            raise CommandError(f"{path}: {reply['error']['message']}")
        return reply["result"]

    def _link(self, mac: str) -> str:
        return self._part.entrance(mac) if mac in self._part.config.phones else ""

    def _known(self, written: str) -> str:
        mac = plain_mac(written)
        if mac not in self._part.config.phones:
            raise CommandError(f"there is no telephone {mac}; `phone list` lists them")
        return mac


def plain_mac(written: str) -> str:
    """A MAC address as the configuration writes it. Raises CommandError."""
    mac = re.sub(r"[:.-]", "", written).lower()
    if re.fullmatch(r"[0-9a-f]{12}", mac) is None:
        raise CommandError(f"{written!r} is not a MAC address; it has 12 hexadecimal digits, as on the label of the telephone")
    return mac


def _state(standing: Standing, now: int) -> str:
    if standing.armed_until > now:
        return "armed" if standing.served else "waiting"
    return "set up" if standing.served else "expired"
