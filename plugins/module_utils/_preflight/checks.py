# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold before a run: findings about the host and the storage, each with what to do about it.

Everything here is pure: it judges facts that :mod:`_preflight.probe` gathered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.names import (
    ADDRESS,
    NameService,
    Resolution,
    as_address,
    why_missing,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._problems import Severity

AGENT_TIMEOUT_FLOOR = 600
RETRY_COUNT_CEILING = 10
CLOCK_SKEW_LIMIT = 60.0
FREE_SPACE_FLOOR = 64 * 1024 * 1024
ONTAP_FLOOR = (9, 11, 1)
DOCUMENTED_ROLE = "kvmsnap"

_RANK = {"error": 0, "warning": 1, "info": 2}
_WORD = {"error": "FAILED", "warning": "WARNING", "info": "NOTE"}


Check = Literal[
    "sc-agent-timeout",
    "retry-count",
    "controller-name",
    "nfs-server-name",
    "nfs-server-lif",
    "host-name",
    "multipath",
    "multipathd",
    "multipath-paths",
    "multipath-wwid",
    "libvirt",
    "version",
    "host-tool",
    "config-dir",
    "catalog-dir",
    "catalog-space",
    "hold-dir",
    "directory-mode",
    "directory-answer",
    "volume-directory",
    "controller-connection",
    "controller-tls",
    "controller-login",
    "ontap-version",
    "clock-skew",
    "controller-right",
]
"""What was looked at; the documentation of ``kvm_preflight_info`` names each, which a test holds against this."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    ``check`` is stable, ``object`` what was looked at, ``source`` where the answer comes from.
    ``severity`` tells how bad it is when ``ok`` is false: ``error`` keeps a run from working, ``warning`` is a remark,
    ``info`` worth knowing. A finding that is ok has ``info``. ``remedy`` is an imperative sentence; it is empty for
    what is ok, unless that could not be looked at in full.
    """

    check: Check
    object: str
    ok: bool
    severity: Severity
    message: str
    source: str = ""
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain data for a module's result."""
        return asdict(self)


@dataclass(frozen=True)
class NfsServer:
    """The server of NFS mounts as mountinfo shows it: the name (or address) in the source, and ``addr=``.

    ``ours`` is true when the address is that of a LIF of a given controller, false when it is not, None when unknown.
    """

    name: str
    address: Optional[str]
    mount_points: tuple[str, ...]
    ours: Optional[bool] = None


@dataclass(frozen=True)
class Tool:
    """A program of the host: its path (None when it is absent) and version, or why the version is not known."""

    name: str
    path: Optional[str]
    version: Optional[str] = None
    error: Optional[str] = None


@dataclass(frozen=True)
class Software:
    """Something with a version; ``floor`` is the least one that works, empty when any does.

    ``required`` tells that nothing works without it.
    """

    name: str
    version: Optional[str]
    floor: str = ""
    required: bool = True
    remedy: str = ""
    source: str = ""


@dataclass(frozen=True)
class Libvirt:
    """What libvirt answered at ``uri``; versions are None when it did not (``error``)."""

    uri: str
    error: Optional[str] = None
    daemon: Optional[str] = None
    hypervisor: Optional[str] = None


@dataclass(frozen=True)
class Directory:
    """A directory of the host. ``nearest`` is the deepest directory above it (or itself) that exists.

    ``free`` is in bytes, ``mode`` the permission bits; both are those of ``nearest``. ``foreign_owner`` is the uid that
    owns it when that is neither root nor the user the module runs as.
    """

    path: str
    exists: bool
    nearest: str
    mode: int
    readable: bool
    writable: bool
    free: int
    foreign_owner: Optional[int] = None


@dataclass(frozen=True)
class MultipathDevices:
    """The multipath devices of the host: ``luns`` are ONTAP's, ``others`` and ``troubles`` pairs of device and reason.

    ``error`` says why multipathd did not answer; it is only asked on a host with multipath devices of ONTAP.
    """

    luns: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    troubles: tuple[tuple[str, str], ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Right:
    """A right on the array: ``api`` and ``access`` as a REST role names them, ``purpose`` what needs it.

    ``reads`` is the path that tries it (``{volume}`` stands for a volume's uuid); ``required`` is false for what only
    some sites need, those with LUNs when ``san``. ``changes`` says what of the right cannot be tried by reading.
    """

    api: str
    access: str
    purpose: str
    reads: str = ""
    required: bool = True
    changes: str = ""
    san: bool = False


RIGHTS: tuple[Right, ...] = (
    Right("/api/cluster", "readonly", "the version of ONTAP", "cluster"),
    Right("/api/cluster/jobs", "readonly", "the outcome of jobs", "cluster/jobs"),
    Right("/api/svm/svms", "readonly", "the SVMs", "svm/svms"),
    Right("/api/network/ip/interfaces", "readonly", "the LIF behind an NFS mount", "network/ip/interfaces"),
    Right("/api/storage/volumes", "readonly", "the volume behind an NFS mount", "storage/volumes"),
    Right(
        "/api/storage/volumes/*/snapshots",
        "all",
        "backups",
        "storage/volumes/{volume}/snapshots",
        changes="create, label and delete snapshots",
    ),
    Right(
        "/api/storage/volumes/*/files",
        "readonly",
        "the identity of a file before its restore",
        "storage/volumes/{volume}/files",
    ),
    Right("/api/storage/file/clone", "read_create", "restores", changes="clone a file out of a snapshot"),
    Right(
        "/api/storage/luns",
        "all",
        "guests on LUNs",
        "storage/luns",
        required=False,
        changes="clone, overwrite and delete LUNs (a restore of guests on LUNs; a backup only reads)",
        san=True,
    ),
    Right(
        "/api/protocols/san/lun-maps",
        "readonly",
        "telling which other hosts see a guest's LUN",
        "protocols/san/lun-maps",
        required=False,
        san=True,
    ),
    Right(
        "/api/protocols/san/igroups",
        "readonly",
        "telling which other hosts see a guest's LUN",
        "protocols/san/igroups",
        required=False,
        san=True,
    ),
    Right(
        "/api/application/consistency-groups",
        "all",
        "snapshots by consistency groups, where they are asked for",
        "application/consistency-groups",
        required=False,
        changes="create and delete snapshots of consistency groups (only where they are asked for)",
    ),
)

Trial = Literal["granted", "denied", "failed", "skipped"]
Failure = Literal["name", "reach", "tls", "login", "version", "other"]


@dataclass(frozen=True)
class TriedRight:
    """The outcome of trying a right; ``message`` is what the array said, or why it was not tried."""

    right: Right
    outcome: Trial
    message: str = ""


@dataclass(frozen=True)
class ArrayReport:
    """What was learnt of one controller. ``failure`` and ``message`` say how far it went; ``skew`` is in seconds.

    ``skew`` is the array's clock minus the host's, None when the array did not tell its time. ``vserver`` is the owner
    that a role of this account has in ONTAP's command line: the cluster, or the SVM. ``san`` tells that this host has
    LUNs of ONTAP.
    """

    hostname: str
    username: str = ""
    validate_certs: bool = True
    failure: Optional[Failure] = None
    message: str = ""
    vserver: str = ""
    version: Optional[tuple[int, int, int]] = None
    skew: Optional[float] = None
    rights: tuple[TriedRight, ...] = ()
    san: bool = False


_FAILURES: dict[str, tuple[Check, str]] = {
    "name": ("controller-connection", "Make its name resolve first; then run the preflight again."),
    "reach": (
        "controller-connection",
        "Check its address and port, the firewall between, and that this LIF serves management over HTTPS.",
    ),
    "tls": ("controller-tls", "Give the CA of its certificate as ca_path, and the name it is issued for as hostname."),
    "login": (
        "controller-login",
        "Check the credentials, and that the account may use HTTP: security login show -application http",
    ),
    "version": ("ontap-version", "Upgrade ONTAP to {}.{}.{} or later.".format(*ONTAP_FLOOR)),
    "other": ("controller-connection", "Follow what the message says; the preflight could not go on with it."),
}


def all_ok(findings: Iterable[Finding]) -> bool:
    """Whether nothing keeps a run from working."""
    return all(finding.ok or finding.severity != "error" for finding in findings)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return failed findings first, the worst before the others; otherwise in their order."""
    return sorted(findings, key=lambda finding: (finding.ok, _RANK[finding.severity]))


def as_table(findings: Sequence[Finding]) -> list[str]:
    """Return one line per finding in columns, each that is not ok followed by its remedy."""
    ordered = in_order(findings)
    rows = [("ok" if finding.ok else _WORD[finding.severity], finding.check, finding.object) for finding in ordered]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    lines = []
    for row, finding in zip(rows, ordered):
        cells = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths))
        lines.append(f"{cells}  {finding.message}" + (f" [{finding.source}]" if finding.source else ""))
        if not finding.ok and finding.remedy:
            lines.append(f"{'':<{widths[0]}}  -> {finding.remedy}")
    return lines


def check_agent_timeout(seconds: int) -> Finding:
    """The plug-in's rule: ``SC_AGENT_TIMEOUT`` is 600 s or higher."""
    return _finding(
        "sc-agent-timeout",
        "sc_agent_timeout",
        seconds >= AGENT_TIMEOUT_FLOOR,
        f"{seconds} s bound the whole operation; the floor is {AGENT_TIMEOUT_FLOOR} s",
        remedy=f"Set sc_agent_timeout to {AGENT_TIMEOUT_FLOOR} or higher. It never bounds a hold.",
    )


def check_retry_count(count: int) -> Finding:
    """The plug-in's ``KVM_CMD_RETRY_COUNT``: re-runs after the first try."""
    return _finding(
        "retry-count",
        "kvm_cmd_retry_count",
        0 <= count <= RETRY_COUNT_CEILING,
        f"{count} re-runs of a command that failed; 0 to {RETRY_COUNT_CEILING} make sense",
        remedy=f"Set kvm_cmd_retry_count to a number from 0 to {RETRY_COUNT_CEILING}; 3 is the default.",
    )


def check_controller_name(resolution: Resolution, service: NameService) -> Finding:
    """A controller must be reachable by its name, or be given by its address (seed row S9)."""
    return _name_finding("controller-name", resolution, service, severity="error")


def check_own_name(resolution: Resolution, service: NameService) -> Finding:
    """The KVM host's own name; nothing of the collection fails without it, the plug-in demanded it."""
    return _name_finding("host-name", resolution, service, severity="warning")


def check_nfs_server(server: NfsServer, resolution: Resolution, service: NameService) -> Finding:
    """The server of a mount: its name must resolve, and to the address that the mount uses.

    Only a server that is known to be one of the given SVMs can fail a run; the host may mount anything else.
    """
    severity: Severity = "error" if server.ours else "warning"
    finding = _name_finding("nfs-server-name", resolution, service, severity=severity)
    if not finding.ok or server.address is None or as_address(server.address) in resolution.addresses:
        return finding
    return _finding(
        "nfs-server-name",
        server.name,
        False,
        f"resolves to {', '.join(resolution.addresses)}, yet {_places(server)} uses {server.address}",
        severity="warning",
        source=resolution.source,
        remedy=f"Correct the entry of {server.name}, or mount {_places(server)} again.",
    )


def check_nfs_lif(server: NfsServer) -> Optional[Finding]:
    """Whether a mount's server is a LIF of the given controllers; None when their LIFs could not be read."""
    if server.ours is None:
        return None
    shown = server.address or server.name
    verb = "is" if server.ours else "is not"
    return _finding(
        "nfs-server-lif",
        shown,
        server.ours,
        f"{verb} a LIF of the given controllers; mounted at {', '.join(server.mount_points)}",
        severity="info",
        source="network/ip/interfaces",
        remedy="Add its cluster or SVM to kvm_controllers if guests live there; other NFS servers are left alone.",
    )


def check_san(san: MultipathDevices) -> list[Finding]:
    """Whether the LUNs of this host can be identified and reached; a host without any needs nothing."""
    if not san.luns and not san.others:
        return [_finding("multipath", "LUNs", True, "this host has no multipath devices")]
    findings = [
        _finding("multipath", "LUNs", True, f"{len(san.luns)} multipath devices are LUNs of ONTAP", source="sysfs"),
        *(
            _finding(
                "multipath-wwid",
                device,
                False,
                reason,
                severity="info",
                source="sysfs",
                remedy="Nothing is to be done unless a guest uses it: such a guest is not protected.",
            )
            for device, reason in san.others
        ),
    ]
    if san.error:
        remedy = "Start it: systemctl start multipathd. Guests on LUNs are not protected while it does not answer."
        return [*findings, _finding("multipathd", "multipathd", False, san.error, remedy=remedy)]
    if san.luns:
        findings.append(_finding("multipathd", "multipathd", True, "answers"))
    paths = "Look at its paths (multipath -ll), the fabric and the LIFs of the SVM."
    return findings + [
        _finding("multipath-paths", device, False, reason, severity="warning", source="multipathd", remedy=paths)
        for device, reason in san.troubles
    ]


def check_tool(tool: Tool, *, purpose: str, remedy: str, severity: Severity = "info") -> Finding:
    """A program that not every site needs; ``severity`` is that of its absence."""
    if tool.path is None:
        return _finding("host-tool", tool.name, False, f"is not installed; {purpose}", severity=severity, remedy=remedy)
    shown = f"version {tool.version}" if tool.version else f"version unknown ({tool.error or 'it names none'})"
    return _finding("host-tool", tool.name, True, f"{tool.path}, {shown}")


def check_software(software: Software) -> Finding:
    """A library or program with a version; below its floor, or absent where one is demanded, nothing works."""
    if software.version is None:
        missing = f"is not installed, {software.floor} or later is needed" if software.floor else "is not installed"
        found = missing if software.required else "version not known"
        return _finding(
            "version", software.name, not software.required, found, source=software.source, remedy=software.remedy
        )
    enough = not software.floor or version_key(software.version) >= version_key(software.floor)
    return _finding(
        "version",
        software.name,
        enough,
        f"{software.version}" + (f" (at least {software.floor})" if software.floor else ""),
        source=software.source,
        remedy=software.remedy,
    )


def check_libvirt(libvirt: Libvirt) -> Finding:
    """Whether libvirt answers at its URI."""
    if libvirt.error is None:
        return _finding("libvirt", libvirt.uri, True, "answers")
    return _finding(
        "libvirt",
        libvirt.uri,
        False,
        f"does not answer: {libvirt.error}",
        remedy="Start libvirtd (or virtqemud) on the KVM host and run as a user who may use it; without it guests are "
        "only found by their XML files, and nothing can be backed up or restored.",
    )


def silent_directory(path: str, message: str) -> Finding:
    """A directory on a file system that does not answer."""
    return _finding(
        "directory-answer",
        path,
        False,
        message,
        remedy="Look at the file system it lies on; a dead NFS server hangs it.",
    )


def check_config_dir(directory: Directory) -> Finding:
    """The directory of the guests' XML, read when libvirt cannot answer."""
    return _finding(
        "config-dir",
        directory.path,
        directory.exists and directory.readable,
        "can be read" if directory.readable and directory.exists else "does not exist or cannot be read",
        severity="warning",
        remedy="Set kvm_vm_config_dir to the directory with the guests' XML files, and run as root.",
    )


def check_catalog_dir(directory: Directory) -> list[Finding]:
    """The directory that backups' manifests go to: writable, with space, and private."""
    at = "" if directory.exists else f" (does not exist yet; it is made under {directory.nearest})"
    free = f"{directory.free // (1024 * 1024)} MiB free"
    findings = [
        _finding(
            "catalog-dir",
            directory.path,
            directory.writable,
            f"{'can' if directory.writable else 'cannot'} be written to, {free}{at}",
            remedy="Set kvm_catalog_dir to a directory that root can write to; a backup exists only with its manifest.",
        )
    ]
    if directory.writable and directory.free < FREE_SPACE_FLOOR:
        findings.append(
            _finding(
                "catalog-space",
                directory.path,
                False,
                f"{free}, less than {FREE_SPACE_FLOOR // (1024 * 1024)} MiB",
                severity="warning",
                remedy="Make room there, or set kvm_catalog_dir to another place.",
            )
        )
    if directory.exists:
        findings.append(check_private(directory))
    return findings


def check_private(directory: Directory) -> Finding:
    """A directory whose files decide what is restored or thawed: nobody else may write to it."""
    open_to_others = bool(directory.mode & 0o022)
    safe = not open_to_others and directory.foreign_owner is None
    owner = "" if directory.foreign_owner is None else f", owned by uid {directory.foreign_owner}"
    return _finding(
        "directory-mode",
        directory.path,
        safe,
        f"mode {directory.mode:04o}{owner}" + ("" if safe else ": others can change what is kept there"),
        remedy=f"Make it root's and close it to others: chown root: {directory.path} && chmod go-w {directory.path}",
    )


def check_volume_directory(path: str, reason: Optional[str]) -> Finding:
    """The directory into which a volume gets its manifests; ``reason`` says why a backup would refuse it."""
    return _finding(
        "volume-directory",
        path,
        reason is None,
        reason or "is ours",
        remedy="Find out who put it there and move it away; a backup makes it anew and removes it afterwards.",
    )


def check_hold_dir(directory: Directory) -> list[Finding]:
    """The directory of the records of held guests, and who else can change it (or what it is made under)."""
    at = "" if directory.exists else f" (does not exist yet; it is made under {directory.nearest})"
    writable = _finding(
        "hold-dir",
        directory.path,
        directory.writable,
        f"{'can' if directory.writable else 'cannot'} be written to{at}",
        remedy="Run as root: what a held guest needs for its release is recorded there before it is held.",
    )
    return [writable, check_private(replace(directory, path=directory.nearest))]


def check_array(report: ArrayReport) -> list[Finding]:
    """All findings about one controller; the first failure hides what could not be looked at after it."""
    who = f"account {report.username}" if report.username else "a client certificate"
    login = _finding("controller-login", report.hostname, True, f"{who} is accepted")
    if report.failure is not None:
        passed = {"login": [_tls(report)], "version": [_tls(report), login]}.get(report.failure, [])
        return [*passed, _array_failure(report)]
    findings = [_tls(report), login]
    findings += _ontap_version(report) + _clock(report)
    findings += [_right(report, tried) for tried in report.rights if tried.right.reads]
    return findings + _not_tried(report)


def role_command(right: Right, vserver: str) -> str:
    """Return the command of ONTAP's command line that adds a right to a REST role."""
    return (
        f"security login rest-role create -vserver {vserver or '<vserver>'} -role {DOCUMENTED_ROLE}"
        f' -api "{right.api}" -access {right.access}'
    )


def version_key(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version for comparison: ``9.0.0-4`` gives (9, 0, 0)."""
    leading = re.match(r"\d+(?:\.\d+)*", version.strip())
    return tuple(int(number) for number in leading.group().split(".")) if leading else ()


def _name_finding(check: Check, resolution: Resolution, service: NameService, *, severity: Severity) -> Finding:
    if resolution.source == ADDRESS:
        known = f"known as {resolution.alias}" if resolution.alias else "no name known for it"
        return _finding(
            check, resolution.name, True, f"an address is given, no look-up is needed ({known})", source=ADDRESS
        )
    if resolution.error is not None:
        return _finding(
            check,
            resolution.name,
            False,
            f"does not resolve: {why_missing(resolution.name, resolution.error, service)}",
            severity=severity,
            remedy=f"Add a line '<address> {resolution.name}' to /etc/hosts on this KVM host, or the name to its DNS.",
        )
    return _finding(check, resolution.name, True, ", ".join(resolution.addresses), source=resolution.source)


def _array_failure(report: ArrayReport) -> Finding:
    check, remedy = _FAILURES[report.failure or "other"]
    return _finding(check, report.hostname, False, report.message, remedy=remedy)


def _tls(report: ArrayReport) -> Finding:
    return _finding(
        "controller-tls",
        report.hostname,
        report.validate_certs,
        "certificate verified" if report.validate_certs else "the certificate is not verified (validate_certs: false)",
        severity="warning",
        remedy="Set validate_certs: true and give the CA of its certificate as ca_path.",
    )


def _ontap_version(report: ArrayReport) -> list[Finding]:
    if report.version is None:
        return []
    shown = ".".join(str(number) for number in report.version)
    return [
        _finding(
            "ontap-version",
            report.hostname,
            report.version >= ONTAP_FLOOR,
            "{} (at least {}.{}.{})".format(shown, *ONTAP_FLOOR),
            remedy="Upgrade ONTAP to {}.{}.{} or later.".format(*ONTAP_FLOOR),
        )
    ]


def _clock(report: ArrayReport) -> list[Finding]:
    if report.skew is None:
        return []
    ahead = "ahead of" if report.skew >= 0 else "behind"
    return [
        _finding(
            "clock-skew",
            report.hostname,
            abs(report.skew) <= CLOCK_SKEW_LIMIT,
            f"its clock is {abs(report.skew):.0f} s {ahead} this host's; up to {CLOCK_SKEW_LIMIT:.0f} s do no harm",
            severity="warning",
            source="Date header",
            remedy="Synchronise both with NTP; times in snapshots and manifests are compared.",
        )
    ]


def _right(report: ArrayReport, tried: TriedRight) -> Finding:
    right = tried.right
    thing = f"{report.hostname} {right.api}"
    if tried.outcome == "granted":
        return _finding("controller-right", thing, True, f"can be read, for {right.purpose}", source="tried")
    if tried.outcome == "skipped":
        return _finding("controller-right", thing, True, f"not tried: {tried.message}", source="not tried")
    if tried.outcome == "failed":
        return _finding(
            "controller-right",
            thing,
            False,
            f"could not be tried: {tried.message}",
            severity="warning" if right.required or (right.san and report.san) else "info",
            source="tried",
            remedy="Look up what the array said and run the preflight again.",
        )
    return _finding(
        "controller-right",
        thing,
        False,
        f"may not be read, needed for {right.purpose}: {tried.message}",
        severity="error" if right.required else "warning" if right.san and report.san else "info",
        source="tried",
        remedy=f"Add the right to the role of {report.username or 'the account'} (here for a role named "
        f"{DOCUMENTED_ROLE}): {role_command(right, report.vserver)}",
    )


def _not_tried(report: ArrayReport) -> list[Finding]:
    changing = [tried.right for tried in report.rights if tried.right.changes]
    if not changing:
        return []
    commands = "; ".join(role_command(right, report.vserver) for right in changing)
    finding = _finding(
        "controller-right",
        f"{report.hostname} changes",
        True,
        f"not tried, as it would change the array: {', '.join(right.changes for right in changing)}",
        source="not tried",
    )
    remedy = f"Look that the role has these rights; one named {DOCUMENTED_ROLE} gets them by: {commands}"
    return [replace(finding, remedy=remedy)]


def _places(server: NfsServer) -> str:
    return ", ".join(server.mount_points)


def _finding(
    check: Check,
    thing: str,
    ok: bool,
    message: str,
    *,
    severity: Severity = "error",
    source: str = "",
    remedy: str = "",
) -> Finding:
    return Finding(check, thing, ok, "info" if ok else severity, message, source, "" if ok else remedy)
