#!/usr/bin/env bash
# Far ends for tests and benchmarks: `tools/far_ends.sh asterisk kamailio` unpacks these programs of the distribution, with all that
# they need, into build/far/NAME. Nothing is installed on this machine and no service is started: tests/far/programs.py runs them from
# there through their own dynamic linker. Calling it again costs nothing.
# A suite that cannot be fetched leaves the reason in build/far/NAME.missing and the end status 3: what needs the program reports
# "not run". Every other fault is a failure (status 1).
set -euo pipefail
cd "$(dirname "$0")/.."

# Suite of each: Debian 12 has no Asterisk.
suite_of() { case $1 in asterisk) echo forky ;; kamailio) echo bookworm ;; *) return 1 ;; esac; }

unpack() {
    local name=$1 suite target=build/far/$1
    suite=$(suite_of "$name") || { echo "far_ends: '$name' is unknown; there are asterisk and kamailio" >&2; return 1; }
    [ "$(cat "$target/.suite" 2>/dev/null)" != "$suite" ] || return 0
    command -v mmdebstrap >/dev/null || { echo "far_ends: mmdebstrap is missing; tools/setup.sh test installs it" >&2; return 1; }
    mkdir -p build/far
    rm -rf --one-file-system "$target" "$target.part" "$target.missing"
    printf '\n== Unpacking %s of %s into %s\n' "$name" "$suite" "$target"
    # The lists of a suite in the making expire; signatures are checked all the same.
    if mmdebstrap --quiet --variant=extract --include="$name" --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "3"' \
        "$suite" "$target.part" >"build/far/$name.log" 2>&1; then
        rm -rf "$target.part/usr/share/doc" "$target.part/usr/share/locale" "$target.part/usr/share/man"
        echo "$suite" >"$target.part/.suite"
        mv "$target.part" "$target"
        return 0
    fi
    cat "build/far/$name.log" >&2
    rm -rf --one-file-system "$target.part"
    if grep -q -e 'Failed to fetch' -e 'Unable to locate package' -e 'Could not resolve' -e 'no installation candidate' -e 'apt-get update .* failed' \
        "build/far/$name.log"; then
        echo "$name of $suite cannot be fetched: $(grep -m1 -e '^E: ' "build/far/$name.log" || tail -n1 "build/far/$name.log")" >"$target.missing"
        return 3
    fi
    return 1
}

[ $# -gt 0 ] || set -- asterisk kamailio
mkdir -p build
exec 9>build/.far.lock
flock 9
status=0
for one in "$@"; do
    unpack "$one" || { result=$?; [ $status = 1 ] || status=$result; }
done
exit $status
