"""How a run works, on one page."""

from functools import partial
from pathlib import Path

from data.demo import draw_shards
from data.loading.loader import Loader
from data.loading.opening import open_shards, staged
from launch.processes.environment import Environment
from launch.processes.stop import Stop
from train.config import Config, flat
from train.evaluation.evaluator import Evaluator
from train.run.checkpoint import Checkpoint
from train.run.display.board import Board
from train.schedule.duration import RunLength
from train.schedule.learning_rate import learning_rate
from train.schedule.progress import Progress
from train.starting.build import build_step
from train.starting.changes import accept_changes
from train.starting.resolve import resolved
from train.starting.saved_configs import save_start
from train.starting.summary import print_summary
from train.stepping.health import HealthCheck
from train.stepping.memory.warm_up import warm_up


def train(config: Config, env: Environment, stop: Stop) -> None:
    """Trains until the last epoch, or until processes agree to stop; either way leaves a checkpoint."""
    run = Path(config.run)
    if config.drawn:
        env.on_rank_0(partial(draw_shards, config.drawn, config.data.train, config.data.val))
    loader_of = partial(Loader, rank=env.rank, world_size=env.world_size, device=env.device, seed=config.seed)
    index = open_shards(config.data.train, config.data.classes, config.data.staging)
    config = resolved(config, index, env)
    changes = accept_changes(config, env)
    loader, classes, length = loader_of(index, config.data), index.classes, RunLength(index.num_samples, config.epochs)
    val = loader_of(open_shards(config.data.val, list(classes), config.data.staging), config.data)
    step, evaluator = build_step(config, classes, length, env), Evaluator(config.evaluate, val, env)
    progress, health = Progress(), HealthCheck(step, length, len(classes))
    checkpoint = Checkpoint(
        run / "checkpoints", config.checkpoint, env, config.network(classes), step=step, progress=progress
    )
    checkpoint.restore()
    print_summary(config, index, val.index, step, env, progress.images)
    env.on_rank_0(lambda: save_start(config, progress.images, changes, {"train": index, "val": val.index}))
    end, every = length.images, length.images_per_epoch * config.evaluate.epochs_between(config.epochs)
    with (
        checkpoint,
        staged(loader, val, progress.images),
        Board(run / "board", config.board, env, classes, progress.images, length, flat(config)) as board,
    ):
        board.start_clock(warm_up(step, loader.blank_batches(), stop))
        batches = board.timed(loader.batches(progress.images, end, stop.waiting))
        while True:
            if progress.evaluation_due(every, end):
                evaluation = evaluator(step, stop, board.show_progress)
                if evaluation is None:
                    break
                if (best := progress.evaluated(evaluation.deciding_ap)) or checkpoint.due(progress.images):
                    checkpoint.save(progress.images, best=best)
                board.log_evaluation(evaluation, progress.images // length.images_per_epoch)
                board.resume_clock()
            batch = None if progress.out_of_patience(config.evaluate.patience) else next(batches, None)
            if stop.agreed_ahead(following=loader.ready()) or batch is None:
                break
            losses = step(batch, progress.images)
            progress.images += config.data.batch
            if shown := board.add(losses, progress.images) or progress.evaluation_due(every, end):
                means = board.log(learning_rate(progress.images, step.schedule), batch.side, step.norms())
                health.check(progress.images, means, step.update.tally())
            if checkpoint.due(progress.images, timed=shown) and not progress.evaluation_due(every, end):
                checkpoint.save(progress.images)
        if checkpoint.position != progress.images:
            checkpoint.save(progress.images)
        checkpoint.wait()
        if progress.out_of_patience(config.evaluate.patience):
            env.say(f"evaluate.patience={config.evaluate.patience}: ended, so many evaluations without improvement")
            board.end = progress.images  # the same command does not continue
        stop.mark(finished=progress.images >= board.end and not progress.evaluation_due(every, end))
