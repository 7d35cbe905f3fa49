#!/bin/sh
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Be a second KVM host: in mount and UTS namespaces of its own, with its own libvirt, its own /run/kvmsnap and its own
# SSH server. Mounts, network and processors are those of the first. It has no systemd and no D-Bus to talk to, so that
# its guests are processes of its own and end with it.
# usage: unshare --mount --uts --propagation private sh second.sh NAME PORT
set -eu
name=$1 port=$2 own=/run/$1
hostname "$name"
for place in /run/libvirt /run/kvmsnap /var/lib/libvirt /var/lib/kvmsnap /etc/libvirt; do
  mkdir -p "$place" "$own$place"
done
cp -a /etc/libvirt/. "$own/etc/libvirt/"
rm -rf "$own"/etc/libvirt/qemu/*.xml "$own"/etc/libvirt/qemu/autostart "$own"/etc/libvirt/qemu/networks/autostart
for place in qemu dnsmasq images boot; do
  mkdir -p "$own/var/lib/libvirt/$place"
done
cat > "$own/etc/libvirt/qemu.conf" << 'END'
user = "root"
group = "root"
security_driver = "none"
remember_owner = 0
stdio_handler = "file"
cgroup_controllers = []
namespaces = []
END
for place in /run/libvirt /run/kvmsnap /var/lib/libvirt /var/lib/kvmsnap /etc/libvirt; do
  mount --bind "$own$place" "$place"
done
for place in /run/systemd /run/dbus; do
  mount -t tmpfs -o mode=755 none $place
done
libvirtd --daemon --pid-file "/run/libvirt/$name.pid"
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e -p "$port" -o PidFile=none
