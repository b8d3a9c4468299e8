"""What this benchmark takes from its neighbours. mypy sees the folders beside each other, the interpreter below `tools`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench_appliance import pss_kb
    from bench_dsp.__main__ import run_record
    from bench_dsp.pages import cell, markdown_table, text_table
    from load_sip import PCMA, Leg, Load, Stream
else:
    from tools.bench_appliance import pss_kb
    from tools.bench_dsp.__main__ import run_record
    from tools.bench_dsp.pages import cell, markdown_table, text_table
    from tools.load_sip import PCMA, Leg, Load, Stream

__all__ = ["PCMA", "Leg", "Load", "Stream", "cell", "markdown_table", "pss_kb", "run_record", "text_table"]
