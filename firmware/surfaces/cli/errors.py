"""What went wrong, in the operator's language.

The console's own mistakes (`words.py`) carry a code and facts and are written in both languages here. What the appliance refuses comes as
an English sentence over the socket; each such sentence has its Chinese form here, found by its fixed part. A test reads the sources for
sentences that are refusals and fails for one without its form. A sentence that is not known is shown as it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from firmware.errors import PbxError

#: code -> (English, Chinese) of `NotUnderstood`.
SAID: dict[str, tuple[str, str]] = {
    "quote": ("{reason}: close the quotation mark", "引号没有成对，请补上引号"),
    "match": ("after | comes `match PATTERN`", "| 之后应为 match 和要查找的文字"),
    "ambiguous": ("{given!r} may mean {choices}; write more of it", "“{given}”有多种可能：{choices}；请多输入几个字母"),
    "unknown": ("{given!r} is not understood; possible here: {known}", "不认识“{given}”；此处可用：{known}"),
    "incomplete": ("the command is not complete; next: {next}", "命令不完整；后面可接：{next}"),
    "surplus": ("{path}: {given!r} is one argument too many; it takes {takes}", "{path}：参数“{given}”多余；可用参数：{takes}"),
    "twice": ("{path}: {name} is given twice", "{path}：{name} 重复给出"),
    "missing": ("{path}: {names} is missing; try `{path} ?`", "{path}：缺少 {names}；请输入 {path} ? 查看"),
    "choice": ("{path}: {name} is one of {values}", "{path}：{name} 应为以下之一：{values}"),
    "number": ("{path}: {name} is a number, not {given!r}", "{path}：{name} 应为数字，而不是“{given}”"),
    "boolean": ("{path}: {name} is true or false, not {given!r}", "{path}：{name} 应为 true 或 false，而不是“{given}”"),
    "nothing": ("nothing may follow here; press Enter", "此处不能再加内容，请按回车"),
    "local": ("{path} is for a terminal with a person at it", "{path} 只能在有人操作的终端上使用"),
    "files": ("{path} writes files and is for `branchpbx cli` on the box itself", "{path} 要写文件，只能在设备上的 branchpbx cli 中使用"),
    "user": ("name the user: `password NAME`", "请指明用户：password 用户名"),
    "weak": ("that is no password: {why}", "密码不合要求：{why}"),
    "range": ("{path}: {name} lies between {least} and {most}", "{path}：{name} 的范围是 {least} 至 {most}"),
}

#: Fixed parts of refusals and their Chinese form. A name in angle brackets takes what stands there.
FORMS: tuple[tuple[str, str], ...] = (
    ("<path> needs the role <role>; <peer> has <held>", "{path} 需要 {role} 角色；{peer} 的角色是 {held}"),
    ("there is no command <path>; <hint>", "没有 {path} 这个命令；{hint}"),
    ("nothing answers <path> now; try again after the appliance has started", "{path} 暂时无人响应；请等设备启动后再试"),
    ("call control does not answer now (<why>); it is being started, try again", "呼叫控制暂无响应，正在启动，请稍后再试（{why}）"),
    ("<path> failed (<what>); the log has the details", "{path} 失败（{what}）；详情见日志"),
    ("the command was interrupted", "命令已中断"),
    ("the answer is too long; ask for less", "结果太长，请缩小范围"),
    ("only root and the user of the appliance may use this socket", "只有 root 和设备用户可以使用此接口"),
    ("frame of <length> bytes; at most <most> are taken", "数据帧 {length} 字节，最多 {most} 字节"),
    ("<count> connections are open already; close one", "已有 {count} 个连接，请先关闭一个"),
    ("this process has no event stream; ask the control socket of core", "此进程没有事件流，请使用呼叫控制的接口"),
    ("events takes from: a sequence number, types: a list of event types", "events 的参数：from 为序号，types 为事件类型列表"),
    ("not a request (<why>); send <example>", "不是请求（{why}）；应发送 {example}"),
    ("there is no update agent: <why>", "没有升级代理：{why}"),
    ("the update agent's folder cannot be written (<why>); restart the box and try again",
     "升级代理的文件夹无法写入（{why}）；请重启设备后再试"),
    ("<folder>: is not there; plug the stick in", "{folder}：不存在；请插入 U 盘"),
    ("recordings stay here: recording.upload.url is not set", "录音只保存在本机：未设置 recording.upload.url"),
    ("the test mail was not taken: <why>", "测试邮件未被接受：{why}"),
    ("contact <contact> is an emergency call; only its people can end it", "{contact} 是紧急呼叫，只能由通话双方结束"),
    ("<digits> is an emergency number; only a person at a phone can dial it", "{digits} 是紧急号码，只能由人在话机上拨打"),
    ("nothing is kept of <call>; name a contact or leg of `show calls`, or an endpoint of `show lines`",
     "没有 {call} 的记录；请用 show calls 中的呼叫或支路，或 show lines 中的端口"),
    ("there is no file <name>; `capture call ID` makes one of a call, the last <kept> are kept",
     "没有文件 {name}；capture call 可抓取呼叫，保留最近 {kept} 个"),
    ("there is no analog port <name> in service; there are <known>", "没有在用的模拟端口 {name}；现有：{known}"),
    ("<port> is a telephone jack; name an outside line", "{port} 是话机插口，请指定外线"),
    ("<port> is being captured; `capture stop <line>` ends that", "{port} 正在抓取；用 capture stop {line} 结束"),
    ("<port> is not being captured; `capture list` shows what is", "{port} 没有在抓取；capture list 可查看"),
    ("<name> is still recording; stop it first", "{name} 仍在录制，请先停止"),
    ("there is no capture <name>; `capture list` shows them", "没有抓取 {name}；capture list 可查看"),
    ("there is no finished capture <name>; `capture list` shows them", "没有已完成的抓取 {name}；capture list 可查看"),
    ("<name> is no name of a capture", "{name} 不是抓取的名称"),
    ("<free> MB are free, <need> are needed: delete captures or recordings, or capture less",
     "剩余 {free} MB，需要 {need} MB：请删除抓取或录音，或缩短抓取"),
    ("<path>: cannot be written (<why>); check disk and rights", "{path}：无法写入（{why}）；请检查磁盘和权限"),
    ("<path>: <why>; check the disk", "{path}：{why}；请检查磁盘"),
    ("terminations are compared on outside lines", "阻抗比较只用于外线"),
    ("<port> is an outside line; its feed is the exchange's: `doctor line <line>`", "{port} 是外线，由局端供电：请用 doctor line {line}"),
    ("<port> is being measured; try again in half a minute", "{port} 正在测量，请半分钟后再试"),
    ("a call came in: the measurement was broken off", "有来电，测量已中断"),
    ("this board has no line chips that could be asked", "此板没有可查询的线路芯片"),
    ("<port>: the chip does not do that: <why>", "{port}：芯片不支持：{why}"),
    ("that is an emergency number: call it from a telephone, not from here", "这是紧急号码：请用话机拨打，不能在此拨打"),
    ("there is no extension <phone>; `show phones` lists them", "没有分机 {phone}；show phones 可查看"),
    ("a telephone is joined to another line already; release that first", "已有话机接到另一条线路，请先释放"),
    ("<port> is not in hand; `butt seize <name>` takes it", "{port} 尚未占用；请用 butt seize {name} 占用"),
    ("a self-test is going on; `show self-test` has its results", "正在自检；show self-test 可查看结果"),
    ("<mobile> is an emergency number: name your mobile phone", "{mobile} 是紧急号码：请填写您的手机号码"),
    ("no walk test is going on; `walk start` begins one", "没有进行中的对号测试；walk start 可开始"),
    ("<number> was found on <port> before; test that line again first", "{number} 之前登记在 {port}；请先重测该线路"),
    ("there is no outside line <name> in service; `show lines` names them", "没有在用的外线 {name}；show lines 可查看"),
    ("<port> has no proposal yet; it comes from a call that the far end hung up with a tone of its own",
     "{port} 还没有建议；需要一次由对方先挂机且有忙音的通话"),
    ("<where>: nothing answers (<why>); start the appliance, or name its folder with --state DIR",
     "{where}：无响应（{why}）；请启动设备，或用 --state 指明目录"),
    ("<where>: permission denied; use the user that runs the appliance, or root", "{where}：没有权限；请使用运行设备的用户或 root"),
    ("<where>: the connection broke (<why>)", "{where}：连接中断（{why}）"),
    ("<where>: no answer in time; the appliance is busy or stopped", "{where}：超时未响应；设备繁忙或已停止"),
    ("<where>: the appliance closed the connection", "{where}：设备关闭了连接"),
    ("<where>: a frame of <length> bytes; this is not a control socket", "{where}：收到 {length} 字节的帧；这不是控制接口"),
    ("<name> or its password is wrong", "用户名 {name} 或密码不对"),
    ("<name> is no user of this console any more", "{name} 已不再是本控制台的用户"),
    ("<name> is no host name or address", "{name} 不是主机名或地址"),
    ("<name> cannot be resolved (<why>); check the name, and `show interfaces`", "{name} 无法解析（{why}）；请检查名称和 show interfaces"),
    ("the console has its users already; an administrator adds more with `set users.NAME.role`",
     "控制台已有用户；管理员可用 set users.名字.role 添加"),
    ("the candidate holds other changes, or a trial runs: `commit`, `confirm` or `discard` first",
     "候选配置中有其他修改，或正在试用：请先 commit、confirm 或 discard"),
    ("the candidate holds other changes; commit or discard them first (`show diff`)",
     "候选配置中有其他修改；请先 commit 或 discard（show diff 可查看）"),
    ("the table <en> / <zh>", "表格：{zh}"),
    ("there is no stick; plug one in, and let `central.folder` name the folder where it appears",
     "没有 U 盘；请插入，并用 central.folder 指明其目录"),
    ("the passphrase is too short; give at least <least> characters", "口令太短，至少需要 {least} 个字符"),
    ("the configuration in the backup does not fit this box or version: <why>", "备份中的配置不适用于本机或本版本：{why}"),
    ("the backup is of box <device>, this is <own>; give `replace true` and this box takes its place",
     "该备份属于设备 {device}，本机为 {own}；如要由本机接替，请加 replace true"),
    ("the backup is of a box with board <board>, this one has <own>", "备份来自主板 {board} 的设备，本机主板为 {own}"),
    ("cannot be opened: another passphrase or key, or the file was changed", "无法打开：口令或密钥不符，或文件已被改动"),
    ("<path> is too large for a backup", "{path} 过大，不是备份文件"),
    ("<path>: cannot be read (<why>)", "{path}：无法读取（{why}）"),
    ("telephone <mac> is there already; `phone re-arm <same>` lets it fetch its passwords again",
     "话机 {mac} 已存在；phone re-arm {same} 可让它重新获取密码"),
    ("no telephone <mac> has asked for settings; `phone list` lists those that have, `phone add` needs none",
     "没有话机 {mac} 请求过配置；phone list 列出请求过的，phone add 则不需要"),
    ("telephone <mac> does not say of which make it is; give it with `phone add <same> MAKE <extension>`",
     "话机 {mac} 未说明品牌；请用 phone add {same} 品牌 {extension} 指定"),
    ("the candidate has mistakes; `show plan` lists them", "候选配置有错误；show plan 可查看"),
    ("there is no telephone <mac>; `phone list` lists them", "没有话机 {mac}；phone list 可查看"),
    ("<mac> is not a MAC address; it has 12 hexadecimal digits, as on the label of the telephone",
     "{mac} 不是 MAC 地址；应为 12 位十六进制数，见话机标签"),
    ("user <user> or its password is not right", "用户 {user} 或密码不对"),
    ("a piece of transfer <name> is no base64 (<why>)", "传输 {name} 的数据段不是 base64（{why}）"),
    ("<name> is no text in UTF-8 (<why> at byte <at>)", "{name} 不是 UTF-8 文本（{why}，第 {at} 字节）"),
    ("<path> is changed by the role <role> only; <peer> has <held>", "{path} 只能由 {role} 角色修改；{peer} 的角色是 {held}"),
    ("<path>: <what>; wanted: <wanted>", "{path}：{what}；应为：{wanted}"),
    ("there is no transfer <ident>; begin it again", "没有传输 {ident}，请重新开始"),
    ("transfer <ident> goes on at <there>, not at <offset>", "传输 {ident} 应从 {there} 继续，而不是 {offset}"),
    ("transfer <ident> has only <size> bytes; <sent> were sent", "传输 {ident} 只有 {size} 字节，却发送了 {sent} 字节"),
    ("transfer <ident> has <there> of <size> bytes; send the rest first", "传输 {ident} 只收到 {there}/{size} 字节，请先发送其余部分"),
    ("transfer <ident> has <there> bytes, it cannot be cut at <offset>", "传输 {ident} 有 {there} 字节，不能截到 {offset}"),
    ("a piece of transfer <ident> is no base64 (<why>)", "传输 {ident} 的片段不是 base64（{why}）"),
    ("<name> arrived with another SHA-256 than announced; send it again", "{name} 的 SHA-256 与声明不符，请重新发送"),
    ("a file of <size> bytes does not fit into the spool of <quota>", "文件 {size} 字节，超过暂存区容量 {quota}"),
    ("the spool is full of complete files that wait for their use; use or remove them first", "暂存区已满，请先使用或删除其中的完整文件"),
    ("the identity of <serial> is sealed; it cannot be written again", "{serial} 的身份已封存，不能再写"),
    ("user <user> or its password is not right", "用户 {user} 或密码不正确"),
    ("<name> is no text in UTF-8 (<why> at byte <at>)", "{name} 不是 UTF-8 文本（第 {at} 字节：{why}）"),
    ("<path> needs a log-in first", "{path} 需要先登录"),
    ("a transfer needs a log-in first", "传输文件需要先登录"),
)  # fmt: skip


def _pattern(form: str) -> re.Pattern[str]:
    text = re.sub(r"<(\w+)>", lambda found: f"(?P<{found[1]}>.+?)", re.sub(r"([().`*+?|\[\]])", r"\\\1", form))
    return re.compile(f"^{text}$", re.DOTALL)


_FORMS = [(_pattern(form), zh) for form, zh in FORMS]
_PORT = re.compile(r"^(?P<port>(?:line|fxs)/\d+|X1) is (?P<state>[a-z -]+|X1 X1)$")       # state of a port in its own words


class NotUnderstood(PbxError):
    """The line is no command; the message says why and what would be."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(SAID[code][0].format(**facts))
        self.code = code
        self.facts = facts

    def said(self, language: str) -> str:
        """The message in the operator's language."""
        return SAID[self.code][1 if language == "zh" else 0].format(**self.facts)


def chinese(text: str) -> str | None:
    """The Chinese form of a refusal, None for one that is not known."""
    for pattern, form in _FORMS:
        found = pattern.match(text)
        if found:
            return form.format(**found.groupdict())
    found = _PORT.match(text.strip())
    if found:
        return f"{found['port']} 当前状态：{found['state']}"
    command, colon, rest = text.partition(": ")
    inner = chinese(rest) if colon and rest else None
    return f"{command}：{inner}" if inner else None


def said(error: BaseException, language: str) -> str:
    """An error in the operator's language."""
    if isinstance(error, NotUnderstood):
        return error.said(language)
    text = str(error)
    if language != "zh":
        return text
    own: Mapping[str, Any] = getattr(error, "facts", None) or {}
    return str(own.get("message_zh") or chinese(text) or text)
