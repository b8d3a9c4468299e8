"""The error vocabulary every layer shares (L0: imports nothing).

A message names the thing, the value and the remedy; the facts are also attributes, so that a caller need not parse text.
"""


class PbxError(Exception):
    """Base of every error that BranchPBX raises on purpose."""


class ConfigError(PbxError):
    """A configuration entry cannot be used."""


class LocalProtocolError(PbxError):
    """We asked a protocol machine for something its state does not allow: a bug of ours."""


class RemoteProtocolError(PbxError):
    """The peer broke the protocol: count it, answer it, go on."""


class HardwareError(PbxError):
    """A board, chip or line does not answer as it must."""


class EngineBusy(PbxError):
    """The command ring to the media engine is full; the new call is refused, existing calls are untouched."""


class EngineRefused(PbxError):
    """The media engine refused a command (bad id, range or state)."""


class NotAllowed(PbxError):
    """The caller of a command lacks the role for it."""


class StoreError(PbxError):
    """A database or file cannot be opened, read or upgraded."""


class CommandError(PbxError):
    """A command names something that does not exist or cannot be done now; the message says which and what to do."""
