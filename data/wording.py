"""The wording of messages: counts, lists, names, durations, sizes."""

from collections.abc import Sequence

NUM_LISTED = 10  # a message about many things lists this many
NUM_NAMED = 100  # classes in a message
#: blanks that do not break a line, of other widths, and joiners of letters and emoji: they are part of names
BLANKS = dict.fromkeys((0xA0, *range(0x2000, 0x200B), 0x200C, 0x200D, 0x202F, 0x205F, 0x3000))


def listed(things: Sequence[object]) -> str:
    """The first few things, each on its own line of at most 500 characters."""
    more = ["..."] if len(things) > NUM_LISTED else []
    return "".join(f"\n  {thing!s:.500}" for thing in [*things[:NUM_LISTED], *more])


def in_words(names: Sequence[str]) -> str:
    """Names with commas between them; of many, the first few and how many there are."""
    more = f", ... ({len(names):,} in all)" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more


def counted(count: int, noun: str) -> str:
    """ "1 image", "1,234 images"; noun: in the singular."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending}"


def duration_text(seconds: float) -> str:
    """45 s, 12.5 min, 3.0 h or 2.1 days."""
    for most, unit, size in ((90, "s", 1), (90 * 60, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < most:
            return f"{max(seconds, 0) / size:.{0 if size == 1 else 1}f} {unit}"
    return f"{seconds / 86400:.1f} days"


def size_text(num_bytes: int) -> str:
    """12.5 MB or 1.2 GB."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


def is_printable(text: str) -> bool:
    """Whether a text has no control characters, line ends or parts of broken encodings."""
    return text.isprintable() or text.translate(BLANKS).isprintable()


def printable(text: str) -> str:
    """A text on one line, with what cannot be printed as backslashes and numbers."""
    return "".join(each if is_printable(each) else each.encode("unicode_escape").decode() for each in text)


def is_class_name(text: str) -> bool:
    return is_printable(text) and bool(text.strip())
