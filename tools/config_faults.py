"""Every interruption of every step of the configuration store, and what the next start finds: a table of outcomes, none bad.

Theory of operation
-------------------
Each scenario makes a state folder, then does one step (commit, trial, confirm, ...). Its calls of the operating system are counted and
noted by wrapping the functions of `os` that the store uses.
SIGKILL: the step runs again in a child for each call, and dies by SIGKILL right before it; what was done stays, as it does on a real disk.
The same kernel goes on, and the same start of the appliance: management is started again.
Power cut: the notes are replayed up to each call on a model of a disk that keeps data only from `fsync` on, and names (made, renamed,
removed) only from `fsync` of their folder on. Of what was not synced, every subset of names may be there, and of a file nothing, half or
all. Each distinct disk is written out and a start on it with another boot is judged.
Full disk: each call that needs room fails with ENOSPC instead; the step must refuse, and nothing may have changed.
Judged is: what starts is, byte for byte, the configuration of before or that of after the step; after a power cut never one on trial; no
file is called damaged; and the next commit works.

    python -m tools.config_faults            the table
    python -m tools.config_faults --docs     writes docs/configuration-faults.md
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from firmware.errors import PbxError
from firmware.store.configuration import ConfigurationStore, in_force

PAGE = Path(__file__).resolve().parent.parent / "docs/configuration-faults.md"
CALLS = ("open", "write", "fsync", "close", "fchmod", "replace", "unlink")
ROOM = ("open", "write", "replace")
Note = tuple[str, tuple[Any, ...]]


def site(number: int) -> str:
    """A site file of some length."""
    return f'[site]\nname = "Branch {number}"\n' + "".join(
        f'[extensions.{200 + index}]\nkind = "sip"\nname = "{number}"\n' for index in range(40)
    )  # fmt: skip


class Box:
    """A store whose boot and clock are given."""

    def __init__(self, folder: Path, boot: str = "boot-1", now_ms: int = 1000) -> None:
        self.store = ConfigurationStore(folder, wall_ms=lambda: 1_795_000_000_000, boot=lambda: boot, now_ms=lambda: now_ms)


def _commits(count: int) -> Callable[[ConfigurationStore], None]:
    def work(store: ConfigurationStore) -> None:
        for number in range(1, count + 1):
            store.commit(site(number), "ann", f"change {number}")

    return work


def _trial(store: ConfigurationStore) -> None:
    _commits(3)(store)
    store.attempt(site(90), "bo", "try", seconds=120, start="start-1")


Step = Callable[[ConfigurationStore], object]
SCENARIOS: dict[str, tuple[Callable[[ConfigurationStore], None], Step]] = {
    "first import": (lambda store: None, lambda store: store.commit(site(1), "start", "imported", how="import")),
    "commit": (_commits(3), lambda store: store.commit(site(4), "ann", "new")),
    "commit with 50 kept": (_commits(53), lambda store: store.commit(site(99), "ann", "new")),
    "commit confirmed": (_commits(3), lambda store: store.attempt(site(90), "bo", "try", seconds=120, start="start-1")),
    "confirm": (_trial, lambda store: store.confirm()),
    "deadline without confirm": (_trial, lambda store: store.over("it was not confirmed in time")),
    "trial taken back by a start": (_trial, lambda store: store.started("start-2")),
    "rollback 1": (_commits(3), lambda store: store.rollback(1, "ann", "")),
    "rollback 1 in a trial": (_trial, lambda store: store.rollback(1, "ann", "")),
    "rollback 2 in a trial": (_trial, lambda store: store.rollback(2, "ann", "")),
    "commit that does not come up": (_commits(3), lambda store: store.failed("call control did not take it")),
}


# --- noting and interrupting ----------------------------------------------------------------------------------------------------


@contextmanager
def wrapped(before: Callable[[str, tuple[Any, ...]], None], after: Callable[[str, tuple[Any, ...], Any], None]) -> Iterator[None]:
    """Call `before` and `after` around each of `CALLS`."""
    kept = {name: getattr(os, name) for name in CALLS}

    def make(name: str) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            before(name, args)
            result = kept[name](*args, **named)
            after(name, args, result)
            return result

        return call

    try:
        for name in CALLS:
            setattr(os, name, make(name))
        yield
    finally:
        for name, fn in kept.items():
            setattr(os, name, fn)


def noted(folder: Path, step: Step, store: ConfigurationStore) -> list[Note]:
    """The step, and its calls with paths instead of descriptors."""
    notes: list[Note] = []
    names: dict[int, str] = {}

    def after(name: str, args: tuple[Any, ...], result: Any) -> None:
        if name == "open":
            path = os.path.relpath(os.fspath(args[0]), folder)
            names[result] = path
            notes.append(("open", (path, bool(args[1] & os.O_CREAT), bool(args[1] & os.O_TRUNC))))
        elif name == "write":
            notes.append(("write", (names.get(args[0], ""), bytes(args[1])[:result])))
        elif name in ("fsync", "close", "fchmod"):
            notes.append((name, (names.get(args[0], ""),)))
        elif name == "replace":
            notes.append(("replace", (os.path.relpath(os.fspath(args[0]), folder), os.path.relpath(os.fspath(args[1]), folder))))
        else:
            notes.append(("unlink", (os.path.relpath(os.fspath(args[0]), folder),)))

    with wrapped(lambda name, args: None, after):
        step(store)
    return notes


def killed_before(folder: Path, step: Step, call: int) -> None:
    """The step in a child that is killed right before its call of this number."""
    pid = os.fork()
    if pid == 0:
        count = itertools.count()

        def before(name: str, args: tuple[Any, ...]) -> None:
            if next(count) == call:
                os.kill(os.getpid(), signal.SIGKILL)

        store = Box(folder).store
        with wrapped(before, lambda name, args, result: None):
            step(store)
        os._exit(0)
    os.waitpid(pid, 0)


class Model:
    """A disk that loses what was not synced."""

    def __init__(self, folder: Path) -> None:
        self.files = {
            os.path.relpath(path, folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }  # fmt: skip
        self.names = {path: path for path in self.files}  # name -> inode
        self.synced = dict(self.files)  # inode -> data that is safe
        self.data = dict(self.files)
        self.safe = dict(self.names)
        self.pending: list[tuple[str, str, str | None]] = []  # (folder, name, inode or None)
        self.count = 0

    def do(self, note: Note) -> None:
        """One call."""
        name, args = note
        if name == "open":
            path, create, cut = args
            if create and path not in self.names:
                self.count += 1
                inode = f"inode-{self.count}"
                self.data[inode], self.synced[inode] = b"", b""
                self._name(path, inode)
            elif cut and path in self.names:
                self.data[self.names[path]] = b""
        elif name == "write":
            self.data[self.names[args[0]]] += args[1]
        elif name == "fsync":
            if args[0] in self.names:
                inode = self.names[args[0]]
                self.synced[inode] = self.data[inode]
            else:
                for folder, path, known in [one for one in self.pending if one[0] == args[0]]:
                    self._keep(self.safe, path, known)
                    self.pending.remove((folder, path, known))
        elif name == "replace":
            inode = self.names[args[0]]
            self._name(args[0], None)
            self._name(args[1], inode)
        elif name == "unlink":
            self._name(args[0], None)

    def _name(self, path: str, inode: str | None) -> None:
        self._keep(self.names, path, inode)
        self.pending.append((str(Path(path).parent), path, inode))

    @staticmethod
    def _keep(names: dict[str, str], path: str, inode: str | None) -> None:
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode

    def disks(self) -> Iterator[dict[str, bytes]]:
        """Every disk that a power cut now may leave."""
        for chosen in itertools.product((False, True), repeat=len(self.pending)):
            names = dict(self.safe)
            for (_, path, inode), kept in zip(self.pending, chosen, strict=True):
                if kept:
                    self._keep(names, path, inode)
            open_ones = [inode for inode in set(names.values()) if self.data[inode] != self.synced[inode]]
            for cut in itertools.product((0, 1, 2), repeat=len(open_ones)):
                data = dict(self.synced)
                for inode, share in zip(open_ones, cut, strict=True):
                    whole = self.data[inode]
                    data[inode] = (self.synced[inode], whole[: len(whole) // 2], whole)[share]
                yield {path: data[inode] for path, inode in names.items()}


# --- judging --------------------------------------------------------------------------------------------------------------------


def state(store: ConfigurationStore) -> tuple[str, str]:
    """Site files that start and that run."""
    book = store.book
    return tuple(store.text(number) if number else "" for number in (book.startup, book.running))  # type: ignore[return-value]


class Judge:
    """Outcomes of one scenario."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.before, self.after = ("", ""), ("", "")
        self.bad: list[str] = []

    def look(self, folder: Path, *, power: bool) -> str:
        """What the next start finds: "before", "after" or what is wrong."""
        try:
            store = Box(folder, "boot-2" if power else "boot-1").store
            if power:
                store.started("start-9")
            found = state(store)
            right = [self.before, self.after]
            if power:
                right = [(one[0], one[0]) for one in right]
            if found not in right:
                return self._wrong(f"neither before nor after: {store.book.startup}, {store.book.running}")
            if store.damages:
                return self._wrong(store.damages[0].text)
            if store.book.trial is None and found[0]:
                kept = in_force(folder)
                if kept is None or kept.text != found[0]:
                    return self._wrong("those that only read find another one")
            if store.book.trial is None:
                store.commit(site(7777), "next", "works")
                if state(store)[0] != site(7777):
                    return self._wrong("the next commit does not hold")
            return "before" if found == right[0] else "after"
        except (PbxError, OSError) as error:
            return self._wrong(str(error))

    def _wrong(self, text: str) -> str:
        self.bad.append(f"{self.name}: {text}")
        return "BAD"


