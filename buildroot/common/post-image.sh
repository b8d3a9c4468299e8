#!/bin/sh
# Buildroot's images become what is flashed and what is installed: disk image with its block map, signed bundle, manifest, checked fragments.
# Arguments: the images folder, the board's name.
set -eu
images=$1 board=$2
tree=$BR2_EXTERNAL_BRANCHPBX_PATH/..
exec python3 "$tree/buildroot/common/images.py" "$images" "$tree/board/$board" "${BRANCHPBX_KEYS:-$tree/build/keys}" "$HOST_DIR" "$BUILD_DIR"
