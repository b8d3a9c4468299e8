"""Which slot is written, and what the boot loader is told before and after (pure).

Theory of operation
-------------------
The boot loader believes few stored variables (board/*/uboot.env): BOOT_ORDER, and for each slot the tries left. Before a slot is written
it loses its tries and its place, so that a slot that is half written is never started: the power may go at any byte. Only after it was
read back does it become the first with all its tries; the other one gets its tries again where it holds something.
The slot that is written is the one that can hold least: first a slot that cannot be read, then the first of the order that has no
tries left (a new version that did not start), else the last of the order.
"""

SLOTS = ("A", "B")


def environment(text: str) -> dict[str, str]:
    """Variables as `fw_printenv` prints them."""
    found = {}
    for line in text.splitlines():
        at = line.find("=")
        if at > 0:
            found[line[:at]] = line[at + 1 :]
    return found


def order(variables: dict[str, str]) -> list[str]:
    """Slots in the order in which they are tried; a slot that is not named comes last."""
    named = [word for word in variables.get("BOOT_ORDER", "").split() if word in SLOTS]
    return named + [slot for slot in SLOTS if slot not in named]


def left(variables: dict[str, str], slot: str) -> int:
    """Tries left. The boot loader reads numbers as hexadecimal."""
    try:
        return max(0, int(variables.get("BOOT_" + slot + "_LEFT", "0"), 16))
    except ValueError:
        return 0


def hexadecimal(number: int) -> str:
    """As the boot loader and its tool write numbers."""
    return hex(number)[2:]


def other(slot: str) -> str:
    """The other slot."""
    return "B" if slot == "A" else "A"


def target(variables: dict[str, str], versions: dict[str, str]) -> str:
    """The slot to write; `versions`: of slots that can be read."""
    tried = order(variables)
    for slot in reversed(tried):
        if not versions.get(slot):
            return slot
    for slot in tried:
        if not left(variables, slot):
            return slot
    return tried[-1]


def before(slot: str) -> list[tuple[str, str]]:
    """What is set before `slot` is written."""
    return [("BOOT_ORDER", other(slot) + " " + slot), ("BOOT_" + slot + "_LEFT", "0")]


def after(slot: str, versions: dict[str, str], tries: int) -> list[tuple[str, str]]:
    """What is set when `slot` was read back."""
    others = other(slot)
    again = tries if versions.get(others) else 0
    return [
        ("BOOT_" + others + "_LEFT", hexadecimal(again)), ("BOOT_" + slot + "_LEFT", hexadecimal(tries)),
        ("BOOT_ORDER", slot + " " + others),
    ]  # fmt: skip


def leaving(variables: dict[str, str], versions: dict[str, str], tries: int) -> list[tuple[str, str]]:
    """What is set when the rescue is left: a box of which no slot has tries left gets them again where a slot can be read."""
    if any(left(variables, slot) and versions.get(slot) for slot in SLOTS):
        return []
    return [("BOOT_" + slot + "_LEFT", hexadecimal(tries)) for slot in SLOTS if versions.get(slot)]
