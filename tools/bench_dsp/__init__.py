"""The benchmark of the signal blocks: `make bench-dsp` measures ours and the peers on the same signals in the same run.

Each section is a module with `measure(quick, seed) -> Section` (see `report.py`); the runner is `__main__.py`.
"""
