# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m kvmlab``."""

from .cli import main

main(prog_name="kvmlab")
