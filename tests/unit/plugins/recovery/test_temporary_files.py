# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that restores left under names of ours are found and removed, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
import samples
from virt import Guests

from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog import restore_journal
from ansible_collections.kvmsnap.ontap.plugins.module_utils._catalog.restore_journal import (
    GuestProgress,
    Journal,
    TemporaryFile,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.replacement import aside_name, temporary_name
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.leftover import Leftover
from ansible_collections.kvmsnap.ontap.plugins.module_utils._recovery.temporary_files import leftover_files

DISK = "svm1:/vol/vol1/web1.img"


class Host:
    """A host with a catalog and a directory in which restores made files."""

    def __init__(self, directory: Path, guests: Guests) -> None:
        self.root, self.volume, self.guests = directory / "catalog", directory / "volume", guests
        self.volume.mkdir()

    def file(self, name: str = "") -> TemporaryFile:
        """A file of a restore, which is there."""
        found = name or temporary_name("snap")
        (self.volume / found).write_bytes(b"x")
        return TemporaryFile(DISK, str(self.volume / found), found)

    def journal(self, *files: TemporaryFile, restore_id: str = "r1") -> None:
        """Write down that these may be there."""
        progress = GuestProgress("running", temporaries=files)
        restore_journal.save(self.root, Journal(restore_id, samples.BACKUP, {samples.WEB: progress}))

    def left(self) -> list[Leftover]:
        return list(leftover_files(self.root, self.guests.connect))


@pytest.fixture
def there(tmp_path: Path, guests: Guests, idle_host: None) -> Host:
    """A host on which no process has a file open."""
    return Host(tmp_path, guests)


def test_each_file_is_told_once_and_removed(there: Host) -> None:
    assert there.left() == []
    first, second, gone = there.file(), there.file(aside_name()), there.file()
    Path(gone.place).unlink()
    there.journal(first, second, gone)
    there.journal(first, restore_id="r2")
    found = there.left()
    assert sorted((each.kind, each.name, each.action) for each in found) == sorted(
        ("file", each.place, "removed") for each in (first, second)
    )
    assert found[0].message == "restore r1 left it, or the array made it late"
    assert sorted(path.name for path in there.volume.iterdir()) == sorted([first.path, second.path])
    for each in found:
        assert each.act is not None
        each.act()
    assert (list(there.volume.iterdir()), there.left()) == ([], [])


@pytest.mark.parametrize("name", ["web1.img", ".kvmsnap-tmp-x", "../volume/web1.img"])
def test_a_name_that_is_not_ours_is_left_whatever_a_journal_says(there: Host, name: str) -> None:
    there.journal(there.file(name))
    assert there.left() == []


def test_a_file_that_no_journal_knows_is_left(there: Host) -> None:
    there.file()
    there.journal()
    assert there.left() == []


def test_none_is_touched_while_a_restore_is_under_way(there: Host) -> None:
    file = there.file()
    there.journal(file)
    (found,) = there.left()
    assert found.act is not None
    with restore_journal.alone(there.root):
        assert there.left() == []
        with pytest.raises(KvmsnapError, match="Another restore"):
            found.act()
    assert Path(file.place).exists()


def test_one_that_a_restore_has_taken_up_meanwhile_stays(there: Host) -> None:
    file = there.file()
    there.journal(file)
    (found,) = there.left()
    there.journal()
    assert found.act is not None
    with pytest.raises(KvmsnapError, match="no restore knows it any more"):
        found.act()
    assert Path(file.place).exists()


def test_one_that_a_guest_uses_stays(there: Host) -> None:
    file = there.file()
    there.journal(file)
    xml = there.guests.domain(there.guests.add("web1", running=False)).XMLDesc(0)
    there.guests.connection.defineXML(xml.replace("/web1.img", file.place))
    (found,) = there.left()
    assert found.act is not None
    with pytest.raises(KvmsnapError, match=r"Refused to remove .*: guest web1 \(.*\), shutoff, has it as its disk vda"):
        found.act()
    assert Path(file.place).exists()
