# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulator of the part of ONTAP's REST API that kvmsnap.ontap uses, over real files on a reflink file system.

Rooms: `engine` changes bytes and knows nothing of HTTP; `model` and `store` hold what the array knows; `areas` has one
module per ONTAP area; `query`, `paging`, `fields` and `errors` are the language all areas speak; `auth` and `rbac` say
who may; `faults`, `switches` and `control` are the laboratory's own handles and never visible over HTTPS.
"""
