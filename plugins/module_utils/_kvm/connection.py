# SPDX-FileCopyrightText: 2026 The kvmsnap.ontap authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to libvirt: plain values in and out, every failure a sentence with ``libvirt_code``.

The only place that imports libvirt. What a guest's agent is asked goes through :class:`Agent`.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Optional, TypeVar

from ansible_collections.kvmsnap.ontap.plugins.module_utils._bounded import OverdueError, bounded
from ansible_collections.kvmsnap.ontap.plugins.module_utils._errors import KvmsnapError
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm import agent_answers
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.agent_answers import (
    AnswerError,
    Executed,
    FreezeStatus,
)
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.coverage import FileSystem
from ansible_collections.kvmsnap.ontap.plugins.module_utils._kvm.domain_xml import AgentState, GuestXml
from ansible_collections.kvmsnap.ontap.plugins.module_utils._retry import Deadline, RetryPolicy, retrying

T = TypeVar("T")

State = Literal["running", "paused", "shutoff", "crashed", "pmsuspended", "unknown"]

DEFAULT_URI = "qemu:///system"
OPEN_TIMEOUT = 15.0
KEEPALIVE_INTERVAL = 5
KEEPALIVE_COUNT = 3

NO_SUPPORT = 3
INVALID_ARGUMENT = 8
NO_DOMAIN = 42
NO_NETWORK = 43
OPERATION_INVALID = 55
AGENT_UNRESPONSIVE = 86
AGENT_COMMAND_TIMEOUT = 112

# virDomainState and its reasons, in libvirt's order; "blocked" runs, and so does a guest that is shutting down.
_STATES: dict[int, tuple[State, tuple[str, ...]]] = {
    0: ("unknown", ()),
    1: (
        "running",
        (
            "unknown",
            "booted",
            "migrated",
            "restored",
            "from snapshot",
            "unpaused",
            "migration canceled",
            "save canceled",
            "event wakeup",
            "crashed",
            "post-copy",
            "post-copy failed",
        ),
    ),
    2: ("running", ("blocked",)),
    3: (
        "paused",
        (
            "unknown",
            "user",
            "migrating",
            "saving",
            "dumping",
            "I/O error",
            "watchdog",
            "from snapshot",
            "shutting down",
            "creating snapshot",
            "crashed",
            "starting up",
            "post-copy",
            "post-copy failed",
        ),
    ),
    4: ("running", ("shutting down", "shutting down")),
    5: (
        "shutoff",
        ("unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed", "from snapshot", "daemon"),
    ),
    6: ("crashed", ("unknown", "panicked")),
    7: ("pmsuspended", ("unknown",)),
}

# virDomainUndefineFlags, the newest first: what older libvirt does not know is left out, one after the other. A guest
# that is undefined takes with it its managed save, its snapshots' and checkpoints' descriptions, NVRAM and TPM state.
_UNDEFINE_ALWAYS = 1 | 2
_UNDEFINE_NEWER = (32, 16, 4)
# A guest that runs on as a transient one keeps its UEFI variables, and its TPM's state where libvirt can be asked to.
_UNDEFINE_KEEP = 8
_UNDEFINE_KEEP_NEWER = (64,)
_UNDEFINE_CHECKPOINTS = 16

LONGEST_REASON = 1000
"""Characters of libvirt's own words in a message; they may quote a guest's agent."""

# What libvirt's binding raises where it cannot make Python's values of what libvirt hands on.
_UNREADABLE = (UnicodeError, SystemError, OverflowError, MemoryError, RecursionError, TypeError)

_VOLUME_KINDS = {0: "file", 1: "block", 2: "dir", 3: "network", 4: "network"}

_lock = threading.Lock()
_loop: list[threading.Thread] = []


class LibvirtError(KvmsnapError):
    """libvirt refused or failed; ``libvirt_code`` is its virErrorNumber."""

    @property
    def code(self) -> Optional[int]:
        """libvirt's error number."""
        return self.fields.get("libvirt_code")

    @property
    def unanswered(self) -> bool:
        """Whether a guest's agent did not answer (newer libvirt has a code of its own where the command was sent)."""
        return self.code in (AGENT_UNRESPONSIVE, AGENT_COMMAND_TIMEOUT)


