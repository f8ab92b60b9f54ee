"""Durations and sizes in readable units."""


def duration_text(seconds: float) -> str:
    """45 s, 12.5 min, 3.0 h or 2.1 days."""
    for most, unit, size in ((90, "s", 1), (90 * 60, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < most:
            return f"{max(seconds, 0) / size:.{0 if size == 1 else 1}f} {unit}"
    return f"{seconds / 86400:.1f} days"


def size_text(num_bytes: int) -> str:
    """12.5 MB or 1.2 GB."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
