"""Lists of packages while their server is being renewed: those of the suite under another of its names do, another suite never."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.vm import fetch
from tools.vm.fetch import Apt, NotFetched


class Server(Apt):
    """apt against a server: `has` is the code name of what each name leads to, "" where the index names a list that is not there."""

    def __init__(self, has: dict[str, str]) -> None:
        super().__init__("trixie", "armhf")
        self.has = has
        self.asked: list[str] = []

    def __call__(self, *arguments: str, folder: Path | None = None, program: str = "apt-get") -> str:
        name = (self.state / "sources.list").read_text().splitlines()[0].split()[3]
        self.asked.append(name)
        if not self.has.get(name):
            raise NotFetched(f"{name} is being renewed")
        for what, text in (("InRelease", f"Suite: any\nCodename: {self.has[name]}\n"), ("main_binary-armhf_Packages", "")):
            (self.state / "lists" / f"server_dists_{name}_{what}").write_text(text)
        return ""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BUILD", tmp_path)
    monkeypatch.setenv("BRANCHPBX_MIRROR", "http://packages.test/debian")


@pytest.mark.parametrize(
    ("has", "asked"),
    [
        ({"trixie": "trixie", "stable": "forky"}, ["trixie"]),
        ({"stable": "trixie"}, ["trixie", "stable"]),
        ({"stable": "forky", "oldstable": "trixie"}, ["trixie", "stable", "oldstable"]),
    ],
)
def test_the_lists_are_those_of_the_suite(has: dict[str, str], asked: list[str]) -> None:
    server = Server(has)
    server.update()
    server.update()
    assert server.asked == asked, "once, and the first that is whole"
    assert f" {asked[-1]} main" in (server.state / "sources.list").read_text()


def test_another_suite_is_not_taken_and_the_first_reason_is_told() -> None:
    server = Server({"stable": "forky"})
    with pytest.raises(NotFetched, match="trixie is being renewed"):
        server.update()
    assert not (server.state / "updated").exists()


def test_lists_of_before_do_while_the_server_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server({"trixie": "trixie"})
    server.update()
    (server.state / "updated").unlink()
    server.has = {"stable": "forky"}
    server.update()
    assert " trixie main" in (server.state / "sources.list").read_text()
    assert "going on with the lists that are here" in capsys.readouterr().out