class LibvirtMissingError(KvmsnapError):
    """libvirt's Python binding is not installed for the interpreter that runs the module."""


class LibvirtUnavailableError(LibvirtError):
    """There is no connection to libvirt's daemon."""


@dataclass(frozen=True)
class DomainState:
    """What a guest is doing; ``domain_id`` is None unless it is active, and another one after each start."""

    state: State
    reason: str
    domain_id: Optional[int]

    @property
    def active(self) -> bool:
        """Whether the guest has a process."""
        return self.domain_id is not None


@dataclass(frozen=True)
class PoolVolume:
    """A volume of a libvirt storage pool: ``kind`` is file, block, dir or network."""

    kind: str
    path: str


@dataclass(frozen=True)
class NetworkState:
    """A virtual network of libvirt; ``xml`` is its definition in effect."""

    name: str
    active: bool
    xml: str


class Agent:
    """The agent inside a guest, through libvirt. Methods raise :class:`LibvirtError`.

    Every call is bounded: by the response time given to :meth:`limit` (seconds) or the call's own ``timeout``, plus
    the five seconds that libvirt waits for the agent's attention. That is the time until the whole answer is there, so
    one that comes byte by byte takes no longer. What an answer may be, ``agent_answers`` says.
    """

    def __init__(self, domain: Any, guest: str) -> None:
        self._domain = domain
        self._guest = guest

    def channel(self, definition: GuestXml) -> AgentState:
        """Say whether the agent is connected, which libvirt tells in the definition of a running guest."""
        return definition.agent

    def limit(self, seconds: int) -> None:
        """Bound freeze and thaw to ``seconds`` (virDomainAgentSetResponseTimeout); older libvirt waits for ever."""
        with _telling(f"bound the agent of guest {self._guest}", unless=NO_SUPPORT):
            self._domain.agentSetResponseTimeout(seconds)

    def ping(self, timeout: int) -> None:
        """Ask whether the agent answers at all (guest-ping)."""
        self._ask("guest-ping", timeout, lambda _value: None)

    def status(self, timeout: int) -> FreezeStatus:
        """Ask whether the guest's file systems are frozen (guest-fsfreeze-status)."""
        return self._ask("guest-fsfreeze-status", timeout, agent_answers.freeze_status)

    def filesystems(self) -> tuple[FileSystem, ...]:
        """Return what is mounted in the guest (virDomainGetFSInfo); bounded by :meth:`limit` alone."""
        with self._reading(f"ask the agent of guest {self._guest} for its file systems"):
            return agent_answers.file_systems(self._domain.fsInfo(0))

    def freeze(self, mountpoints: Sequence[str] = ()) -> int:
        """Freeze the file systems at these places, all without any, and return how many (virDomainFSFreeze)."""
        with self._reading(f"freeze guest {self._guest}"):
            return agent_answers.file_system_count(self._domain.fsFreeze(list(mountpoints) or None, 0))

    def thaw(self) -> int:
        """Thaw what is frozen and return how many file systems were (virDomainFSThaw)."""
        with self._reading(f"thaw guest {self._guest}"):
            return agent_answers.file_system_count(self._domain.fsThaw(None, 0))

    def commands(self, timeout: int) -> frozenset[str]:
        """Return the commands that the agent has and that are enabled (guest-info)."""
        return self._ask("guest-info", timeout, agent_answers.commands)

    def execute(self, command: Sequence[str], timeout: int) -> int:
        """Start a program in the guest and return its pid (guest-exec); what it prints is kept."""
        asked = {"path": command[0], "arg": list(command[1:]), "capture-output": True}
        return self._ask("guest-exec", timeout, agent_answers.pid, asked)

    def executed(self, pid: int, timeout: int) -> Executed:
        """Ask how far a program is (guest-exec-status); once the agent has reported its end, it forgets it."""
        return self._ask("guest-exec-status", timeout, agent_answers.executed, {"pid": pid})

    def addresses(self, timeout: int) -> tuple[str, ...]:
        """Return the addresses of the guest's network interfaces (guest-network-get-interfaces)."""
        return self._ask("guest-network-get-interfaces", timeout, agent_answers.addresses)

    def _ask(
        self, name: str, timeout: int, read: Callable[[Any], T], arguments: Optional[Mapping[str, Any]] = None
    ) -> T:
        """Send a command and return what ``read`` makes of what the agent returns."""
        import libvirt_qemu

        words = {"execute": name, **({"arguments": arguments} if arguments else {})}
        with self._reading(f"ask the agent of guest {self._guest} ({name})"):
            text = libvirt_qemu.qemuAgentCommand(self._domain, json.dumps(words), timeout, 0)
            return read(agent_answers.returned(text))

    @contextmanager
    def _reading(self, action: str) -> Iterator[None]:
        """Tell of libvirt's errors, and of an answer that is not what the agent's protocol says."""
        try:
            with _telling(action, guest=self._guest):
                yield
        except AnswerError as exc:
            message = f"Failed to {action}: its answer cannot be read: {exc.message}"
            raise LibvirtError(message, guest=self._guest) from exc


