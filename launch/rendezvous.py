"""How the tasks of one srun find each other: rank 0 keeps the store of their group at a port that all can compute.

torchrun does this for its processes; srun says no more than who a task is and on which nodes the others are. The port
follows from the name of the step, and so do the keys in the store: tasks of another step that share a node and a port
are never taken for ours.
"""

import re
import socket
import sys
import time
import zlib
from collections.abc import Mapping
from datetime import timedelta
from threading import Thread

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # public, not marked so

POLL_S = 0.2
ANSWER_S = 15.0  # of a store; another program's server may accept a connection and say nothing
NOTICE_S = 2.0  # until a task says for whom it waits
ALONE = "to train alone, without the other tasks: srun --ntasks=1, or env -u SLURM_STEP_NUM_TASKS python ..."


def first_host(nodes: str) -> str:
    """Of a list as Slurm writes it, n[01-03,7],m2 -> n01: srun gives rank 0 to the first node."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes).partition(",")[0]


def step_name(environ: Mapping[str, str]) -> str:
    """A name that no other step has, nor the same one after a requeue."""
    start = environ.get("SLURM_RESTART_COUNT") or "0"
    return f"{environ['SLURM_JOB_ID']}.{environ['SLURM_STEP_ID']}.{start}"


def port_of(name: str) -> int:
    """Below the ports that the kernel hands out."""
    return 20000 + zlib.crc32(name.encode()) % 10000


def meet(host: str, name: str, rank: int, world_size: int, timeout: timedelta) -> Store:
    """The store of the step, once all of its tasks are there. ConnectionError: they are not within the timeout."""
    deadline = time.monotonic() + timeout.total_seconds()
    try:
        store = PrefixStore(name, _serve(name, world_size) if rank == 0 else _connect(host, name, rank, deadline))
        store.set_timeout(timeout)
        store.set(f"task/{rank}", "")
        _wait_for_all(store, name, rank, world_size, deadline)
    except RuntimeError as error:  # torch's, for a store that has gone
        raise ConnectionError(f"rank {rank} lost rank 0 at {host} ({_first_line(error)}); see what it says") from None
    return store


def _serve(name: str, world_size: int) -> Store:
    port = port_of(name)
    try:
        return TCPStore("localhost", port, world_size, True, timedelta(seconds=ANSWER_S), wait_for_workers=False)
    except RuntimeError as error:
        raise ConnectionError(
            f"rank 0 on {socket.gethostname()}: expected port {port} to be free, where the tasks of step {name} meet "
            f"({_first_line(error)}); start the step again, it has another port then"
        ) from None


def _connect(host: str, name: str, rank: int, deadline: float) -> Store:
    port, began, told = port_of(name), time.monotonic(), False
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
                    f"{where}, found none ({_first_line(error)}); see what rank 0 says, whether this node may connect "
                    f"to it, and whether another program has the port. {ALONE}"
                ) from None
        if not told and time.monotonic() - began > NOTICE_S:
            told = True
            print(f"rank {rank} waits for rank 0 of step {name} at {host}, port {port}; {ALONE}", file=sys.stderr)
        time.sleep(POLL_S)


def _client(host: str, port: int) -> Store:
    """In a thread: torch waits without end for a server that accepts the connection and says nothing."""
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
        raise TimeoutError("whoever listens there is no store")
    if isinstance(made[0], RuntimeError):
        raise made[0]
    return made[0]


def _wait_for_all(store: Store, name: str, rank: int, world_size: int, deadline: float) -> None:
    """In short looks, so that Ctrl-C is obeyed. Rank 0 finds out who is missing, and tells the others when none is."""
    began, told, missing = time.monotonic(), False, set(range(world_size))
    while not store.check(["all"]):
        if rank == 0:
            missing -= {other for other in missing if store.check([f"task/{other}"])}
            if not missing:
                store.set("all", "")
                return
            listed = ", ".join(map(str, sorted(missing)[:8])) + ", ..." * (len(missing) > 8)
            if time.monotonic() > deadline:
                where = f"{socket.gethostname()}, port {port_of(name)}"
                raise ConnectionError(
                    f"expected {world_size} tasks of step {name} at {where}, without a word from rank {listed}; see "
                    f"what they say, and whether their nodes may connect. {ALONE}"
                )
            if not told and time.monotonic() - began > NOTICE_S:
                told = True
                print(f"waiting for rank {listed} of the {world_size} tasks of step {name}; {ALONE}", file=sys.stderr)
        time.sleep(POLL_S)  # rank 0 gives up in time: its store goes with it


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