def copied(folder: Path, target: Path) -> Path:
    """A copy of a state folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    return target


def written(files: dict[str, bytes], target: Path) -> Path:
    """A disk as a folder."""
    shutil.rmtree(target, ignore_errors=True)
    (target / "revisions").mkdir(parents=True)
    for path, data in files.items():
        (target / path).write_bytes(data)
    return target


def examine(name: str, folder: Path) -> tuple[Judge, list[tuple[str, str, str, str]]]:
    """All interruptions of one scenario: (call, after SIGKILL, after a power cut, on a full disk)."""
    prepare, step = SCENARIOS[name]
    judge = Judge(name)
    base, work = folder / "base", folder / "work"
    store = Box(base).store
    prepare(store)
    judge.before = state(store)
    done = copied(base, work)
    store = Box(done).store
    notes = noted(done, step, store)
    judge.after = state(store)
    model, rows = Model(base), []
    for call, note in enumerate([*notes, ("", ())]):
        seen = sorted({judge.look(written(files, work), power=True) for files in _distinct(model)})
        if note[0]:
            killed_before(copied(base, work), step, call)
            dead = judge.look(work, power=False)
            full = _full(judge, base, work, step, call) if note[0] in ROOM else "-"
            rows.append((_told(note), dead, " or ".join(seen), full))
            model.do(note)
        else:
            rows.append(("(done)", "after", " or ".join(seen), "-"))
    return judge, rows


def _distinct(model: Model) -> list[dict[str, bytes]]:
    seen: dict[tuple[tuple[str, bytes], ...], dict[str, bytes]] = {}
    for files in model.disks():
        seen[tuple(sorted(files.items()))] = files
    return list(seen.values())


def _full(judge: Judge, base: Path, work: Path, step: Step, call: int) -> str:
    """The step with a disk that is full from this call on, for whatever needs room."""
    copied(base, work)
    count = itertools.count()

    def before(name: str, args: tuple[Any, ...]) -> None:
        at = next(count)
        needs = name == "write" or name == "replace" or (name == "open" and bool(args[1] & os.O_CREAT))
        if at >= call and needs:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Box(work).store
    refused = False
    with wrapped(before, lambda name, args, result: None):
        try:
            step(store)
        except PbxError:
            refused = True
    found = state(store)
    if found != (judge.before if refused else judge.after):
        return judge._wrong(f"full disk at call {call}: {'refused, but something changed' if refused else 'taken, but not as a whole'}")
    seen = judge.look(work, power=False)
    if seen == "BAD" or seen == ("after" if refused else "before"):
        return judge._wrong(f"full disk at call {call}: the next start finds {seen}")
    return "refused" if refused else "taken"


def _told(note: Note) -> str:
    name, args = note
    return f"{name} " + " -> ".join(_plain(str(one)) for one in args if isinstance(one, str))


def _plain(path: str) -> str:
    """Without the process number of temporary files."""
    folder, _, name = path.rpartition("/")
    if name.endswith(".tmp"):
        name = ".".join(name.split(".")[:-2]) + ".tmp"
    return f"{folder}/{name}" if folder else name


HEAD = """# Configuration: what interruptions leave

