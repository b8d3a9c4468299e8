#!/usr/bin/env bash
# MicroPython for the tests of the serial line's codecs, from npm into build/micropython. Calling it again costs nothing that is done.
# What cannot be fetched leaves the reason in build/micropython.missing and the end status 3: these tests then report "not run".
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
exec 9>build/.micropython.lock
flock 9
rm -f build/micropython.missing
target=build/micropython

missing() {
    echo "$*" >build/micropython.missing
    echo "micropython: $*" >&2
    exit 3
}

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    [ "$(id -u)" = 0 ] || missing "nodejs and npm cannot be installed by this user; type: sudo apt-get install -y --no-install-recommends nodejs npm"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm; } >build/micropython.log 2>&1 \
        || missing "nodejs and npm cannot be installed: $(grep -m1 '^E: ' build/micropython.log || tail -n1 build/micropython.log)"
fi
key=$(sha256sum tests/micropython/package-lock.json | cut -d' ' -f1)
[ "$(cat $target/.packages 2>/dev/null)" != "$key" ] || exit 0
printf '\n== Fetching MicroPython for the tests of the serial line\n'
rm -rf $target
mkdir -p $target
cp tests/micropython/package.json tests/micropython/package-lock.json $target/
(cd $target && npm ci --ignore-scripts --no-audit --no-fund) >build/micropython.log 2>&1 || {
    cat build/micropython.log >&2
    # What npm says where nobody answers; a wrong hash (EINTEGRITY) or a lock file that does not fit is a fault.
    grep -qE 'code (E404|E50[0-9]|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ETARGET)' build/micropython.log || exit 1
    missing "MicroPython cannot be fetched: $(grep -m1 -E 'code E' build/micropython.log)"
}
echo "$key" >$target/.packages
