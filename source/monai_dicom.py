"""Train an image classifier on labeled DICOM files: the only training loop of this project.

    python source/monai_dicom.py --channel CHANNEL                              # defaults: minutes on two CPU cores
    python source/monai_dicom.py --channel CHANNEL --size_px 320 --batch_size 64 --epochs 30      # one GPU
    torchrun --nproc_per_node 8 source/monai_dicom.py --channel CHANNEL --batch_size 512          # eight GPUs
    python source/monai_dicom.py --channel CHANNEL --folds 5                    # a small set: cross-validation, ensemble
    python source/monai_dicom.py --channel CHANNEL --epochs 30 --resume true    # go on after a stop

CHANNEL is a folder with *.manifest files and the images they name, made by notebook 06, `dicom-workflow train` or yourself. An
image is a line; its split is train, validation or test, a state positive, negative, uncertain or unknown, and every line has
the same labels:

    {"patient_id": "P7", "split": "train", "image": "images/1.dcm", "states": {"Edema": "positive", "Fracture": "unknown"}}

On SageMaker the same file runs as a training job: its SM_* variables are the defaults, hyperparameters arrive as the flags
below, checkpoints are kept in /opt/ml/checkpoints and a restarted job goes on by itself.

It writes, into the output folder, `history.jsonl` (a line per epoch, as it happens), `evaluation.json` and `predictions.jsonl`
of the test images, and `checkpoints/`; in the model folder the bundle (`model.safetensors`, `bundle.json`) and `model_card.md`.

Read it from top to bottom: settings, data, network, loop, outcome.
"""

from __future__ import annotations

import copy
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dicom_workflow.errors import LearningError, WorkflowError
from dicom_workflow.learning.model import architectures
from dicom_workflow.learning.training import dataclass_flags

if TYPE_CHECKING:  # torch takes seconds to import, and --help has no use for it
    import numpy as np
    import torch

    from dicom_workflow.learning.data.images import TrainingSet
    from dicom_workflow.learning.training.distributed import Group
    from dicom_workflow.learning.training.finish import Facts
    from dicom_workflow.learning.training.run_state import RunState
    from dicom_workflow.learning.training.tracking import Tracker


RUN = Path.home() / "dicom-workflow" / "training"
"""Not the current folder: patient ids and decoded images have no place in a checkout. DICOM_WORKFLOW_WORKSPACE moves it."""


