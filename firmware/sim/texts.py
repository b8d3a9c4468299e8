"""Words of the `sim run` screen, in English and Simplified Chinese."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "listens": "SIP phones register at", "rtp": "audio UDP", "folder": "state folder",
        "local_only": "Only this machine reaches it (safe default). For your network: --bind {address}",
        "open": "Phones in your network reach it; --bind 127.0.0.1 keeps it to this machine",
        "sip_account": "SIP account", "agent_account": "agent", "secret": "secret", "pin": "PIN",
        "do_call": "let somebody in town call the branch", "do_watch": "watch the call, live", "do_phone": "dial 102 on analog phone 1",
        "do_fault": "pull the plug of line 4 for 20 s", "do_console": "console: ? lists its words",
        "do_serial": "console by serial cable, as an installer", "serial_leave": "Serial cable: press Enter; Ctrl-] leaves.",
        "do_world": "what happens outside",
        "leave": "Ctrl-C stops everything", "stopped": "stopped; the state folder keeps everything for the next start",
        "emergency": "EMERGENCY CALL", "over": "over",
        "calls": "Calls", "lines": "Lines", "phones": "Phones", "queues": "Queues", "agents": "Agents", "contacts": "Last calls",
        "codes": "Dial from any phone", "try": "Try this in a second terminal, in this folder", "no_calls": "nobody calls; press",
        "no_calls_key": "to let somebody call", "no_contacts": "none yet", "more": "{count} more", "unnamed": "no number",
        "staffed": "somebody is there", "waiting": "waiting", "longest": "longest", "ready": "ready", "busy": "busy", "paused": "paused",
        "rings": "rings", "waited": "waited", "talked": "talked", "rating": "rating",
        "up": "up", "now": "call",
        "login": "log in: then agent# PIN#", "logout": "log out", "pause": "pause: then 1-9", "code_ready": "ready",
        "hold": "hold (in a call)", "transfer": "transfer: then number", "echo_test": "echo test",
        "pickup": "pick up: then number", "outside_line": "a PSTN number",
        "key_call": "a call", "key_staff_off": "staff out", "key_staff_on": "staff in", "key_page": "more", "key_language": "中文",
        "key_quit": "stop", "placed": "{number} is calling on line {line}", "not_placed": "no call: {why}",
        "staff_on": "simulated staff answers ({names}) until a real agent logs in",
        "staff_relieved": "a real agent is logged in: the simulated staff made room",
        "staff_off": "no simulated staff: log an agent in to answer the queues",
        "lost": "The appliance does not answer just now: {why}", "plain_staff": "staff",
    },
    "zh": {
        "listens": "SIP 话机注册地址", "rtp": "语音 UDP", "folder": "状态目录",
        "local_only": "只限本机(安全默认)；供局域网话机使用请加 --bind {address}",
        "open": "局域网内的话机可以访问；--bind 127.0.0.1 则只限本机",
        "sip_account": "SIP 账号", "agent_account": "坐席", "secret": "密码", "pin": "PIN",
        "do_call": "模拟一个外线来电", "do_watch": "实时观察通话", "do_phone": "用 1 号模拟话机拨 102",
        "do_fault": "拔掉 4 号外线 20 秒", "do_console": "控制台：? 列出命令",
        "do_serial": "像安装人员那样用串口线进控制台", "serial_leave": "串口线已接上：按回车；Ctrl-] 退出。",
        "do_world": "外面发生了什么",
        "leave": "按 Ctrl-C 停止", "stopped": "已停止；状态目录保留一切，下次启动时恢复",
        "emergency": "紧急呼叫", "over": "已结束",
        "calls": "通话", "lines": "外线", "phones": "话机", "queues": "队列", "agents": "坐席", "contacts": "最近通话",
        "codes": "任意话机可拨", "try": "在另一个终端、同一目录里试试", "no_calls": "没有来电；按",
        "no_calls_key": "模拟一个来电", "no_contacts": "还没有", "more": "另有 {count} 条", "unnamed": "无号码",
        "staffed": "有人接听", "waiting": "等待", "longest": "最长", "ready": "空闲", "busy": "忙", "paused": "示忙",
        "rings": "振铃", "waited": "等待", "talked": "通话", "rating": "评分",
        "up": "已运行", "now": "通话",
        "login": "签入：再拨工号# PIN#", "logout": "签出", "pause": "示忙：再拨 1-9", "code_ready": "示闲",
        "hold": "保持(通话中)", "transfer": "转接：再拨号码", "echo_test": "回声测试",
        "pickup": "代接：再拨号码", "outside_line": "外线号码",
        "key_call": "来电", "key_staff_off": "员工离席", "key_staff_on": "员工就位", "key_page": "更多", "key_language": "English",
        "key_quit": "停止", "placed": "{number} 正在呼入 {line} 号外线", "not_placed": "没有呼入：{why}",
        "staff_on": "模拟员工接听({names})，真人坐席签入后让位",
        "staff_relieved": "已有真人坐席签入，模拟员工已让位",
        "staff_off": "没有模拟员工：请让坐席签入来接听队列",
        "lost": "设备暂时没有应答：{why}", "plain_staff": "员工",
    },
}  # fmt: skip

# Words of the product (states, phases, causes) as people read them; English ones are shown as they are, in lower case without underscores.
WORDS_ZH = {
    "idle": "空闲", "ringing": "振铃", "answering": "接听中", "talking": "通话中", "releasing": "释放中", "guard": "释放中",
    "seizing": "占线",
    "wait dial tone": "等拨号音", "dialling": "拨号中", "wait answer": "等应答", "no line": "无电压", "in use": "并机占用",
    "dial tone": "拨号音", "collecting": "收号", "calling": "呼叫中", "far gone": "对方已挂", "reorder": "忙音", "howler": "催挂音",
    "lockout": "未挂好", "busy": "忙", "fault": "故障", "unregistered": "未注册", "registered": "已注册",
    "greeting": "问候", "notice": "录音提示", "menu": "菜单", "queued": "排队", "connecting": "接通中", "rating": "评分",
    "announce": "播报", "feature": "功能码", "ending": "结束中", "ended": "已结束",
    "logged-out": "未签入", "ready": "空闲", "offered": "来电", "wrap-up": "话后", "paused": "示忙",
    "normal": "正常", "no-answer": "无应答", "rejected": "拒接", "cancelled": "取消", "abandoned": "放弃",
    "answered-elsewhere": "他处已接", "transferred": "已转接", "unreachable": "不可达", "refused": "不允许", "congestion": "拥塞",
    "no-dial-tone": "无拨号音", "line-fault": "线路故障", "media-lost": "媒体中断", "rtp-lost": "语音中断", "timeout": "超时",
    "preempted": "被紧急呼叫占用", "system": "系统", "inbound": "呼入", "outbound": "呼出", "internal": "内部", "emergency": "紧急",
}  # fmt: skip


def word(name: object, language: str) -> str:
    """A state, phase or cause of the product as the screen says it."""
    plain = str(name).replace("_", " ").lower()
    return WORDS_ZH.get(plain, plain) if language == "zh" else plain
