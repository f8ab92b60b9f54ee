"""Tasks of one step find each other's store, say for whom they wait, and name who did not come."""

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest

import launch.processes.rendezvous
from launch.processes.rendezvous import Place, first_host, meet, place_by_hand, port_of, step_name, store_of_torchrun
from tests.conftest import ROOT
from tests.servers import free_port

SOON = timedelta(seconds=20)


def at(name: str, host: str = "localhost") -> Place:
    return Place(host, port_of(name), f"tasks of step {name}", "start the step again", "to train alone: ...")


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
    assert first_host(nodes) == first


def test_a_requeued_job_has_another_name() -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1"}
    assert step_name(environ) == "7.1.0" and step_name({**environ, "SLURM_RESTART_COUNT": "2"}) == "7.1.2"
    assert port_of("7.1.0") != port_of("7.1.2")


def test_processes_by_hand_meet_where_the_variables_say() -> None:
    place = place_by_hand({"MASTER_ADDR": "host", "MASTER_PORT": "29500"})
    assert place[:2] == ("host", 29500) and "MASTER_PORT" in place.moved


@pytest.mark.parametrize(
    "environ",
    [{}, {"MASTER_ADDR": "host"}, *({"MASTER_ADDR": "host", "MASTER_PORT": port} for port in ("", "x", "65536", "٣"))],
)
def test_half_of_the_variables_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"expected MASTER_ADDR and MASTER_PORT .* to train alone"):
        place_by_hand(environ)


def join(pool: ThreadPoolExecutor, name: str, world_size: int) -> list["Future[str | None]"]:
    """Every rank says who it is in the store and reads what the next one has said."""

    def task(rank: int) -> str:
        store = meet(at(name), rank, world_size, SOON)
        store.set(f"{rank}", f"{name} {rank}")
        heard = store.get(f"{(rank + 1) % world_size}").decode()
        store.add("done", 1)
        while rank == 0 and store.add("done", 0) < world_size:  # the store goes with rank 0
            time.sleep(0.01)
        return heard

    return [pool.submit(task, rank) for rank in reversed(range(world_size))]


def test_tasks_of_two_steps_on_one_machine_keep_apart() -> None:
    with ThreadPoolExecutor() as pool:
        found = {name: join(pool, name, 4) for name in ("one", "two")}
        for name, tasks in found.items():
            assert [task.result(20) for task in tasks] == [f"{name} {rank}" for rank in (0, 3, 2, 1)]


def test_an_unknown_process_at_the_port_of_the_store_is_no_task() -> None:
    with ThreadPoolExecutor() as pool:
        zero = pool.submit(meet, at("step"), 0, 2, SOON)
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"step 1\n", b"\xff" * 100, b""):
            while True:
                try:
                    caller = socket.create_connection(("localhost", port_of("step")), 5)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
            with caller:
                caller.sendall(words)
        time.sleep(0.3)
        assert not zero.done()
        one = meet(at("step"), 1, 2, SOON)
        zero.result(20).set("key", "value")
        assert one.get("key") == b"value"


def test_who_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(launch.processes.rendezvous, "NOTICE_S", 0.1)
    message = r"expected 4 tasks of step 7\.1\.0 .*, port \d+, heard nothing from rank 1, 2, 3; see .* train alone"
    with pytest.raises(ConnectionError, match=message):
        meet(at("7.1.0"), 0, 4, timedelta(seconds=0.5))
    assert "waiting for rank 1, 2, 3 of the 4 tasks of step 7.1.0; to train alone" in capsys.readouterr().err


def test_a_rank_0_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch.processes.rendezvous, "NOTICE_S", 0.1)
    with pytest.raises(ConnectionError, match=r"rank 3 on .*: expected rank 0 at localhost, port \d+, found none .*re"):
        meet(at("step"), 3, 4, timedelta(seconds=0.5))
    assert "rank 3 is waiting for rank 0 of the tasks of step step at localhost" in capsys.readouterr().err


def test_another_program_at_the_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mute, so that only time tells."""
    monkeypatch.setattr(launch.processes.rendezvous, "ANSWER_S", 0.5)
    with socket.create_server(("", port_of("step"))):
        with pytest.raises(ConnectionError, match=rf"expected port {port_of('step')}, .* to be free .* start the step"):
            meet(at("step"), 0, 2, SOON)
        with pytest.raises(ConnectionError, match="whether another program has the port"):
            meet(at("step"), 1, 2, timedelta(seconds=0.2))


def test_a_host_without_an_address_is_named() -> None:
    with pytest.raises(ConnectionError, match="whose name has no address on this node"):
        meet(at("step", "no.such.host.invalid"), 1, 2, SOON)


def test_ctrl_c_ends_the_wait_at_once() -> None:
    code = "from datetime import timedelta; import launch.processes.rendezvous as r\n"
    code += f"r.NOTICE_S = 0.1; r.meet(r.Place('localhost', {free_port()}, 'tasks', '', ''), 0, 2, timedelta(0, 600))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None and process.stderr.readline().startswith("waiting for rank 1 of the 2 tasks")
    began = time.monotonic()
    process.send_signal(2)
    process.communicate(timeout=20)
    assert time.monotonic() - began < 2


def test_a_torchrun_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.processes.rendezvous.CONNECT_S", 1.0)
    started = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConnectionError, match=r"^expected the store of torchrun, found none"):
        store_of_torchrun(timedelta(minutes=10))