@dataclass(frozen=True)
class Config:
    """Every setting, with its reason; each is a flag of the same name."""

    # Where things are
    channel: Annotated[Path, "folder with *.manifest and the images they name; SM_CHANNEL_TRAIN on SageMaker"] = Path("channel")
    model_dir: Annotated[Path, "where the model bundle goes; SM_MODEL_DIR on SageMaker"] = RUN / "model"
    output_dir: Annotated[Path, "for history, evaluation and predictions; SM_OUTPUT_DATA_DIR on SageMaker"] = RUN
    checkpoint_dir: Annotated[str, "where a stopped run goes on from; auto: in output_dir, or what SageMaker keeps"] = "auto"
    checkpoint_seconds: Annotated[float, "a checkpoint at least this often; a long epoch should not be lost to a kill"] = 600.0
    resume: Annotated[bool, "go on from the last checkpoint if there is one; true on SageMaker: spot jobs restart"] = False
    init_weights: Annotated[str, "file or s3:// of weights to start from: MONAI, torchvision, torchxrayvision, a bundle"] = ""
    init_weights_sha256: Annotated[str, "what that file's SHA-256 has to be; pickled weights are not read without"] = ""
    tracking: Annotated[str, "none, tensorboard, mlflow or both with a comma; off, they are not even imported"] = "none"
    commit: Annotated[str, "commit of the code, for the bundle, where there is no git to ask"] = ""
    # Data
    size_px: Annotated[int, "side of the square input; 160 shows fluid and heart size, nodules want 320 and a GPU"] = 160
    normalization: Annotated[str, "auto (the initial weights', else the training images') or MEAN,STD of values 0 to 1"] = (
        "auto"
    )
    uncertain: Annotated[str, "target of an uncertain label: ignore, ones, zeros or soft; and per label: ignore,Edema=ones"] = (
        "ignore"
    )
    soft_targets: Annotated[bool, "target is the share of readers who said positive, where the manifest has it"] = False
    mode: Annotated[str, "multi-label (a sigmoid each) or single-label (softmax; one finding per image)"] = "multi-label"
    folds: Annotated[int, "cross-validate with so many networks, and keep them as an ensemble; 0: one network"] = 0
    fold: Annotated[int, "train only this network of the folds, from 0; -1: all, one after the other"] = -1
    workers: Annotated[int, "images decoded at a time; 0 means as many as there are CPUs; SM_NUM_CPUS on SageMaker"] = 0
    cache_dir: Annotated[str, "keeps decoded images for later runs; auto: image-cache beside output_dir; empty: none"] = "auto"
    cache_gb: Annotated[float, "how large the cache may grow, in 10^9 bytes; what was used longest ago goes first"] = 20.0
    reduced: Annotated[bool, "decode JPEG 2000 only as far as size_px needs: 12 times as fast, nearly the same pixels"] = False
    # Network
    network: Annotated[str, "kind of network; its input is gray or color as its name says"] = architectures.DEFAULT_ARCHITECTURE
    # Augmentation: small, because exposure and position vary little; no flips, because the heart is on the left
    rotation_degrees: Annotated[float, "degrees, not radians: patients stand nearly straight"] = 7.0
    translation: Annotated[float, "share of the side by which an image may be shifted"] = 0.04
    scale: Annotated[float, "share by which an image may grow or shrink; a heart's size is a finding, so little"] = 0.08
    contrast: Annotated[float, "share by which contrast may change, half of it brightness"] = 0.15
    # Optimization
    epochs: Annotated[int, "passes over the training images; the learning rate falls to zero at the last"] = 12
    batch_size: Annotated[int, "images per step of all processes; small sets need many steps; a GPU wants 64 to 256"] = 8
    microbatches: Annotated[int, "parts of a batch, taken in turn or one per process; 0: one per process"] = 0
    learning_rate: Annotated[float, "peak of the schedule; 1e-3 suits AdamW on random weights, 1e-4 pretrained ones"] = 1e-3
    schedule: Annotated[str, "one-cycle (warm up, then fall as a cosine) or constant"] = "one-cycle"
    warmup: Annotated[float, "share of all steps in which the learning rate rises"] = 0.2
    weight_decay: Annotated[float, "pull of weights towards zero, not of biases and normalization"] = 0.01
    gradient_clip: Annotated[float, "largest norm of a gradient; one strange image must not throw the weights away"] = 5.0
    pos_weight_cap: Annotated[float, "most a positive may count over a negative for a rare label; 1 switches it off"] = 5.0
    dropout: Annotated[float, "after each dense layer; augmentation serves small sets better"] = 0.0
    average: Annotated[float, "share of the running average of weights kept by a step; the average is evaluated; 0: none"] = (
        0.99
    )
    patience: Annotated[int, "stop after so many epochs without a better validation AUROC; 0 never stops early"] = 0
    # Evaluation
    resamples: Annotated[int, "draws of patients for the 95 % intervals; 0 for none"] = 1000
    calibration: Annotated[str, "platt, temperature or none: fitted on validation images"] = "platt"
    threshold: Annotated[str, "youden, sensitivity=SHARE or specificity=SHARE, reached on validation images"] = "youden"
    # System
    seed: Annotated[int, "same seed, same data and one thread: same weights, bit by bit"] = 0
    deterministic: Annotated[bool, "the same weights bit by bit on a GPU too, or on one CPU thread; slower"] = False
    device: Annotated[str, "auto (a GPU if there is one), cpu or cuda"] = "auto"
    precision: Annotated[str, "auto, float32 or bfloat16; bfloat16 halves a step where the hardware knows it"] = "auto"
    compile: Annotated[str, "auto (on a GPU), on or off; on a CPU it takes minutes and gains nothing"] = "auto"
    threads: Annotated[int, "CPU threads of a step; 0 measures as it goes: all, or one where other processes are busy"] = 0
    progress: Annotated[bool, "show a progress bar while images are decoded"] = True
    stop_with_stdin: Annotated[bool, "stop, with a checkpoint, when standard input closes: the starter is gone"] = False