Generated by `python -m tools.config_faults --docs`; how it is done stands there. Each row is an interruption right before one call of
the operating system; the columns say which configuration the next start finds: that of before the step, or that of after it.
A power cut may leave several disks; all of them were tried. After a power cut no trial goes on. On a full disk the step is refused with
nothing changed, unless it was in force already ("taken").
"""
COLUMNS = "| step | calls | SIGKILL: before, after | power cut: before, after, either | full disk: refused, taken | bad |"


def section(name: str) -> tuple[str, list[str], list[str]]:
    """Row of the summary, table and whatever is bad of one scenario."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        judge, rows = examine(name, Path(folder))
    kills, cuts, fulls = ([row[index] for row in rows] for index in (1, 2, 3))
    either = sum(" or " in one for one in cuts)
    counts = [
        name,
        str(len(rows) - 1),
        f"{kills.count('before')}, {kills.count('after')}",
        f"{cuts.count('before')}, {cuts.count('after')}, {either}",
        f"{fulls.count('refused')}, {fulls.count('taken')}",
        str(len(judge.bad)),
    ]
    table = ["", f"## {name}", "", "| right before | SIGKILL | power cut | full disk |", "|---|---|---|---|"]
    table += [f"| `{call}` | {dead} | {cut} | {full} |" for call, dead, cut, full in rows]
    return f"| {' | '.join(counts)} |", table, judge.bad


def report() -> tuple[str, list[str]]:
    """The page, and whatever is bad."""
    made = [section(name) for name in SCENARIOS]
    lines = [HEAD, COLUMNS, "|---" * 6 + "|", *(row for row, _, _ in made), *(line for _, table, _ in made for line in table)]
    return "\n".join(lines) + "\n", [one for _, _, bad in made for one in bad]


def main() -> int:
    """See the module docstring."""
    page, bad = report()
    if "--docs" in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
    else:
        with suppress(BrokenPipeError):
            print(page)
    for one in bad:
        print(one, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
