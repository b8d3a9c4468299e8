"""Output that nobody reads any more: `branchpbx ... | head -1` ends quietly, and no signal waits for the sockets of a process."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from firmware.__main__ import main


@pytest.mark.parametrize("words", [["version"], ["report", "--help"], ["sim", "week", "--help"]])
def test_a_reader_that_goes_away_ends_the_command_without_a_word(words: list[str]) -> None:
    # A pipe whose reader is closed before the command starts: the first flush finds nobody.
    late = "import sys; sys.stdin.read(); from firmware.__main__ import main; sys.exit(main())"
    program = subprocess.Popen([sys.executable, "-c", late, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout is not None
    program.stdout.close()
    _, said = program.communicate(timeout=60)
    assert (program.returncode, said) == (128 + signal.SIGPIPE, b"")


def test_a_command_leaves_the_signal_of_a_broken_pipe_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    """Else a process that serves somebody dies of a client that hangs up."""
    assert main(["version"]) == 0
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    assert capsys.readouterr().out.startswith("branchpbx ")
