"""In which languages a configuration can have prompts said (L1, pure): what media keeps in memory from its start on.

A call begins in the first language of the site. It comes to another by a key of a menu, by a node, in a mailbox that has a language of
its own, or in the studio, where a key chooses. `site.languages` beyond the first are offers: without one of these ways nobody gets there.
Screens of telephones, the console, mail and the skills of agents have languages, too, but say nothing. A call that goes on with a language
of an earlier configuration (a callback, a core that was started again) is served all the same: `media/clips.py` loads what is asked for.
"""

from __future__ import annotations

from firmware.call.speech import LANGUAGES, Language
from firmware.config.schema.tree import Config


def spoken(config: Config) -> tuple[Language, ...]:
    """The languages, in the order of `LANGUAGES`."""
    used: set[str] = {config.site.languages[0]}
    used.update(key.language for menu in config.menus.values() for key in menu.keys.values())
    used.update(node.language for node in config.ivr.values())
    used.update(box.language for box in config.mailboxes.values())
    if config.studio.pin:
        used.update(LANGUAGES)
    return tuple(language for language in LANGUAGES if language in used)


def language_of(clip: str) -> str:
    """Language of a clip "zh/q.pos.1"; "" for one that is of none, as music is."""
    language = clip.partition("/")[0]
    return language if language in LANGUAGES else ""
