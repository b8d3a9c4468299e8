"""Signed bundles, looked into without any other program than the one that checks the signature (pure: bytes come by a function).

Theory of operation
-------------------
A bundle (RAUC's, verity format) is    payload, a squashfs | hash tree | CMS message | its length, 8 bytes big-endian
The CMS message holds the manifest and its signature. The manifest names board and version, the SHA-256 of the image, and the root of the
hash tree, so each byte of the payload is covered by the signature. `signature_place` finds the message (hostile until it is checked),
`manifest` reads what came out of a good signature, `verified` checks tree and payload. The tree is dm-verity's: SHA-256 over salt and block
of 4096 bytes, 128 hashes to a block, the top level first.
"""

import hashlib
import struct
from binascii import unhexlify

from firmware.rescue.texts import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 4096
HASH = 32
SIGNATURE_MOST = 65536
TREE_MOST = 8388608
PIECE = 64  # blocks read at once


class Facts:
    """What a manifest says. Sizes in bytes."""

    def __init__(self) -> None:
        self.compatible = ""
        self.version = ""
        self.image = ""
        self.sha256 = b""
        self.root = b""
        self.salt = b""
        self.tree_size = 0
        self.payload = 0


def signature_place(size: int, last: bytes) -> tuple[int, int]:
    """(offset, length) of the CMS message in a file of `size` bytes that ends with the 8 bytes `last`."""
    if size < 2 * BLOCK or len(last) != 8:
        raise Refusal("damaged", why="too short")
    length = struct.unpack(">Q", last)[0]
    if not 0 < length <= SIGNATURE_MOST or length + 8 > size - 2 * BLOCK:
        raise Refusal("damaged", why="no signature at its end")
    return size - 8 - length, length


def _hash(text: str, what: str) -> bytes:
    try:
        value = unhexlify(text)
    except ValueError:
        value = b""
    if len(value) != HASH:
        raise Refusal("format", why=what)
    return value


def manifest(text: str, signature_at: int) -> Facts:
    """The facts of a manifest whose signature is right; `signature_at`: where payload and tree end."""
    values: dict[str, str] = {}
    section = ""
    images = 0
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            images += section.startswith("image.")
        elif line and line[0] not in "#;":
            at = line.find("=")
            if at > 0:
                values[section + "/" + line[:at].strip()] = line[at + 1 :].strip()
    facts = Facts()
    facts.compatible = values.get("update/compatible", "")
    facts.version = values.get("update/version", "")
    if values.get("bundle/format") != "verity":
        raise Refusal("format", why="format " + values.get("bundle/format", "plain"))
    if images != 1 or not values.get("image.rootfs/filename"):
        raise Refusal("format", why="not one image.rootfs")
    facts.image = values["image.rootfs/filename"]
    if "/" in facts.image or facts.image.startswith("."):
        raise Refusal("format", why="name of the image")
    facts.sha256 = _hash(values.get("image.rootfs/sha256", ""), "sha256")
    facts.root = _hash(values.get("bundle/verity-hash", ""), "verity-hash")
    facts.salt = _hash(values.get("bundle/verity-salt", ""), "verity-salt")
    size = values.get("bundle/verity-size", "")
    facts.tree_size = int(size) if size.isdigit() and len(size) < 12 else 0
    facts.payload = signature_at - facts.tree_size
    if not 0 < facts.tree_size <= TREE_MOST:
        raise Refusal("format", why="verity-size")
    if facts.payload < 2 * BLOCK or facts.payload % BLOCK or sum(levels(facts.payload // BLOCK)) * BLOCK != facts.tree_size:
        raise Refusal("damaged", why="size")
    return facts


def levels(blocks: int) -> list[int]:
    """Blocks of each level of the tree, the lowest first."""
    found = []
    while blocks > 1:
        blocks = (blocks + BLOCK // HASH - 1) // (BLOCK // HASH)
        found.append(blocks)
    return found


def verified(read: "Callable[[int, int], bytes]", facts: Facts) -> "Iterator[int]":
    """Check the payload; yields bytes done. `read(offset, count)`. Refusal at the first block that is not what was signed."""
    tree = read(facts.payload, facts.tree_size)
    if len(tree) != facts.tree_size:
        raise Refusal("damaged", why="it ends early")
    at = 0
    above = facts.root
    for count in reversed(levels(facts.payload // BLOCK)):
        level = tree[at : at + count * BLOCK]
        _compare(level, above, facts.salt, at + facts.payload)
        above = level
        at += count * BLOCK
    for start in range(0, facts.payload, PIECE * BLOCK):
        count = min(PIECE * BLOCK, facts.payload - start)
        piece = read(start, count)
        if len(piece) != count:
            raise Refusal("damaged", why="it ends early")
        _compare(piece, above[start // BLOCK * HASH : (start + count) // BLOCK * HASH], facts.salt, start)
        yield start + count


def _compare(blocks: bytes, hashes: bytes, salt: bytes, where: int) -> None:
    """Each block has its hash."""
    view = memoryview(blocks)
    for number in range(len(blocks) // BLOCK):
        digest = hashlib.sha256(salt)
        digest.update(view[number * BLOCK : (number + 1) * BLOCK])
        if digest.digest() != hashes[number * HASH : (number + 1) * HASH]:
            raise Refusal("damaged", why="byte " + str(where + number * BLOCK))


def version_key(text: str) -> "tuple[tuple[int, ...], int, str] | None":
    """Order of versions as `firmware/update/rules.py` has it: a version with a suffix before the same without; None for what is none."""
    text = text.split("+")[0]
    at = text.find("-")
    suffix = text[at + 1 :] if at >= 0 else ""
    parts = (text[:at] if at >= 0 else text).split(".")
    if not 2 <= len(parts) <= 3 or not all(part.isdigit() and len(part) <= 6 for part in parts) or len(suffix) > 40:
        return None
    numbers = [int(part) for part in parts]
    while len(numbers) < 3:
        numbers.append(0)
    return tuple(numbers), 0 if suffix else 1, suffix


def newest(versions: list[str]) -> str:
    """The newest of these versions; "" where none is one."""
    best = ""
    best_key = None
    for version in versions:
        key = version_key(version)
        if key is not None and (best_key is None or key > best_key):
            best, best_key = version, key
    return best


def judge(facts: Facts, compatible: str, there: list[str], older: bool) -> None:
    """Refusal of a bundle for another board, without a version, or older than each version on the box unless `older` is meant."""
    if facts.compatible != compatible:
        raise Refusal("wrong_board", offered=facts.compatible or "-", compatible=compatible)
    offered = version_key(facts.version)
    if offered is None:
        raise Refusal("no_version")
    best = newest(there)
    mine = version_key(best)
    if mine is not None and offered < mine and not older:
        raise Refusal("older", version=facts.version, newest=best)
