"""The root file system of a slot: the distribution's packages, the firmware with its compiled modules, our overlay, the kernel.

Theory of operation. `base` unpacks packages (no maintainer script runs, no ARM program is needed for that), adds msgspec, compiles
Python's own modules, and is cached by what went in. `product` lays hard links of the base under the firmware, the overlay and the kernel,
and packs it: the same input gives the same bytes. Python's modules are compiled with unchecked hashes: the root is read-only.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import fetch, initramfs, modules, prove
from .settings import BUILD, TOP, BoardImage

dsp_arm: Any = importlib.import_module("tools.dsp_arm")  # a script of its own
OVERLAY = TOP / "buildroot" / "overlay"
LIBRARY = "usr/lib/branchpbx"
TRIPLET = "arm-linux-gnueabihf"
BOUND_HEADERS = ("openssl", "srtp2", "opus", "alsa")
RECIPE = "5"  # another number makes every base anew
# Never wanted on the box: documents, other languages, tools of the packager, parts of Python that nothing here loads.
TRIM = (
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/initramfs-tools", "usr/share/apparmor", "etc/apparmor.d", "usr/lib/systemd", "etc/systemd", "etc/init.d", "etc/cron.d",
    "usr/share/perl5",
    "usr/lib/python{v}/idlelib", "usr/lib/python{v}/tkinter", "usr/lib/python{v}/turtledemo", "usr/lib/python{v}/test",
    "usr/lib/python{v}/pydoc_data",
    "usr/lib/python{v}/ensurepip", "usr/lib/python{v}/lib2to3", "usr/lib/python{v}/config-{v}-arm-linux-gnueabihf",
    "usr/share/zoneinfo/right",
    "usr/lib/python3/dist-packages/aiohttp/.hash", "usr/share/ca-certificates-java", "boot", "var/cache", "usr/share/readline",
)  # fmt: skip
# Programs of busybox that the box has no use for, or that somebody else would have.
NO_APPLETS = frozenset(
    "telnetd httpd ftpd su sulogin login passwd nc tftpd dpkg dpkg-deb rpm rpm2cpio adduser addgroup deluser delgroup getty "
    "mkpasswd chpasswd vi microcom nbd-client tunctl telnet ftpget ftpput crond crontab inetd linuxrc".split()
)
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib"}
FOLDERS = (
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "state",
    "root",
    "etc",
    "var",
    "boot",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/share/branchpbx",
)


class Tool:
    """The target's programs, run here."""

    def __init__(self, root: Path, python: str) -> None:
        self.root, self.python = root, python

    def run(self, *command: str, given: str = "") -> str:
        """Output of a program of the root; SystemExit with its words when it fails."""
        line = ["qemu-arm", "-cpu", "cortex-a15", "-L", str(self.root), str(self.root / command[0]), *command[1:]]
        environment = {**os.environ, "PYTHONHOME": str(self.root / "usr"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
        done = subprocess.run(line, input=given, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise SystemExit(f"vm: {command[0]}: {done.stderr[-2000:]}")
        return done.stdout

    def compile(self, work: Sequence[tuple[Path, Path, str]]) -> None:
        """Compile Python sources: (file, where to, path on the box)."""
        script = (
            "import sys, py_compile\n"
            "for line in sys.stdin:\n"
            "    source, target, shown = line.rstrip('\\n').split('\\t')\n"
            "    py_compile.compile(source, target, shown, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)\n"
        )
        halves = [work[0::2], work[1::2]]
        with ThreadPoolExecutor(2) as pool:
            lines = ["".join(f"{a}\t{b}\t{c}\n" for a, b, c in half) for half in halves]
            list(pool.map(lambda text: text and self.run(f"usr/bin/python{self.python}", "-S", "-c", script, given=text), lines))


def _digest(parts: Iterable[str | bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:16]


def msgspec_source() -> Path:
    """The pinned source archive of msgspec, unpacked: it is not packaged for this architecture."""
    text = (TOP / "tools" / "requirements.txt").read_text()
    found = re.search(r"^msgspec==(\S+) \\\n(?:    --hash=\S+(?: \\)?\n)+", text, re.MULTILINE)
    if found is None:
        raise SystemExit("vm: tools/requirements.txt does not pin msgspec")
    folder = BUILD / "msgspec" / _digest([found.group(0)])
    if not (folder / "ready").exists():
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        (part / "requirements.txt").write_text(found.group(0).rstrip().rstrip("\\") + "\n")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "msgspec", "--require-hashes", "-r",
                   str(part / "requirements.txt"), "-d", str(part)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise fetch.NotFetched(f"msgspec {found.group(1)}: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}")
        archive = next(part.glob("msgspec-*.tar.gz"))
        subprocess.run(["tar", "-xzf", str(archive), "-C", str(part), "--strip-components=1"], check=True)
        (part / "ready").touch()
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    return folder / "src" / "msgspec"


def sysroot(board: BoardImage, apt: fetch.Apt) -> Path:
    """Libraries and headers that the compiler needs."""
    image = board.image
    libraries = [name for name in image.packages if name.startswith("lib")]
    debs = fetch.packages(apt, sorted({*libraries, *image.headers}))
    root = BUILD / "sysroot" / debs.name
    if not (root / ".ready").exists():
        shutil.rmtree(root, ignore_errors=True)
        fetch.unpack(debs, root)
        # The cross compiler looks into this machine's /usr/include first. What our modules bind is put before that, the C library's is not.
        for folder in (root / "usr/include", root / "usr/include" / TRIPLET):
            for path in folder.rglob("*.h"):
                name = path.relative_to(folder)
                if name.parts[0] in BOUND_HEADERS:
                    link = root / "bound" / name
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.unlink(missing_ok=True)
                    link.symlink_to(path.resolve())
        (root / ".ready").touch()
    os.environ["C_INCLUDE_PATH"] = str(root / "bound")
    return root


def _compile_c(source: Path, target: Path, root: Path, version: str, libraries: Sequence[str] = ()) -> None:
    include = [f"-I{root}/usr/include/python{version}", f"-idirafter{root}/usr/include", f"-idirafter{root}/usr/include/{TRIPLET}"]
    command = [
        dsp_arm.COMPILER,
        "-O2",
        *dsp_arm.TARGET,
        "-mfpu=neon",
        "-w",
        "-DNDEBUG",
        "-fPIC",
        "-shared",
        "-s",
        *include,
        str(source),
        "-o",
        str(target),
    ]
    subprocess.run(
        [*command, f"-L{root}/usr/lib/{TRIPLET}", "-Wl,--allow-shlib-undefined", *(f"-l{name}" for name in libraries)], check=True
    )


def base(board: BoardImage, apt: fetch.Apt) -> Path:
    """The tree below the firmware."""
    image = board.image
    debs = fetch.packages(apt, image.packages)
    extra = msgspec_source()
    key = _digest([debs.name, extra.parent.name, repr(image.keep), RECIPE, *TRIM, *sorted(NO_APPLETS)])
    tree = BUILD / "base" / key
    if (tree.parent / f"{key}.json").exists():
        return tree
    print("== Unpacking the root file system", flush=True)
    shutil.rmtree(tree, ignore_errors=True)
    for name in FOLDERS:
        (tree / name).mkdir(parents=True)
    for name, target in LINKS.items():
        (tree / name).symlink_to(target)
    versions = {}
    for deb in sorted(debs.glob("*.deb")):
        name, version, _ = deb.name.split("_")
        versions[name] = version.replace("%3a", ":")
        if name in image.keep:
            wanted = [f"./{path}" for path in image.keep[name]]
            packed = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], capture_output=True, check=True).stdout
            subprocess.run(["tar", "-x", "-C", str(tree), *wanted], input=packed, check=True)
        else:
            subprocess.run(["dpkg-deb", "-x", str(deb), str(tree)], check=True)
    # The licences go beside the image (tools/vm/manifest.py), not into it.
    licences = tree.parent / f"{key}.licences"
    shutil.rmtree(licences, ignore_errors=True)
    for text in (tree / "usr/share/doc").glob("*/copyright"):
        kept = licences / text.parent.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(text, kept)
    certificates = sorted((tree / "usr/share/ca-certificates").rglob("*.crt"))
    (tree / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    (tree / "etc/ssl/certs/ca-certificates.crt").write_bytes(b"".join(path.read_bytes().rstrip() + b"\n" for path in certificates))
    for name in (*TRIM, "usr/share/ca-certificates"):
        path = tree / name.replace("{v}", image.python)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            path.unlink()
    packages = tree / "usr/lib/python3/dist-packages"
    shutil.copytree(extra, packages / "msgspec", ignore=shutil.ignore_patterns("*.c", "*.h", "*.pyi"))
    tag = image.python.replace(".", "")
    _compile_c(extra / "_core.c", packages / "msgspec" / f"_core.cpython-{tag}-{TRIPLET}.so", sysroot(board, apt), image.python)
    versions["msgspec"] = next(
        line for line in (TOP / "tools/requirements.txt").read_text().splitlines() if line.startswith("msgspec==")
    ).split("==")[1][:-2]
    tool = Tool(tree, image.python)
    for applet in tool.run("usr/bin/busybox", "--list").split():
        link = tree / ("usr/sbin" if applet in ("init", "reboot", "halt", "poweroff") else "usr/bin") / applet
        if applet not in NO_APPLETS and not link.exists() and not link.is_symlink() and not (tree / "usr/sbin" / applet).exists():
            link.symlink_to("/usr/bin/busybox")
    work = []
    for source in [*(tree / f"usr/lib/python{image.python}").rglob("*.py"), *packages.rglob("*.py")]:
        if source.is_symlink():
            continue  # leads into the box's own /etc
        cached = source.parent / "__pycache__" / f"{source.stem}.cpython-{tag}.pyc"
        work.append((source, cached, "/" + str(source.relative_to(tree))))
    print(f"== Compiling {len(work)} Python modules for the box", flush=True)
    tool.compile(work)
    (tree.parent / f"{key}.json").write_text(json.dumps(versions, indent=1, sort_keys=True))
    return tree


def kernel(board: BoardImage, apt: fetch.Apt) -> Path:
    """The distribution's kernel, unpacked."""
    apt.update()
    found = [name for name in apt.depends(board.image.kernel) if name.startswith("linux-image-")]
    if not found:
        raise fetch.NotFetched(f"{board.image.kernel} depends on no kernel in {board.image.suite}")
    debs = fetch.packages(apt, found[:1])
    tree = BUILD / "kernel" / debs.name
    if not (tree / ".ready").exists():
        shutil.rmtree(tree, ignore_errors=True)
        fetch.unpack(debs, tree)
        (tree / ".ready").touch()
    return tree


def natives(board: BoardImage, root: Path, simulated: bool) -> Path:
    """Our compiled modules for the box, in a folder laid out as on it."""
    site = BUILD / "native" / board.image.python
    found = dsp_arm.modules((*dsp_arm.PARTS, "firmware.sim.") if simulated else dsp_arm.PARTS)
    if not found:
        raise SystemExit("vm: no module is translated to C yet; run 'make ext' first")
    absent = [name for name, libraries in found if not dsp_arm.bound(libraries, root)]
    if absent:
        raise SystemExit(f"vm: their libraries are not in [image] headers: {' '.join(absent)}")
    for name, _ in found:
        (site / name.replace(".", "/")).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        faults = [
            fault for fault in pool.map(lambda one: dsp_arm.compile_module(one[0], one[1], root, site, board.image.python), found) if fault
        ]
    if faults:
        raise SystemExit("".join(faults))
    wanted = {site / (name.replace(".", "/") + f".cpython-{board.image.python.replace('.', '')}-{TRIPLET}.so") for name, _ in found}
    for stale in set(site.rglob("*.so")) - wanted:
        stale.unlink()
    return site


def _put(tree: Path, name: str, data: bytes, mode: int = 0o644) -> None:
    """Write a file that may be a hard link into the base."""
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def overlay(tree: Path, words: dict[str, str]) -> None:
    """Our files over the tree, `@WORD@` replaced."""
    for path in sorted(OVERLAY.rglob("*")):
        name = str(path.relative_to(OVERLAY))
        if path.is_symlink():
            (tree / name).unlink(missing_ok=True)
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).symlink_to(path.readlink())
        elif path.is_file():
            text = path.read_text()
            for word, value in words.items():
                text = text.replace(f"@{word}@", value)
            left = re.search(r"@[A-Z]+@", text)
            if left:
                raise SystemExit(f"vm: {path.relative_to(TOP)}: nothing is known for {left.group(0)}")
            _put(tree, name, text.encode(), 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)


def firmware(tree: Path, board: BoardImage, tool: Tool, native: Path, simulated: bool) -> None:
    """The firmware, its data, its compiled modules, the prompts, the board."""
    cache = BUILD / "pyc" / board.image.python
    cache.mkdir(parents=True, exist_ok=True)
    work, later = [], []
    tag = f"cpython-{board.image.python.replace('.', '')}"
    for path in sorted((TOP / "firmware").rglob("*")):
        name = str(path.relative_to(TOP))
        if "__pycache__" in path.parts or not path.is_file() or (name.startswith("firmware/sim/") and not simulated):
            continue
        if path.suffix not in (
            ".py",
            ".toml",
            ".txt",
            ".sql",
            ".json",
            ".csv",
            ".html",
            ".css",
            ".js",
            ".j2",
            ".svg",
            ".ini",
            ".md",
            ".cfg",
            ".xml",
        ):
            continue
        data = path.read_bytes()
        shown = f"{LIBRARY}/{name}"
        _put(tree, shown, data)
        if path.suffix == ".py":
            cached = cache / f"{_digest([shown, data])}.pyc"
            if not cached.exists():
                work.append((path, cached, f"/{shown}"))
            later.append((cached, f"{LIBRARY}/{path.parent.relative_to(TOP)}/__pycache__/{path.stem}.{tag}.pyc"))
    if work:
        tool.compile(work)
    for cached, name in later:
        _put(tree, name, cached.read_bytes())
    for path in native.rglob("*.so"):
        _put(tree, f"{LIBRARY}/{path.relative_to(native)}", path.read_bytes(), 0o755)
    for path in (TOP / "build" / "prompts").rglob("*"):
        if path.is_file() and path.name != ".made":
            _put(tree, f"{LIBRARY}/build/prompts/{path.relative_to(TOP / 'build' / 'prompts')}", path.read_bytes())
    for path in board.folder.glob("*.toml"):
        _put(tree, f"{LIBRARY}/board/{board.name}/{path.name}", path.read_bytes())


def product(
    board: BoardImage, apt: fetch.Apt, version: str, keyring: Path, target: Path, extra: dict[str, bytes] | None = None,
    proof: Path | None = None,
) -> dict[str, str]:
    """Pack the slot's root into `target`; package versions. `extra`: files that replace those of the image (tests); `proof`: a file that is
    there when this root was proven to load before, under another version."""
    image = board.image
    tree = base(board, apt)
    linux = kernel(board, apt)
    simulated = 'seam = "world"' in (board.folder / "board.toml").read_text()
    native = natives(board, sysroot(board, apt), simulated)
    stage = BUILD / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    subprocess.run(["cp", "-al", str(tree), str(stage)], check=True)
    made = int(subprocess.run(["git", "-C", str(TOP), "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True).stdout)
    overlay(stage, {"CONSOLE": image.console, "COMPATIBLE": image.compatible, "TRIES": str(image.tries), "PYTHON": image.python})
    firmware(stage, board, Tool(tree, image.python), native, simulated)
    _put(stage, "etc/rauc/keyring.pem", keyring.read_bytes())
    _put(stage, "usr/share/branchpbx/site.toml", (board.folder / image.site).read_bytes())
    _put(stage, "usr/share/branchpbx/version", f"{version}\n".encode())
    _put(stage, "usr/share/branchpbx/made", f"{made}\n".encode())
    _put(stage, "usr/share/branchpbx/realtime", f"{image.realtime}\n".encode())
    _put(stage, "usr/share/branchpbx/compatible", f"{image.compatible}\n".encode())
    if proof is None or not proof.exists():
        print(f"== The root's own Python loads {prove.prove(stage, image.python)}", flush=True)
        if proof is not None:
            proof.parent.mkdir(parents=True, exist_ok=True)
            proof.touch()
    known = modules.builtins(linux)
    early = modules.ordered(linux, image.modules.initramfs, known)
    late = modules.ordered(linux, image.modules.root, [*known, *(name for name, _ in early)])
    for name, data in late:
        _put(stage, f"usr/lib/modules/branchpbx/{name}.ko", data)
    _put(stage, "usr/lib/modules/branchpbx/order", "".join(f"{name}.ko\n" for name, _ in late).encode())
    _put(stage, "boot/vmlinuz", next(linux.glob("boot/vmlinuz-*")).read_bytes())
    archive = BUILD / "initramfs"
    initramfs.build(stage / "usr/bin/busybox", early, archive)
    _put(stage, "boot/initramfs", archive.read_bytes())
    for name, data in (extra or {}).items():
        _put(stage, name, data, 0o755 if data.startswith(b"#!") else 0o644)
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    pack = ["mksquashfs", str(stage), str(part), "-comp", "zstd", "-Xcompression-level", "12", "-b", "128K",
            "-all-root", "-no-progress", "-noappend",
            "-all-time", str(made), "-mkfs-time", str(made), "-no-xattrs"]  # fmt: skip
    done = subprocess.run(pack, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"vm: mksquashfs: {done.stderr[-1500:]}")
    if part.stat().st_size > image.partitions.slot << 20:
        raise SystemExit(
            f"vm: the root needs {part.stat().st_size >> 20} MiB, a slot has {image.partitions.slot}; enlarge [image.partitions]"
        )
    part.rename(target)
    versions: dict[str, str] = json.loads((tree.parent / f"{tree.name}.json").read_text())
    versions[f"linux {next(linux.glob('boot/vmlinuz-*')).name.split('-', 1)[1]}"] = board.image.suite
    shutil.rmtree(stage)
    return versions
