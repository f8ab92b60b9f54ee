"""Brings processes together that torchrun did not start: rank 0 serves the store of their group at a known place.

srun tells a task only its rank and the nodes of the others. The port follows from the name of the step, and so do the
keys in the store: tasks of another step that share a node and a port are never taken for ours. Processes started by
hand are told the place by MASTER_ADDR and MASTER_PORT.
"""

import re
import socket
import sys
import time
import zlib
from collections.abc import Mapping
from datetime import timedelta
from threading import Thread
from typing import NamedTuple

from torch.distributed import (  # type: ignore[attr-defined]  # public, not marked so
    PrefixStore,
    Store,
    TCPStore,
    rendezvous,
)

POLL_S = 0.2
ANSWER_S = 15.0  # for a store; another program's server may accept a connection and say nothing
CONNECT_S = 60.0  # to torchrun's store
NOTICE_S = 2.0  # until a task says whom it is waiting for
ALONE = "to train alone, without the other tasks: srun --ntasks=1, or env -u SLURM_STEP_NUM_TASKS python ..."
ALONE_BY_HAND = "to train alone: env -u RANK -u WORLD_SIZE python ..."


class Place(NamedTuple):
    """A meeting place of processes, and what to tell those that wait there."""

    host: str
    port: int
    name: str  #: of those who meet, unique to them: tasks of step 77.0.0
    moved: str  #: how to meet at another port
    alone: str


def first_host(nodes: str) -> str:
    """First node of a list in Slurm's notation, n[01-03,7],m2 -> n01: srun puts rank 0 there."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes).partition(",")[0]


def step_name(environ: Mapping[str, str]) -> str:
    """A name unique to this step, and different after a requeue."""
    start = environ.get("SLURM_RESTART_COUNT") or "0"
    return f"{environ['SLURM_JOB_ID']}.{environ['SLURM_STEP_ID']}.{start}"


def port_of(name: str) -> int:
    """A port for a name, below those that the kernel hands out."""
    return 20000 + zlib.crc32(name.encode()) % 10000


def place_of_step(environ: Mapping[str, str]) -> Place:
    """The meeting place of this srun's tasks."""
    variables = ("SLURM_STEP_NODELIST", "SLURM_JOB_ID", "SLURM_STEP_ID")
    if missing := [name for name in variables if not environ.get(name)]:
        raise ValueError(f"expected {', '.join(missing)} beside SLURM_STEP_NUM_TASKS, as srun sets them; {ALONE}")
    name = step_name(environ)
    moved = "start the step again: it will get another port"
    return Place(first_host(environ["SLURM_STEP_NODELIST"]), port_of(name), f"tasks of step {name}", moved, ALONE)


def place_by_hand(environ: Mapping[str, str]) -> Place:
    """The meeting place of processes with RANK and WORLD_SIZE that torchrun did not start."""
    host, port = environ.get("MASTER_ADDR", ""), environ.get("MASTER_PORT", "")
    if not host or not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ValueError(
            "expected MASTER_ADDR and MASTER_PORT beside RANK and WORLD_SIZE, the host of rank 0 and a port there, "
            f"found {host!r} and {port!r}; start with torchrun, or {ALONE_BY_HAND}"
        )
    return Place(host, int(port), f"processes of {host}:{port}", "choose another MASTER_PORT", ALONE_BY_HAND)


def store_of_torchrun(timeout: timedelta) -> Store:
    """The store that torchrun has served since before it started this process. timeout: for what is asked of it."""
    try:
        store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=CONNECT_S)))
    except RuntimeError as error:
        raise ConnectionError(
            f"expected the store of torchrun, found none ({_first_line(error)}); start the run again"
        ) from None
    store.set_timeout(timeout)
    assert isinstance(store, Store)
    return store


def meet(place: Place, rank: int, world_size: int, timeout: timedelta) -> Store:
    """The store, once all processes are there. ConnectionError: some are missing at the timeout."""
    deadline = time.monotonic() + timeout.total_seconds()
    try:
        store = PrefixStore(place.name, _serve(place, world_size) if rank == 0 else _connect(place, rank, deadline))
        store.set_timeout(timeout)
        store.set(f"task/{rank}", "")
        _wait_for_all(store, place, rank, world_size, deadline)
    except RuntimeError as error:  # torch's, for a store that is gone
        raise ConnectionError(
            f"rank {rank} lost rank 0 at {place.host} ({_first_line(error)}); see its output"
        ) from None
    return store


def _serve(place: Place, world_size: int) -> Store:
    try:
        return TCPStore("localhost", place.port, world_size, True, timedelta(seconds=ANSWER_S), wait_for_workers=False)
    except RuntimeError as error:
        raise ConnectionError(
            f"rank 0 on {socket.gethostname()}: expected port {place.port}, where the {place.name} meet, to be free "
            f"({_first_line(error)}); {place.moved}"
        ) from None


def _connect(place: Place, rank: int, deadline: float) -> Store:
    host, port, began, told = place.host, place.port, time.monotonic(), False
    where = f"rank {rank} on {socket.gethostname()}: expected rank 0 at {host}, port {port}"
    while True:
        try:
            with socket.create_connection((host, port), ANSWER_S):
                pass
            return _client(host, port)
        except socket.gaierror as error:
            raise ConnectionError(f"{where}, whose name has no address on this node ({error.strerror})") from None
        except (OSError, RuntimeError) as error:
            if time.monotonic() > deadline:
                raise ConnectionError(
                    f"{where}, found none ({_first_line(error)}); see the output of rank 0, whether this node can "
                    f"connect to it, and whether another program has the port. {place.alone}"
                ) from None
        if not told and time.monotonic() - began > NOTICE_S:
            told = True
            print(
                f"rank {rank} is waiting for rank 0 of the {place.name} at {host}, port {port}; {place.alone}",
                file=sys.stderr,
            )
        time.sleep(POLL_S)


def _client(host: str, port: int) -> Store:
    """Connects in a thread: torch waits forever for a server that accepts the connection and says nothing."""
    made: list[Store | RuntimeError] = []

    def connect() -> None:
        try:
            made.append(TCPStore(host, port, None, False, timedelta(seconds=ANSWER_S), wait_for_workers=False))
        except RuntimeError as error:
            made.append(error)

    thread = Thread(target=connect, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    if not made:
        raise TimeoutError("the program listening there is not a store")
    if isinstance(made[0], RuntimeError):
        raise made[0]
    return made[0]


def _wait_for_all(store: Store, place: Place, rank: int, world_size: int, deadline: float) -> None:
    """Polls, so that Ctrl-C works. Rank 0 finds out who is missing, and tells the others when none is."""
    began, told, missing = time.monotonic(), False, set(range(world_size))
    while not store.check(["all"]):
        if rank == 0:
            missing -= {other for other in missing if store.check([f"task/{other}"])}
            if not missing:
                store.set("all", "")
                return
            listed = ", ".join(map(str, sorted(missing)[:8])) + ", ..." * (len(missing) > 8)
            if time.monotonic() > deadline:
                where = f"{socket.gethostname()}, port {place.port}"
                raise ConnectionError(
                    f"expected {world_size} {place.name} at {where}, heard nothing from rank {listed}; see their "
                    f"output, and whether their nodes can connect. {place.alone}"
                )
            if not told and time.monotonic() - began > NOTICE_S:
                told = True
                print(f"waiting for rank {listed} of the {world_size} {place.name}; {place.alone}", file=sys.stderr)
        time.sleep(POLL_S)  # only rank 0 watches the deadline: its store goes with it


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
