#!/bin/sh
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Furnish the array's tree inside a mount namespace of its own and run what NFSv3 needs beside its server.
# usage: services.sh ROOT DATA STATE
set -eu
root=$1 data=$2 state=$3

hostname svm1-nfs
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs -o mode=755,size=16M run "$root/run"
mount -t tmpfs -o mode=1777,size=16M tmp "$root/tmp"
mount -t tmpfs -o mode=755,size=16M nfs "$root/var/lib/nfs"
mount --bind "$data" "$root/srv/array"
mkdir -p "$root/run/ganesha" "$root/run/rpcbind" "$root/var/lib/nfs/sm" "$root/var/lib/nfs/sm.bak"
chown 101 "$root/run/rpcbind"
: > "$root/var/lib/nfs/state"
chown -R 102 "$root/var/lib/nfs"
mount --bind "$state" "$root/run/ganesha"

chroot "$root" rpcbind -f &
until [ -S "$root/run/rpcbind.sock" ]; do sleep 0.02; done
chroot "$root" rpc.statd --foreground --no-notify &
: > "$state/services.ready"
wait
