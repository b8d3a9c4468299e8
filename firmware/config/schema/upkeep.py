"""What the box does by itself at night: backups of the site, and updates of its firmware."""

from typing import Annotated

from firmware.config.schema.base import Entry, about

_TIME = r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$"


class Backup(Entry, frozen=True):
    """Backups that the box makes by itself, sealed to a key that it does not hold, into `central.folder`."""

    at: Annotated[str, about("Local time of the daily backup; empty: none by itself", pattern=_TIME, role="admin")] = ""
    recipient: Annotated[
        str,
        about("Public key they are sealed to, as `branchpbx backup --new-key` tells it; who holds the other half opens them",
              pattern=r"^([A-Za-z0-9+/]{43}=)?$", role="admin"),
    ] = ""  # fmt: skip
    keep: Annotated[int, about("So many of them are kept, the oldest goes first", ge=1, le=100, role="admin")] = 7


class Update(Entry, frozen=True):
    """Updates that a box with slots looks for by itself; what is not newer or not signed by us is refused as always."""

    url: Annotated[
        str,
        about("Address of the bundle, https only, asked once in each window; {channel} stands for `channel`. Empty: updates come by hand",
              pattern=r"^(https://[^\s?#]{1,250})?$", role="admin"),
    ] = ""  # fmt: skip
    channel: Annotated[
        str, about("Which releases: stable, early or what the centre offers", pattern=r"^[a-z0-9-]{1,30}$", role="admin")
    ] = "stable"
    begin: Annotated[
        str, about("Local time from which it is asked and the box may restart", pattern=_TIME, min_length=5, role="admin")
    ] = "02:00"
    end: Annotated[
        str,
        about("Local time until when it may restart; an update that waits then is put off to the next night",
              pattern=_TIME, min_length=5, role="admin"),
    ] = "05:00"  # fmt: skip
