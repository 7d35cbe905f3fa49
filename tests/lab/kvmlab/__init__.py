# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: a real KVM host, its network, the storage it mounts and the guests that run on it."""
