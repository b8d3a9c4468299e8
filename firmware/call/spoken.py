"""Which prompts a configuration can have said (L1, pure): what media keeps in memory from its start on.

Prompts are told apart by *group*: their language ("zh"), and for those of mailboxes and of queues the beginning of their name, too
("zh/vm", "zh/q"): a third of all, which an office without them never hears. `ANYWHERE` are those of them that a telephone on any site
comes to by a code.
A call begins in the first language of the site. It comes to another by a key of a menu, by a node, in a mailbox that has a language of
its own, or in the studio, where a key chooses. `site.languages` beyond the first are offers: without one of these ways nobody gets there.
Screens of telephones, the console, mail and the skills of agents have languages, too, but say nothing. What is asked for all the same (a
callback or a call that goes on in a language of an earlier configuration) is loaded when it is asked for (`media/clips.py`): decided is
here what must be there at once, never what may be said.
"""

from __future__ import annotations

from firmware.call.mailroom import OWN
from firmware.call.speech import LANGUAGES
from firmware.config.schema.tree import Config

BOX = frozenset({"vm"})
CENTRE = frozenset({"cb", "q", "rate"})
ANYWHERE = ("vm.ask.", "vm.bad.", "vm.ended", "vm.no.studio", "vm.sorry", "q.cb.key")


def spoken(config: Config) -> tuple[str, ...]:
    """The groups: languages in the order of `LANGUAGES`, each followed by its groups of their own."""
    used: set[str] = {config.site.languages[0]}
    used.update(key.language for menu in config.menus.values() for key in menu.keys.values())
    used.update(node.language for node in config.ivr.values())
    used.update(box.language for box in config.mailboxes.values())
    if config.studio.pin:
        used.update(LANGUAGES)
    parts = {prompt.partition(".")[0] for prompt in _named(config)} & (BOX | CENTRE)
    if config.mailboxes or config.studio.pin or config.agents:       # agents record a greeting with the words of the boxes
        parts |= BOX
    if config.queues or config.agents:
        parts |= CENTRE
    return tuple(
        group for language in LANGUAGES if language in used for group in (language, *(f"{language}/{part}" for part in sorted(parts)))
    )


def _named(config: Config) -> list[str]:
    """Prompts that menus and nodes name."""
    return [*(menu.prompt for menu in config.menus.values()), *(prompt for node in config.ivr.values() for prompt in node.prompts)]


def group_of(clip: str) -> str:
    """Group of a clip: "zh/vm" of "zh/vm.keys.1", "zh" of "zh/greet.day"; "" for one that has no language, as music.

    Greetings in an agent's own voice are loaded as messages are, when they are played: no configuration leads to their group.
    """
    language, _, name = clip.partition("/")
    if language not in LANGUAGES:
        return ""
    if name.startswith(OWN):
        return f"{language}/own"
    part = name.partition(".")[0]
    return f"{language}/{part}" if (part in BOX or part in CENTRE) and not name.startswith(ANYWHERE) else language
