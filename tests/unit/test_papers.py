"""What accompanies an image: licences that are read right, the offer of sources, the bill of materials, and what is not let in."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tools import cves
from tools.vm import bundle, papers, settings

HEAD = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n"


def dep5(licence: str, *more: str) -> str:
    parts = [f"Files: *\nCopyright: somebody\nLicense: {licence}", *more]
    return HEAD + "\n\n".join(parts) + "\n"


@pytest.mark.parametrize(
    ("text", "alone"),
    [
        (dep5("GPL-3+"), True),
        (dep5("GPL-3"), True),
        (dep5("GPL-3.0-or-later"), True),
        (dep5("LGPL-3+"), False),
        (dep5("LGPL-3+ or GPL-2+"), False),
        (dep5("GPL-2 or GPL-3"), False),
        (dep5("GPL-3+ with GCC Runtime Library exception"), False),
        (dep5("MIT", "Files: config.guess\nLicense: GPL-3+"), False),
        (dep5("MIT", "Files: debian/*\nLicense: GPL-3+"), False),
        (HEAD + "Files: src/*\nLicense: MIT\n\nFiles: lib/*\nLicense: GPL-3+\n", True),
        ("This is free software: the GNU General Public License\n as published, either version 3 of the License.", True),
        ("Licensed under the MIT licence.", False),
    ],
)
def test_a_licence_file_is_read(text: str, alone: bool) -> None:
    assert papers.licence(text)[1] is alone


def test_what_may_not_be_in_a_signed_root_is_named_and_a_reason_lets_it_in() -> None:
    texts = {"bash": dep5("GPL-3+"), "zlib1g": dep5("Zlib"), "mystery": None}
    faults = papers.refused(texts, {})
    assert [fault.split()[0] for fault in faults] == ["bash", "mystery"]
    assert papers.refused(texts, {"bash": "because", "mystery": "because"}) == []


def test_every_reason_is_for_a_package_that_is_there() -> None:
    wanted = set(settings.load("qemu-armv7").image.packages)
    assert set(papers.reasons("debian")) <= wanted
    assert all(len(reason) > 20 for kind in ("debian", "buildroot") for reason in papers.reasons(kind).values())


@pytest.fixture
def debs(tmp_path: Path) -> list[Path]:
    """Two packages of one source."""
    found = []
    for name, source in (("libone1", "Source: one (1.0-3)\n"), ("two", "")):
        folder = tmp_path / name
        (folder / "DEBIAN").mkdir(parents=True)
        (folder / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: 1.0-3+b1\n{source}Architecture: armhf\nMaintainer: x <x@example.org>\nDescription: x\n"
        )
        target = tmp_path / f"{name}.deb"
        subprocess.run(["dpkg-deb", "-Znone", "--build", str(folder), str(target)], check=True, capture_output=True)
        found.append(target)
    return found


def test_papers_name_everything_and_repeat_themselves(tmp_path: Path, debs: list[Path]) -> None:
    board = settings.load("qemu-armv7")
    texts: dict[str, str | None] = {"libone1": dep5("MIT"), "two": dep5("GPL-2+")}
    made = papers.collect(board, debs, texts, "1.2.3", tmp_path / "a", {"msgspec": "BSD"})
    again = papers.collect(board, list(reversed(debs)), texts, "1.2.3", tmp_path / "b", {"msgspec": "BSD"})
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in again]
    with tarfile.open(fileobj=BytesIO(made[0].read_bytes())) as tar:
        assert {"libone1/copyright", "two/copyright", "msgspec/LICENSE", "branchpbx/LICENSE"} <= set(tar.getnames())
    offer = made[1].read_text()
    assert "1.2.3" in offer and "source one 1.0-3" in offer and "three years" in offer
    document = json.loads(made[2].read_text())
    names = {component["name"]: component for component in document["components"]}
    assert names["libone1"]["hashes"][0]["content"] == hashlib.sha256(debs[0].read_bytes()).hexdigest()
    assert names["libone1"]["purl"].startswith("pkg:deb/debian/libone1@1.0-3+b1") and "msgspec" in names
    assert cves.sources(document) == {"one": "1.0-3", "two": "1.0-3+b1"}
    assert document["dependencies"][0]["dependsOn"]


def test_a_package_under_version_3_stops_the_build_with_its_name(tmp_path: Path, debs: list[Path]) -> None:
    with pytest.raises(SystemExit, match="two is under version 3"):
        papers.collect(settings.load("qemu-armv7"), debs, {"libone1": dep5("MIT"), "two": dep5("GPL-3+")}, "1", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_bundle_carries_its_papers(tmp_path: Path) -> None:
    (tmp_path / "root.squashfs").write_bytes(bytes(range(256)) * 4096)
    (tmp_path / "SOURCES.txt").write_text("an offer\n")
    bundle.keys(tmp_path / "keys")
    bundle.make(
        tmp_path / "root.squashfs",
        "1.2.3",
        "branchpbx-qemu-armv7",
        tmp_path / "keys",
        tmp_path / "with.raucb",
        papers=[tmp_path / "SOURCES.txt"],
    )
    listed = subprocess.run(["unsquashfs", "-l", str(tmp_path / "with.raucb")], capture_output=True, text=True, check=True).stdout
    assert "SOURCES.txt" in listed and "root.img" in listed
    said = subprocess.run(
        ["rauc", "info", f"--keyring={tmp_path / 'keys' / 'keyring.pem'}", str(tmp_path / "with.raucb")], capture_output=True, check=False
    )
    assert said.returncode == 0


def test_vulnerabilities_are_those_of_this_version_or_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    component = {"properties": [{"name": "branchpbx:source", "value": "one 1.0-3"}]}
    (tmp_path / "sbom.json").write_text(json.dumps({"components": [component]}))
    releases = {
        "CVE-1": {"status": "open", "urgency": "high"}, "CVE-2": {"status": "resolved", "fixed_version": "1.0-4"},
        "CVE-3": {"status": "resolved", "fixed_version": "1.0-3"}, "CVE-4": {"status": "open", "urgency": "unimportant"},
        "CVE-5": {"status": "resolved", "fixed_version": "0"},
    }  # fmt: skip
    data = {"one": {name: {"releases": {"trixie": facts}} for name, facts in releases.items()}, "other": {"CVE-9": {}}}
    (tmp_path / "tracker.json").write_text(json.dumps(data))
    words = [str(tmp_path / "sbom.json"), "--data", str(tmp_path / "tracker.json")]
    assert cves.main(words) == 1
    said = capsys.readouterr().out
    assert "CVE-1" in said and "CVE-2" in said and not any(name in said for name in ("CVE-3", "CVE-4", "CVE-5", "CVE-9"))
    assert cves.main([*words, "--suite", "forky"]) == 0
    capsys.readouterr()
    assert cves.main(words[:1]) == 3 and "not run" in capsys.readouterr().out
    (tmp_path / "empty.json").write_text("{}")
    assert cves.main([words[0], "--data", str(tmp_path / "empty.json")]) == 2, "a file that is none is no clean bill"


def test_buildroots_check_asks_the_same_reasons() -> None:
    path = settings.TOP / "buildroot" / "check.py"
    spec = importlib.util.spec_from_file_location("buildroot_check_papers", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    facts = {"type": "target", "install_target": True, "licenses": "GPL-3.0+"}
    assert module.under_three({"bash": facts, "gcc-final": facts}) == ["bash is under GPL-3.0+; it may not be in the signed root"]
    assert module.under_three({"a": {**facts, "licenses": "LGPL-3.0+"}, "b": {**facts, "licenses": "GPL-2.0 or GPL-3.0"}}) == []
