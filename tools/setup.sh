#!/usr/bin/env bash
# Prepares a machine: `tools/setup.sh run` for `make run`, `tools/setup.sh test` for `make test` too, `tools/setup.sh bench` for
# `make bench-dsp` as well, `tools/setup.sh image` for `make vm`.
# Installs missing system packages (as root; otherwise names the one command to type and ends with status 2), makes `.venv`
# with the pinned Python packages, and puts the `branchpbx` command there. Calling it again costs nothing that is done already.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-run}
case $purpose in
    run) purposes="run" ;;
    test) purposes="run test" ;;
    bench) purposes="run test bench" ;;
    image) purposes="run test image" ;;
    *) echo "setup: purpose '$purpose' is unknown; use run, test, bench or image" >&2; exit 2 ;;
esac

say() { printf '\n== %s\n' "$*"; }

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

system_packages() {
    if ! command -v dpkg-query >/dev/null; then
        echo "setup: this is not a Debian system; install what tools/packages.txt lists ($purposes) yourself" >&2
        return 0
    fi
    local missing=() wanted package rest
    while read -r wanted package rest; do
        case " $purposes " in *" $wanted "*) installed "$package" || missing+=("$package") ;; esac
    done < <(grep -v -e '^#' -e '^ *$' tools/packages.txt)
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        printf 'Some system packages are missing. Type this one command, then try again:\n\n' >&2
        printf '    sudo sh -c "apt-get update && apt-get install -y --no-install-recommends %s"\n\n' "${missing[*]}" >&2
        exit 2
    fi
    say "Installing system packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >build/apt.log 2>&1 || {
        cat build/apt.log >&2
        exit 1
    }
}

python_environment() {
    if ! .venv/bin/python -c '' 2>/dev/null; then
        local python=python3
        if /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=/usr/bin/python3
        fi
        if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "setup: $python is too old or missing; Python 3.11 or newer is needed" >&2
            exit 2
        fi
        say "Making .venv"
        rm -rf .venv
        "$python" -m venv .venv
    fi
    local requirements=tools/requirements.txt
    [ "$purpose" = run ] || requirements=tools/requirements-dev.txt
    local key
    key=$(cat tools/requirements.txt tools/requirements-host.txt "$requirements" pyproject.toml | sha256sum | cut -d' ' -f1)
    [ "$(cat ".venv/.packages-$purpose" 2>/dev/null)" != "$key" ] || return 0
    say "Installing Python packages ($requirements)"
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
    .venv/bin/python -m pip install --quiet --require-hashes -r tools/requirements.txt
    [ "$purpose" = run ] || .venv/bin/python -m pip install --quiet --require-hashes -r "$requirements" -r tools/requirements-host.txt
    # The command itself; its extensions are built by `make ext`.
    BRANCHPBX_EXT=none .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
    echo "$key" >".venv/.packages-$purpose"
}

mkdir -p build
system_packages
python_environment
# What cannot be fetched for the tests in a browser makes them "not run"; it is no reason to test nothing.
case " $purposes " in *" test "*) tools/browser.sh || [ $? = 3 ]; tools/micropython.sh || [ $? = 3 ] ;; esac
