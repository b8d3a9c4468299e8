#!/bin/sh
# Buildroot's last step before the root is packed: what tools/vm/rootfs.py does for the emulated image is done here for a built one.
# Arguments: the target folder, the board's name.
set -eu
target=$1 board=$2
tree=$BR2_EXTERNAL_BRANCHPBX_PATH/..
exec python3 "$tree/buildroot/common/finish.py" "$target" "$tree/board/$board" "${BRANCHPBX_KEYS:-$tree/build/keys}"
