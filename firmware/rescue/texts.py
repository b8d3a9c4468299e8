"""What the rescue says to people, in English and Chinese. Plain text: the terminal may be anything."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SAID = {
    "banner": ("BranchPBX rescue {version} for {compatible}", "BranchPBX 救援系统 {version}，设备型号 {compatible}"),
    "why_failures": (
        "It runs because no slot could be started: each had used up its tries.",
        "进入原因：两个系统分区均多次启动失败。",
    ),
    "why_command": ("It runs because somebody asked for it by command.", "进入原因：管理员通过命令请求。"),
    "why_button": ("It runs because the button was held at power-on.", "进入原因：上电时按住了按钮。"),
    "why_unknown": ("The boot loader does not say why it runs.", "启动程序未说明进入原因。"),
    "menu": (
        "1 slots  2 install from the network  3 install from a USB stick  4 log  5 check the state partition\r\n"
        "6 factory reset  7 hashes of the slots  8 leave: restart into the firmware  L 中文",
        "1 系统分区  2 从网络安装  3 从U盘安装  4 日志  5 检查状态分区\r\n"
        "6 恢复出厂设置  7 系统分区校验值  8 离开：重启进入系统  L English",
    ),
    "cable": (
        "Over this cable: python -m tools.provision rescue FILE.raucb --fast 3000000",
        "通过此串口线：python -m tools.provision rescue 文件.raucb --fast 3000000",
    ),
    "leaves": (
        "Left alone for {minutes} min it gives both slots their tries again and restarts.",
        "{minutes} 分钟无操作将恢复两个系统分区的启动次数并重启。",
    ),
    "slot": ("slot {slot}: {content}; {left} tries left{first}", "系统分区 {slot}：{content}；剩余启动次数 {left}{first}"),
    "holds": ("version {version} for {compatible}", "版本 {version}，适用于 {compatible}"),
    "empty": ("nothing that could start", "没有可启动的系统"),
    "first": (", next to start", "，下次启动"),
    "hash": ("slot {slot}: SHA-256 {sha256}", "系统分区 {slot}：SHA-256 {sha256}"),
    "net_dhcp": ("network: {address} by DHCP, gateway {gateway}", "网络：{address}（DHCP），网关 {gateway}"),
    "net_fixed": (
        "network: nobody gives an address; this box has {address}. Give the laptop another of that network.",
        "网络：没有 DHCP 服务器；本机地址 {address}，请将笔记本设为同一网段的其他地址。",
    ),
    "net_none": ("network: none yet", "网络：尚未就绪"),
    "ask_source": (
        "Address of the bundle (http://.../x.raucb or tftp://host/x.raucb; empty: back): ",
        "升级包地址（http://.../x.raucb 或 tftp://主机/x.raucb；直接回车返回）：",
    ),
    "ask_older": (
        "Version {version} is older than {newest} on this box. Install it all the same? Type yes: ",
        "版本 {version} 早于本机已有的 {newest}。仍要安装请输入 yes：",
    ),
    "ask_reset": (
        "This deletes all that the branch owns: settings, recordings, call records, passwords. Type RESET to do it: ",
        "此操作将删除本机全部数据：配置、录音、通话记录和密码。确认请输入 RESET：",
    ),
    "not_done": ("Nothing was changed.", "未做任何更改。"),
    "fetching": ("fetching {percent} %", "下载 {percent} %"),
    "checking": ("signature is right; checking the content {percent} %", "签名有效；正在校验内容 {percent} %"),
    "writing": ("writing slot {slot} {percent} %", "正在写入系统分区 {slot} {percent} %"),
    "reading": ("reading slot {slot} back {percent} %", "正在回读系统分区 {slot} {percent} %"),
    "hashing": ("reading slot {slot} {percent} %", "正在读取系统分区 {slot} {percent} %"),
    "installed": (
        "Version {version} is in slot {slot}; it was read back and starts next. 8 restarts.",
        "版本 {version} 已写入系统分区 {slot} 并校验通过，下次启动使用。按 8 重启。",
    ),
    "checked": ("The state partition: {result}", "状态分区：{result}"),
    "state_good": ("no damage, {used} MiB of {size} used", "完好，已用 {used}/{size} MiB"),
    "state_mended": ("damage was mended: {detail}", "发现损坏并已修复：{detail}"),
    "reset_done": ("All that the branch owned is deleted; the box starts as a new one.", "数据已清除；设备将以全新状态启动。"),
    "restarts": ("Restarting.", "正在重启。"),
    "busy": ("{what} is still under way", "{what} 正在进行"),
    "unknown": ("{what}: the rescue has no such command", "{what}：救援系统没有此命令"),
    "confirm": ("say confirm={word} to do it", "请以 confirm={word} 确认"),
    "source": (
        "{source}: say http://..., tftp://..., usb, or send the file over this line first",
        "{source}：请使用 http://、tftp://、usb，或先通过串口发送文件",
    ),
    "unreachable": ("{source} does not answer ({why})", "{source} 无应答（{why}）"),
    "answered": ("{source} answers {why}", "{source} 返回 {why}"),
    "no_stick": ("no USB stick with a .raucb file is found", "未找到含 .raucb 文件的U盘"),
    "sticks": ("more than one bundle is on the stick ({names}); leave one", "U盘上有多个升级包（{names}），请只保留一个"),
    "no_file": ("no bundle has come over this line yet", "尚未通过串口收到升级包"),
    "too_big": ("it has {size} bytes, this box takes {most}", "大小 {size} 字节，超出本机上限 {most} 字节"),
    "damaged": ("the bundle is damaged or incomplete ({why}); fetch it again", "升级包损坏或不完整（{why}），请重新获取"),
    "signature": ("the bundle's signature is wrong or not ours ({why})", "升级包签名无效或不属于本产品（{why}）"),
    "wrong_board": (
        "the bundle is for {offered}, this box is {compatible}; fetch the bundle of this board",
        "升级包适用于 {offered}，本机是 {compatible}；请下载本机型号的升级包",
    ),
    "no_version": ("the bundle names no version; it was not made by our tools", "升级包没有有效的版本号"),
    "older": (
        "the bundle is version {version}, older than {newest} on this box; say so if that is meant (older)",
        "升级包版本 {version} 早于本机已有的 {newest}；如确需降级，请注明 older",
    ),
    "format": ("the bundle is of a kind that this rescue does not know ({why})", "救援系统不支持此类升级包（{why}）"),
    "slot_small": ("the image has {size} bytes, slot {slot} has {most}", "镜像 {size} 字节，系统分区 {slot} 仅 {most} 字节"),
    "write": (
        "slot {slot} cannot be written or reads back differently ({why}); it is not started, the other one is as it was",
        "系统分区 {slot} 写入或回读失败（{why}）；不会从它启动，另一分区未受影响",
    ),
    "fault": ("it failed: {why}", "操作失败：{why}"),
}


class Refusal(Exception):
    """Why something is not done; `code` is one of the texts, `facts` are its words."""

    def __init__(self, code: str, **facts: "Any") -> None:
        super().__init__(code)
        self.code = code
        self.facts = facts

    def said(self, language: str) -> str:
        """The sentence."""
        return say(self.code, language, self.facts)


def say(code: str, language: str = "en", facts: "dict[str, Any] | None" = None) -> str:
    """A text with its facts."""
    text = SAID[code][1 if language == "zh" else 0]
    return text.format(**(facts or {}))
