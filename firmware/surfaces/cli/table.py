"""Lays out any typed result: lists of records as tables, a record as names and values, in English or Chinese."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

TITLES_ZH = {
    "account": "账号",
    "available": "可用",
    "longest_s": "最长等待(秒)",
    "milliamps": "毫安",
    "misses": "未接",
    "phase": "阶段",
    "phone": "话机",
    "ready": "就绪",
    "busy": "通话中",
    "paused": "示忙",
    "seconds": "秒",
    "strategy": "策略",
    "transport": "传输",
    "volts": "伏",
    "legs": "支路",
    "expires_s": "有效(秒)",
    "rating": "评分",
    "adopted": "已接管",
    "agent": "座席",
    "agents": "座席",
    "alarms": "告警",
    "answered": "已接",
    "args": "参数",
    "boot": "启动次数",
    "call": "呼叫",
    "call_id": "呼叫",
    "called": "被叫",
    "caller": "主叫",
    "calls": "呼叫数",
    "cause": "原因",
    "clock": "时间",
    "command": "命令",
    "config_hash": "配置摘要",
    "contact": "联络",
    "detail": "说明",
    "duration_s": "时长(秒)",
    "endpoint": "端点",
    "extension": "分机",
    "generation": "代",
    "help": "说明",
    "jack": "插口",
    "kind": "类型",
    "language": "语言",
    "leg": "支路",
    "level": "级别",
    "line": "线路",
    "logger": "模块",
    "memory_kb": "内存(kB)",
    "message": "内容",
    "name": "名称",
    "number": "号码",
    "outcome": "结果",
    "path": "路径",
    "peer": "操作者",
    "pid": "进程号",
    "position": "位置",
    "process": "进程",
    "processes": "进程",
    "product": "产品",
    "python": "Python",
    "queue": "队列",
    "queues": "队列",
    "reason": "原因",
    "registered": "已注册",
    "role": "角色",
    "schema": "模式",
    "secret": "密码",
    "server": "服务器",
    "since": "自",
    "state": "状态",
    "talk_s": "通话(秒)",
    "text": "内容",
    "time": "时间",
    "uptime_s": "运行(秒)",
    "version": "版本",
    "wait_s": "等待(秒)",
    "waiting": "等待",
    "answered_by": "应答方式",
    "at": "时刻",
    "by_far": "对方先挂",
    "confidence": "把握",
    "connected": "接通",
    "data": "数据",
    "direction": "方向",
    "en": "英文",
    "ended": "结束",
    "event": "事件",
    "events": "事件",
    "evidence": "依据",
    "first_to_leave": "先离开",
    "notice": "录音提示",
    "opened": "开始",
    "recording": "录音",
    "recording_lost": "录音缺失",
    "ring": "振铃",
    "ringing": "振铃",
    "rings": "振铃次数",
    "seat_alert": "坐席振铃",
    "seat_cycles": "坐席轮次",
    "seq": "序号",
    "source": "来源",
    "started": "开始",
    "talk": "通话",
    "wait": "等待",
    "zh": "中文",
    "what": "用途",
    "where": "地址",
}
# Unix ms, shown as UTC like the logs; 0 is "never".
INSTANTS = ("at_ms", "opened_ms", "ended_ms", "started_ms", "ringing_ms", "answered_ms", "connected_ms", "wall_ms")
DURATIONS = ("wait_ms", "talk_ms", "ring_ms", "seat_alert_ms")
EMPTY = {"en": "nothing to show", "zh": "没有内容"}
YES_NO = {"en": ("yes", "no"), "zh": ("是", "否")}


def render(result: Any, language: str = "en") -> list[str]:
    """Lines of text for a result as it came over the socket."""
    if result is None:
        return ["ok"]
    if isinstance(result, list):
        if not result:
            return [EMPTY[language]]
        return table(result, language) if all(isinstance(row, Mapping) for row in result) else [_cell(item, language) for item in result]
    return _record(result, language) if isinstance(result, Mapping) else [_cell(result, language)]


def table(rows: list[Mapping[str, Any]], language: str = "en") -> list[str]:
    """A table with one column for each field; columns that are empty everywhere are left out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = [name for name in names if any(not _is_empty(name, row.get(name)) for row in rows)] or names
    cells = [[_field(name, row.get(name), language) for name in names] for row in rows]
    numeric = [name not in INSTANTS and all(_is_number(row.get(name)) for row in rows) for name in names]
    titles = [title(name, language) for name in names]
    widths = [max(width(text) for text in column) for column in zip(titles, *cells, strict=True)]
    lines = [_join(titles, widths, numeric), _join(["-" * size for size in widths], widths, numeric)]
    return lines + [_join(row, widths, numeric) for row in cells]


def _join(cells: list[str], widths: list[int], numeric: list[bool]) -> str:
    padded = []
    for text, size, right in zip(cells, widths, numeric, strict=True):
        space = " " * (size - width(text))
        padded.append(space + text if right else text + space)
    return "  ".join(padded).rstrip()


def _record(record: Mapping[str, Any], language: str) -> list[str]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= value if isinstance(value, Mapping) else {name: value}  # a record within a record: its fields beside the others
    record = flat
    plain = {name: value for name, value in record.items() if not _is_table(value)}
    size = max((width(title(name, language)) for name in plain), default=0)
    lines = [
        f"{title(name, language)}{' ' * (size - width(title(name, language)))}  {_field(name, value, language)}".rstrip()
        for name, value in plain.items()
    ]
    for name, value in record.items():
        if _is_table(value):
            lines += ["", title(name, language), *("  " + line for line in table(value, language))]
    return lines


def _is_empty(name: str, value: Any) -> bool:
    return value in ("", None, []) or (name in INSTANTS and value == 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def title(name: str, language: str) -> str:
    """Column title of a field."""
    if name in INSTANTS or name in DURATIONS:
        name = name.removesuffix("_ms")
    return TITLES_ZH.get(name, name.replace("_", " ")) if language == "zh" else name.replace("_", " ")


def _field(name: str, value: Any, language: str) -> str:
    """A named value: instants and durations as people read them."""
    if isinstance(value, int) and not isinstance(value, bool):
        if name in INSTANTS:
            return datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if value else ""
        if name in DURATIONS:
            return f"{value / 1000:.1f} s"
    return _cell(value, language)


def _cell(value: Any, language: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return YES_NO[language][0 if value else 1]
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        return ", ".join(_cell(item, language) for item in value)
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_cell(item, language)}" for name, item in value.items() if item not in ("", None, []))
    # A name or number may come from outside: no control character may reach the terminal.
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(value))


def width(text: str) -> int:
    """Columns on a terminal: wide characters count two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
