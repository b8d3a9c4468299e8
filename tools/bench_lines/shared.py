"""What this benchmark takes from that of the signal blocks. mypy sees both folders beside each other, the interpreter below `tools`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench_dsp import count, peers
    from bench_dsp.__main__ import print_goals, run_record
    from bench_dsp.pages import conditions, goal_row, markdown_table, paragraphs, record, terminal
    from bench_dsp.report import Goal, Section, Table
    from bench_dsp.sections import measure_in
else:
    from tools.bench_dsp import count, peers
    from tools.bench_dsp.__main__ import print_goals, run_record
    from tools.bench_dsp.pages import conditions, goal_row, markdown_table, paragraphs, record, terminal
    from tools.bench_dsp.report import Goal, Section, Table
    from tools.bench_dsp.sections import measure_in

__all__ = ["Goal", "Section", "Table", "conditions", "count", "goal_row", "markdown_table", "measure_in", "paragraphs", "peers",
           "print_goals", "record", "run_record", "terminal"]
