"""On MicroPython: a box that answers requests and keeps one file in memory. `turn(bytes as hex, now)` gives bytes as hex."""

import hashlib
from binascii import hexlify, unhexlify

from firmware.wire import provision, tlv
from firmware.wire.detect import Detector
from firmware.wire.device import Device

count = [0]


def random(size):
    count[0] += 1
    return hashlib.sha256(b"not random: a test" + bytes([count[0] & 255])).digest()[:size]


machine = Device([(tlv.MODEL, b"micropython"), (tlv.SERIAL, b"MP-1")], random, 115200, 115200, 16384)
box = {"detector": Detector(), "file": b"", "whole": b"", "size": 0}


def act(now):
    for event in machine.events():
        name, ident = event[0], event[1]
        if name == "request":
            machine.send(("result", ident, provision.OK, b"did " + event[2]), now)
        elif name == "put":
            meta = tlv.decode(event[2])
            box["size"], box["whole"] = tlv.as_number(meta, tlv.SIZE), meta[tlv.DIGEST]
            machine.send(("accept", ident, box["size"], len(box["file"]), hashlib.sha256(box["file"]).digest()), now)
        elif name == "begin":
            box["file"] = box["file"][: event[2]]
        elif name == "data":
            box["file"] += event[3]
            machine.send(("written", ident, len(box["file"])), now)
        elif name == "get":
            machine.send(("accept", ident, len(box["file"]), 0, hashlib.sha256(box["file"]).digest()), now)
        elif name == "want":
            machine.send(("data", ident, event[2], box["file"][event[2] : event[2] + event[3]]), now)
        elif name == "finish":
            same = not box["whole"] or hashlib.sha256(box["file"]).digest() == box["whole"]
            machine.send(("result", ident, provision.OK if same else provision.FAILED, b""), now)
        elif name == "closed":
            box["detector"] = Detector()


def turn(data, now):
    data = unhexlify(data)
    if box["detector"] is not None:
        box["detector"].receive(data, now)
        if not box["detector"].found:
            return ""
        data, box["detector"] = box["detector"].rest, None
    if data:
        machine.receive(data, now)
    due = machine.deadline()
    if due is not None and now >= due:
        machine.expire(now)
    out = b""
    while True:
        act(now)
        more = machine.output()
        if not more:
            return hexlify(out).decode()
        out += more
