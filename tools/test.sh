#!/usr/bin/env bash
# All tests in stages: lint; the parts; the signal blocks, on ARM too; the whole product in virtual time, these in parallel; then what
# needs the wall clock, alone.
# `tools/test.sh STAGE...` runs only these stages. Each stage has a time limit; the logs stay in build/test.
set -uo pipefail
cd "$(dirname "$0")/.."
# In a chroot the kernel refuses the user namespace that the console over SSH needs.
[ -n "${BRANCHPBX_ROOTED:-}" ] || BRANCHPBX_ROOTED=1 exec python3 tools/whole_root.py tools/test.sh "$@"
python=.venv/bin/python
[ $# -gt 0 ] || set -- lint fast dsp virtual realtime
export PYTHONDONTWRITEBYTECODE=1
export BRANCHPBX_SEED=${BRANCHPBX_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
mkdir -p build/test
summary=() failed=0 began=$SECONDS

limit_of() { case $1 in lint) echo 120 ;; fast) echo 540 ;; dsp) echo 360 ;; virtual) echo 540 ;; realtime) echo 1800 ;; esac; }

lint() {
    local fault=0
    "$python" -m ruff check --output-format concise firmware tests tools setup.py || fault=1
    "$python" -m mypy || fault=1
    return $fault
}

stage() {
    case $1 in
        lint) lint ;;
        fast) timeout --kill-after=10 "$(limit_of fast)" "$python" -m pytest -q -n 2 -m "not e2e" --ignore tests/dsp tests ;;
        # Loaded file by file, so that one process builds for ARM while the other runs what needs no ARM.
        dsp) timeout --kill-after=10 "$(limit_of dsp)" "$python" -m pytest -q -n 2 --dist loadfile --durations=8 tests/dsp ;;
        virtual) timeout --kill-after=30 "$(limit_of virtual)" "$python" -m pytest -q -n 2 --dist loadfile --durations=8 -m "e2e and not realtime" tests ;;
        realtime) timeout --kill-after=30 "$(limit_of realtime)" "$python" -m pytest -q -rs -p no:xdist --durations=8 -m "e2e and realtime" tests ;;
        *) echo "test: stage '$1' is unknown; stages are lint fast dsp virtual realtime" >&2; exit 2 ;;
    esac
}

for name in "$@"; do
    printf '\n== %s (limit %s s)\n' "$name" "$(limit_of "$name")"
    start=$SECONDS log=build/test/$name.log
    stage "$name" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    verdict=passed
    [ "$status" = 0 ] || { verdict="FAILED ($status)" failed=1; }
    [ "$status" != 124 ] || verdict="FAILED (over its time limit)"
    [ "$status" != 5 ] || verdict="FAILED (no test found)"
    summary+=("$(printf '%-9s %-8s %4d s   %s' "$name" "$verdict" $((SECONDS - start)) "$(tail -n 1 "$log")")")
done

printf '\n== Summary, %d s, seed %s (repeat with BRANCHPBX_SEED=%s make test)\n' $((SECONDS - began)) "$BRANCHPBX_SEED" "$BRANCHPBX_SEED"
printf '%s\n' "${summary[@]}"
exit $failed
