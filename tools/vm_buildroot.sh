#!/usr/bin/env bash
# Buildroot with our external tree:
#   tools/vm_buildroot.sh check          checks that need no build; needs BUILDROOT_DIR, says "not run" (status 3) without
#   tools/vm_buildroot.sh build BOARD    the image of a board in build/buildroot/BOARD/images; fetches Buildroot at the pinned commit
#                                        (buildroot/pinned: release and commit, which is the hash of the whole tree) or takes BUILDROOT_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
read -r release commit <buildroot/pinned
source=${BUILDROOT_SOURCE:-https://gitlab.com/buildroot.org/buildroot.git}

tree() {
    if [ -n "${BUILDROOT_DIR:-}" ]; then
        echo "$BUILDROOT_DIR"
        return
    fi
    local folder=build/buildroot/$release
    if [ "$(git -C "$folder" rev-parse HEAD 2>/dev/null)" != "$commit" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        git -C "$folder" init -q
        git -C "$folder" fetch -q --depth 1 "$source" "$commit" || { echo "image: Buildroot $release cannot be fetched from $source; set BUILDROOT_DIR" >&2; exit 3; }
        git -C "$folder" -c advice.detachedHead=false checkout -q FETCH_HEAD
    fi
    echo "$PWD/$folder"
}

case ${1:-} in
    check)
        [ -n "${BUILDROOT_DIR:-}" ] || { echo "buildroot-check: not run: set BUILDROOT_DIR to Buildroot $release"; exit 3; }
        .venv/bin/python buildroot/check.py "$BUILDROOT_DIR"
        ;;
    build)
        board=${2:?name the board}
        config=branchpbx_${board//-/_}_defconfig
        [ -e "buildroot/configs/$config" ] || { echo "image: there is no buildroot/configs/$config" >&2; exit 2; }
        .venv/bin/python -m tools.vm.bundle keys build/keys >/dev/null
        from=$(tree)
        output=$PWD/build/buildroot/$board
        # Its makefile must not inherit the flags of ours.
        unset MAKEFLAGS MFLAGS MAKELEVEL
        make -C "$from" O="$output" BR2_EXTERNAL="$PWD/buildroot" "$config"
        make -C "$output"
        # What a missing option or library of the target's Python would stop on the box stops here, where its programs can be run.
        .venv/bin/python -m tools.vm.prove "$output/target" || [ $? = 3 ]
        make -C "$output" legal-info
        ls -l "$output/images"
        ;;
    *) echo "usage: tools/vm_buildroot.sh check | build BOARD" >&2; exit 2 ;;
esac
