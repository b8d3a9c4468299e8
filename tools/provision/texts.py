"""What the tool itself tells the person at the laptop, in both languages; what the box says comes in the asked language."""

from __future__ import annotations

from typing import Any

#: code -> (English, Chinese)
SAID: dict[str, tuple[str, str]] = {
    "port": (
        "{name} cannot be opened ({why}); is the cable in, and no other program on it?",
        "无法打开 {name}（{why}）；请检查串口线是否接好、是否有其他程序占用",
    ),
    "choose": ("say which port with --port; USB serial adapters found: {found}", "请用 --port 指明串口；找到的 USB 串口：{found}"),
    "costly": (
        "the box asks for a key that takes too much memory; this is no BranchPBX",
        "对方要求的密钥运算占用内存过多；这不是 BranchPBX 设备",
    ),
    "stale": (
        "{what}: the box no longer knows how this ended; look with `status` before trying again",
        "{what}：设备已无此操作的结果；请先用 status 查看再重试",
    ),
    "too-long": ("{what}: too long for one message; ask for less, or send it as a file", "{what}：内容过长；请缩小范围，或作为文件发送"),
    "no-rescue": (
        "the box is not in the rescue; type `rescue` at its console, or hold its button at power-on",
        "设备不在救援系统中；请在控制台输入 rescue，或上电时按住按钮",
    ),
    "rescued": ("version {version} is in slot {slot} and starts next", "版本 {version} 已写入系统分区 {slot}，下次启动使用"),
    "busy": ("{what}: the box is busy with other requests; try again", "{what}：设备忙，请稍后再试"),
    "silent": (
        "no box answers for {seconds} s; check cable, port and rate, and that the box is on",
        "{seconds} 秒内没有设备应答；请检查串口线、端口、速率以及设备是否通电",
    ),
    "refused": ("no log-in for {seconds} s; the box says: {why}", "{seconds} 秒内未能登录；设备答复：{why}"),
    "broke": ("the line broke ({why}); trying again", "线路中断（{why}），正在重试"),
    "gone": ("the port does not come back ({why})", "串口没有恢复（{why}）"),
    "calling": ("the box does not answer; calling it again", "设备没有应答，正在重新呼叫"),
    "another": ("box {found} answers instead of {wanted}; begin anew for it", "应答的是设备 {found}，而不是 {wanted}；请重新开始"),
    "impostor": (
        "what answers does not know the secret itself; this is not the box it says it is",
        "应答方自己不知道密钥；它不是所声称的设备",
    ),
    "damaged": ("{file} arrived damaged; fetch it again", "{file} 接收后已损坏，请重新获取"),
    "no-font": (
        "no Chinese font is found on this computer; name one with {variable}, or write a PDF",
        "本机未找到中文字体；请用环境变量 {variable} 指定，或输出 PDF",
    ),
    "ending": ("{file}: write it as {wanted}", "{file}：文件类型应为 {wanted}"),
    "broken-off": (
        "the questions were broken off; what was answered is kept, and `wizard` goes on with it",
        "提问被中断；已回答的内容已保留，再次运行 wizard 可继续",
    ),
    "scan-broken": ("the scan was broken off; nothing was sent", "扫描被中断，未发送任何内容"),
    "password": ("a password has {least} to {most} characters; nothing was sent", "密码应为 {least} 至 {most} 个字符；未发送任何内容"),
    "refused-answer": ("{question}: the box does not take \"{answer}\"", "{question}：设备不接受“{answer}”"),
    "no-call": (
        "the test call to {number} did not come about; the trial will be taken back",
        "拨打 {number} 的测试通话未接通；试用配置将自动撤回",
    ),
    "scan": ("scan the codes of the sheet, in any order", "请依次扫描二维码，顺序不限"),
    "parts": ("still missing: {numbers}", "还缺：{numbers}"),
    "no-part": ("this is no part of a document, or the parts do not fit; scan it again", "不是文档的一段，或各段不匹配；请重新扫描"),
    "file-or-scan": ("name the document, or read it with --scan", "请指明文档文件，或用 --scan 扫描"),
    "trusts": ("the box trusts key {key} from now on", "设备从现在起信任密钥 {key}"),
    "not-tried": ("the box did not take the document ({reason}): {says}", "设备未接受该文档（{reason}）：{says}"),
    "user": ("Log-in name of the administrator (-: none, open to every cable)", "管理员登录名（-：无，任何人接线即可登录）"),
    "new-password": ("Password of {user}, at least 8 characters: ", "{user} 的密码，至少 8 个字符："),
    "again": ("Again: ", "再输入一次："),
    "unequal": ("The two are not the same.", "两次输入不一致。"),
    "left": ("left; `wizard`, or `setup` at the console, goes on with it", "已退出；再次运行 wizard 或在控制台输入 setup 可继续"),
    "unsaved": (
        "the box's candidate has {count} changes that nobody committed; --force gives them up",
        "设备候选配置有 {count} 项未提交的修改；--force 将放弃它们",
    ),
    "differs": (
        "the box does not run what it stores: {parts}; the trial will be taken back",
        "设备运行的配置与保存的不一致：{parts}；试用配置将自动撤回",
    ),
    "empty": ("{file}: no site in it", "{file}：其中没有站点"),
    "column": ("row {row}: unknown column {column}", "第 {row} 行：不认识的列 {column}"),
    "no-file": ("row {row} ({site}): there is no file {file}", "第 {row} 行（{site}）：没有文件 {file}"),
    "twice": ("row {row}: {site} is there twice", "第 {row} 行：{site} 重复"),
    "list": ("{problems}", "{problems_zh}"),
    "nobody": ("(no serial number)", "（无序列号）"),
    # progress
    "same": ("{site}: the box runs this configuration already", "{site}：设备已运行此配置"),
    "plan": ("{site}: {count} changes, {says}", "{site}：{count} 项修改，{says}"),
    "done": ("{site}: revision {revision} runs and is stored, {seconds} s", "{site}：版本 {revision} 已生效并保存，{seconds} 秒"),
    "dry": ("{site}: dry run, nothing was changed", "{site}：试运行，未作任何修改"),
    "next": ("{site}: put the cable into this box and press Enter", "{site}：请将串口线接到此设备，然后按回车"),
    "skip": ("{site}: done before, at {time}", "{site}：之前已完成（{time}）"),
    "failed": ("{site}: {why}", "{site}：{why}"),
    "sum": ("{good} of {all} sites done", "共 {all} 个站点，已完成 {good} 个"),
    "no-ports": ("no serial port found", "未找到串口"),
}


def say(code: str, language: str, **facts: Any) -> str:
    """A text with its facts."""
    return SAID[code][language == "zh"].format(**facts)


class ProvisionError(Exception):
    """Something that the person at the laptop must know; `kind` as the box names it, or the code here; `problems` of a site file."""

    def __init__(self, message: str, kind: str = "", problems: list[dict[str, Any]] | None = None, chinese: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.problems = problems or []
        self.by_box = False              # the box refused a command; the line itself is well
        self._chinese = chinese

    def said(self, language: str) -> str:
        """In this language; what the box said is in the language it was asked in."""
        return self._chinese if language == "zh" and self._chinese else str(self)


def told(code: str, **facts: Any) -> ProvisionError:
    """The error of this code."""
    return ProvisionError(say(code, "en", **facts), code, None, say(code, "zh", **facts))
