#!/usr/bin/env bash
# The signal blocks on ARM (armhf with NEON) without ARM hardware:
#   tools/dsp_arm.sh build           makes build/armhf: Python of the distribution and our modules, both for armhf; cheap when done
#   tools/dsp_arm.sh run ARG...      runs that Python under qemu-arm: its modules first, then this tree
# Needs gcc-arm-linux-gnueabihf, libc6-dev-armhf-cross and qemu-user (tools/setup.sh test installs them), the modules translated
# to C by `make ext`, and the distribution's package server once. Of this machine's own packages nothing changes: the packages for
# armhf are unpacked, not installed.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
arm=$top/build/armhf root=$top/build/armhf/root

fail() { echo "dsp_arm: $*" >&2; exit 3; }

need() {
    local tool
    for tool in arm-linux-gnueabihf-gcc qemu-arm apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || fail "$tool is missing; 'tools/setup.sh test' installs what ARM tests need"
    done
}

# apt with a state of its own: armhf is its only architecture and nothing is installed.
apt() {
    apt-get -qq -o APT::Architecture=armhf -o APT::Architectures=armhf -o Dir::State="$arm/apt" -o Dir::State::status="$arm/apt/status" \
        -o Dir::Cache="$arm/apt/cache" -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User=root "$@"
}

fetch() {
    local version=$1 key
    # Python without its tests and tools, what it loads, its headers; the libraries that our modules link to.
    local packages=(libc6 libgcc-s1 zlib1g libexpat1 "libpython$version-minimal" "libpython$version-stdlib" "python$version-minimal"
        "libpython$version-dev" libopus0 libopus-dev libasound2 libasound2-dev
        libsrtp2-1 libsrtp2-dev libssl3 libssl-dev)
    key=$(echo "${packages[@]}" | sha256sum | cut -c1-16)
    [ ! -e "$root/.ready-$key" ] || return 0
    echo "== Fetching Python $version for armhf" >&2
    rm -rf "$root" "$arm/debs"
    mkdir -p "$arm/debs" "$root" "$arm/apt/lists/partial" "$arm/apt/cache/archives/partial"
    : >"$arm/apt/status"
    # An index that fails for the moment is no reason to stop while the packages are found in the others.
    apt update >"$arm/apt.log" 2>&1 || true
    (cd "$arm/debs" && apt download "${packages[@]}") >>"$arm/apt.log" 2>&1 || {
        cat "$arm/apt.log" >&2
        fail "the armhf packages cannot be fetched"
    }
    local deb
    for deb in "$arm"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
    # Absolute links inside the packages would lead out of the folder.
    local link
    while read -r link; do ln -sfn "$root$(readlink "$link")" "$link"; done < <(find "$root" -type l -lname '/*')
    rm -rf "$arm/debs" "$arm/apt"
    touch "$root/.ready-$key"
}

build() {
    need
    mkdir -p "$arm"
    exec 9>"$arm/.lock"
    flock 9
    # The distribution's own version, whatever .venv runs.
    local version
    version=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "the package python3 is missing"
    fetch "$version"
    "$top/.venv/bin/python" "$top/tools/dsp_arm.py" "$root" "$arm/site" "$version"
    exec 9>&-
}

run() {
    local python
    python=$(ls "$root"/usr/bin/python3.* 2>/dev/null | head -n 1)
    [ -x "$python" ] || fail "build/armhf is missing; 'tools/dsp_arm.sh build' makes it"
    unset PYTHONDONTWRITEBYTECODE
    export PYTHONHOME=$root/usr PYTHONPATH=$arm/site:$top PYTHONPYCACHEPREFIX=$arm/pycache
    exec qemu-arm -cpu cortex-a15 -L "$root" "$python" -P -S "$@"
}

case ${1:-} in
    build) build ;;
    run) shift; run "$@" ;;
    *) echo "usage: tools/dsp_arm.sh build | run ARG..." >&2; exit 2 ;;
esac
