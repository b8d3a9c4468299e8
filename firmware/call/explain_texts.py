"""Words for the steps of a dry run, in both languages (L1, pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Kind of step -> English, Chinese. A step without a line here is told by its name and facts.
_STEPS: dict[str, tuple[str, str]] = {
    "time": ("{time}: {day_kind}; night key {night}", "{time}：{day_kind}；夜间键：{night}"),
    "route-not": ("{route} to {to} is not taken: {why}", "{route}（至 {to}）不适用：{why}"),
    "route-taken": ("{route} is taken: to {to}", "采用 {route}：至 {to}"),
    "out-not": ("{route} is not taken: {why}", "{route} 不适用：{why}"),
    "out-taken": ("{route} fits: dialled as {to}", "{route} 适用：拨出 {to}"),
    "means": ("what was dialled means: {target}", "所拨号码的含义：{target}"),
    "route": ("led to {to}", "进入 {to}"),
    "no-route": ("no inbound route fits: the call is not answered", "没有适用的呼入路由：不接听"),
    "through": ("the trunk may dial {number} through us", "该中继可经本机拨打 {number}"),
    "answer": ("the call is answered", "接听来电"),
    "greeting": ("greeting: {prompt} in {language}", "问候语：{prompt}（{language}）"),
    "notice": ("recording notice heard", "已播放录音提示"),
    "say": ("the caller hears {prompts}{hours}", "来电者听到 {prompts}{hours}"),
    "hours": ("opening hours {hours}: {state}, by {by}{day}", "营业时间 {hours}：{state}，依据：{by}{day}"),
    "menu": ("menu {menu} in {language}: {keys}", "菜单 {menu}（{language}）：{keys}"),
    "key": ("key {digit} in menu {menu}", "在菜单 {menu} 按 {digit}"),
    "key-invalid": ("key {digit} is not in menu {menu}", "菜单 {menu} 没有 {digit} 键"),
    "menu-otherwise": ("no valid key in menu {menu}: otherwise", "菜单 {menu} 没有有效按键：转默认去向"),
    "offered": ("offered to agent {agent} on {extension}, queue {queue}", "分配给坐席 {agent}（分机 {extension}），队列 {queue}"),
    "offer-failed": ("agent {agent} does not answer ({cause})", "坐席 {agent} 未接听（{cause}）"),
    "position": ("place in the queue: {ahead} ahead", "队列位置：前面 {ahead} 位"),
    "overflow": ("leaves queue {queue}: {why}", "离开队列 {queue}：{why}"),
    "ring": ("{endpoint} rings for {seconds} s", "{endpoint} 振铃 {seconds} 秒"),
    "dial": ("{purpose} {number} over {endpoint}", "{purpose}：经 {endpoint} 呼叫 {number}"),
    "dial-failed": ("could not be reached: {cause}", "未能接通：{cause}"),
    "forwarded": ("{by} forwards to {to}", "{by} 前转至 {to}"),
    "forward-failed": ("{by} forwards to {to}, which leads nowhere", "{by} 前转至 {to}，无法到达"),
    "refused": ("refused: {reason}", "拒绝：{reason}"),
    "toll": ("refused by the toll guard: {reason}", "被话费保护拒绝：{reason}"),
    "account": ("the PIN is that of account {account}", "账户 {account} 的密码"),
    "caller-class": ("the caller is of class {name}", "来电者类别：{name}"),
    "route-loop": ("destinations lead in circles: the call ends at {destination}", "去向循环：通话在 {destination} 结束"),
    "emergency-callback": ("called back after an emergency call: rings {extension}", "紧急呼叫回拨：振铃 {extension}"),
    "end": ("if nobody answers the call ends: {cause}", "若无人接听则通话结束：{cause}"),
    "cut": ("the call would still go on; the dry run stops here", "通话仍会继续；演练到此为止"),
}  # fmt: skip
_WORDS: dict[str, tuple[str, str]] = {
    "open": ("open", "营业"),
    "lunch": ("at lunch", "午休"),
    "closed": ("closed", "休息"),
    "holiday": ("holiday", "节假日"),
    "night": ("night by key", "夜间"),
    "auto": ("auto", "自动"),
    "ordinary": ("ordinary day", "普通日"),
    "half": ("half day", "半天"),
    "work": ("worked instead of another day", "调休上班"),
    "manual": ("the night key", "夜间键"),
    "notice": ("an entry of the branch", "本点通知"),
    "official": ("the official plan", "官方安排"),
    "statutory": ("public holidays", "法定节假日"),
    "weekly": ("the week", "每周时间"),
    "timeout": ("the wait was too long", "等候超时"),
    "no-agent": ("no agent is logged in", "没有坐席签入"),
    "full": ("it is full", "队列已满"),
    "no-answer": ("no answer", "无人接听"),
    "busy": ("busy", "忙"),
    "normal": ("ended", "正常结束"),
    "unreachable": ("unreachable", "无法到达"),
    "refused": ("refused", "拒绝"),
    "congestion": ("all lines busy", "线路全忙"),
    "rejected": ("rejected", "拒接"),
    "abandoned": ("left", "放弃"),
    "extension": ("an extension", "分机"),
    "outside": ("outside", "外线"),
    "emergency": ("an emergency number", "紧急号码"),
    "feature": ("a code", "功能码"),
    "nowhere": ("nothing", "无"),
    "destination": ("a destination", "去向"),
    "other line": ("for other lines or trunks", "限其他线路或中继"),
    "caller": ("the caller's number does not begin so", "来电号码不符"),
    "called": ("the called number does not begin so", "被叫号码不符"),
    "class": ("for other classes of callers", "限其他来电者类别"),
    "earlier": ("an earlier route is taken", "前面的路由已采用"),
    "prefix": ("it does not begin with the access code", "没有接入码"),
    "pattern": ("the number does not fit the pattern", "号码不符合模式"),
    "permission": ("the telephone's class does not reach it", "话机权限不足"),
    "time": ("not at this time", "当前时段不可用"),
    "account": ("it needs an account code", "需要账户码"),
    "dearer": ("another route costs less", "另一路由更便宜"),
    "dial": ("calls", "呼叫"),
    "transfer": ("transfers", "转接"),
    "en": ("English", "英语"),
    "zh": ("Chinese", "中文"),
    "": ("", ""),
}
_WORDED = frozenset({"state", "by", "why", "cause", "target", "purpose", "language", "night"})


def told(kind: str, data: Mapping[str, Any]) -> tuple[str, str]:
    """A step in English and Chinese."""
    texts = _STEPS.get(kind)
    if texts is None:
        facts = "  ".join(f"{name}={value}" for name, value in data.items() if value not in ("", None, [], {}))
        return f"{kind}  {facts}".strip(), f"{kind}  {facts}".strip()
    return texts[0].format_map(_Facts(kind, data, 0)), texts[1].format_map(_Facts(kind, data, 1))


class _Facts(dict[str, str]):
    """The facts of a step as words of one language; an absent one is empty."""

    def __init__(self, kind: str, data: Mapping[str, Any], language: int) -> None:
        super().__init__()
        for name, value in data.items():
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            forward = kind in ("forwarded", "forward-failed")
            self[name] = _WORDS.get(text, (text, text))[language] if name in _WORDED and not forward else text
        if kind == "time":
            word = _WORDS.get(str(data.get("day_is", "")), ("", ""))[language]
            title = str(data.get(("day_en", "day_zh")[language]) or data.get("day", ""))
            self["day_kind"] = f"{word} ({title})" if title else word
        if kind == "hours" and data.get("day"):
            self["day"] = f" ({data['day']})"
        if kind == "say":
            self["hours"] = f" [{data['hours']}]" if data.get("hours") else ""

    def __missing__(self, key: str) -> str:
        return ""
