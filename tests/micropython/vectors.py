"""On MicroPython: what the codecs make of each vector, as JSON, to be compared with what CPython makes of it."""

import json
from binascii import hexlify, unhexlify

from firmware.wire import frame, proof, tlv
from firmware.wire.detect import Detector


def said(data):
    return hexlify(data).decode()


with open("/vectors.json") as file:  # noqa: PTH123
    vectors = json.load(file)
out = {"frames": [], "streams": [], "records": [], "proofs": [], "detector": []}
for kind, epoch, seq, payload, _ in vectors["frames"]:
    out["frames"].append([kind, epoch, seq, payload, said(frame.encode(kind, epoch, seq, unhexlify(payload)))])
for stream, _ in vectors["streams"]:
    got = frame.Decoder().feed(unhexlify(stream))
    out["streams"].append([stream, [[one[0], one[1], one[2], said(one[3])] for one in got]])
for data, _ in vectors["records"]:
    found = tlv.decode(unhexlify(data))
    out["records"].append([data, None if found is None else [[tag, said(found[tag])] for tag in sorted(found)]])
for key, message, _ in vectors["proofs"]:
    out["proofs"].append([key, message, said(proof.hmac_sha256(unhexlify(key), unhexlify(message)))])
for stream, _ in vectors["detector"]:
    detector = Detector()
    console = b""
    for byte in unhexlify(stream):
        console += detector.receive(bytes([byte]), 0)
    console += detector.expire(1000)
    out["detector"].append([stream, [said(console), detector.found, said(detector.rest)]])
print(json.dumps(out))  # noqa: T201
