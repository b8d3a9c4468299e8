"""Prints the figures of `make soak-acd` as the table of docs/performance/acd.md: `python -m tools.soak_acd build/soak-acd.json`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path


def main(path: str) -> int:
    """Read the result of `branchpbx sim week --json`; 1 when it has differences."""
    result = json.loads(Path(path).read_text(encoding="utf-8"))
    whole: Counter[str] = Counter()
    for figures in result["reports"].values():
        whole.update(figures)
    queues = sorted({name.split(".")[0] for name in whole if name.endswith(".offered")})
    print(f"Seed {result['seed']}: {result['calls']} calls in {result['days']} days, {result['talked']} talked, "
          f"{result['gave_up']} gave up, "
          f"{result['transferred']} transferred, {result['blocked']} found no line; faults {result['faults']}; {result['seconds']} s; "
          f" {len(result['differences'])} differences.\n")
    print("| queue | offered | answered | gave up | answered in 20 s | mean wait |\n|---|---|---|---|---|---|")
    for queue in queues:
        answered = whole[f"{queue}.answered"]
        print(f"| {queue} | {whole[f'{queue}.offered']} | {answered} | {whole[f'{queue}.abandoned']} | "
              f"{whole[f'{queue}.answered within']} | {whole[f'{queue}.wait'] / max(1, answered) / 1000:.1f} s |")
    for name, found in result.get("erlang", {}).items():
        print(f"\nErlang {name}, {found['calls']} calls, intervals of {found['level']} %:\n\n| figure | measured | theory |\n|---|---|---|")
        for key in ("delayed", "wait_s", "abandoned"):
            if key in found:
                one = found[key]
                print(f"| {key} | {one['measured']} ± {one['half_width']} | {one['theory']} |")
    for text in result["differences"]:
        print(text)
    return 1 if result["differences"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
