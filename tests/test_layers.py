"""The layer table of the architecture, enforced on every import of `firmware/`, lazy ones and Cython's included.

A module belongs to a *part* (`firmware.sip`, `firmware.media`, ...), a part to a layer. Imports go down; where parts of one layer
may see each other the table says so. A dotted string such as "firmware.sim.main" counts as an import, too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIRMWARE = ROOT / "firmware"

LAYER = {
    "": 0, "errors": 0, "wire": 0,
    "config": 1, "sip": 1, "line": 1, "call": 1, "reports": 1, "fleet": 1,
    "dsp": 2,
    "hal": 3, "store": 3, "net": 3, "media": 3, "prompts": 3, "rescue": 3,
    "runtime": 4, "control": 4,
    "core": 5, "surfaces": 5, "update": 5, "central": 5, "factory": 5,
    "app": 6, "__main__": 6,
}  # fmt: skip
NEIGHBOURS_ALLOWED = {0, 1, 4, 6}  # layers whose parts may import one another
SIM_MAY_IMPORT = {"", "errors", "wire", "config", "sip", "line", "call", "reports", "dsp", "prompts", "sim"}
SURFACES_MAY_IMPORT = {"", "errors", "wire", "config", "call", "reports", "control", "runtime", "surfaces"}
CORE_PARTS = {"lines", "phones", "calls", "queues", "recorder"}  # files of core that know one another through bus and commands only
ENGINE_USERS = {"firmware.app.media"}

IMPURE = {
    "asyncio", "socket", "time", "random", "os", "logging", "threading", "subprocess", "multiprocessing", "select", "selectors", "ssl",
    "secrets", "uuid", "signal", "sqlite3", "shutil", "tempfile", "glob", "fcntl", "mmap", "concurrent", "urllib.request", "http", "io",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "eval", "exec"}
IMPURE_NAMES = {("pathlib", "Path")}

LINE_LIMIT = 600
LONG_FILES: dict[str, str] = {}  # path -> why it may be longer (data tables only)

_CYTHON_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\s+(.+)|c?import\s+([\w., ]+))", re.MULTILINE)
_DOTTED = re.compile(r"firmware(\.[a-z_0-9]+)+")


def sources(*suffixes: str) -> list[Path]:
    """Every source file of the product."""
    return sorted(path for path in FIRMWARE.rglob("*") if path.suffix in suffixes and "__pycache__" not in path.parts)


def module_of(path: Path) -> str:
    """Dotted name of a source file."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(path: Path) -> str:
    """Dotted name that relative imports of `path` start from."""
    return ".".join(path.relative_to(ROOT).parent.parts)


def part_of(module: str) -> str:
    """Second word of a firmware module: its part."""
    return module.split(".")[1] if "." in module else ""


def absolute(package: str, level: int, module: str) -> str:
    """Resolve a relative import."""
    if not level:
        return module
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, module] if module else base)


def python_imports(text: str, package: str) -> Iterator[str]:
    """Every module that Python source imports or names in a string."""
    tree = ast.parse(text)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(package, node.level, node.module or "")
            for alias in node.names:
                yield f"{base}.{alias.name}" if base == "firmware" or is_module(f"{base}.{alias.name}") else base
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            match = _DOTTED.match(node.value)
            if match and re.fullmatch(r"[\w.]+(:\w+)?", node.value):
                yield match.group(0)


def cython_imports(text: str, package: str) -> Iterator[str]:
    """Every module that Cython source imports or cimports."""
    for origin, names, plain in _CYTHON_IMPORT.findall(text):
        if plain:
            yield from (name.strip().split(" ")[0] for name in plain.split(","))
        else:
            level = len(origin) - len(origin.lstrip("."))
            base = absolute(package, level, origin.lstrip("."))
            for name in names.strip("() ").split(","):
                candidate = f"{base}.{name.strip().split(' ')[0]}"
                yield candidate if is_module(candidate) else base


