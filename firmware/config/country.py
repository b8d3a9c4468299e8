"""The line profile of a site: its country's, with what the site changes (L1, pure)."""

from msgspec.structs import replace

from firmware.config.schema.tree import Config
from firmware.line.profiles import Profile, customised, profile


def site_profile(config: Config) -> Profile:
    """Profile of the site's lines; ConfigError when a changed value cannot be. `approved` tells a custom one."""
    custom = config.ports.custom
    chosen = profile(custom.base or config.site.country)
    if custom.base and custom.base != config.site.country:
        own = profile(config.site.country)
        chosen = _as_of(chosen, own)
    return customised(chosen, custom.values)


def _as_of(chosen: Profile, own: Profile) -> Profile:
    """The network of another country at a site: the emergency numbers stay those of the law, and it is no approved profile."""
    return replace(chosen, emergency=own.emergency, name=f"{own.name} with the network of {chosen.name}", changed=("base",))
