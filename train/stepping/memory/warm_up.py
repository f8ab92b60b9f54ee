"""Throw-away passes before the first step: find the number of parts that fits, compile every side, let DDP settle.

DDP rebuilds its buckets after the first backward pass, which changes the order of summation, so without a warm-up
a resumed run of three or more processes would not repeat bit for bit.
"""

import time
from collections.abc import Iterator
from itertools import islice

import torch

from data.loading.batch import Batch
from data.wording import counted
from launch.processes.stop import Stop
from train.stepping.memory.peak import Memory, step_memory
from train.stepping.optimizer import num_moments
from train.stepping.step import Step

USABLE_SHARE = 0.9  # of the free memory: allocators and libraries take the rest


def warm_up(step: Step, batches: Iterator[Batch], stop: Stop) -> float | None:
    """Warms up a fresh or a resumed run alike, with a batch of every side, the largest first.

    Returns images per second of all processes at the largest side, without update and data; None if stopped.

    Restores weights, statistics and random state. Ends early if processes agree to stop.
    """
    speed = None
    kept = {name: buffer.clone() for name, buffer in step.model.named_buffers()}
    for number, batch in enumerate(batches if step.compiled else islice(batches, 1)):
        if stop.agreed():
            break
        if number == 0:
            _choose_parts(step, batch)
        try:
            for _ in range(2):
                began = time.perf_counter()
                step.accumulate(batch, 0, step.parts).cpu()  # waits: the second pass is measured
                step.optimizer.zero_grad(set_to_none=True)
            speed = speed or len(batch.truths) * step.env.world_size / (time.perf_counter() - began)
        except torch.OutOfMemoryError as error:
            at_once = counted(len(batch.truths) // step.parts, "image")
            raise ValueError(
                f"expected memory for {at_once} of {batch.side} px at once, found too little "
                f"({str(error).partition('. ')[0]}); set step.accumulate=auto, or step.recompute=true"
            ) from error
    for name, buffer in step.model.named_buffers():
        buffer.copy_(kept[name])
    step.warm = True
    return speed


def predicted_memory(step: Step, batch: Batch, parts: int) -> Memory:
    """Memory at the peak of a step on such a batch."""
    local, truth_slots, _ = batch.truths.shape
    return memory_at(step, batch.side, local, truth_slots, parts)


def memory_at(step: Step, side: int, local: int, truth_slots: int, parts: int) -> Memory:
    """Memory at the peak of a step of `local` images in each process."""
    return step_memory(
        step.model,
        side=side,
        local=local,
        parts=parts,
        dtype=step.dtype,
        averaged=step.ema is not None,
        moments=num_moments(step.config),
        recompute=step.config.recompute,
        distributed=step.env.world_size > 1,
        truth_slots=truth_slots,
        prefetched=step.env.device.type == "cuda",
    )


def _choose_parts(step: Step, batch: Batch) -> None:
    """Sets the number of parts. A resumed run keeps its images at once if they fit: batch norm depends on it."""
    local, before = batch.truths.shape[0], step.images_at_once
    if step.config.accumulate == "auto":
        step.parts = _fewest_parts(step, batch, before or local)
        step.env.say(f"step.accumulate=auto: {local // step.parts} of {counted(local, 'image')} at once per process")
    step.images_at_once = local // step.parts
    if before and before != step.images_at_once:
        step.env.say(
            f"WARNING: {counted(step.images_at_once, 'image')} at once, {before} before this start: batch norm sees "
            "another number of images, so the run continues, but not bit for bit like an uninterrupted one"
        )


def _fewest_parts(step: Step, batch: Batch, most: int) -> int:
    """The fewest parts that fit on all processes, with at most `most` images each."""
    local, limit = batch.truths.shape[0], USABLE_SHARE * step.env.memory()
    for parts in (n for n in range(1, local + 1) if local % n == 0 and local // n <= most):
        if predicted_memory(step, batch, parts).total <= limit and not step.env.any(_runs_out(step, batch, parts)):
            return parts
    raise ValueError(
        f"step.accumulate=auto: expected room for one image of {batch.side} px at once, found "
        f"{limit / 1e9:.1f} GB; lower data.sides or model.width, or set step.recompute=true"
    )


def _runs_out(step: Step, batch: Batch, parts: int) -> bool:
    """Whether a pass runs out of memory. Without exchange, since other processes may fail earlier."""
    try:
        step.accumulate(batch, 0, parts, exchange=False)
    except torch.OutOfMemoryError:
        return True
    finally:
        step.optimizer.zero_grad(set_to_none=True)
        if step.env.device.type == "cuda":
            torch.cuda.empty_cache()
    return False
