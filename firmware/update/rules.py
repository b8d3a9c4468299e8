"""What may be installed and what counts as healthy (pure: no I/O, no clock).

Theory of operation
-------------------
`refusal` compares what a bundle says of itself (after RAUC has checked its signature) with the box: another board's bundle never fits, an
older version only where somebody asked for it by name, the version that runs is nothing new. `complaints` compares what the box can do now
with what it could before the update: call control answers, every process runs, the engine's clock moves, no fewer exchange lines have
battery, where dial tone was heard before it is heard on a line again, and where telephones were registered at least one is back. An
ordinary start has no "before": then only the box itself is looked at.
"""

from __future__ import annotations

import re

import msgspec

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?(?:-([0-9A-Za-z.]{1,40}))?(?:\+[0-9A-Za-z.]{1,40})?")


class Offer(msgspec.Struct, frozen=True):
    """What a bundle says of itself."""

    compatible: str
    version: str


class Words(msgspec.Struct, frozen=True):
    """A sentence in both languages; `code` for programs."""

    code: str
    en: str
    zh: str


class Before(msgspec.Struct, frozen=True):
    """What worked before the restart: exchange lines with battery, registered telephones, lines on which dial tone was heard."""

    lines: int = 0
    phones: int = 0
    tones: int = 0


class Seen(msgspec.Struct, frozen=True):
    """One look at the appliance. `calls` is None while call control does not answer; `clock` is the engine's; `tones`: exchange lines on
    which a self-test heard dial tone, after an update only tests since the restart."""

    calls: int | None = None
    clock: str = ""
    stopped: tuple[str, ...] = ()
    lines: int = 0
    phones: int = 0
    tones: int = 0


def version_key(text: str) -> tuple[int, int, int, int, str] | None:
    """Order of versions: numbers first, a version with a suffix ("1.2.0-rc1") before the same without; None for what is no version."""
    found = _VERSION.fullmatch(text)
    if found is None:
        return None
    major, minor, patch, suffix = found.groups()
    return int(major), int(minor), int(patch or 0), 0 if suffix else 1, suffix or ""


def refusal(offer: Offer, compatible: str, running: str, *, older: bool = False) -> Words | None:
    """Why this bundle may not be installed; None where it may. `older`: somebody asked for an older version by name."""
    if offer.compatible != compatible:
        return Words(
            "wrong_board", f"the bundle is for {offer.compatible or 'no board'}, this box is {compatible}; fetch the bundle of this board",
            f"升级包适用于 {offer.compatible or '未知设备'}，本机是 {compatible}；请下载本机型号的升级包",
        )  # fmt: skip
    offered, mine = version_key(offer.version), version_key(running)
    if offered is None:
        return Words(
            "no_version", f"the bundle names no version ({offer.version[:40]!r}); it was not made by our tools", "升级包没有有效的版本号"
        )
    if mine is not None and offered < mine and not older:
        return Words(
            "older", f"the bundle is version {offer.version}, older than {running} that runs; say so if you want to go back (older)",
            f"升级包版本 {offer.version} 早于当前版本 {running}；如确需降级，请注明 older",
        )  # fmt: skip
    if offered == mine and offer.version == running:
        return Words("same", f"version {running} runs already", f"当前已是版本 {running}")
    return None


def unusable(text: str) -> Words:
    """What RAUC's refusal of a bundle means to people; `text` is its last error."""
    low = text.lower()
    if "signature" in low or "certificate" in low or "pkcs" in low or "cms" in low or "keyring" in low:
        return Words("signature", f"the bundle's signature is wrong or not ours ({text})", f"升级包签名无效或不属于本产品（{text}）")
    if (
        "no such file" in low
        or "not found" in low
        or "404" in low
        or "resolve" in low
        or "connect" in low
        or "timeout" in low
        or "timed out" in low
    ):
        return Words("unreachable", f"the bundle cannot be fetched ({text})", f"无法获取升级包（{text}）")
    return Words("damaged", f"the bundle is damaged or incomplete ({text}); copy it again", f"升级包损坏或不完整（{text}），请重新复制")


def complaints(now: Seen, earlier: Seen | None, before: Before | None) -> list[Words]:
    """What is not as it must be; empty when the box is healthy. `earlier`: a look some seconds ago."""
    found = []
    if now.calls is None:
        return [Words("core", "call control does not answer", "呼叫控制没有应答")]
    for process in now.stopped:
        found.append(Words("process", f"the process {process} does not run", f"进程 {process} 未运行"))
    if earlier is None or earlier.calls is None or earlier.clock == now.clock:
        found.append(Words("clock", "the engine's clock does not move", "媒体引擎时钟未走动"))
    if before is not None and now.lines < before.lines:
        found.append(
            Words(
                "lines",
                f"{now.lines} exchange lines have battery, {before.lines} had before",
                f"有馈电的外线 {now.lines} 条，升级前 {before.lines} 条",
            )
        )
    if before is not None and before.tones and not now.tones:
        found.append(Words("dial_tone", "no dial tone has been heard on a line yet", "尚未在任何外线上听到拨号音"))
    if before is not None and before.phones and not now.phones:
        found.append(Words("phones", "no telephone has come back", "没有话机重新注册"))
    return found
