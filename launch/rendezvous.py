"""How the tasks of one srun find each other: rank 0 keeps the store of their group, the others ask it for the port.

torchrun does this for its processes; srun says no more than who a task is and on which nodes the others are. The store
takes any free port. It is told at a door, a port that follows from the name of the step; where another program has
that one, the door is the next, and an answer counts only with the name of the step in it: steps that share a node never
take each other's tasks.
"""

import re
import socket
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # public, though not marked so

DOORS = 8
ANSWER_S = 5.0  # of somebody who accepts a connection; another program's server may say nothing


def meeting_place(environ: Mapping[str, str]) -> tuple[str, str]:
    """The host of rank 0, and a name that no other step has."""
    # srun gives rank 0 to the first node; n[01-03,7],m2 -> n01
    first = re.sub(r"\[(\w+)[^\]]*\]", r"\1", environ["SLURM_STEP_NODELIST"]).partition(",")[0]
    start = environ.get("SLURM_RESTART_COUNT", "0")
    return first, f"{environ['SLURM_JOB_ID']}.{environ['SLURM_STEP_ID']}.{start}"


def meet(host: str, name: str, rank: int, world_size: int, timeout: timedelta) -> Store:
    deadline = time.monotonic() + timeout.total_seconds()
    if rank > 0:
        port = _ask(host, name, rank, deadline)
        return TCPStore(host, port, world_size, False, timeout, wait_for_workers=False)
    store = TCPStore("localhost", 0, world_size, True, timeout, wait_for_workers=False)
    _tell(store.port, name, world_size, deadline)
    return store


def doors(name: str) -> list[int]:
    first = 20000 + zlib.crc32(name.encode()) % 10000  # below the ports that the kernel hands out
    return list(range(first, first + DOORS))


def _tell(port: int, name: str, world_size: int, deadline: float) -> None:
    missing = set(range(1, world_size))
    with _open_door(name) as door:
        while missing:
            door.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                caller, _ = door.accept()
            except TimeoutError:
                raise TimeoutError(
                    f"expected {world_size} tasks of the step {name} at {socket.gethostname()}, without an answer from "
                    f"rank {', '.join(map(str, sorted(missing)))}; see what they say, and whether their nodes may "
                    f"connect to port {door.getsockname()[1]} here"
                ) from None
            with caller, suppress(OSError):  # who asks in vain asks again
                caller.settimeout(ANSWER_S)
                caller.sendall(f"{name} {port}\n".encode())
                heard, _, rank = _line(caller).rpartition(" ")
                if heard == name:
                    missing.discard(int(rank))


def _open_door(name: str) -> socket.socket:
    for port in doors(name):
        with suppress(OSError):
            return socket.create_server(("", port), backlog=1024)
    raise OSError(f"{socket.gethostname()}: expected a free port among {doors(name)}, where tasks meet; all are taken")


def _ask(host: str, name: str, rank: int, deadline: float) -> int:
    reason: OSError | None = None
    while time.monotonic() < deadline:
        for port in doors(name):
            try:
                with socket.create_connection((host, port), ANSWER_S) as door:
                    told, _, store = _line(door).rpartition(" ")
                    if told == name:
                        door.sendall(f"{name} {rank}\n".encode())
                        return int(store)
            except OSError as error:
                reason = error
        time.sleep(0.2)
    raise TimeoutError(
        f"rank {rank} on {socket.gethostname()}: expected an answer from rank 0 at {host}, ports {doors(name)} "
        f"({reason}); see what rank 0 says, and whether this node may connect to it"
    )


def _line(connection: socket.socket) -> str:
    """What comes up to the end of a line, or of the connection."""
    text = b""
    while not text.endswith(b"\n") and len(text) < 200 and (more := connection.recv(200)):
        text += more
    return text.decode(errors="replace").rstrip("\n")
