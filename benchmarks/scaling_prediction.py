"""Predicts the gain of more GPUs by `benchmarks.exchange`: tables for `benchmarks.scaling`. Nothing is measured.

Three questions. With the same images on each GPU: how efficient is a step on more GPUs? With the same batch, as in a
run on any hardware: how many GPUs are worth it, when more GPUs mean fewer images on each? And how many images does each
GPU need so that the network does not matter?
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks import exchange
from train.model import YOLOv2

GPUS = [8, 16, 32, 64, 128, 256, 512, 1024]
BATCH, AT_ONCE = 4096, 64  # images of a whole batch, and on a GPU at a time: more are accumulated
ENOUGH, MOST_IMAGES = 0.95, 4096  # efficiency; images on each GPU


class Row(NamedTuple):
    between: str
    number_bytes: int
    overlapped: bool
    predictions: list[exchange.Prediction]  #: for each number of GPUs


def rows(step_s: float, buckets: Sequence[exchange.Bucket], statistics: int) -> list[Row]:
    """The same images on each GPU."""
    options: dict[str, Any] = {"step_s": step_s, "buckets": buckets, "statistics_bytes": statistics}
    return [
        Row(
            name,
            width,
            overlapped,
            [exchange.predict(gpus, link, bytes_of_a_number=width, overlapped=overlapped, **options) for gpus in GPUS],
        )
        for name, link in exchange.BETWEEN_NODES.items()
        for overlapped in (True, False)
        for width in (4, 2)
    ]


def same_batch(image_s: float, buckets: Sequence[exchange.Bucket], statistics: int) -> list[Row]:
    """`BATCH` images shared by all. image_s: seconds per image on one GPU, many at a time."""
    found = []
    for name, link in exchange.BETWEEN_NODES.items():
        for width in (4, 2):
            predictions = [
                exchange.predict(
                    gpus,
                    link,
                    step_s=image_s * BATCH / gpus,
                    buckets=buckets,
                    statistics_bytes=statistics,
                    bytes_of_a_number=width,
                    parts=max(1, BATCH // gpus // AT_ONCE),
                )
                for gpus in GPUS
            ]
            found.append(Row(name, width, True, predictions))
    return found


def table(found: Sequence[Row]) -> str:
    lines = [f"{'between nodes':<16}{'gradients':<10}{'exchanged':<17}" + "".join(f"{gpus:>7}" for gpus in GPUS)]
    for row in found:
        when = "during backward" if row.overlapped else "after backward"
        percents = "".join(f"{each.efficiency:>7.1%}" for each in row.predictions)
        lines.append(f"{row.between:<16}{8 * row.number_bytes:>2} bits   {when:<17}{percents}")
    return "\n".join(lines)


def speeds(found: Sequence[Row], image_s: float) -> str:
    """Speeds as multiples of one GPU's."""
    lines = [f"{'between nodes':<16}{'gradients':<27}" + "".join(f"{gpus:>7}" for gpus in GPUS)]
    for row in found:
        times = (image_s * BATCH / max(each.device, exchange.LAUNCH_S) for each in row.predictions)
        lines.append(f"{row.between:<16}{f'{8 * row.number_bytes} bits':<27}" + "".join(f"{x:>7.1f}" for x in times))
    return "\n".join(lines)


def images_needed(
    gpus: int, link: exchange.Link, width: int, image_s: float, buckets: Sequence[exchange.Bucket], statistics: int
) -> int | None:
    """The fewest images per GPU, a power of two, for a step of `ENOUGH` efficiency; None: more than `MOST_IMAGES`."""
    images = 8
    while images <= MOST_IMAGES:
        step_s = image_s * images
        found = exchange.predict(
            gpus,
            link,
            step_s=step_s,
            buckets=buckets,
            statistics_bytes=statistics,
            bytes_of_a_number=width,
            parts=max(1, images // AT_ONCE),
        )
        if step_s / max(found.device, exchange.LAUNCH_S) >= ENOUGH:
            return images
        images *= 2
    return None


def needed_table(image_s: float, buckets: Sequence[exchange.Bucket], statistics: int) -> str:
    lines = [f"{'between nodes':<16}{'gradients':<27}" + "".join(f"{gpus:>7}" for gpus in GPUS)]
    for name, link in exchange.BETWEEN_NODES.items():
        for width in (4, 2):
            needed = [images_needed(gpus, link, width, image_s, buckets, statistics) for gpus in GPUS]
            cells = "".join(f"{images or 'more':>7}" for images in needed)
            lines.append(f"{name:<16}{f'{8 * width} bits':<27}{cells}")
    return "\n".join(lines)


def assumptions(buckets: Sequence[exchange.Bucket]) -> str:
    ready = ", ".join(f"{bucket.num_bytes / 1e6:.1f} MB at {bucket.ready:.0%}" for bucket in buckets)
    links = [exchange.NVLINK, *exchange.BETWEEN_NODES.values()]
    return "\n".join(
        [
            "assumed:",
            f"- nodes of {exchange.GPUS_OF_A_NODE} GPUs; all-reduce inside nodes, then between them",
            *(f"- {link}" for link in links),
            f"- buckets as DDP makes them, each ready at this share of backward's work: {ready}",
            f"- backward is {exchange.BACKWARD_SHARE:.0%} of a step; exchange does not slow it down",
            f"- whether to stop: {exchange.AGREEMENT_BYTES} bytes between devices while forward runs; every"
            f" {exchange.LOG_EVERY} steps two means for a log line, which nothing hides",
            f"- the host launches a step in {exchange.LAUNCH_S * 1e3:g} ms; no host talks to another between steps",
            "- left out: processes that are slower than others, waiting for data, evaluation, saving, other traffic",
            "- efficiency: relative to one GPU's step with as many images",
        ]
    )


def print_predictions(bases: Sequence[tuple[int, float, str]], side: int, model: YOLOv2) -> list[dict[str, Any]]:
    """Prints predictions; returns them for JSON. bases: images on each GPU, seconds of one GPU's step, their source."""
    buckets, small = exchange.gradient_buckets(model, side), exchange.statistics_bytes(model)
    print("\nPREDICTED: efficiency by the number of GPUs; nothing here is measured except where it says so")
    found = []
    for images, step_s, basis in bases:
        same_images = rows(step_s, buckets, small)
        print(f"\n{images} images of {side} px on each GPU, {1e3 * step_s:.1f} ms for a step of one GPU: {basis}")
        print(table(same_images))
        flat = [
            {"between": row.between, "overlapped": row.overlapped, "bytes": row.number_bytes, "gpus": gpus}
            | each._asdict()
            for row in same_images
            for gpus, each in zip(GPUS, row.predictions, strict=True)
        ]
        found.append({"images": images, "step_s": step_s, "basis": basis, "rows": flat})
    images, step_s, _ = bases[0]
    image_s = step_s / images
    print(f"\na batch of {BATCH} images on all, at most {AT_ONCE} at once on each, times the speed of one GPU:")
    print(speeds(same_batch(image_s, buckets, small), image_s))
    print(f"\nimages on each GPU for {ENOUGH:.0%} of the speed without exchange, at most {AT_ONCE} at once:")
    print(needed_table(image_s, buckets, small))
    print(f"\n{assumptions(buckets)}")
    return found
