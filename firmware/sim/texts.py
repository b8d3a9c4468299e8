"""Words of the `sim run` screen, in English and Simplified Chinese."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "listens": "listens on", "folder": "state folder", "sip_account": "SIP account", "agent_account": "agent", "secret": "secret",
        "do_call": "place a PSTN call", "do_watch": "watch it", "do_login": "log an agent in on phone 101",
        "do_answer": "let somebody answer phone 1 (101)", "do_console": "console", "leave": "Ctrl-C stops everything",
        "stopped": "stopped; the state folder keeps everything for the next start", "emergency": "EMERGENCY CALL", "over": "over",
        "calls": "Calls", "lines": "Lines", "phones": "Phones", "queues": "Queues", "agents": "Agents", "accounts": "Accounts",
        "outside": "The PSTN outside (simulated)", "try": "Try this in a second terminal",
    },
    "zh": {
        "listens": "监听地址", "folder": "状态目录", "sip_account": "SIP 账号", "agent_account": "坐席", "secret": "密码",
        "do_call": "模拟一个外线来电", "do_watch": "观察过程", "do_login": "坐席在 101 话机签入",
        "do_answer": "让人接听 1 号话机(101)", "do_console": "控制台", "leave": "按 Ctrl-C 停止",
        "stopped": "已停止；状态目录保留一切，下次启动时恢复", "emergency": "紧急呼叫", "over": "已结束",
        "calls": "通话", "lines": "外线", "phones": "话机", "queues": "队列", "agents": "坐席", "accounts": "账号",
        "outside": "外部电话网(模拟)", "try": "在另一个终端里试试",
    },
}  # fmt: skip