CHOICES = {
    "network": tuple(architectures.ARCHITECTURES),
    "mode": ("multi-label", "single-label"),
    "schedule": ("one-cycle", "constant"),
    "calibration": ("platt", "temperature", "none"),
    "precision": ("auto", "float32", "bfloat16"),
    "compile": ("auto", "on", "off"),
}
LOWEST = {"size_px": 32, "epochs": 1, "batch_size": 2, "microbatches": 0, "patience": 0, "resamples": 0, "folds": 0, "seed": 0}
LOWEST |= {"learning_rate": 0, "weight_decay": 0, "dropout": 0, "workers": 0, "threads": 0}
SAGEMAKER = {
    "channel": "SM_CHANNEL_TRAIN",
    "model_dir": "SM_MODEL_DIR",
    "output_dir": "SM_OUTPUT_DATA_DIR",
    "workers": "SM_NUM_CPUS",
}
# A checkpoint fits a run whose other settings are the same. These may differ: all but epochs, which bends the schedule that
# is left, change the rounding of what is learned at most.
FREE_ON_RESUME = {
    *("channel", "model_dir", "output_dir", "checkpoint_dir", "checkpoint_seconds", "resume", "commit", "tracking"),
    *("workers", "cache_dir", "cache_gb", "epochs", "patience", "resamples", "calibration", "threshold", "device", "threads"),
    *("progress", "stop_with_stdin", "microbatches"),
}


def parse(arguments: Sequence[str] | None, environ: Mapping[str, str]) -> Config:
    """Return the settings: a default, replaced by SageMaker's variable, replaced by a flag."""
    on_sagemaker = "SM_MODEL_DIR" in environ
    defaults = {name: environ[variable] for name, variable in SAGEMAKER.items() if environ.get(variable)}
    if workspace := environ.get("DICOM_WORKFLOW_WORKSPACE"):
        run = Path(workspace).expanduser() / RUN.name
        defaults = {"output_dir": str(run), "model_dir": str(run / "model"), **defaults}
    config: Config = dataclass_flags.parse(
        Config,
        arguments,
        description=__doc__ or "",
        defaults={**defaults, "resume": on_sagemaker},
        choices=CHOICES,
        lowest=LOWEST,
    )
    checkpoints, cache = Path(config.checkpoint_dir), config.cache_dir
    if config.checkpoint_dir == "auto":
        in_container = str(config.model_dir) == "/opt/ml/model"
        checkpoints = Path("/opt/ml/checkpoints") if in_container else config.output_dir / "checkpoints"
    if cache == "auto":
        # What lies in SageMaker's output, model and checkpoint folders is copied to S3, and images of patients need not be.
        beside = Path(tempfile.gettempdir()) if on_sagemaker else config.output_dir.resolve().parent
        cache = str(beside / "image-cache")
    workers = config.workers or os.cpu_count() or 1
    return replace(config, checkpoint_dir=str(checkpoints), cache_dir=cache, workers=workers)


def train(config: Config) -> int:
    """Train one network, evaluate it and save it; return the exit code: 0, or 128 + the signal that stopped the run."""
    from dicom_workflow.learning.data import images
    from dicom_workflow.learning.data.channel import read_channel
    from dicom_workflow.learning.evaluation import thresholds
    from dicom_workflow.learning.model import initial_weights
    from dicom_workflow.learning.training import cross_validation as folds
    from dicom_workflow.learning.training import distributed, tracking

    thresholds.Rule.parse(config.threshold)  # a mistake shows now, not when every image is decoded
    tracking.parse_kinds(config.tracking)
    if config.init_weights:
        initial_weights.find(config.init_weights)
    if config.fold >= 0 and not config.folds:
        raise LearningError(f"--fold: expected --folds beside it, got --fold {config.fold} alone.")
    with distributed.open_group(config.device) as group:
        channel = read_channel(config.channel)
        if config.folds:
            channel = folds.fold_channel(
                channel,
                config.folds,
                config.fold,
                seed=config.seed,
                mode=config.mode,
                uncertain=config.uncertain,
                soft=config.soft_targets,
            )
        # Every image is decoded once, and kept on disk for the next run; a step takes what it needs.
        data = images.read_training_set(
            channel,
            size_px=config.size_px,
            channels=architectures.architecture_of(config.network).channels,
            mode=config.mode,
            uncertain=config.uncertain,
            soft=config.soft_targets,
            reduced=config.reduced,
            workers=config.workers,
            progress=config.progress and group.is_first,
            cache_dir=config.cache_dir,
            cache_gb=config.cache_gb,
        )
        return learn(config, group, data.taught_labels_only(config.mode))