class Domain:
    """A guest as libvirt knows it. Methods raise :class:`LibvirtError`."""

    def __init__(self, domain: Any, agent: Callable[[Any, str], Agent] = Agent) -> None:
        self._domain = domain
        self.name = str(domain.name())
        self.uuid = str(domain.UUIDString()).lower()
        self.agent = agent(domain, self.name)

    def state(self) -> DomainState:
        """Return the guest's state now, its id of the same moment (virDomainListGetStats).

        A handle keeps the id that it was looked up with, also after the guest was started anew; the answer has its own.
        """
        import libvirt

        with self._telling("read the state of"):
            stats = self._domain.connect().domainListGetStats([self._domain], libvirt.VIR_DOMAIN_STATS_STATE, 0)
        if not stats:
            message = f"Failed to read the state of guest {self.name}: libvirt does not know it any more"
            raise LibvirtError(message, libvirt_code=NO_DOMAIN, guest=self.name)
        found, values = stats[0]
        number, reason, domain_id = values["state.state"], values["state.reason"], int(found.ID())
        state, reasons = _STATES.get(number, ("unknown", ()))
        word = reasons[reason] if 0 <= reason < len(reasons) else "unknown"
        return DomainState(state, word, domain_id if domain_id >= 0 else None)

    def xml(self, *, inactive: bool = False, secure: bool = False) -> str:
        """Return the definition: the one in effect, or the one of the next start; ``secure``: with its passwords."""
        import libvirt

        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
        with self._telling("read the definition of"):
            return str(self._domain.XMLDesc(flags | (libvirt.VIR_DOMAIN_XML_SECURE if secure else 0)))

    def persistent(self) -> bool:
        """Say whether the definition outlives a shutdown."""
        with self._telling("look at"):
            return bool(self._domain.isPersistent())

    def autostart(self) -> bool:
        """Say whether the guest starts with the host."""
        with self._telling("look at"):
            return bool(self._domain.autostart())

    def set_autostart(self, wanted: bool) -> None:
        """Let the guest start with the host, or not (virDomainSetAutostart)."""
        with self._telling("set the autostart of"):
            self._domain.setAutostart(int(wanted))

    def managed_save(self) -> bool:
        """Say whether the next start would resume a saved memory image."""
        with self._telling("look at"):
            return bool(self._domain.hasManagedSaveImage(0))

    def busy(self) -> bool:
        """Say whether a job works on an active guest: a migration, a save, a dump, a backup (virDomainGetJobInfo)."""
        with _telling(f"look for a job on guest {self.name}", unless=NO_SUPPORT, guest=self.name):
            return bool(self._domain.jobInfo()[0])
        return False

    def block_job(self, target: str) -> bool:
        """Say whether a block job works on a disk of an active guest (virDomainGetBlockJobInfo)."""
        with _telling(f"look for a block job on {target} of {self.name}", unless=NO_SUPPORT, guest=self.name):
            return bool(self._domain.blockJobInfo(target, 0))
        return False

    def leased_addresses(self) -> tuple[str, ...]:
        """Return the addresses that libvirt's own networks lent to an active guest (virDomainInterfaceAddresses)."""
        import libvirt

        with _telling(f"look for addresses of guest {self.name}", unless=NO_SUPPORT, guest=self.name):
            found = self._domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
            return tuple(str(each["addr"]) for nic in found.values() for each in nic["addrs"] or ())
        return ()

    def snapshots(self) -> list[str]:
        """Return the names of the snapshots that libvirt has of the guest (virDomainListAllSnapshots)."""
        with _telling(f"list the snapshots of guest {self.name}", unless=NO_SUPPORT, guest=self.name):
            return sorted(str(each.getName()) for each in self._domain.listAllSnapshots(0))
        return []

    def checkpoints(self) -> list[str]:
        """Return the names of the guest's checkpoints (virDomainListAllCheckpoints)."""
        with _telling(f"list the checkpoints of guest {self.name}", unless=NO_SUPPORT, guest=self.name):
            return sorted(str(each.getName()) for each in self._domain.listAllCheckpoints(0))
        return []

    def managed_save_remove(self) -> None:
        """Remove the saved memory image (virDomainManagedSaveRemove)."""
        with self._telling("remove the managed-save image of"):
            self._domain.managedSaveRemove(0)

    def suspend(self) -> None:
        """Stop the guest's virtual CPUs; QEMU flushes its disks (virDomainSuspend)."""
        with self._telling("suspend"):
            self._domain.suspend()

    def resume(self) -> None:
        """Let the guest's virtual CPUs run again (virDomainResume)."""
        with self._telling("resume"):
            self._domain.resume()

    def shutdown(self) -> None:
        """Ask the guest to shut down; it may take its time or ignore it (virDomainShutdown)."""
        with self._telling("ask for a shutdown of"):
            self._domain.shutdown()

    def destroy(self) -> None:
        """End the guest's process at once, as a power cut would (virDomainDestroy)."""
        with self._telling("power off"):
            self._domain.destroy()

    def start(self, *, paused: bool = False) -> None:
        """Start the guest, with its virtual CPUs stopped if ``paused`` (virDomainCreateWithFlags)."""
        import libvirt

        with self._telling("start"):
            self._domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)

    def undefine(self, *, with_state: bool = True) -> None:
        """Forget a guest that is off, with all that libvirt keeps of it but its disks (virDomainUndefineFlags).

        ``with_state``: with its UEFI variables and its TPM's state, too; else these stay.
        """
        if with_state:
            self._undefine(_UNDEFINE_ALWAYS, _UNDEFINE_NEWER)
        else:
            self._undefine(_UNDEFINE_ALWAYS | _UNDEFINE_KEEP, (*_UNDEFINE_KEEP_NEWER, _UNDEFINE_CHECKPOINTS))

    def keep_definition(self) -> None:
        """Let the definition of a transient guest outlive its end (virDomainDefineXML): the one in effect, whole."""
        import libvirt

        with self._telling("keep the definition of"):
            xml = self._domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
            self._domain.connect().defineXML(xml)

    def drop_definition(self) -> None:
        """Let an active guest be transient; UEFI variables and TPM state stay (virDomainUndefineFlags)."""
        self._undefine(_UNDEFINE_KEEP, _UNDEFINE_KEEP_NEWER)

    def _undefine(self, always: int, newer: Sequence[int]) -> None:
        """Undefine with the flags of ``newer`` that this libvirt knows, of which it refuses the first first."""
        flags = always | sum(newer)
        for each in (*newer, 0):
            try:
                with self._telling("undefine"):
                    self._domain.undefineFlags(flags)
                return
            except LibvirtError as exc:
                if exc.code not in (INVALID_ARGUMENT, NO_SUPPORT) or not each:
                    raise
            flags &= ~each

    def _telling(self, verb: str) -> AbstractContextManager[None]:
        return _telling(f"{verb} guest {self.name}", guest=self.name)


