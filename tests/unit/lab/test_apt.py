# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the machine's package sources the lab's images are built from."""

from __future__ import annotations

import pytest

from kvmlab.images.apt import release_entries


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("deb http://mirror.example/debian bookworm main", True),
        ("deb [signed-by=/x.gpg arch=amd64] http://mirror.example/debian bookworm-updates main contrib", True),
        ("deb http://mirror.example/security bookworm-security main", True),
        ("deb-src http://mirror.example/debian bookworm main", False),
        ("# deb http://mirror.example/debian bookworm main", False),
        ("deb http://mirror.example/debian bookworm-backports main", False),
        ("deb http://mirror.example/debian trixie main", False),
        ("deb https://other.example/tools stable main", False),
        ("deb https://other.example/flat ./", False),
        ("deb cdrom:[Debian 12]/ bookworm main", False),
    ],
)
def test_one_line_entries(line: str, kept: bool) -> None:
    assert release_entries(f"\n{line}\n", "") == (f"{line}\n" if kept else "", "")


STANZA = """Types: deb
URIs: http://mirror.example/debian
Suites: bookworm
 bookworm-updates
Components: main"""


@pytest.mark.parametrize(
    ("stanza", "kept"),
    [
        (STANZA, True),
        (f"# the mirror\n{STANZA}\nEnabled: yes", True),
        (f"{STANZA}\nEnabled: no", False),
        (STANZA.replace("Types: deb", "Types: deb-src"), False),
        (STANZA.replace("bookworm-updates", "trixie"), False),
        (STANZA.replace("Suites: bookworm\n bookworm-updates", "Suites: nodistro"), False),
    ],
)
def test_stanzas(stanza: str, kept: bool) -> None:
    assert release_entries("", f"\n{stanza}\n\n") == ("", f"{stanza}\n" if kept else "")


def test_kept_stanzas_stay_apart() -> None:
    other = STANZA.replace("/debian", "/security").replace("bookworm-updates", "bookworm-security")
    foreign = STANZA.replace("bookworm", "stable")
    assert release_entries("", f"{STANZA}\n\n{foreign}\n\n{other}\n") == ("", f"{STANZA}\n\n{other}\n")
