#!/usr/bin/env bash
# What the tests with a real browser need: Chromium of the distribution, and JsSIP from npm, bundled with the page of tests/browser into
# build/browser. Calling it again costs nothing that is done already.
# What cannot be fetched leaves the reason in build/browser.missing and the end status 3: these tests then report "not run". Every other
# fault is a failure (status 1).
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build
exec 9>build/.browser.lock
flock 9
rm -f build/browser.missing
target=build/browser

missing() {
    echo "$*" >build/browser.missing
    echo "browser: $*" >&2
    exit 3
}

wanted=()
command -v chromium >/dev/null || wanted+=(chromium)
command -v npm >/dev/null || wanted+=(nodejs npm)
if [ ${#wanted[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || missing "${wanted[*]} cannot be installed by this user; type: sudo apt-get install -y --no-install-recommends ${wanted[*]}"
    printf '\n== Installing for the tests in a browser: %s\n' "${wanted[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${wanted[@]}"; } >build/browser.log 2>&1 \
        || missing "${wanted[*]} cannot be installed: $(grep -m1 '^E: ' build/browser.log || tail -n1 build/browser.log)"
fi

sum() { cat "$@" | sha256sum | cut -d' ' -f1; }

key=$(sum tests/browser/package-lock.json)
if [ "$(cat $target/.packages 2>/dev/null)" != "$key" ]; then
    printf '\n== Fetching JsSIP for the tests in a browser\n'
    rm -rf $target
    mkdir -p $target
    cp tests/browser/package.json tests/browser/package-lock.json $target/
    (cd $target && npm ci --ignore-scripts --no-audit --no-fund) >build/browser.log 2>&1 || {
        cat build/browser.log >&2
        # What npm says where nobody answers; a wrong hash (EINTEGRITY) or a lock file that does not fit is a fault.
        grep -qE 'code (E404|E50[0-9]|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ETARGET)' build/browser.log || exit 1
        missing "JsSIP cannot be fetched: $(grep -m1 -E 'code E' build/browser.log)"
    }
    echo "$key" >$target/.packages
fi
key=$(sum tests/browser/package-lock.json tests/browser/page/* tools/browser.sh)
[ "$(cat $target/.page 2>/dev/null)" != "$key" ] || exit 0
mkdir -p $target/page
cp tests/browser/page/phone.html $target/page/
NODE_PATH=$target/node_modules $target/node_modules/.bin/esbuild tests/browser/page/phone.js --bundle --log-level=warning --outfile=$target/page/phone.js
echo "$key" >$target/.page
