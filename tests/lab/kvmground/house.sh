#!/bin/sh
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Furnish a mount namespace of its own as a KVM host: the array's disk, and what libvirt keeps where as on a real one.
# Catalog and hold records lie on file systems of their own, which a test may fill; /run is in memory, as everywhere.
# usage: house.sh DISK DATA HOST CATALOG READY ADDRESS...
set -e
disk=$1 data=$2 host=$3 catalog=$4 ready=$5
shift 5

hostname hv0
ip link set lo up
for address in "$@"; do ip address add "$address/32" dev lo; done
mount -o loop,noatime "$disk" "$data"
for place in etc/libvirt var/lib/libvirt var/cache/libvirt var/log/libvirt; do
    mkdir -p "/$place" "$host/$place"
    mount --bind "$host/$place" "/$place"
done
mount -t tmpfs -o mode=0755 run /run
for place in "$catalog" /run/kvmsnap; do
    mkdir -p "$place"
    mount -t tmpfs -o size=64m,mode=0700 kvmsnap "$place"
done
for file in passwd group; do mount --bind "$host/etc/$file" "/etc/$file"; done
touch "$ready"
exec sleep infinity
