"""The judge of the fault table sees a wrong status, a traceback, a missing word and a process that stays."""

from pathlib import Path

import pytest

import benchmarks.faults.judge
from benchmarks.faults.__main__ import ROWS
from benchmarks.faults.judge import Row, judge


@pytest.mark.parametrize(
    ("script", "status", "said", "wrong"),
    [
        ("echo 'error: no'; exit 1", 1, "error: no", None),
        ("exit 1", 0, "", "exit status 1, expected 0"),
        ("echo 'Traceback (most recent call last):'; exit 1", 1, "", "a traceback"),
        ("echo yes", 0, "no", "expected no, said yes"),
        ("sleep 30 & exit 0", 0, "", "1 processes are still there"),
        ("sleep 30", 0, "", "did not end in 1 s"),
    ],
)
def test_the_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, status: int, said: str, wrong: str | None
) -> None:
    monkeypatch.setattr(benchmarks.faults.judge, "LIMIT_S", 1)
    monkeypatch.setattr(benchmarks.faults.judge, "GONE_S", 0.5)
    found = judge(Row("a fault", script, status, said), tmp_path, tmp_path, 9)
    assert found is None if wrong is None else found is not None and found.startswith(wrong)


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len({row.fault for row in ROWS}) == len(ROWS) >= 60
