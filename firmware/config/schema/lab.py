"""What only a test bench may have (`[lab]`)."""

from typing import Annotated

from firmware.config.schema.base import Entry, about


class Lab(Entry, frozen=True):
    """Test bench. Never in a branch: with `open`, passwords may be simple and calls are recorded without a notice."""

    open: Annotated[bool, about("The explicit switch: without it nothing else here is allowed", apply="control")] = False
    echo: Annotated[str, about("Number that echoes, empty for none", pattern=r"^[0-9]{0,6}$")] = ""
    record_prefix: Annotated[
        str, about("Digits in front of an extension's number that record the call, empty for none", pattern=r"^[0-9]{0,2}$")
    ] = ""
    guests: Annotated[
        str, about("Extension that unknown SIP callers count as; empty: they must show a password", pattern=r"^[0-9]{0,6}$")
    ] = ""
