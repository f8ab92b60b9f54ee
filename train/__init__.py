import launch  # noqa: F401  which ends commands that are interrupted while they import
