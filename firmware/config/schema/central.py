"""The centre that sends this box signed configuration documents, and how they come."""

from typing import Annotated

from msgspec import Meta, field

from firmware.config.schema.base import Entry, about


class Central(Entry, frozen=True):
    """The centre of this box."""

    tenant: Annotated[str, about("Tenant whose documents this box takes", pattern=r"^[A-Za-z0-9_.-]{0,60}$", role="admin")] = ""
    keys: Annotated[
        list[Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{43}=$")]],
        about("Public keys (Ed25519, base64) whose signatures are believed; none: no document is taken", max_length=4, role="admin"),
    ] = field(default_factory=list)
    url: Annotated[
        str,
        about("Where documents are fetched and reports go, https only; empty: they come by hand", pattern=r"^(https://[^\s?#]{1,250})?$",
              role="admin"),
    ] = ""  # fmt: skip
    ca: Annotated[str, about("PEM file of the CA of that server; empty: the system's", role="admin")] = ""
    interval_min: Annotated[int, about("How often it is asked, give or take a third", unit="min", ge=1, le=1440, role="admin")] = 15
    folder: Annotated[
        str,
        about("Folder where a USB stick appears: a document for this box is taken from it. Empty: none",
              pattern=r"^(/[A-Za-z0-9._-]{1,60}){0,8}$", role="admin"),
    ] = ""  # fmt: skip
