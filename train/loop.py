"""The page: how a run goes."""

from functools import partial
from pathlib import Path

import torch

from data.demo import draw_shards
from data.loading.loader import Loader
from data.loading.opening import open_shards, staged
from launch.environment import Environment
from launch.stop import Stop
from train.config import Config, flat, save
from train.evaluation.evaluator import Evaluator
from train.loss import build_loss
from train.model import build_model
from train.run.board import Board
from train.run.checkpoint import Checkpoint
from train.run.progress import Progress
from train.stepping.schedule import learning_rate
from train.stepping.step import Step
from train.stepping.warm_up import warm_up
from train.weights.start import start_from


def train(config: Config, env: Environment, stop: Stop) -> None:
    """Train until the last epoch, or until processes agree to stop; either way leave a checkpoint."""
    run = Path(config.run)
    if config.drawn:
        env.first(partial(draw_shards, config.drawn, config.data.train, config.data.val))
    mine = partial(Loader, rank=env.rank, world_size=env.world_size, device=env.device)
    share = partial(mine, config=config.data, seed=config.seed)
    loader = share(open_shards(config.data.train, config.data.classes, config.data.staging))
    classes, per_epoch = loader.index.classes, loader.index.num_samples
    torch.manual_seed(config.seed)  # the same weights on every process; the data has its own randomness
    model = build_model(config.model, len(classes), len(config.anchor_pairs))
    if config.weights:
        start_from(config.weights, model, config.network(classes), run / "checkpoints", env, config.data.staging)
    step = Step(config.step, config.schedule, model, build_loss(config.loss, config.anchor_pairs, len(classes)), env)
    evaluator = Evaluator(config.evaluate, share(open_shards(config.data.val, list(classes), config.data.staging)), env)
    progress = Progress()
    checkpoint = Checkpoint(
        run / "checkpoints", config.checkpoint, env, config.network(classes), step=step, progress=progress
    )
    checkpoint.restore()
    if env.rank == 0:
        save(config, run / "config.yaml")
    end = config.epochs * per_epoch
    with (
        checkpoint,
        staged(loader, evaluator.loader, progress.images),
        Board(run / "board", config.board, env, start=progress.images, end=end, settings=flat(config)) as board,
    ):
        warm_up(step, loader.blank_batches(), stop)
        board.resume_clock()
        batches = board.waiting(loader.batches(progress.images, end, stop.waiting))
        while True:
            if progress.evaluation_due(per_epoch):
                evaluation = evaluator(step, stop)
                if evaluation is None:
                    break
                best = progress.evaluated(evaluation.deciding_ap, per_epoch)
                checkpoint.save(progress.images, best=best)
                board.log_evaluation(evaluation, classes, progress.epochs_evaluated)
                board.resume_clock()
            batch = next(batches, None)
            if stop.agreed() or batch is None:
                break
            losses = step(batch, progress.images)
            progress.images += config.data.batch
            if board.add(losses, progress.images) or progress.evaluation_due(per_epoch):
                board.log(learning_rate(progress.images, config.schedule), batch.side, step.norms())
                if checkpoint.due(progress.images) and not progress.evaluation_due(per_epoch):
                    checkpoint.save(progress.images)
        if checkpoint.position != progress.images:
            board.require_finite_losses()
            checkpoint.save(progress.images)
        checkpoint.wait()
        stop.mark(finished=progress.images >= end and not progress.evaluation_due(per_epoch))