def is_module(name: str) -> bool:
    """True where a dotted name is a file or folder of the product."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or any(path.with_suffix(suffix).is_file() for suffix in (".py", ".pyx", ".pxd"))


def imports_of(path: Path) -> list[str]:
    """Every module that a source file imports."""
    text = path.read_text(encoding="utf-8")
    reader = python_imports if path.suffix == ".py" else cython_imports
    return sorted(set(reader(text, package_of(path))))


def layer_fault(module: str, imported: str) -> str:
    """Why `module` may not import `imported`, empty where it may."""
    part, other = part_of(module), part_of(imported)
    if imported.startswith("firmware.dsp.engine") and part != "dsp" and module not in ENGINE_USERS:
        return "only app/media.py imports the engine; use firmware.media"
    if other == "sim" and part not in ("sim", "__main__"):
        return "nothing imports the simulated world"
    if part == "sim":
        return "" if other in SIM_MAY_IMPORT else f"the world may import {sorted(SIM_MAY_IMPORT)} only"
    if other == "sim":
        return ""
    if part not in LAYER or other not in LAYER:
        return f"part {part if part not in LAYER else other!r} has no layer; add it to LAYER"
    if part == "surfaces" and other not in SURFACES_MAY_IMPORT:
        return "a surface sees the system as control.client and config only"
    if part == other == "surfaces" and surface_of(module) != surface_of(imported) and surface_of(imported):
        return "surfaces do not import one another"
    if part == other == "core":
        mine, theirs = core_part(module), core_part(imported)
        if mine in CORE_PARTS and theirs in CORE_PARTS and mine != theirs:
            return "parts of core do not import one another; use the bus or a command"
    if part == other:
        return ""
    if LAYER[other] > LAYER[part]:
        return f"layer {LAYER[part]} imports layer {LAYER[other]}"
    if LAYER[other] == LAYER[part] and LAYER[part] not in NEIGHBOURS_ALLOWED:
        return f"parts of layer {LAYER[part]} do not import one another"
    return ""


def surface_of(module: str) -> str:
    """Third word: the surface (cli, web, ...)."""
    return (module.split(".") + ["", "", ""])[2]


def core_part(module: str) -> str:
    """The part of core a file belongs to: `calls_menu.py` is of `calls`."""
    return surface_of(module).split("_")[0]


@pytest.mark.parametrize("path", sources(".py", ".pyx", ".pxd"), ids=lambda path: module_of(path) + path.suffix)
def test_imports_go_down(path: Path) -> None:
    module = module_of(path)
    faults = [
        f"{module} imports {imported}: {fault}"
        for imported in imports_of(path)
        if (imported == "firmware" or imported.startswith("firmware.")) and (fault := layer_fault(module, imported))
    ]
    assert not faults, "\n".join(faults)


def purity_faults(text: str, package: str) -> list[str]:
    """Why Python source is not pure."""
    faults = [
        f"imports {name}"
        for name in python_imports(text, package)
        if name in IMPURE or name.split(".")[0] in IMPURE
    ]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            faults.append(f"line {node.lineno}: calls {node.func.id}()")
        if isinstance(node, ast.ImportFrom):
            faults += [f"imports {node.module}.{alias.name}" for alias in node.names if (node.module, alias.name) in IMPURE_NAMES]
    return faults


@pytest.mark.parametrize(
    "path", [path for path in sources(".py") if LAYER.get(part_of(module_of(path)), 9) <= 1], ids=lambda path: module_of(path)
)
def test_cores_are_pure(path: Path) -> None:
    assert not purity_faults(path.read_text(encoding="utf-8"), package_of(path))


def test_no_source_file_is_too_long() -> None:
    files = [*sources(".py", ".pyx", ".pxd"), *sorted((ROOT / "tools").glob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]
    long = {str(path.relative_to(ROOT)): lines for path in files if (lines := len(path.read_text().splitlines())) > LINE_LIMIT}
    assert not {name: lines for name, lines in long.items() if name not in LONG_FILES}, f"over {LINE_LIMIT} lines"


def test_every_part_that_exists_has_a_layer() -> None:
    parts = {part_of(module_of(path)) for path in sources(".py", ".pyx")}
    assert parts <= LAYER.keys() | {"sim"}


# --- the checker itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("firmware.call.routing", "firmware.store.cdr"), ("firmware.dsp.engine", "firmware.media"),
        ("firmware.net.http", "firmware.store.db"),
        ("firmware.core.calls", "firmware.core.phones"), ("firmware.core.lines", "firmware.dsp.engine"),
        ("firmware.app.core", "firmware.sim.world"),
        ("firmware.sim.world", "firmware.control.client"), ("firmware.sim.day", "firmware.media"),
        ("firmware.surfaces.cli.shell", "firmware.core.calls"),
        ("firmware.surfaces.cli.shell", "firmware.surfaces.web.server"), ("firmware.runtime.bus", "firmware.app.core"),
    ],
)  # fmt: skip
def test_checker_refuses_what_the_table_forbids(module: str, imported: str) -> None:
    assert layer_fault(module, imported)


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("firmware.call.routing", "firmware.config.schema"), ("firmware.core.calls", "firmware.media"),
        ("firmware.sim.world", "firmware.dsp.tone"),
        ("firmware.app.media", "firmware.dsp.engine"), ("firmware.surfaces.cli.shell", "firmware.control.client"),
        ("firmware.__main__", "firmware.sim.main"), ("firmware.core.calls_menu", "firmware.core.calls"),
    ],
)  # fmt: skip
def test_checker_accepts_what_the_table_allows(module: str, imported: str) -> None:
    assert not layer_fault(module, imported)


def test_checker_sees_lazy_relative_dynamic_and_cython_imports() -> None:
    source = 'def f():\n    """firmware.sim.main in prose"""\n    from ..errors import PbxError\n    import_module("firmware.sim.main")\n'
    assert set(python_imports(source, "firmware.core")) == {"firmware.errors", "firmware.sim.main"}
    assert list(python_imports('"""firmware.sim.main"""\n', "firmware.core")) == []
    cython = "from firmware.dsp.ring cimport Ring\nfrom .tone cimport Tone\ncimport firmware.dsp.engine\nfrom libc.math cimport sin\n"
    assert set(cython_imports(cython, "firmware.dsp")) == {"firmware.dsp.ring", "firmware.dsp.tone", "firmware.dsp.engine", "libc.math"}


def test_checker_sees_impurity() -> None:
    assert purity_faults("import time\n", "firmware.call")
    assert purity_faults("def f():\n    from urllib.request import urlopen\n", "firmware.call")
    assert purity_faults("from pathlib import Path\n", "firmware.call")
    assert purity_faults("open('x')\n", "firmware.call")
    assert not purity_faults("import re\nimport datetime\n", "firmware.call")
