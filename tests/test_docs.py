"""The documentation tells the truth: links lead somewhere, commands exist, every dependency has its reason."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```", re.DOTALL)
_MAKE = re.compile(r"(?:^|`)(?:[A-Z_]+=\S+ )?make ([a-z][a-z-]*)", re.MULTILINE)

# Written in pieces so that this file does not find itself.
MACHINE_PATH = re.compile(r"(^|[^A-Za-z0-9_.$])/(work|farm|root|home/[a-z]+|Users)/")
REGISTRY_HOSTS = ("pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "deb.debian" + ".org", "index" + "-url", "pool" + "/main/")


def tracked() -> list[Path]:
    """Every tracked text file."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    files = [ROOT / name for name in names if name and (ROOT / name).is_file()]
    return [path for path in files if b"\0" not in path.read_bytes()[:4096]]


def slug(heading: str) -> str:
    """Anchor of a heading, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = _CODE.sub("", document.read_text(encoding="utf-8"))
    broken = []
    for link, image in _LINK.findall(text):
        target = link or image
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        if not path.exists():
            broken.append(target)
        elif anchor and path.suffix == ".md":
            headings = {slug(line.lstrip("#")) for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")}
            if anchor not in headings:
                broken.append(target)
    assert not broken


def targets() -> set[str]:
    """Targets of the Makefile that explain themselves."""
    return set(re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_make_target_in_the_documents_exists() -> None:
    named = {(document.name, target) for document in DOCUMENTS for target in _MAKE.findall(document.read_text(encoding="utf-8"))}
    wrong = {(name, target) for name, target in named if target not in targets()}
    assert not wrong
    assert {"run", "test", "lint", "ext", "prompts", "sbom", "clean", "help"} <= targets()


def test_the_two_commands_are_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make run" in readme
    assert "make test" in readme


def test_the_promised_documents_exist() -> None:
    top = ("README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE")
    for name in (*top, "docs/map.md", "docs/roadmap.md", "docs/interfaces.md", "docs/dependencies.md"):
        assert (ROOT / name).is_file(), name
    assert list((ROOT / "docs/decisions").glob("[0-9][0-9][0-9][0-9]-*.md"))
    version = re.search(r'__version__ = "([^"]+)"', (ROOT / "firmware/__init__.py").read_text())
    assert version
    assert version.group(1) in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_file_names_a_path_of_one_machine_or_a_package_registry() -> None:
    faults = []
    for path in tracked():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if MACHINE_PATH.search(line) or any(host in line for host in REGISTRY_HOSTS):
                faults.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not faults, "\n".join(faults)


# --- dependencies -----------------------------------------------------------------------------------------------------


def direct_requirements() -> set[str]:
    """Python packages we chose: the lines of the .in files and of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for group in project.get("optional-dependencies", {}).values() for line in group)]
    for path in sorted((ROOT / "tools").glob("requirements*.in")):
        lines += [line for line in path.read_text().splitlines() if line and line[0] not in "#-"]
    return {re.split(r"[<>=!~ ]", line)[0].lower() for line in lines}


def system_packages() -> set[str]:
    """Second word of the lines of tools/packages.txt."""
    return {line.split()[1] for line in (ROOT / "tools/packages.txt").read_text().splitlines() if line.strip() and not line.startswith("#")}


def test_every_dependency_has_its_reason() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|(.+)\|$", (ROOT / "docs/dependencies.md").read_text(encoding="utf-8"), re.MULTILINE)
    explained = {name.lower() for name, rest in rows if len(rest.strip(" |")) > 10}
    assert direct_requirements() | system_packages() <= explained
    assert not explained - direct_requirements() - system_packages(), "explained but not used"


def test_every_direct_requirement_is_pinned_with_hashes() -> None:
    pinned = "".join(path.read_text() for path in sorted((ROOT / "tools").glob("requirements*.txt")))
    assert {name.lower() for name in re.findall(r"^([A-Za-z0-9_.-]+)==", pinned, re.MULTILINE)} >= direct_requirements()
    for block in re.split(r"\n(?=[a-zA-Z])", pinned):
        if "==" in block.split("\n")[0]:
            assert "--hash=sha256:" in block, block.split("\n")[0]


def third_party(path: Path) -> set[str]:
    """Top-level packages that a file imports and that are neither ours nor Python's."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"firmware"}


def test_the_product_imports_only_its_declared_libraries() -> None:
    alone = {  # each library in one place
        "certificates.py": {"cryptography"}, "sealing.py": {"cryptography"}, "sip_ws.py": {"wsproto"},
        "dns.py": {"dns"}, "https.py": {"aiohttp"}, "templating.py": {"jinja2"}, "speaker.py": {"alsaaudio"}, "loop_card.py": {"alsaaudio"},
    }  # fmt: skip
    for path in sorted((ROOT / "firmware").rglob("*.py")):
        assert third_party(path) <= {"msgspec"} | alone.get(path.name, set()), path
