# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switches of the laboratory: what the public material leaves open, and what tests want to set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class Switches:
    """Every switch with its default; set over the control port with ``POST /switches``, reset with ``DELETE``."""

    file_clone_keeps_inode: bool = True
    """A file clone that overwrites keeps the destination's inode (and NFS file handle)."""
    file_clone_refuses_locked: bool = False
    """A file clone over a file that somebody has locked is refused; off: it is overwritten all the same."""
    sfsr_keeps_inode: bool = True
    """The same for single-file SnapRestore."""
    cli_restore_returns_job: bool = True
    """`volume snapshot restore-file` answers 202 with a job; off: 200 with `cli_output` when the file is restored."""
    sfsr_seconds: float = 0.3
    """How long a single-file SnapRestore goes on in the background after its call or job has ended."""
    sfsr_bytes_at_end: bool = False
    """The bytes change when the background work ends, not when the job does."""
    clone_split_seconds: float = 0.0
    """How long the source snapshot of a file clone stays busy afterwards."""
    job_queued_seconds: float = 0.002
    """How long a job is queued before it runs."""
    job_seconds: float = 0.01
    """How long a job runs before its effect."""
    job_tail_seconds: float = 0.0
    """How long a job still runs after its effect."""
    job_keep_seconds: float = 300.0
    """How long an ended job can be read."""
    check_in_job: bool = True
    """What depends on the array's state (a name that exists, a busy snapshot) fails the job; off: the request."""
    failure_in_wait: str = "error"
    """A job that fails within `return_timeout`: `error` answers 4xx with the error, `job` 200 with the job's link."""
    fence_time_factor: float = 1.0
    """A two-phase snapshot of a group is given up after so many times the seconds that its start names."""
    unknown_volume_code: str = "4"
    """Code for a volume uuid in the path that is not there: `4` (404) or `918235` (400)."""
    status_of_code: dict[str, int] = field(default_factory=dict)
    """HTTP status per error code, over the table's and the default 400."""
    page_size: int = 0
    """A GET of a collection ends early after so many records (0: only at `max_records`)."""
    empty_pages: bool = False
    """Each page that has a next one is followed by an empty page first."""
    svm_reads_cluster: bool = True
    """An SVM account may read `/cluster` and its own jobs."""
    san_optimized: bool = False
    """The cluster is an All SAN Array, whatever its configuration says."""
    disaggregated: bool = False
    """The cluster is an ASA r2: LUNs have plain names, and none is made or overwritten as a clone."""
    lun_overwrite_from_snapshot: bool = False
    """A LUN can be overwritten straight from `/vol/<volume>/.snapshot/<snapshot>/<LUN>`."""
    lun_overwrite_takes_size: bool = True
    """A LUN that is overwritten gets the size of the source; off: it keeps its own."""
    flexclone_luns_online: bool = False
    """The LUNs of a new FlexClone volume are online."""
    recovery_queue_seconds: float = 43200.0
    """How long a FlexClone volume that was deleted without `force` still owns its parent's snapshot."""
    sfsr_keeps_lun_identity: bool = True
    """A LUN that is restored in place keeps uuid, serial and maps; off: it gets new ones, and no maps."""
    revert_keeps_maps: bool = True
    """A volume revert keeps the maps of its LUNs, also without `preserve_lun_ids`."""
    clock_offset: float = 0.0
    """Seconds by which the array's clock is ahead."""
    licenses: dict[str, bool] = field(
        default_factory=lambda: {
            "flexclone": True,
            "snaprestore": True,
            "nfs": True,
            "iscsi": True,
            "snapmirror": True,
            "snaplock": True,
        }
    )
    """Installed licences."""

    def update(self, values: Mapping[str, Any]) -> None:
        """Set some switches; an unknown name or a value of another type raises ``ValueError`` and sets none."""
        known = {item.name: getattr(self, item.name) for item in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"unknown switch {name}")
            wanted = type(known[name])
            fits = isinstance(value, (int, float)) if wanted is float else isinstance(value, wanted)
            if not fits or (isinstance(value, bool) and wanted is not bool):
                raise ValueError(f"switch {name} wants {wanted.__name__}, not {value!r}")
        for name, value in values.items():
            current = known[name]
            if isinstance(current, dict):
                current.update(value)
            else:
                setattr(self, name, float(value) if isinstance(current, float) else value)

    def as_dict(self) -> dict[str, Any]:
        """Return all switches."""
        return asdict(self)
