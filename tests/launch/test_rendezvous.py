"""Tasks of one step find each other's store, whoever else has the ports, and say who did not come."""

import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest

from launch.rendezvous import doors, meet, meeting_place

SOON = timedelta(seconds=20)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n[1-2]", "n1"),
        ("n[01-03,7],m2", "n01"),
        ("gpu-a[9-12]-ib,login", "gpu-a9-ib"),
        ("rack[2,4]n[10-11]", "rack2n10"),
        ("b,a[1-2]", "b"),
        ("node.cluster.org,other", "node.cluster.org"),
    ],
)
def test_rank_0_is_on_the_first_node(nodes: str, first: str) -> None:
    environ = {"SLURM_STEP_NODELIST": nodes, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1"}
    assert meeting_place(environ) == (first, "7.1.0")


def test_a_requeued_job_has_another_name() -> None:
    environ = {"SLURM_STEP_NODELIST": "n1", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1", "SLURM_RESTART_COUNT": "2"}
    assert meeting_place(environ)[1] == "7.1.2"


def join(pool: ThreadPoolExecutor, name: str, world_size: int) -> list["Future[str | None]"]:
    """Every rank says who it is in the store and reads what the next one has said."""

    def task(rank: int) -> str:
        store = meet("localhost", name, rank, world_size, SOON)
        store.set(f"{rank}", f"{name} {rank}")
        heard = store.get(f"{(rank + 1) % world_size}").decode()
        store.add("done", 1)
        while rank == 0 and store.add("done", 0) < world_size:  # the store goes with rank 0
            time.sleep(0.01)
        return heard

    return [pool.submit(task, rank) for rank in reversed(range(world_size))]


def test_tasks_of_two_steps_on_one_machine_keep_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    same = doors("one")
    monkeypatch.setattr("launch.rendezvous.doors", lambda _: same)  # as if their names led to the same ports
    with ThreadPoolExecutor() as pool:
        found = {name: join(pool, name, 4) for name in ("one", "two")}
        for name, tasks in found.items():
            assert [task.result(20) for task in tasks] == [f"{name} {rank}" for rank in (0, 3, 2, 1)]


def test_servers_of_others_on_the_ports_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """One accepts and says nothing, one says something else, one hangs up."""
    monkeypatch.setattr("launch.rendezvous.ANSWER_S", 0.5)
    mute, friendly, short = (socket.create_server(("", port)) for port in doors("step")[:3])
    with mute, friendly, short, ThreadPoolExecutor() as pool:

        def greet() -> None:
            for server, words in ((friendly, b"220 mail.example.org ready\n"), (short, b"")):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(words)

        pool.submit(greet)
        assert [task.result(20) for task in join(pool, "step", 2)] == ["step 0", "step 1"]


def test_callers_that_are_no_tasks_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.rendezvous.ANSWER_S", 0.5)

    def call() -> socket.socket:
        while True:
            with suppress(ConnectionRefusedError):
                return socket.create_connection(("localhost", doors("step")[0]), 5)
            time.sleep(0.02)

    with ThreadPoolExecutor() as pool:
        zero = pool.submit(meet, "localhost", "step", 0, 2, SOON)
        for words in (b"GET / HTTP/1.1\n", b"step-of-another 1\n", b"step", b""):
            with call() as caller:
                caller.sendall(words)
        time.sleep(0.1)
        assert not zero.done()
        with call():  # and says nothing
            one = meet("localhost", "step", 1, 2, SOON)
        zero.result(20).set("key", "value")
        assert one.get("key") == b"value"


def test_who_does_not_come_is_named() -> None:
    with pytest.raises(TimeoutError, match=r"expected 4 tasks of the step 7\.1\.0 .* rank 1, 2, 3; see .* port \d+"):
        meet("localhost", "7.1.0", 0, 4, timedelta(seconds=0.2))


def test_a_rank_0_that_does_not_answer_is_named() -> None:
    with pytest.raises(
        TimeoutError, match=r"rank 3 on .*: expected an answer from rank 0 at localhost, ports .*refused"
    ):
        meet("localhost", "7.1.0", 3, 4, timedelta(seconds=0.2))


def test_no_free_door() -> None:
    taken = [socket.create_server(("", port)) for port in doors("step")]
    try:
        with pytest.raises(OSError, match="expected a free port among"):
            meet("localhost", "step", 0, 2, SOON)
    finally:
        for server in taken:
            server.close()
