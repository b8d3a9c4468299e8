"""A callback, a lost caller, and nodes that ask people or services, through the whole product, in virtual time."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.appliance import wait_until
from tests.e2e.branch import CALLEE_HZ, CALLER_HZ, HZ, SPEED, Branch, said

pytestmark = [pytest.mark.e2e]
MORE = """
[acd]
quiet = []
[queues.sales.callback]
enabled = true
offer_after_s = 0
[callers.known]
numbers = ["1360"]
to = "ivr/register"
[callers.late]
numbers = ["1370"]
to = "ivr/offer"
[callers.mine]
numbers = ["1380"]
to = "ivr/mine"
[ivr.mine]
kind = "callback-state"
otherwise = "ivr/offer"
[ivr.register]
kind = "lookup"
url = "http://127.0.0.1:18471/who"
ask = { number = "$caller" }
prompts = ["look.wait"]
to = "ivr/by"
otherwise = "queue/empty"
wait_s = 20
[ivr.by]
kind = "choose"
by = "$register"
cases = { gold = "queue/sales" }
otherwise = "queue/empty"
[ivr.offer]
kind = "callback"
queue = "sales"
otherwise = "queue/empty"
[lookup]
token = "of-this-branch"
"""


def test_a_caller_gives_up_waiting_and_is_called_back_by_the_agent(branch: Branch) -> None:
    box = branch.box
    box.ctl("agent login", agent="8001", extension="201")
    box.ctl("agent pause", agent="8001", reason="1")
    ident, number = branch.call("1310", press="1@9,1@16", patience=60)
    (row,) = wait_until(lambda: box.ctl("show callbacks"), "the request", 60)
    assert (row["number"], row["queue"], row["place"], row["state"]) == (number, "sales", 1, "waiting")
    branch.done(ident)
    (first,) = branch.records()
    assert (first["cause"], first["first_to_leave"]) == ("normal", "system") and "callback" in branch.history(first)
    assert not box.ctl("show missed"), "who is to be called back is not lost"
    box.kill("core")
    assert wait_until(lambda: [one["number"] for one in box.ctl("show callbacks")], "core is back", 40) == [number]
    branch.number(number)
    branch.answer("201", CALLEE_HZ, talk=40)
    box.ctl("agent ready", agent="8001")
    wait_until(lambda: not box.ctl("show callbacks"), "the callback is over", 60)
    back = next(one for one in branch.records(2) if one["kind"] == "callback")
    assert (back["agent"], back["queue"], back["cause"]) == ("8001", "sales", "normal") and back["talk_ms"] > 5000
    agent = branch.at("201")
    assert agent["partners"] or agent["met"] > 0, "agent and caller heard each other"
    assert HZ["201"] != CALLER_HZ


def test_a_lost_caller_is_listed_and_leaves_the_list_when_he_is_called(branch: Branch) -> None:
    box = branch.box
    box.ctl("agent login", agent="8001", extension="201")
    box.ctl("agent pause", agent="8001", reason="1")
    ident, number = branch.call("1310", patience=8)
    branch.done(ident)
    wait_until(lambda: [one["number"] for one in box.ctl("show missed")] == [number], "the lost caller is listed", 30)
    branch.number(number)
    branch.dial("201", "*16", CALLEE_HZ, keys="1@9", talk=30)
    wait_until(lambda: not box.ctl("show missed"), "he was reached", 60)
    wait_until(lambda: [one["kind"] for one in branch.records(2)].count("outbound") == 1, "the call to him is on record", 30)


class Register(BaseHTTPRequestHandler):
    """The customer register of the branch (its port is in the network of these tests alone)."""

    asked: list[tuple[str, dict[str, object]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.headers["Authorization"], body))
        reply = json.dumps({"value": "gold"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def test_a_customer_register_leads_a_caller_and_its_silence_loses_nobody(branch: Branch) -> None:
    box = branch.box
    box.ctl("agent login", agent="8001", extension="201")
    branch.answer("201", CALLER_HZ, talk=15)
    server = ThreadingHTTPServer(("127.0.0.1", 18471), Register)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        ident, number = branch.call("1360", HZ["201"], hang_up_after=120)
        box.world({"do": "speed", "percent": 100})         # the register answers in its own time
        wait_until(lambda: Register.asked, "the register is asked", 30)
        wait_until(lambda: [row for row in box.ctl("show calls") if row["queue"] == "sales"], "its answer leads the caller", 20)
        box.world({"do": "speed", "percent": int(SPEED)})
        branch.done(ident)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    ((token, body),) = Register.asked
    assert token == "Bearer of-this-branch" and body["ask"] == {"number": number} and body["node"] == "register"
    (record,) = branch.records()
    assert (record["queue"], record["agent"]) == ("sales", "8001") and "lookup" in branch.history(record)
    branch.done(branch.call("1360", hang_up_after=60)[0])
    lost = branch.records(2)[-1]
    assert lost["queue"] == "empty", "nothing answers: the caller is led on"
    wait_until(lambda: any(alarm["kind"] == "lookup:register" for alarm in box.ctl("show alarms")), "the alarm", 20)


def test_a_caller_who_is_in_no_queue_asks_to_be_called_back(branch: Branch) -> None:
    box = branch.box
    box.ctl("agent login", agent="8001", extension="201")
    ident, number = branch.call("1370", press="1@9", patience=60)
    branch.number(number)
    branch.answer("201", CALLEE_HZ, talk=40)
    branch.done(ident)
    back = wait_until(lambda: next((one for one in branch.records() if one["kind"] == "callback"), None), "the call back", 60)
    first = next(one for one in branch.records(2) if one["kind"] == "inbound")
    assert first["queue"] in ("", None) and "callback-promised" in branch.history(first)
    assert (back["agent"], back["queue"], back["called"]) == ("8001", "sales", number)
    wait_until(lambda: not box.ctl("show callbacks"), "the callback is over", 20)
    assert number not in [one["number"] for one in box.ctl("show missed")]


def test_a_caller_hears_how_his_callback_stands_and_takes_it_back(branch: Branch) -> None:
    box = branch.box
    box.ctl("agent login", agent="8001", extension="201")
    branch.answer("201", CALLER_HZ, talk=1800)
    other, _ = branch.call("1310", HZ["201"], line=2, hang_up_after=1800)
    wait_until(lambda: branch.agent("8001")["state"] == "talking", "the only agent is busy", 60)
    facts = {"from": "13800000042", "line": 1, "caller_id": "dtmf", "tone_hz": 0, "partners_hz": [], "patience": 60}
    first = str(branch.world("call", press="1@20", **facts)["person"])
    branch.done(first)
    (row,) = wait_until(lambda: box.ctl("show callbacks"), "the request", 60)
    assert (row["number"], row["state"]) == (facts["from"], "waiting")
    heard = branch.heard(first)
    assert said(heard, "en/cb.none") > 0.5 and said(heard, "en/q.cb.ok.1") > 0.5, "he had none, and asked for one"
    second = str(branch.world("call", press="3@20", **facts)["person"])
    branch.done(second)
    heard = branch.heard(second)
    for clip in ("cb.noted", "q.next", "cb.cancelled"):
        assert said(heard, f"en/{clip}") > 0.5, f"{clip} is {said(heard, f'en/{clip}'):.2f}"
    assert not box.ctl("show callbacks")
    assert facts["from"] not in [one["number"] for one in box.ctl("show missed")], "he wanted it so: he is not lost"
    branch.world("hang-up", person=other)
    states = [one for record in branch.records(3) for one in branch.history(record) if one in ("callback-state", "callback-withdrawn")]
    assert sorted(states) == ["callback-state", "callback-state", "callback-withdrawn"]
