"""What `tools/fuzz_sip.py` feeds to the configuration: site files, and `set` and `delete` lines, as `fuzz_targets.py` has it.

Input that begins with `set` or `delete` is lines for a candidate that others have begun; other input is a site file. Wrong is whatever is
raised but a refusal with problems, a problem without remedy, a refused line that has changed something, and a candidate that can be written
but not read again.
"""

from __future__ import annotations

from typing import Any

from firmware.config.candidate import Candidate
from firmware.config.diff import content_hash, plain
from firmware.config.model import check, load
from firmware.config.problems import ConfigErrors
from firmware.config.problems_zh import chinese
from firmware.config.render import set_lines, set_lines_of, to_toml, toml_of
from firmware.config.words import words

SITE = b"""[ports.fxo.1]
[ports.fxs.1]
[extensions.101]
kind = "fxs"
jack = "1"
[extensions.201]
kind = "sip"
secret = "long-enough-7"
speed_dials = {"07" = "101"}
[agents.8001]
pin = "4713"
queues = ["sales"]
[queues.sales]
ring_s = 25
[menus.main]
prompt = "ivr.main"
keys = {"1" = {to = "queue/sales"}}
[[inbound]]
to = "menu/main"
[[outbound]]
prefix = "9"
"""


class SiteText:
    """See the module docstring."""

    def __init__(self) -> None:
        self._base: dict[str, Any] = plain(load(SITE, file="seed"))

    def seeds(self) -> list[bytes]:
        """A site file, and lines that make and change one."""
        lines = set_lines(load(SITE, file="seed"), secrets=True)
        return [
            SITE,
            "\n".join(lines).encode(),
            b"set inbound[1].to queue/sales\nset inbound[1].lines [\"1\"]\ndelete inbound[0]\ndelete queues.sales.ring_s",
            b"set extensions.202\nset extensions.202.kind sip\nset extensions.201.secret (hidden)",
            b'set extensions.201.speed_dials."08" "201"\ndelete extensions.201.speed_dials.07',
            b"schema = 1\nschema = 2\n",
        ]

    def run(self, data: bytes) -> None:
        """Take an input; raises what is wrong."""
        if data[:3] == b"set" or data[:6] == b"delete":
            self._lines(data.decode("utf-8", "replace"))
        else:
            self._file(data)

    def _file(self, data: bytes) -> None:
        config, problems = check(data, file="fuzz")
        if (config is None) != bool(problems):
            raise AssertionError("a configuration with problems, or none without one")
        for one in problems:
            if not (one.path and one.message and one.remedy and chinese(one.message)):
                raise AssertionError(f"a problem that tells nothing: {one}")
        if config is not None and content_hash(load(to_toml(config).encode(), file="again")) != content_hash(config):
            raise AssertionError("a configuration is another one after it was written and read")

    def _lines(self, text: str) -> None:
        candidate = Candidate(self._base)
        for line in text.split("\n")[:40]:
            verb, _, rest = line.partition(" ")
            path, _, value = rest.partition(" ")
            before = candidate.tree
            known = toml_of(before)
            try:
                if verb == "delete":
                    candidate.delete(path, "fuzz")
                else:
                    candidate.set(path, value, "fuzz")
            except ConfigErrors as error:
                if candidate.tree is not before or not error.problems:
                    raise AssertionError("a refused line has changed something, or tells nothing") from error
            if toml_of(before) != known:
                raise AssertionError("a tree was changed in place")
            words(path, candidate.tree)
        if "long-enough-7" in "\n".join(set_lines_of(candidate.tree)):
            raise AssertionError("a secret is shown")
        self._file(toml_of(candidate.tree).encode())
