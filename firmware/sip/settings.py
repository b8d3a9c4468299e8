"""Behaviour and limits of a SIP endpoint (L1)."""

from __future__ import annotations

import msgspec

from firmware.sip.transaction import Timers


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Behaviour and limits of an endpoint."""

    realm: str = "branchpbx"
    server_name: str = "BranchPBX"
    registration_min_s: int = 60
    registration_max_s: int = 3600
    unregister_on_loss: bool = True
    max_transactions: int = 20_000
    max_sessions: int = 512
    max_offered_per_source: int = 64
    max_connections: int = 1024
    session_expires_s: int = 1800        # what we wish for session timers (RFC 4028), 0: none
    keep_alive_s: int = 25               # how often a phone behind a router is asked, 0: never
    subscribes_s: float = 50.0           # SUBSCRIBEs of one address and port in a second, 0: no bound
    subscribes_burst: float = 1000.0     # and how many at once: a proxy with many telephones behind it that wake up together
    timers: Timers = Timers()
