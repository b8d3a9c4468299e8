"""BranchPBX: the firmware of an IP-PBX appliance for small branch offices."""

__version__ = "0.1.0"
