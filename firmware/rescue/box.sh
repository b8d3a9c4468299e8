#!/bin/sh
# What the rescue asks of the system (firmware/rescue/system.py): one verb each. The last line on stderr is the reason of a failure.
# /etc/rescue.conf: STATE and BOOT (devices), RUN (folder in memory), KEYRING.
conf=${RESCUE_CONF:-/etc/rescue.conf}
. "$conf"
verb=$1
[ $# -eq 0 ] || shift
die() { echo "$*" >&2; exit 1; }

boot() {    # the boot loader's environment, for one command
    mkdir -p "$RUN/boot"
    [ -z "$BOOT" ] || mount -t vfat -o nosuid,nodev,noexec,sync,umask=0077 "$BOOT" "$RUN/boot" || die "the boot partition cannot be mounted"
    "$@"
    status=$?
    [ -z "$BOOT" ] || { sync; umount "$RUN/boot"; }
    return $status
}

case $verb in
signed)     # the manifest, when its signature leads to our authority
    openssl cms -verify -binary -inform DER -in "$1" -CAfile "$KEYRING" -no-CApath -no-CAstore -out "$RUN/manifest" 2>"$RUN/openssl" \
        || die "$(grep -m1 -E 'rror' "$RUN/openssl" | sed 's/.*:://;s/.*routines:[^:]*://' | grep . || echo 'it is not signed')"
    [ "$(wc -c <"$RUN/manifest")" -lt 65536 ] || die "the manifest is too long"
    cat "$RUN/manifest" ;;
open)       # the content of a bundle that has been checked
    mkdir -p "$RUN/payload"
    mount -t squashfs -o ro,loop,nodev,nosuid,noexec "$1" "$RUN/payload" || die "the content cannot be mounted"
    echo "$RUN/payload" ;;
close)
    umount "$RUN/payload" 2>/dev/null
    rmdir "$RUN/payload" 2>/dev/null || : ;;
slot)       # version and board of what could start
    mkdir -p "$RUN/look"
    mount -t squashfs -o ro,nodev,nosuid,noexec "$1" "$RUN/look" 2>/dev/null || die "no file system"
    if [ -s "$RUN/look/boot/vmlinuz" ] && [ -s "$RUN/look/boot/initramfs" ]; then
        cat "$RUN/look/usr/share/branchpbx/version" "$RUN/look/usr/share/branchpbx/compatible" 2>/dev/null
    fi
    umount "$RUN/look" ;;
size)
    if [ -b "$1" ]; then blockdev --getsize64 "$1"; else wc -c <"$1"; fi ;;
flush)
    sync
    [ ! -b "$1" ] || blockdev --flushbufs "$1"
    echo 3 2>/dev/null >"${CACHES:-/proc/sys/vm/drop_caches}" || : ;;
variables)
    boot fw_printenv ;;
set)        # one write for all of them
    for word in "$@"; do echo "$word"; done >"$RUN/variables"
    boot fw_setenv -s "$RUN/variables" ;;
sticks)     # bundles on disks that are not ours
    number=0
    for part in /sys/class/block/sd*; do
        name=${part##*/}
        [ -e "$part" ] && [ ! -d "$part/${name}1" ] || continue
        case $name in sd[a-z]|sd[a-z][0-9]) ;; *) continue ;; esac
        mkdir -p "$RUN/stick/$name"
        for kind in vfat ext4; do
            mount -t $kind -o ro,nodev,nosuid,noexec "/dev/$name" "$RUN/stick/$name" 2>/dev/null && break
        done
        for file in "$RUN/stick/$name"/*.raucb; do
            [ ! -f "$file" ] || { echo "$file"; number=$((number + 1)); }
            [ $number -lt 16 ] || exit 0
        done
    done ;;
sticks-done)
    for folder in "$RUN"/stick/*; do
        [ ! -d "$folder" ] || { umount "$folder" 2>/dev/null; rmdir "$folder" 2>/dev/null; }
    done
    : ;;
check)      # good|mended USED SIZE (MiB), then what was mended
    e2fsck -p "$STATE" >"$RUN/fsck.log" 2>&1
    status=$?
    [ $status -lt 4 ] || { e2fsck -y "$STATE" >>"$RUN/fsck.log" 2>&1; status=$?; }
    [ $status -lt 4 ] || die "it cannot be mended; only a factory reset helps: $(tail -n1 "$RUN/fsck.log")"
    mkdir -p "$RUN/state"
    mount -t ext4 -o ro,nodev,nosuid,noexec "$STATE" "$RUN/state" || die "it cannot be mounted; only a factory reset helps"
    if [ $status -eq 0 ]; then word=good; else word=mended; fi
    df -m "$RUN/state" | awk -v word=$word 'NR > 1 { print word, $3, $2 }'
    umount "$RUN/state"
    [ $status -eq 0 ] || grep -v '^ *$' "$RUN/fsck.log" | head -n 3 ;;
reset)
    mke2fs -q -F -t ext4 -L state -O has_journal,extent,metadata_csum,64bit "$STATE" || die "the state partition cannot be written"
    sync ;;
logs)
    dmesg | tail -n 200
    [ ! -e "$RUN/fsck.log" ] || { echo "--- check of the state partition"; tail -n 40 "$RUN/fsck.log"; } ;;
raw)
    stty -F "$1" raw -echo min 0 time 0 ;;
rate)
    stty -F "$1" "$2" ;;
restart)
    sync
    reboot -f ;;
*)
    die "no such verb" ;;
esac
