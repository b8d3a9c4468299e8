"""What the factory station says, in both languages."""

from __future__ import annotations

#: code -> (English, Chinese)
SAID: dict[str, tuple[str, str]] = {
    "flash": ("writing the card", "写卡"),
    "boot": ("starting", "启动"),
    "identity": ("identity and keys", "身份与密钥"),
    "test": ("factory test", "出厂测试"),
    "proof": ("the box says who it is", "核对设备身份"),
    "begin": ("{place}: {serial}: {step}", "{place}：{serial}：{step}"),
    "done": ("{place}: {serial}: {step}: done, {seconds} s", "{place}：{serial}：{step}：完成，{seconds} 秒"),
    "again": ("{place}: {serial}: goes on after {step}", "{place}：{serial}：从“{step}”之后继续"),
    "insert": (
        "{place}: {serial}: put the card into the board and switch it on",
        "{place}：{serial}：请把卡插入电路板并通电",
    ),
    "pass": ("PASS  {place}: {serial}   label: {label}", "合格  {place}：{serial}   标签：{label}"),
    "fail": ("FAIL  {place}: {serial}: {step}: {why}", "不合格  {place}：{serial}：{step}：{why}"),
    "stopped": (
        "NOT DONE  {place}: {serial}: {step}; begin again, it goes on there",
        "未完成  {place}：{serial}：{step}；重新开始即可继续",
    ),
    "known": (
        "{serial} has passed already; --again does it once more and takes its label back",
        "{serial} 已合格；加 --again 可重做，并收回其标签",
    ),
    "label-back": ("{serial}: destroy the label that was printed before", "{serial}：请销毁先前打印的标签"),
    "busy": ("{serial} is being worked on by another station program", "{serial} 正由另一个工位程序处理"),
    "other-mac": (
        "MAC {mac} belongs to {serial}, which has passed; scan the label again",
        "MAC {mac} 属于已合格的 {serial}；请重新扫描标签",
    ),
    "other-keys": (
        "it has the keys of {serial}: a card was copied; write this card anew with --again",
        "其密钥与 {serial} 相同：卡被复制过；请加 --again 重新写卡",
    ),
    "another-board": ("board {found} answers; this place should have {wanted}", "应答的是 {found}，此工位应为 {wanted}"),
    "another-model": (
        "a {found} answers, not a {wanted}; the wrong image or the wrong board",
        "应答的是 {found}，不是 {wanted}；映像或电路板不对",
    ),
    "another-version": (
        "it runs version {found}, the image is {wanted}; is the new card in it?",
        "运行的版本是 {found}，映像是 {wanted}；是否插了新卡？",
    ),
    "not-sealed": ("the box does not keep its identity; see to its memory", "设备没有保存身份；请检查其存储器"),
    "silent": ("no answer on {port} for {seconds} s ({why})", "{port} 在 {seconds} 秒内没有应答（{why}）"),
    "no-entry": ("the box does not know this board's key ({why}); is it another board?", "设备不认此板的密钥（{why}）；是否换了电路板？"),
    "test-fail": ("the test says {words}", "测试结果：{words}"),
    "no-report": ("the test ended well, but there is no report that says so", "测试正常结束，但没有相应的合格报告"),
    "restarts": ("the board restarts again and again in its test", "电路板在测试中反复重启"),
    "command": ("{command}: {why}", "{command}：{why}"),
    "sum": ("{good} of {all} boards passed", "共 {all} 块，合格 {good} 块"),
}


def say(code: str, language: str, **facts: object) -> str:
    """A sentence in the language of the station."""
    return SAID[code][language == "zh"].format(**facts)
