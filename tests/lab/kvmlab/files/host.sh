#!/bin/sh
# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Run the user-mode kernel with its memory in a tmpfs of its own, which ends with it.
# usage: host.sh MEMORY_DIRECTORY COMMAND...
set -eu
export TMPDIR=$1
shift
mkdir -p "$TMPDIR"
mount -t tmpfs -o mode=700,size=90% memory "$TMPDIR"
exec "$@"
