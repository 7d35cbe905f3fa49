# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is put beside the disks is proved before anything is touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import samples
from firmware_host import Host, now, part, saved_guest

from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.disk_selection import NOT_ASKED, narrowed
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.firmware_check import with_firmware
from ansible_collections.kvmsnap.ontap.plugins.module_utils._restore.models import (
    RestorePlan,
    RestoreRefusedError,
)


def test_the_plan_names_the_files_and_refuses_what_was_altered(host: Host) -> None:
    manifest = replace(samples.manifest(), guests=(saved_guest(*host.files),))
    plan = RestorePlan(samples.BACKUP, "r1", (part(),))
    made = with_firmware(plan, manifest, {samples.WEB: now(host)}, directory=host.saved)
    assert made.guests[0].files == host.restores()
    assert f"UEFI variables {host.nvram}: as in {host.saved}/w.nvram" in made.after()
    assert f"UEFI variables {host.nvram}: as it is now" in made.before()
    (host.saved / "w.nvram").write_text("other")
    with pytest.raises(RestoreRefusedError, match="checksum") as refused:
        with_firmware(plan, manifest, {samples.WEB: now(host)}, directory=host.saved)
    assert [each["code"] for each in refused.value.as_result()["problems"]] == ["firmware-state"]


def test_single_disks_leave_firmware_and_tpm_alone(host: Host) -> None:
    manifest = narrowed(
        replace(samples.manifest(), guests=(saved_guest(*host.files),)), ("svm1:/vol/vol1/web1.img",), reason=NOT_ASKED
    )
    made = with_firmware(
        RestorePlan(samples.BACKUP, "r1", (part(),)), manifest, {samples.WEB: now(host)}, directory=host.saved
    )
    assert made.guests[0].files == ()
    assert len(made.guests[0].notes) == 2