class Host:
    """One connection to libvirt."""

    def __init__(self, connection: Any, uri: str, agent: Callable[[Any, str], Agent] = Agent) -> None:
        self._connection = connection
        self._agent = agent
        self.uri = uri

    @property
    def alive(self) -> bool:
        """Whether the connection still stands (virConnectIsAlive)."""
        with _telling(f"look at the connection to {self.uri}"):
            return bool(self._connection.isAlive())

    def versions(self) -> tuple[str, str]:
        """Return the versions of the daemon and of the hypervisor (virConnectGetLibVersion, virConnectGetVersion)."""
        with _telling(f"read the versions of {self.uri}"):
            daemon, hypervisor = self._connection.getLibVersion(), self._connection.getVersion()
            return _dotted(daemon), f"{self._connection.getType()} {_dotted(hypervisor)}"

    def domains(self) -> list[Domain]:
        """Return all guests, active and inactive, by name (virConnectListAllDomains)."""
        with _telling(f"list the guests of {self.uri}"):
            found = [Domain(domain, self._agent) for domain in self._connection.listAllDomains(0)]
        return sorted(found, key=lambda domain: domain.name)

    def domain(self, *, uuid: str = "", name: str = "") -> Optional[Domain]:
        """Return one guest, by uuid when there is one, else by name; None when libvirt does not know it."""
        import libvirt

        try:
            if uuid:
                return Domain(self._connection.lookupByUUIDString(uuid), self._agent)
            return Domain(self._connection.lookupByName(name), self._agent)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() == NO_DOMAIN:
                return None
            raise _error(exc, f"look up guest {name or uuid}", guest=name or uuid) from exc

    def define(self, xml: str) -> Domain:
        """Define a guest, or define it anew, and return it (virDomainDefineXML); it is not started."""
        with _telling(f"define a guest on {self.uri}"):
            return Domain(self._connection.defineXML(xml), self._agent)

    def capabilities(self) -> str:
        """Return what the host can run, as XML (virConnectGetCapabilities)."""
        with _telling(f"read the capabilities of {self.uri}"):
            return str(self._connection.getCapabilities())

    def domain_capabilities(
        self, *, emulator: Optional[str], arch: Optional[str], machine: Optional[str], kind: Optional[str]
    ) -> Optional[str]:
        """Return what guests of this kind are offered, as XML (virConnectGetDomainCapabilities).

        None when libvirt refuses to tell: it does not know such guests, or cannot tell of any.
        """
        import libvirt

        try:
            return str(self._connection.getDomainCapabilities(emulator, arch, machine, kind, 0))
        except libvirt.libvirtError as exc:
            if self.alive:
                return None
            raise _error(exc, f"read the domain capabilities of {self.uri}") from exc

    def network(self, name: str) -> Optional[NetworkState]:
        """Return a virtual network, None when there is none of that name (virNetworkLookupByName)."""
        with _telling(f"look at network {name} of {self.uri}", unless=NO_NETWORK):
            found = self._connection.networkLookupByName(name)
            return NetworkState(name, bool(found.isActive()), str(found.XMLDesc(0)))
        return None

    def networks(self) -> list[str]:
        """Return the names of all virtual networks."""
        with _telling(f"list the networks of {self.uri}"):
            return [str(each.name()) for each in self._connection.listAllNetworks(0)]

    def pools(self) -> list[str]:
        """Return the names of all storage pools."""
        with _telling(f"list the storage pools of {self.uri}"):
            return [str(each.name()) for each in self._connection.listAllStoragePools(0)]

    def secrets(self) -> list[str]:
        """Return the uuids of all secrets, none where libvirt has none to give."""
        with _telling(f"list the secrets of {self.uri}", unless=NO_SUPPORT):
            return [str(each.UUIDString()) for each in self._connection.listAllSecrets(0)]
        return []

    def pool_volume(self, pool: str, volume: str) -> PoolVolume:
        """Return where a volume of a storage pool is (virStorageVolGetPath); the pool must be active."""
        with _telling(f"find volume {volume} of storage pool {pool}"):
            found = self._connection.storagePoolLookupByName(pool).storageVolLookupByName(volume)
            return PoolVolume(_VOLUME_KINDS.get(found.info()[0], "network"), str(found.path()))

    def close(self) -> None:
        """End the connection; one that is broken already needs no ending."""
        import libvirt

        try:
            self._connection.close()
        except libvirt.libvirtError as exc:
            if self.alive:
                raise _error(exc, f"close the connection to {self.uri}") from exc


