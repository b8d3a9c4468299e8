"""People of the console: who may be named, and that a configuration never locks everybody out."""

from __future__ import annotations

import pytest

from firmware.config.model import check

HASH = "$7$C6..../...." + "saltsalt" + "$" + "a" * 43
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF6q8Zk1 anna@desk"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (f'[users.anna]\nrole = "viewer"\npassword = "{HASH}"', "users"),
        ('[users.anna]\nrole = "admin"', "users"),
        (f'[users.Anna]\nrole = "admin"\npassword = "{HASH}"', "users.Anna"),
        (f'[users.root]\nrole = "admin"\npassword = "{HASH}"', "users.root"),
        ('[users.anna]\nrole = "admin"\npassword = "geheim"', "users.anna.password"),
        ("[ssh]\nenabled = true", "ssh.enabled"),
        (f'[ssh]\nenabled = true\npasswords = false\n[users.anna]\nrole = "admin"\npassword = "{HASH}"', "ssh.enabled"),
        (f'[users.a]\nrole = "admin"\nssh_keys = ["{KEY}"]\n[users.b]\nssh_keys = ["{KEY.split(" anna")[0]}"]', "users.b.ssh_keys[0]"),
        (f'[users.a]\nrole = "admin"\nssh_keys = ["{KEY}", "command=evil {KEY}"]', "users.a.ssh_keys[1]"),
        ("[console]\nbaud = 300", "console.baud"),
        ('[console]\ntty = "/dev/tty S0"', "console.tty"),
    ],
)
def test_what_would_lock_out_or_mislead_is_refused(text: str, path: str) -> None:
    config, problems = check(text.encode(), file="site.toml")
    assert config is None and path in [problem.path for problem in problems], problems
    assert HASH not in " ".join(problem.text() for problem in problems) and "geheim" not in " ".join(p.text() for p in problems)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f'[users.anna]\nrole = "admin"\npassword = "{HASH}"\n[users.bo]\nname = "Bo"',
        f'[ssh]\nenabled = true\n[users.anna]\nrole = "admin"\nssh_keys = ["{KEY}"]',
        '[console]\ntty = "/dev/ttyS0"\nbaud = 9600',
    ],
)
def test_what_lets_an_administrator_in_is_right(text: str) -> None:
    config, problems = check(text.encode(), file="site.toml")
    assert config is not None and not problems, problems
