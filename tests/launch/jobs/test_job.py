"""What a run asks of Slurm: time limits as Slurm reads them."""

import pytest

from launch.jobs.job import seconds


@pytest.mark.parametrize(
    ("time", "expected"),
    [("90", 5400), ("90:30", 5430), ("24:00:00", 86400), ("2-12", 216000), ("1-0:30", 88200), ("1-0:0:9", 86409)],
)
def test_time_limits_as_slurm_reads_them(time: str, expected: int) -> None:
    assert seconds(time) == expected


@pytest.mark.parametrize("time", ["٣٠", "1:2:3:4", "a day", "1-", "-5", "", "24h"])
def test_what_is_no_time_limit(time: str) -> None:
    with pytest.raises(ValueError, match=f"time={time}: expected a limit such as 24:00:00"):
        seconds(time)
