"""Records what a real app_queue writes of each kind of event: `python -m tools.bench_acd_beside.record DIR` makes queue_log, Master.csv.

The result is tests/vectors/asterisk-acd, against which `tests/unit/test_report_asterisk.py` compares the layout of our exports. Instants,
call ids and order are those of the day of recording; nothing reads them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from .rows import _over, _rung, _up, _wait
from .script import AtTheirs, at_theirs

QUEUES = """[m]
strategy=linear
retry=1
timeout=5
context=out
ringinuse=no
member => PJSIP/2001
[e]
strategy=linear
retry=1
leavewhenempty=paused
member => PJSIP/2003
[a]
strategy=linear
retry=1
announce=long
member => PJSIP/2004
"""
DIALPLAN = """exten => mt,1,Answer()
 same => n,Queue(m,,,,3)
exten => m,1,Answer()
 same => n,Queue(m)
exten => e,1,Answer()
 same => n,Queue(e)
exten => a,1,Answer()
 same => n,Queue(a)
[out]
exten => 1,1,Hangup()
"""


def live(scene: AtTheirs) -> None:
    """Every kind of call once."""
    def talk(number: str) -> tuple[str, str]:
        leg = scene.call(number, "m")
        scene.until(lambda: bool(_rung(scene, "2001", number)))
        ring = _rung(scene, "2001", number)[0]
        scene.lift(ring.leg)
        _wait(scene, 1500)
        return leg, ring.leg

    scene.hang_up(talk("13800000001")[0])
    _wait(scene, 1000)
    scene.hang_up(talk("13800000002")[1])
    _wait(scene, 1000)
    ignored = scene.call("13800000003", "m")
    scene.until(lambda: len(_rung(scene, "2001", "13800000003")) == 2)
    scene.hang_up(ignored)
    scene.pause("2001", True, "lunch")
    for number, how in (("13800000004", "abandon"), ("13800000005", "key"), ("13800000006", "timeout")):
        leg = scene.call(number, "mt" if how == "timeout" else "m")
        scene.until(lambda leg=leg: _up(scene, leg))        # type: ignore[misc]
        _wait(scene, 1500)
        if how == "key":
            scene.press(leg, "1")
        if how == "abandon":
            scene.hang_up(leg)
        scene.until(lambda leg=leg: _over(scene, leg) >= 0)     # type: ignore[misc]
    scene.pause("2001", False, "back")
    caller, agent = talk("13800000007")
    scene.transfer(agent, "2099")
    scene.until(lambda: bool(_rung(scene, "2099")))
    scene.lift(_rung(scene, "2099")[0].leg)
    _wait(scene, 800)
    scene.hang_up(agent)
    _wait(scene, 800)
    scene.hang_up(caller)
    _wait(scene, 1000)
    caller, agent = talk("13800000008")
    asked = scene.call("2001", "2099")
    scene.until(lambda: len(_rung(scene, "2099")) == 2)
    scene.lift(_rung(scene, "2099")[1].leg)
    scene.until(lambda: _up(scene, asked))
    _wait(scene, 800)
    scene.one.phones.refer_to(agent, asked)
    _wait(scene, 1500)
    scene.hang_up(agent)
    scene.hang_up(asked)
    _wait(scene, 800)
    scene.hang_up(caller)
    leg = scene.call("13800000009", "e")
    scene.until(lambda: bool(_rung(scene, "2003")))
    scene.pause("2003", True)
    scene.until(lambda: _over(scene, leg) >= 0, 20)
    scene.pause("2003", False)
    for number, who in (("13800000010", "agent"), ("13800000011", "caller")):
        leg = scene.call(number, "a")
        scene.until(lambda number=number: bool(_rung(scene, "2004", number)))     # type: ignore[misc]
        ring = _rung(scene, "2004", number)[0]
        scene.lift(ring.leg)
        _wait(scene, 2000)                  # the agent hears an announcement, the caller waits on
        scene.hang_up(ring.leg if who == "agent" else leg)
        _wait(scene, 800)
        if who == "agent":
            scene.hang_up(leg)
        else:
            _wait(scene, 8000)              # it looks after him when the announcement is over
        _wait(scene, 800)
    scene.one.far.ask("queue add member PJSIP/2002 to m")
    scene.one.far.ask("queue remove member PJSIP/2002 from m")
    _wait(scene, 2000)


def main(folder: Path) -> None:
    """Live and keep the files."""
    phones = dict.fromkeys(("2001", "2002", "2003", "2004", "2099"), "")
    with at_theirs(QUEUES, phones, general="autofill=yes\n", dialplan=DIALPLAN) as scene:
        live(scene)
        time.sleep(1)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "queue_log").write_text("\n".join(scene.log()) + "\n", encoding="utf-8")
        (folder / "Master.csv").write_text("\n".join(scene.cdr()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
