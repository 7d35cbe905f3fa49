# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather what the preflight judges, on this host and at the controllers. Nothing is changed, everything is bounded."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import InputError, KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host import names
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.devices import SYSFS, map_devices
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.mounts import Mount, nfs_mounts, read_mounts
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.multipath import (
    Daemon,
    LunPlace,
    ask_multipathd,
    lun_place,
    path_findings,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.names import NameService, Resolution
from ansible_collections.kvmsnap.ontap.plugins.module_utils._host.volume_directory import (
    VOLUME_DIRECTORY,
    ForeignDirectoryError,
    refuse_foreign,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.connection import connect
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap import client as ontap
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.client import Client, Controller
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.errors import (
    NotOntapError,
    OntapDeniedError,
    OntapError,
    OntapLoginError,
    OntapTooOldError,
    OntapUnreachableError,
    OntapUntrustedError,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._ontap.network import Lif, find_lifs
from ansible_collections.kvmsnap.ontap.plugins.module_utils._options import directory
from ansible_collections.kvmsnap.ontap.plugins.module_utils._preflight import checks as preflight_checks
from ansible_collections.kvmsnap.ontap.plugins.module_utils._preflight.checks import (
    RETRY_COUNT_CEILING,
    RIGHTS,
    ArrayReport,
    Directory,
    Failure,
    Finding,
    Libvirt,
    MultipathDevices,
    NfsServer,
    Software,
    Tool,
    TriedRight,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy

TOOL_TIMEOUT = 15.0
LIBVIRT_TIMEOUT = 30.0
ARRAY_TIMEOUT = 90.0
DIRECTORY_TIMEOUT = 15.0
PARALLEL_ARRAYS = 8

_TOOL_PATHS = ("/usr/sbin", "/sbin", "/opt/netapp/santools", "/opt/netapp/santools/bin")
_FAILURES: tuple[tuple[type[KvmsnapError], Failure], ...] = (
    (InputError, "tls"),
    (OntapUntrustedError, "tls"),
    (OntapLoginError, "login"),
    (OntapTooOldError, "version"),
    (NotOntapError, "reach"),
    (OntapUnreachableError, "reach"),
)


@dataclass(frozen=True)
class PreflightRequest:
    """What the preflight looks at: the arrays, none of which need be given, libvirt, and directories of this host."""

    controllers: tuple[Controller, ...]
    uri: str
    config_dir: str
    catalog_dir: str
    hold_dir: str
    sc_agent_timeout: int
    retry_count: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> PreflightRequest:
        """Read the module's options; raises :class:`InputError` when those of a controller cannot be used."""
        return cls(
            controllers=tuple(Controller.from_option(option) for option in options["controllers"]),
            uri=options["uri"],
            config_dir=str(directory(options, "config_dir")),
            catalog_dir=str(directory(options, "catalog_dir")),
            hold_dir=str(directory(options, "hold_dir")),
            sc_agent_timeout=options["sc_agent_timeout"],
            retry_count=options["retry_count"],
        )


def examine(request: PreflightRequest, *, ansible_version: str) -> dict[str, Any]:
    """Return the result of ``kvm_preflight_info``; whatever is wrong is a finding."""
    controllers = request.controllers
    service = names.read_name_service()
    servers = servers_of(read_mounts())
    wanted = [each.hostname for each in controllers] + [each.name for each in servers] + [service.own_name]
    resolutions = names.resolve(wanted, service=service)
    san = read_san()
    arrays = _examine_arrays(
        controllers, resolutions, servers=servers, retry_count=request.retry_count, san=bool(san.luns)
    )
    findings = [
        preflight_checks.check_agent_timeout(request.sc_agent_timeout),
        preflight_checks.check_retry_count(request.retry_count),
        *_name_findings(controllers, _claimed(servers, resolutions, arrays), resolutions=resolutions, service=service),
        *_software_findings(request.uri, ansible_version),
        *preflight_checks.check_san(san),
        *_directory_findings(request),
        *volume_findings(place for server in servers for place in server.mount_points),
        *(finding for report, _lifs in arrays for finding in preflight_checks.check_array(report)),
    ]
    return {
        "changed": False,
        "ok": preflight_checks.all_ok(findings),
        "findings": [finding.as_dict() for finding in preflight_checks.in_order(findings)],
        "summary": preflight_checks.as_table(findings),
    }


def servers_of(mounts: Iterable[Mount]) -> list[NfsServer]:
    """Return the servers of the NFS mounts, each name and address once."""
    places: dict[tuple[str, Optional[str]], list[str]] = {}
    for mount in nfs_mounts(mounts):
        source = mount.nfs()
        if source is not None:
            places.setdefault((source.server, source.address), []).append(mount.mount_point)
    return [NfsServer(name, address, tuple(found)) for (name, address), found in places.items()]


def read_tool(name: str, arguments: Sequence[str], *, pattern: str) -> Tool:
    """Look for a program and read its version from what it prints; ``pattern`` has one group."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_TOOL_PATHS]))
    if path is None:
        return Tool(name, None)
    try:
        done = subprocess.run(
            [path, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=TOOL_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return Tool(name, path, error=f"no answer within {TOOL_TIMEOUT:g} s")
    except OSError as exc:
        return Tool(name, path, error=exc.strerror)
    found = re.search(pattern, (done.stdout + done.stderr).decode("utf-8", errors="replace"))
    return Tool(name, path, found.group(1)) if found else Tool(name, path)


def read_directory(path: str) -> Directory:
    """Look at a directory, or at what it would be made under; raises :class:`OverdueError` on a dead file system."""

    def look() -> Directory:
        place = Path(path)
        nearest = next((each for each in (place, *place.parents) if each.is_dir()), Path("/"))
        found, space = nearest.stat(), os.statvfs(nearest)
        return Directory(
            path=path,
            exists=nearest == place,
            nearest=str(nearest),
            mode=stat.S_IMODE(found.st_mode),
            readable=os.access(nearest, os.R_OK | os.X_OK),
            writable=os.access(nearest, os.W_OK | os.X_OK),
            free=space.f_bavail * space.f_frsize,
            foreign_owner=None if found.st_uid in (0, os.geteuid()) else found.st_uid,
        )

    return bounded(look, seconds=DIRECTORY_TIMEOUT, what=f"look at directory {path}")


def library_version(distribution: str) -> Optional[str]:
    """Return the version of an installed Python distribution, None without it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def read_san(*, sysfs: Path = SYSFS, ask: Callable[[], Daemon] = ask_multipathd) -> MultipathDevices:
    """Look at the multipath devices of this host, by sysfs and by what multipathd says of their paths."""
    luns: list[LunPlace] = []
    others: list[tuple[str, str]] = []
    for device in map_devices(sysfs=sysfs):
        place = lun_place(f"/dev/{device.name}", device, multipath_required=True, sysfs=sysfs)
        refusal = place.unresolved if isinstance(place, LunPlace) else place
        if isinstance(place, LunPlace) and refusal is None:
            luns.append(place)
        elif refusal is not None:
            others.append((f"/dev/mapper/{device.dm_name}", refusal.message))
    daemon = ask() if luns else Daemon()
    troubles = []
    for place in () if daemon.error else luns:
        refusal, notes = path_findings(place, daemon, sysfs=sysfs)
        troubles += [(place.device, each.message) for each in (*([refusal] if refusal else []), *notes)]
    return MultipathDevices(tuple(place.device for place in luns), tuple(others), tuple(troubles), daemon.error)


def read_libvirt(uri: str) -> Libvirt:
    """Ask libvirt for its versions; what it says instead is the error."""
    try:
        host = connect(uri, retry_count=0)
    except KvmsnapError as exc:
        return Libvirt(uri, error=exc.message)
    try:
        daemon, hypervisor = bounded(host.versions, seconds=LIBVIRT_TIMEOUT, what=f"ask libvirt at {uri}")
        return Libvirt(uri, daemon=daemon, hypervisor=hypervisor)
    except KvmsnapError as exc:
        return Libvirt(uri, error=exc.message)
    finally:
        host.close()


def examine_array(
    controller: Controller, resolution: Resolution, *, mounted: Iterable[str], retry_count: int, san: bool = False
) -> tuple[ArrayReport, Optional[frozenset[str]]]:
    """Look at one controller; return the report and which of the ``mounted`` addresses are LIFs of it.

    The second is None when that could not be read. ``san`` tells that this host has LUNs of ONTAP.
    """
    report = ArrayReport(controller.name, controller.username or "", controller.validate_certs, san=san)
    if resolution.error is not None:
        message = f"Failed to reach {controller.name}: its name does not resolve on this host"
        return replace(report, failure="name", message=message), None
    policy = RetryPolicy(retry_count=min(max(retry_count, 0), RETRY_COUNT_CEILING))
    deadline = Deadline.after(ARRAY_TIMEOUT)
    try:
        client = ontap.connect(controller, policy=policy, deadline=deadline)
    except OntapDeniedError as exc:
        return replace(report, rights=(TriedRight(RIGHTS[0], "denied", exc.message),)), None
    except KvmsnapError as exc:
        failure: Failure = next((word for kind, word in _FAILURES if isinstance(exc, kind)), "other")
        return replace(report, failure=failure, message=exc.message), None
    try:
        return _look_around(client, report, resolution, mounted=frozenset(mounted), deadline=deadline)
    finally:
        client.close()


def _look_around(
    client: Client, report: ArrayReport, resolution: Resolution, *, mounted: frozenset[str], deadline: Deadline
) -> tuple[ArrayReport, Optional[frozenset[str]]]:
    skew = (client.array_time() - datetime.now(timezone.utc)).total_seconds()
    lifs: Optional[list[Lif]] = None
    volume: Optional[str] = None
    tried: list[TriedRight] = []
    for right in RIGHTS:
        if not right.reads:
            continue
        if "{volume}" in right.reads and volume is None:
            tried.append(TriedRight(right, "skipped", "no volume could be read to try it on"))
            continue
        try:
            if right.reads == "network/ip/interfaces":
                lifs = find_lifs(client, mounted.union(resolution.addresses), deadline=deadline)
            elif right.reads == "storage/volumes":
                volume = _any_volume(client, deadline)
            else:
                params = {"fields": "version"} if right.reads == "cluster" else {"max_records": 1}
                client.get("/" + right.reads.format(volume=volume), params, deadline=deadline)
            tried.append(TriedRight(right, "granted"))
        except OntapDeniedError as exc:
            tried.append(TriedRight(right, "denied", exc.message))
        except OntapError as exc:
            tried.append(TriedRight(right, "failed", exc.message))
    own = next((lif.svm for lif in lifs or () if lif.address in resolution.addresses and lif.scope == "svm"), None)
    vserver = own or client.cluster_name
    untried = [TriedRight(right, "skipped") for right in RIGHTS if not right.reads]
    report = replace(report, vserver=vserver, version=client.version, skew=skew, rights=(*tried, *untried))
    return report, None if lifs is None else frozenset(lif.address for lif in lifs) & mounted


def _any_volume(client: Client, deadline: Deadline) -> Optional[str]:
    answer = client.get("/storage/volumes", {"state": "online", "fields": "uuid", "max_records": 1}, deadline=deadline)
    records = answer.get("records") or []
    return str(records[0]["uuid"]) if records else None


def _examine_arrays(
    controllers: Sequence[Controller],
    resolutions: Mapping[str, Resolution],
    *,
    servers: Iterable[NfsServer],
    retry_count: int,
    san: bool,
) -> list[tuple[ArrayReport, Optional[frozenset[str]]]]:
    mounted = {address for server in servers for address in _addresses(server, resolutions)}
    if not controllers:
        return []
    with ThreadPoolExecutor(max_workers=min(len(controllers), PARALLEL_ARRAYS)) as pool:
        return list(
            pool.map(
                lambda each: examine_array(
                    each, resolutions[each.hostname], mounted=mounted, retry_count=retry_count, san=san
                ),
                controllers,
            )
        )


def _addresses(server: NfsServer, resolutions: Mapping[str, Resolution]) -> tuple[str, ...]:
    if server.address is not None:
        return (names.as_address(server.address) or server.address,)
    return resolutions[server.name].addresses


def _claimed(
    servers: Iterable[NfsServer],
    resolutions: Mapping[str, Resolution],
    arrays: Sequence[tuple[ArrayReport, Optional[frozenset[str]]]],
) -> list[NfsServer]:
    """Tell for each server whether it is a LIF of a controller; unknown while one of them could not be asked."""
    known = {address for _report, lifs in arrays for address in lifs or ()}
    otherwise = False if all(lifs is not None for _report, lifs in arrays) else None
    return [
        replace(server, ours=True if known.intersection(_addresses(server, resolutions)) else otherwise)
        for server in servers
    ]


def _name_findings(
    controllers: Sequence[Controller],
    servers: Sequence[NfsServer],
    *,
    resolutions: Mapping[str, Resolution],
    service: NameService,
) -> list[Finding]:
    hostnames = dict.fromkeys(controller.hostname for controller in controllers)
    lifs = [preflight_checks.check_nfs_lif(server) for server in servers]
    return [
        *(preflight_checks.check_controller_name(resolutions[name], service) for name in hostnames),
        *(preflight_checks.check_nfs_server(server, resolutions[server.name], service) for server in servers),
        *(finding for finding in lifs if finding is not None),
        preflight_checks.check_own_name(resolutions[service.own_name], service),
    ]


def _software_findings(uri: str, ansible_version: str) -> list[Finding]:
    libvirt = read_libvirt(uri)
    interpreter = f"of {sys.executable}"
    install = "Install {} for the interpreter that Ansible uses on this host ({})."
    software = [
        Software("python", platform.python_version(), "3.9", remedy="Use Python 3.9 or later.", source=sys.executable),
        Software(
            "netapp-ontap",
            library_version("netapp-ontap"),
            "9.17.1",
            remedy=install.format("netapp-ontap 9.17.1 or later", sys.executable),
            source=interpreter,
        ),
        Software(
            "libvirt-python",
            library_version("libvirt-python"),
            remedy=install.format("libvirt's Python binding (python3-libvirt)", sys.executable),
            source=interpreter,
        ),
        Software("libvirt", libvirt.daemon, required=False, source=uri),
        Software("hypervisor", libvirt.hypervisor, required=False, source=uri),
        Software(
            "ansible-core",
            ansible_version,
            "2.16",
            remedy="Use ansible-core 2.16 or later on the control node.",
            source="control node",
        ),
    ]
    qemu_img = read_tool("qemu-img", ["--version"], pattern=r"version\s+(\d[\w.]*)")
    sanlun = read_tool("sanlun", ["version"], pattern=r"version\s+(\S+)")
    multipath = read_tool("multipath", ["-h"], pattern=r"multipath-tools\s+v?(\d\S*)")
    return [
        preflight_checks.check_libvirt(libvirt),
        *(preflight_checks.check_software(each) for each in software if each.version or each.required),
        preflight_checks.check_tool(
            qemu_img,
            purpose="qcow2 images cannot be looked into",
            remedy="Install qemu-img (package qemu-utils or qemu-img).",
            severity="warning",
        ),
        preflight_checks.check_tool(
            sanlun,
            purpose="guests on NFS do not need it",
            remedy="Install the Linux Host Utilities if guests live on LUNs, so that what sanlun says can be compared.",
        ),
        preflight_checks.check_tool(
            multipath,
            purpose="guests on NFS do not need it",
            remedy="Install multipath-tools (device-mapper-multipath) if guests live on LUNs.",
        ),
    ]


def volume_findings(mount_points: Iterable[str]) -> list[Finding]:
    """Judge what is there already where the volumes get their manifests; without it, or out of reach, there is none."""
    findings = []
    for point in mount_points:
        look = partial(refuse_foreign, point, ours=None)
        path = f"{point}/{VOLUME_DIRECTORY}"
        try:
            if bounded(look, seconds=DIRECTORY_TIMEOUT, what=f"look below {point}") is not None:
                findings.append(preflight_checks.check_volume_directory(path, None))
        except ForeignDirectoryError as exc:
            findings.append(preflight_checks.check_volume_directory(path, exc.reason))
        except OSError:
            continue
        except OverdueError as exc:
            findings.append(preflight_checks.silent_directory(point, exc.message))
    return findings


def _directory_findings(request: PreflightRequest) -> list[Finding]:
    checks: tuple[tuple[str, Callable[[Directory], list[Finding]]], ...] = (
        (request.config_dir, lambda directory: [preflight_checks.check_config_dir(directory)]),
        (request.catalog_dir, preflight_checks.check_catalog_dir),
        (request.hold_dir, preflight_checks.check_hold_dir),
    )
    findings: list[Finding] = []
    for path, check in checks:
        try:
            findings += check(read_directory(path))
        except (OverdueError, OSError) as exc:
            findings.append(preflight_checks.silent_directory(path, str(exc)))
    return findings