def learn(config: Config, group: Group, data: TrainingSet) -> int:
    """Train on images in memory or mapped from disk, as one of the processes of a group."""
    import numpy as np
    import torch

    from dicom_workflow.learning.evaluation import bootstrap, curves
    from dicom_workflow.learning.model import initial_weights, network
    from dicom_workflow.learning.training import distributed, finish, hardware, optimization, script_run, tracking
    from dicom_workflow.learning.training.batches import Augmentation, BatchLoader, seeded
    from dicom_workflow.learning.training.run_state import RunState

    device, precision = group.device, hardware.choose_precision(config.precision, group.device)
    threads = hardware.ThreadTuner(config.threads or int(config.deterministic))
    hardware.choose_kernels(deterministic=config.deterministic)
    labels = data.channel.labels
    train_rows, validation_rows = data.usable("train", config.mode), data.usable("validation", config.mode)
    group.print(*data.lines(train_rows, f"{device}, {precision}"))

    # --- network, loss, optimizer -------------------------------------------------------------------------------------------
    model = network.build(labels, architecture=config.network, dropout=config.dropout, seed=config.seed)
    normalization, origin = network.parse_normalization(config.normalization), None
    if config.init_weights:
        sha256 = config.init_weights_sha256
        origin = initial_weights.initialize(
            model, config.init_weights, sha256=sha256, labels=labels, normalization=normalization
        )
        normalization = normalization or origin.normalization
        group.print(f"initial weights: {origin}")
    mean, std = normalization or network.mean_and_std(data.images, train_rows)
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    groups = optimization.parameter_groups(model, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    # The average of the last hundred or so steps answers better than any one of them, and sooner.
    average = copy.deepcopy(model)
    loss_of = optimization.Loss(
        config.mode, torch.from_numpy(optimization.positive_weights(data.taught[train_rows], config.pos_weight_cap))
    ).to(device)
    wanted = torch.from_numpy(data.taught).to(device)  # (N, labels), NaN unknown
    augment = Augmentation(config.rotation_degrees, config.translation, config.scale, config.contrast)
    loader = BatchLoader(data.images, device=device, augment=augment, mean=mean, std=std)
    # As many steps as whole batches fit, the images dealt out evenly: no image is dropped and no batch is nearly empty.
    steps = max(1, min(round(len(train_rows) / config.batch_size), len(train_rows) // 2))
    parts = distributed.count_parts(config.microbatches, processes=group.size, smallest_batch=len(train_rows) // steps)
    statistics = distributed.Statistics(model, parts)
    forward = group.parallel(hardware.compiled(model, config.compile, device))

    def evaluate(rows: np.ndarray) -> torch.Tensor:
        """Return the logits of some images, (len(rows), labels); each process computes its share of them."""
        mine = rows[group.rank :: group.size]
        size = max(8, 2 * config.batch_size // parts)
        logits = network.logits_of(average, loader.images, rows=mine, mean=mean, std=std, batch_size=size, precision=precision)
        return group.gathered(logits, len(rows), len(labels))

    # --- where the run stands -----------------------------------------------------------------------------------------------
    settings = {name: value for name, value in dataclass_flags.to_json(config).items() if name not in FREE_ON_RESUME}
    about = {"labels": list(labels), "manifests": dict(data.channel.sha256), "images": len(data.samples), "parts": parts}
    signals = distributed.StopSignals()
    state = RunState(
        output_dir=config.output_dir,
        checkpoint_dir=Path(config.checkpoint_dir),
        fingerprint={**settings, **about},
        networks={"network": model, "average": average},
        optimizer=optimizer,
        group=group,
        signals=signals,
        every_seconds=config.checkpoint_seconds,
    )
    if state.open(resume=config.resume):
        group.print(f"resumed: epoch {state.epoch + 1}, step {state.step + 1} of {steps}")
    facts = finish.Facts(
        settings=dataclass_flags.to_json(config),
        channel=data.channel,
        architecture=config.network,
        preprocessing_version=data.preprocessing_version,
        normalization=(mean, std),
        network_arguments={"dropout": config.dropout},
        initial_weights=origin.to_json() if origin else {},
    )
    tracked = tracking.open_tracker(
        config.tracking if group.is_first else "none",
        config.output_dir,
        name="dicom-workflow",
        parameters=facts.settings,
        from_step=state.epoch,
    )

    # --- loop ---------------------------------------------------------------------------------------------------------------
    with (
        tracked as tracker,
        signals.listening(stop_with_stdin=config.stop_with_stdin),
        hardware.memory_advice(config.batch_size, parts, config.size_px),
    ):
        while state.epoch < config.epochs and not state.is_spent(config.patience):
            epoch, first_step, began = state.epoch, state.step, time.perf_counter()
            # Order and changes depend on seed, epoch and step alone, so a resumed run needs no memory of earlier draws.
            order = torch.randperm(len(train_rows), generator=seeded(config.seed, epoch)).numpy()
            batches = np.array_split(train_rows[order], steps)
            mine = [group.share(np.array_split(batch, parts)) for batch in batches]  # of each, with the parts' numbers
            draws = [(step, number, part) for step in range(first_step, steps) for number, part in mine[step]]
            stream = loader.batches((part, seeded(config.seed, epoch, step, number)) for step, number, part in draws)
            loss_sum = torch.tensor(state.loss_sum if group.is_first else 0.0, dtype=torch.float64, device=device)
            model.train()
            for step in range(first_step, steps):
                threads.begin()
                rate = learning_rate(config, epoch * steps + step, config.epochs * steps)
                for parameters in optimizer.param_groups:
                    parameters["lr"] = rate
                divisor = loss_of.divisor(wanted[torch.from_numpy(batches[step])])
                optimizer.zero_grad(set_to_none=True)
                statistics.begin()
                for number, part in mine[step]:
                    torch.manual_seed(seeded(config.seed, epoch, step, number).initial_seed())  # dropout draws from it
                    with group.without_sum(forward, is_last=number == mine[step][-1][0]):
                        with network.autocast(device, precision):
                            logits = forward(next(stream))  # (b, labels)
                        loss = loss_of(logits.float(), wanted[torch.from_numpy(part)], divisor)
                        (loss * group.size).backward()  # gradients of processes are averaged, but their losses add up
                    statistics.add()
                    loss_sum += loss.detach().double() * len(batches[step])
                statistics.end(group.sum, step=epoch * steps + step)
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
                optimizer.step()
                optimization.update_average(average, model, decay=config.average, step=epoch * steps + step)
                state.poll()
                # Looking at a number on a GPU waits for it, so there it is done now and then, and before a checkpoint.
                if state.is_due or device.type == "cpu" or step % 50 == 49 or step == steps - 1:
                    check_finite(loss_sum.item(), norm.item(), f"epoch {epoch + 1}, step {step + 1}")
                threads.end(len(batches[step]))
                if state.is_due:
                    state.end_step(step, loss_sum)
                if state.stopped_by:
                    break
            if state.stopped_by:
                break

            trained_seconds = time.perf_counter() - began
            logits = evaluate(validation_rows)
            validation_loss = loss_of(logits.to(device), wanted[torch.from_numpy(validation_rows)]).item()
            scores = network.probabilities(logits, config.mode).numpy()
            auroc, each = curves.macro_auroc(data.targets[validation_rows], scores)
            line = state.end_epoch(
                {
                    "epoch": epoch + 1,
                    "epochs": config.epochs,
                    "train_loss": bootstrap.number(group.sum(loss_sum).item() / len(train_rows)),
                    "validation_loss": bootstrap.number(validation_loss if len(validation_rows) else math.nan),
                    "validation_auroc": bootstrap.number(auroc),
                    "auroc": dict(zip(labels, map(bootstrap.number, each), strict=True)),
                    "learning_rate": learning_rate(config, (epoch + 1) * steps - 1, config.epochs * steps),
                    "seconds": round(time.perf_counter() - began, 3),
                    "images_per_second": round(sum(map(len, batches[first_step:])) / trained_seconds, 1),
                }
            )
            tracker.log(line, step=epoch + 1)
            group.print(script_run.epoch_line(line))
        return conclude(config, group, tracker, data, state, facts, evaluate)


def conclude(
    config: Config,
    group: Group,
    tracker: Tracker,
    data: TrainingSet,
    state: RunState,
    facts: Facts,
    evaluate: Callable[[np.ndarray], torch.Tensor],
) -> int:
    """Save the best epoch's network, evaluated on held-out images; return the exit code."""
    from dicom_workflow.learning.training import finish, script_run

    if not state.best:
        group.print(f"stopped by signal {state.stopped_by} in the first epoch; go on with --resume true")
        return 128 + state.stopped_by
    state.load_best()
    split = next((split for split in ("test", "validation") if len(data.rows[split]) and not state.stopped_by), "")
    chosen_on, judged_on = data.usable("validation", config.mode), data.rows[split] if split else data.rows["test"][:0]
    chosen, judged = evaluate(chosen_on), evaluate(judged_on)  # by all processes together
    if group.is_first:
        report = finish.finish(
            state.networks["average"],
            replace(facts, best=state.best),
            validation=(data.targets[chosen_on], chosen.numpy()),
            held=finish.HeldOut([data.samples[row] for row in judged_on], judged.numpy(), split),
            model_dir=config.model_dir,
            output_dir=config.output_dir,
            more={
                "best_epoch": state.best["epoch"],
                "epochs": len(state.history),
                "left_out": len(data.problems),
                "problems": data.problems[:100],
                "seconds": {"training": round(sum(line["seconds"] for line in state.history), 3)},
            },
        )
        group.print(*([script_run.outcome_line(report)] if report else []))
        group.print(f"bundle of epoch {state.best['epoch']}: {config.model_dir}")
        if report:
            tracker.finish(report.to_json(), [config.output_dir / "evaluation.json", config.model_dir / "model_card.md"])
    if state.stopped_by:
        group.print(f"stopped by signal {state.stopped_by}; go on with --resume true")
        return 128 + state.stopped_by
    return 0


def learning_rate(config: Config, step: int, steps: int) -> float:
    """Return the learning rate of a step: linear warm-up to the peak, then a cosine decay to 0.1 % of it."""
    if config.schedule == "constant":
        return config.learning_rate
    warm = max(1, round(config.warmup * steps))
    if step < warm:
        return config.learning_rate * (0.04 + 0.96 * step / warm)
    return config.learning_rate * (0.001 + 0.999 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2)


def check_finite(loss_sum: float, norm: float, where: str) -> None:
    """Stop a run whose loss or gradient is not finite."""
    if not (math.isfinite(loss_sum) and math.isfinite(norm)):
        raise LearningError(
            f"{where}: expected a finite training loss and gradient, got a sum of losses of {loss_sum} and a norm of {norm}. "
            "Lower --learning_rate or --gradient_clip, or use --precision float32. The last good checkpoint is kept."
        )


def report_failure(text: str, environ: Mapping[str, str]) -> None:
    """Write why the run failed where SageMaker looks for it; it shows the first 1024 characters."""
    output = environ.get("SM_OUTPUT_DIR")
    path = environ.get("SM_OUTPUT_FAILURE") or (f"{output}/failure" if output else "")
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text[:1024], encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; an expected failure is one line on standard error and exit code 1."""
    config = parse(arguments, os.environ)
    try:
        if config.folds and config.fold < 0:
            from dicom_workflow.learning.training import cross_validation as folds

            return folds.cross_validate(config, train)
        return train(config)
    except WorkflowError as error:
        report_failure(str(error), os.environ)
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except Exception as error:
        report_failure(f"{type(error).__name__}: {error}", os.environ)
        raise


if __name__ == "__main__":
    sys.exit(main())