def connect(
    uri: str = DEFAULT_URI,
    *,
    retry_count: int = 3,
    timeout: float = OPEN_TIMEOUT,
    agent: Callable[[Any, str], Agent] = Agent,
) -> Host:
    """Open a connection (virConnectOpen); each try is given up after ``timeout`` seconds.

    A daemon that stops answering later breaks the connection within 20 s, so that no call waits for ever. Raises
    :class:`LibvirtUnavailableError` and :class:`LibvirtMissingError`.
    """

    def again(exc: Exception) -> Optional[float]:
        return 0.0 if isinstance(exc, LibvirtUnavailableError) and not isinstance(exc.__cause__, OverdueError) else None

    policy, deadline = RetryPolicy(retry_count=retry_count), Deadline.after(timeout * 2)
    return retrying(lambda: _open(uri, timeout, agent), again=again, policy=policy, deadline=deadline)


def require_libvirt() -> Any:
    """Return libvirt's Python binding; raises :class:`LibvirtMissingError`."""
    try:
        import libvirt
    except ImportError as exc:
        message = f"Failed to import libvirt with {sys.executable}: {exc}; install libvirt's Python binding for it"
        raise LibvirtMissingError(message, library="libvirt-python", exception=traceback.format_exc()) from exc
    return libvirt


