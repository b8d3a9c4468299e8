"""What takes long, in small steps: generators that yield (text code, bytes done, bytes in all, facts) (no I/O of its own: `board` does it).

Theory of operation
-------------------
The loop of `main.py` asks for one step after another and serves the serial line between them. A result is left in `out`. A Refusal ends a
job; what it left on the box is safe at every step: a bundle comes into memory, is checked whole (signature, then every block), and
only then the first byte of a slot is written, after the boot loader was told not to start it. The rescue itself is never written.
`board` is `system.Board`, or a stand-in of the tests.
"""

import hashlib

from firmware.rescue import bundle, fetching, slots
from firmware.rescue.texts import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Step = tuple[str, int, int, dict[str, Any]]

PIECE = 262144
HTTP_TRIES = 6


def http(board: "Any", source: str, out: "dict[str, Any]") -> "Iterator[Step]":
    """Fetch a file into memory; a connection that breaks is made again and goes on where it ended."""
    _, host, port, path = fetching.address(source)
    tries = 0
    place = board.incoming(0)
    total = 0
    while True:
        answer = fetching.Answer(place.size, board.bundle_most)
        before = place.size
        why = "it ends early"
        try:
            line = board.connect(host, port, fetching.get(host, path, place.size))
            try:
                while True:
                    data = line.read()
                    if data is None:  # nothing yet
                        yield "fetching", place.size, total, {}
                        continue
                    if not data:
                        break
                    content = answer.receive(data)
                    if answer.complete_head and not total:
                        total = answer.size
                    if answer.complete_head and answer.offset != before:
                        place = board.incoming(0)  # the server does not send parts: begin anew
                        before = 0
                        total = answer.size
                    if answer.size and place.size + len(content) > answer.size:
                        raise Refusal("damaged", why="longer than the server said")
                    place.add(content)
                    yield "fetching", place.size, total, {}
            finally:
                line.close()
        except OSError as error:
            why = board.reason(error)
        except Refusal as refusal:
            raise Refusal(refusal.code, **fetching.facts_of(refusal, source))
        if answer.complete_head and place.size == answer.size:
            break
        tries = 1 if place.size > before else tries + 1
        if tries >= HTTP_TRIES:
            raise Refusal("unreachable", source=source, why=why)
        until = board.now() + 1000
        while board.now() < until:
            yield "fetching", place.size, total, {}
    out["path"] = place.close()


def tftp(board: "Any", source: str, out: "dict[str, Any]") -> "Iterator[Step]":
    """Fetch a file into memory by TFTP."""
    _, host, port, path = fetching.address(source)
    place = board.incoming(0)
    machine = fetching.Tftp(path[1:], board.bundle_most, board.now())
    try:
        line = board.datagrams(host, port)
        try:
            while not machine.done:
                packet = machine.output(board.now())
                if packet:
                    line.send(packet)
                data = line.read()
                while data is not None:
                    place.add(machine.receive(data))
                    packet = machine.output(board.now())
                    if packet:
                        line.send(packet)
                    data = None if machine.done else line.read()
                yield "fetching", machine.got, machine.size, {}
            packet = machine.output(board.now())
            if packet:
                line.send(packet)
        finally:
            line.close()
    except OSError as error:
        raise Refusal("unreachable", source=source, why=board.reason(error))
    except Refusal as refusal:
        raise Refusal(refusal.code, **fetching.facts_of(refusal, source))
    if machine.size and machine.size != machine.got:
        raise Refusal("damaged", why="it ends early")
    out["path"] = place.close()


def stick(board: "Any", source: str, out: "dict[str, Any]") -> "Iterator[Step]":
    """Copy the one bundle of a USB stick into memory: a stick may be pulled, or say something else the second time."""
    found = board.sticks()
    try:
        if not found:
            raise Refusal("no_stick")
        if len(found) > 1:
            raise Refusal("sticks", names=" ".join([path.split("/")[-1] for path in found[:4]]))
        total = board.size(found[0])
        if total > board.bundle_most:
            raise Refusal("too_big", size=total, most=board.bundle_most)
        place = board.incoming(0)
        while place.size < total:
            data = board.read(found[0], place.size, PIECE)
            if not data:
                raise Refusal("damaged", why="it ends early")
            place.add(data)
            yield "fetching", place.size, total, {}
        out["path"] = place.close()
    finally:
        board.sticks_done()


