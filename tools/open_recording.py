"""What the centre does with what boxes send: make its key, prove records and chains, open recordings.

    python -m tools.open_recording new-key centre.key             # prints the public key, for recording.upload.recipient
    python -m tools.open_recording open RECORD FILE out.wav --key centre.key --box IDENTITY
    python -m tools.open_recording chain DOCUMENT... --box IDENTITY

RECORD and FILE are what the tus service stored as kind `record` and kind `recording`; IDENTITY is the box's public key as `show device`
tells it. `open` says what the record holds once signature and digest are proved; `chain` whether the documents, in their order, follow from
each other, and what was removed at the box, so that it can be removed here. Nothing is written where a proof fails.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from firmware.app.upload_papers import bound_to
from firmware.errors import PbxError
from firmware.store import sealing
from firmware.store.files import write_atomic
from firmware.store.recordings import FIRST
from firmware.store.vault import Given, digest, to_wav


class NotProvedError(PbxError):
    """A document or file is not what it says; the message says why."""


def proved(document: bytes, identity: bytes) -> dict[str, Any]:
    """The content of a signed document. Raises NotProvedError."""
    try:
        envelope = json.loads(document)
        body, signature = sealing.unb64(envelope["report"], "report"), sealing.unb64(envelope["signature"], "signature")
    except (ValueError, KeyError, TypeError, sealing.SealError) as error:
        raise NotProvedError(f"is no signed document: {error}") from error
    if not sealing.signed_by(identity, signature, body):
        raise NotProvedError("is not signed by this box")
    found: dict[str, Any] = json.loads(body)
    return found


def opened(record: bytes, file: Path, identity: bytes, private: bytes) -> tuple[dict[str, Any], Given]:
    """Facts of a recording and its samples to iterate over. Raises NotProvedError, SealError."""
    known = proved(record, identity)
    link = known["link"]
    if known.get("document") != "record" or link["path"] != known["path"] or digest(file) != link["digest"]:
        raise NotProvedError(f"{file}: is not the recording that the record tells of")
    if not known["sealed"]:
        raise NotProvedError("the record holds no key: recording.upload.recipient was not set at the box; its recordings.key opens it")
    sealed = sealing.unb64(known.pop("sealed"), "sealed")
    known |= json.loads(sealing.open_sealed(private, sealed, bound_to(known["path"], link["digest"])))
    return known, Given(file, sealing.unb64(known.pop("key"), "key"))


def followed(documents: list[bytes], identity: bytes) -> list[dict[str, Any]]:
    """All links of these documents, in order. Raises NotProvedError where one does not follow from the one before."""
    links: list[dict[str, Any]] = []
    seq, before = 0, FIRST
    for document in documents:
        content = proved(document, identity)
        if content.get("document") != "chain" or content["before"] != before:
            raise NotProvedError(f"a document does not follow from link {seq}")
        for link in content["links"]:
            if link["seq"] != seq + 1:
                raise NotProvedError(f"link {link['seq']} does not follow from link {seq}")
            seq, before = link["seq"], link["hash"]
            links.append(link)
    return links


def main(words: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="open_recording", description="what the centre does with recordings that boxes send")
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("new-key").add_argument("file", type=Path)
    one = commands.add_parser("open")
    for name in ("record", "file", "wav"):
        one.add_argument(name, type=Path)
    one.add_argument("--key", type=Path, required=True)
    one.add_argument("--box", required=True, metavar="IDENTITY")
    chain = commands.add_parser("chain")
    chain.add_argument("documents", nargs="+", type=Path)
    chain.add_argument("--box", required=True, metavar="IDENTITY")
    options = parser.parse_args(words)
    try:
        if options.what == "new-key":
            private = os.urandom(sealing.KEY_BYTES)
            if options.file.exists():
                raise NotProvedError(f"{options.file}: is there already; a key that is lost opens nothing any more")
            write_atomic(options.file, private, mode=0o600)
            sys.stdout.write(sealing.b64(sealing.public_of(private)) + "\n")
            return 0
        identity = sealing.unb64(options.box, "the box's key")
        if options.what == "chain":
            for link in followed([path.read_bytes() for path in options.documents], identity):
                sys.stdout.write(f"{link['seq']} {link['what']} {link['path']} {link['why']}\n")
            return 0
        known, samples = opened(options.record.read_bytes(), options.file, identity, options.key.read_bytes())
        with options.wav.open("xb") as target:
            to_wav(samples, target)
        sys.stdout.write(json.dumps(known | {"end": samples.how}, ensure_ascii=False, indent=1, sort_keys=True) + "\n")
    except (PbxError, OSError) as error:
        sys.stderr.write(f"open_recording: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
