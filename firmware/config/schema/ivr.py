"""Nodes of the call graph beside menus: input, look-up, saying, language, the silent caller (destination `ivr/NAME`)."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about
from firmware.config.schema.destinations import Destination

PromptId = Annotated[str, Meta(pattern=r"^[a-z0-9.]+$")]


class Node(Entry, frozen=True):
    """One node; `kind` says which of the settings it uses, the check tells of one that it does not."""

    kind: Annotated[
        Literal["say", "input", "choose", "silent", "callback", "lookup", "callback-state"],
        about("say: words, then on; input: takes digits; choose: by what is known; silent: protocol for a caller who says nothing; "
              "callback: a call by a queue is promised; lookup: a service is asked; callback-state: the caller hears how his callback "
              "stands, and may correct its number or take it back"),
    ]
    to: Annotated[Destination, about("Where a caller goes on to")] = "hangup"
    otherwise: Annotated[
        Destination,
        about("input: after the last try; choose: when no case fits; callback: when none is promised; lookup: without an answer; "
              "callback-state: when he has none"),
    ] = "hangup"
    language: Annotated[Literal["", "en", "zh"], about("say: switch prompts to this language first")] = ""
    # say and input
    prompts: Annotated[
        list[PromptId],
        about("say: said one after the other; input: the question; callback, callback-state, lookup: said first", max_length=8),
    ] = field(default_factory=list)
    variables: Annotated[
        dict[str, str],
        about("Of the prompts: a text, or $NODE for the digits taken or the value found there, $caller, $called, $time, $date",
              max_length=8),
    ] = field(default_factory=dict)
    # input
    least: Annotated[int, about("input: fewest digits", ge=1, le=32)] = 1
    most: Annotated[int, about("input: with so many it is complete", ge=1, le=32)] = 16
    end_key: Annotated[Literal["#", "*", ""], about("input: key that completes it; empty: only `most` or a pause does")] = "#"
    secret: Annotated[bool, about("input: digits never appear in records, logs or reports")] = False
    barge_in: Annotated[bool, about("say, input: a key stops the words")] = True
    timeout_s: Annotated[int, about("input: wait for the first digit", unit="s", ge=1, le=30)] = 6
    between_s: Annotated[int, about("input: longest pause between digits", unit="s", ge=1, le=15)] = 4
    tries: Annotated[int, about("input: times the question is put", ge=1, le=5)] = 3
    # choose
    by: Annotated[
        str, about("choose: caller, called, line, language, or $NODE for digits taken or the value found there",
                   pattern=r"^(caller|called|line|language|\$[A-Za-z0-9_.-]{1,40}|)$"),
    ] = ""  # fmt: skip
    cases: Annotated[
        dict[str, Destination], about("choose: beginning of the value (the whole one with = in front) to destination; the longest wins",
                                      max_length=500),
    ] = field(default_factory=dict)  # fmt: skip
    # silent
    protocol: Annotated[
        Literal["A", "B", "C", "D", "E"],
        about("silent: A greeting twice, then other phone (SIL-01); B greeting and 'you are connected' (SIL-02); C two requests (SIL-03); "
              "D noise but nobody answers (SIL-04); E call that we made (SIL-05)"),
    ] = "A"  # fmt: skip
    wait_ms: Annotated[
        int, about("silent: listen for so long after each sentence; 0: as the protocol has it", unit="ms", ge=0, le=15_000)
    ] = 0
    voice_ms: Annotated[int, about("silent: so much speech counts as an answer", unit="ms", ge=60, le=3000)] = 250
    # callback
    queue: Annotated[str, about("callback: queue that calls back, by its own settings of callbacks", ref="queues")] = ""
    # lookup
    url: Annotated[
        str,
        about("lookup: where the question is posted as JSON; https, or http to this box itself",
              pattern=r"^(https://[^\s#]{1,250}|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?(/[^\s#]{0,200})?|)$", role="admin"),
    ] = ""  # fmt: skip
    ask: Annotated[
        dict[str, str], about("lookup: members of the question: a text, or $NODE, $caller, $called, $line, $language, $time, $date",
                              max_length=16),
    ] = field(default_factory=dict)  # fmt: skip
    wait_s: Annotated[int, about("lookup: longest wait of the caller for the answer", unit="s", ge=1, le=20)] = 4


class Lookup(Entry, frozen=True):
    """Services that nodes of kind lookup ask."""

    ca: Annotated[str, about("PEM file of the CA of their servers; empty: the system's", role="admin")] = ""
    token: Annotated[
        str, about("Sent with each question (Authorization: Bearer); empty: none", secret=True, pattern=r"^[!-~]{0,200}$", role="admin")
    ] = ""