def install(board: "Any", path: str, older: bool, out: "dict[str, Any]") -> "Iterator[Step]":
    """Check the bundle at `path` whole, then write its image into a slot, read it back, and let the boot loader start it next."""
    size = board.size(path)
    place, length = bundle.signature_place(size, board.read(path, size - 8, 8) if size >= 8 else b"")
    facts = bundle.manifest(board.signed(board.read(path, place, length)), place)
    versions = {slot: board.version(slot) for slot in slots.SLOTS}
    bundle.judge(facts, board.compatible, [version for version in versions.values() if version], older)
    for done in bundle.verified(lambda offset, count: board.read(path, offset, count), facts):
        yield "checking", done, facts.payload, {}
    image = board.open_payload(path, facts.image)
    try:
        total = board.size(image)
        slot = slots.target(board.variables(), versions)
        if total > board.slot_size(slot):
            raise Refusal("slot_small", size=total, slot=slot, most=board.slot_size(slot))
        board.log("version " + facts.version + " goes into slot " + slot)
        board.set_variables(slots.before(slot))
        try:
            for step in _write(board, image, slot, total, facts.sha256):
                yield step
            for step in _hash_slot(board, slot, total, "reading", out):
                yield step
        except OSError as error:
            raise Refusal("write", slot=slot, why=board.reason(error))
        if out["digest"] != facts.sha256:
            raise Refusal("write", slot=slot, why="it reads back differently")
    finally:
        board.close_payload()
    board.set_variables(slots.after(slot, {slot: facts.version, slots.other(slot): versions[slots.other(slot)]}, board.tries))
    board.log("version " + facts.version + " is in slot " + slot)
    out["slot"] = slot
    out["version"] = facts.version


def _write(board: "Any", image: str, slot: str, total: int, digest: bytes) -> "Iterator[Step]":
    device = board.open_slot(slot)
    whole = hashlib.sha256()
    at = 0
    try:
        while at < total:
            piece = board.read(image, at, min(PIECE, total - at))
            if not piece:
                break
            whole.update(piece)
            device.write(piece)
            at += len(piece)
            yield "writing", at, total, {"slot": slot}
    finally:
        device.close()
    board.flush(slot)
    if whole.digest() != digest:
        raise Refusal("write", slot=slot, why="the image is not what its manifest says")


def _hash(
    read: "Callable[[int, int], bytes]", total: int, code: str, facts: "dict[str, Any]", out: "dict[str, Any]"
) -> "Iterator[Step]":
    """The SHA-256 of `total` bytes that `read` gives by place and length, or of as many as there are."""
    whole = hashlib.sha256()
    at = 0
    while at < total:
        piece = read(at, min(PIECE, total - at))
        if not piece:
            break
        whole.update(piece)
        at += len(piece)
        yield code, at, total, facts
    out["digest"] = whole.digest()


def _hash_slot(board: "Any", slot: str, total: int, code: str, out: "dict[str, Any]") -> "Iterator[Step]":
    return _hash(lambda at, count: board.read_slot(slot, at, count), total, code, {"slot": slot}, out)


def hashes(board: "Any", out: "dict[str, Any]") -> "Iterator[Step]":
    """The SHA-256 of what each slot holds, to be compared with the image's manifest."""
    out["slots"] = []
    for slot in slots.SLOTS:
        total = board.content_size(slot)
        if not total:
            out["slots"].append((slot, b""))
            continue
        for step in _hash_slot(board, slot, total, "hashing", out):
            yield step
        out["slots"].append((slot, out["digest"]))


def digest(board: "Any", path: str, count: int, out: "dict[str, Any]") -> "Iterator[Step]":
    """The SHA-256 of the first `count` bytes of a file."""
    return _hash(lambda at, length: board.read(path, at, length), count, "fetching", {}, out)