def _open(uri: str, timeout: float, agent: Callable[[Any, str], Agent]) -> Host:
    libvirt = require_libvirt()
    _start_events(libvirt)
    try:
        connection = bounded(lambda: libvirt.open(uri), seconds=timeout, what=f"connect to libvirt at {uri}")
    except libvirt.libvirtError as exc:
        raise LibvirtUnavailableError(
            f"Failed to connect to libvirt at {uri}: {exc.get_error_message()}", libvirt_code=exc.get_error_code()
        ) from exc
    except OverdueError as exc:
        raise LibvirtUnavailableError(exc.message) from exc
    with _telling(f"watch the connection to {uri}", unless=NO_SUPPORT):
        connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
    return Host(connection, uri, agent)


def _start_events(libvirt: Any) -> None:
    """Run libvirt's event loop, which keeps watch over its connections; once in a process, before the first one."""
    with _lock:
        if _loop:
            return
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        libvirt.virEventRegisterDefaultImpl()
        _loop.append(threading.Thread(target=_run_events, args=(libvirt,), daemon=True, name="libvirt-events"))
        _loop[0].start()


def _run_events(libvirt: Any) -> None:
    while libvirt.virEventRunDefaultImpl() >= 0:
        pass


def _dotted(number: int) -> str:
    """Return a version that libvirt packs as major * 1,000,000 + minor * 1,000 + release."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


@contextmanager
def _telling(action: str, *, unless: Optional[int] = None, guest: Optional[str] = None) -> Iterator[None]:
    """Turn libvirt's error into ours; one with the code ``unless`` passes as if nothing had happened.

    libvirt's binding fails in other ways where libvirt hands on what is not UTF-8, or a number that is too big.
    """
    import libvirt

    try:
        yield
    except libvirt.libvirtError as exc:
        if unless is None or exc.get_error_code() != unless:
            raise _error(exc, action, guest=guest) from exc
    except _UNREADABLE as exc:
        kind = type(exc).__name__
        raise LibvirtError(f"Failed to {action}: libvirt's answer cannot be read ({kind})", guest=guest) from exc


def _error(exc: Any, action: str, guest: Optional[str] = None) -> LibvirtError:
    said = str(exc.get_error_message() or "it gave no reason")
    short = said if len(said) <= LONGEST_REASON else f"{said[:LONGEST_REASON]}..."
    return LibvirtError(f"Failed to {action}: {short}", libvirt_code=exc.get_error_code(), guest=guest)
