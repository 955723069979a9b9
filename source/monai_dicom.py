"""Train a chest-radiograph classifier on labeled DICOM files: the only training loop of this project.

    python source/monai_dicom.py --channel CHANNEL                              # defaults: minutes on two CPU cores
    python source/monai_dicom.py --channel CHANNEL --size_px 320 --batch_size 64 --epochs 30      # one GPU
    python source/monai_dicom.py --channel CHANNEL --epochs 30 --resume true    # go on after a stop

CHANNEL is a folder with train, validation and test manifests and the images they name (notebook 04 makes it). On SageMaker
the same file runs as a training job: its SM_* variables are the defaults, hyperparameters arrive as the flags below,
checkpoints are kept in /opt/ml/checkpoints and a restarted job goes on by itself.

It leaves, in the output folder, `history.jsonl` (a line per epoch, as it happens), `evaluation.json` and `predictions.jsonl`
of the test images, and `checkpoints/`; in the model folder the bundle (`model.safetensors`, `bundle.json`) and `model_card.md`.

Read it from top to bottom: settings, setup, data, network, loop, save.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

from dicom_workflow.errors import DatasetError, LearningError, WorkflowError

if TYPE_CHECKING:  # torch takes seconds to import, and --help has no use for it
    import numpy as np
    import torch

    from dicom_workflow.learning.dataset import LoadedImages


@dataclass(frozen=True)
class Config:
    """Every setting, with its reason; each is a flag of the same name."""

    # Where things are
    channel: Annotated[Path, "folder with *.manifest and the images they name; SM_CHANNEL_TRAIN on SageMaker"] = Path("channel")
    model_dir: Annotated[Path, "where the model bundle goes; SM_MODEL_DIR on SageMaker"] = Path("training/model")
    output_dir: Annotated[Path, "for history, evaluation and predictions; SM_OUTPUT_DATA_DIR on SageMaker"] = Path("training")
    checkpoint_dir: Annotated[Path, "where a stopped run goes on from; /opt/ml/checkpoints on SageMaker"] = Path()
    resume: Annotated[bool, "go on from the last checkpoint if there is one; true on SageMaker: spot jobs restart"] = False
    commit: Annotated[str, "commit of the code, for the bundle, where there is no git to ask"] = ""
    # Data
    size_px: Annotated[int, "side of the square input; 160 shows fluid and heart size, nodules want 320 and a GPU"] = 160
    uncertain: Annotated[str, "uncertain counts: ignore (not at all), ones, zeros or soft (0.5), in training only"] = "ignore"
    mode: Annotated[str, "multi-label (a sigmoid each) or single-label (softmax; one finding per image)"] = "multi-label"
    workers: Annotated[int, "images decoded at a time; 0 means as many as there are CPUs; SM_NUM_CPUS on SageMaker"] = 0
    cache_dir: Annotated[str, "keeps decoded images for later runs; auto: image-cache beside output_dir; empty: none"] = "auto"
    cache_gb: Annotated[float, "how large the cache may grow, in 10^9 bytes; what was used longest ago goes first"] = 20.0
    reduced: Annotated[bool, "decode JPEG 2000 only as far as size_px needs: ten times as fast, nearly the same pixels"] = False
    # Augmentation: small, because exposure and position vary little; no flips, because the heart is on the left
    rotation_degrees: Annotated[float, "degrees, not radians: patients stand nearly straight"] = 7.0
    translation: Annotated[float, "share of the side by which an image may be shifted"] = 0.04
    scale: Annotated[float, "share by which an image may grow or shrink; a heart's size is a finding, so little"] = 0.08
    contrast: Annotated[float, "share by which contrast may change, half of it brightness"] = 0.15
    # Optimization
    epochs: Annotated[int, "passes over the training images; the learning rate falls to zero at the last"] = 12
    batch_size: Annotated[int, "images per step; a small set needs many steps more than smooth ones; a GPU wants 64"] = 8
    learning_rate: Annotated[float, "peak of the schedule; 1e-3 suits AdamW on random weights, 1e-5 would hardly train"] = 1e-3
    schedule: Annotated[str, "one-cycle (warm up, then fall as a cosine) or constant"] = "one-cycle"
    warmup: Annotated[float, "share of all steps in which the learning rate rises"] = 0.2
    weight_decay: Annotated[float, "pull of weights towards zero, not of biases and normalization"] = 0.01
    gradient_clip: Annotated[float, "largest norm of a gradient; one strange image must not throw the weights away"] = 5.0
    pos_weight_cap: Annotated[float, "most a positive may count over a negative for a rare label; 1 switches it off"] = 5.0
    dropout: Annotated[float, "after each dense layer; augmentation serves small sets better"] = 0.0
    average: Annotated[float, "share a step leaves of the running average of weights, which is what is judged; 0: none"] = 0.99
    patience: Annotated[int, "stop after so many epochs without a better validation AUROC; 0 never stops early"] = 0
    # Evaluation
    resamples: Annotated[int, "draws of patients for the 95 % intervals; 0 for none"] = 1000
    calibration: Annotated[str, "platt, temperature or none: probabilities made true on validation images"] = "platt"
    threshold: Annotated[str, "youden, sensitivity=SHARE or specificity=SHARE, reached on validation images"] = "youden"
    # System
    seed: Annotated[int, "same seed, same data and one thread: same weights, bit by bit"] = 0
    device: Annotated[str, "auto (a GPU if there is one), cpu or cuda"] = "auto"
    precision: Annotated[str, "auto, float32 or bfloat16; bfloat16 halves a step where the hardware knows it"] = "auto"
    threads: Annotated[int, "CPU threads of a step; 0 measures as it goes: all, or one where other processes are busy"] = 0
    progress: Annotated[bool, "show a progress bar while images are decoded"] = True
    stop_with_stdin: Annotated[bool, "stop, with a checkpoint, when standard input closes: the starter is gone"] = False


CHOICES = {
    "uncertain": ("ignore", "ones", "zeros", "soft"),
    "mode": ("multi-label", "single-label"),
    "schedule": ("one-cycle", "constant"),
    "calibration": ("platt", "temperature", "none"),
    "precision": ("auto", "float32", "bfloat16"),
}
ENVIRONMENT = {
    "channel": "SM_CHANNEL_TRAIN",
    "model_dir": "SM_MODEL_DIR",
    "output_dir": "SM_OUTPUT_DATA_DIR",
    "workers": "SM_NUM_CPUS",
}
# A checkpoint fits a run whose other settings are the same: these may differ, they do not change what is learned.
FREE_ON_RESUME = {
    *("channel", "model_dir", "output_dir", "checkpoint_dir", "resume", "commit", "workers", "cache_dir", "cache_gb"),
    *("epochs", "patience"),
    *("resamples", "calibration", "threshold", "device", "threads", "progress", "stop_with_stdin"),
}


def parse(arguments: Sequence[str] | None, environ: Mapping[str, str]) -> Config:
    """Return the settings: a default, replaced by SageMaker's variable, replaced by a flag (with - or _)."""
    hints = get_type_hints(Config, include_extras=True)
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout, allow_abbrev=False)
    for field in fields(Config):
        kind, reason = get_args(hints[field.name])
        default = environ.get(ENVIRONMENT.get(field.name, "")) or field.default
        parser.add_argument(
            f"--{field.name}",
            *([f"--{field.name.replace('_', '-')}"] if "_" in field.name else []),
            type=to_bool if kind is bool else kind,
            default=default,
            choices=CHOICES.get(field.name),
            metavar=None if field.name in CHOICES else kind.__name__.upper(),
            help=f"{reason.replace('%', '%%')} (default: {default if default != Path() else 'checkpoints in output_dir'})",
        )
    on_sagemaker = "SM_MODEL_DIR" in environ
    parser.set_defaults(resume=on_sagemaker)
    values = vars(parser.parse_args(arguments))
    if values["checkpoint_dir"] == Path():
        in_container = str(values["model_dir"]) == "/opt/ml/model"
        values["checkpoint_dir"] = Path("/opt/ml/checkpoints") if in_container else values["output_dir"] / "checkpoints"
    if values["cache_dir"] == "auto":
        # What lies in SageMaker's output, model and checkpoint folders is copied to S3, and images of patients need not be.
        beside = Path(tempfile.gettempdir()) if on_sagemaker else values["output_dir"].resolve().parent
        values["cache_dir"] = str(beside / "image-cache")
    values["workers"] = values["workers"] or os.cpu_count() or 1
    for name, lowest in (("size_px", 32), ("epochs", 1), ("batch_size", 2), ("patience", 0), ("resamples", 0)):
        if values[name] < lowest:
            parser.error(f"--{name}: expected at least {lowest}, got {values[name]}")
    return Config(**values)


def to_bool(text: str) -> bool:
    """Return the boolean of a flag: the two SageMaker launchers write ``True`` and ``true``."""
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


def train(config: Config) -> int:
    """Train, evaluate and save; return the exit code: 0, or 128 + the signal that stopped the run."""
    # --- setup -----------------------------------------------------------------------------------------------------------
    import copy

    import numpy as np
    import torch

    from dicom_workflow.learning import (
        assessment,
        augmentation,
        bundle,
        cache,
        checkpoint,
        dataset,
        evaluation,
        inference,
        model_card,
        network,
        pace,
    )

    started = time.perf_counter()
    threads = pace.Pace(config.threads)
    rule = evaluation.Rule.parse(config.threshold)  # a mistake shows now, not after the last epoch
    device = network.choose_device(config.device)
    precision = network.choose_precision(config.precision, device)
    config.output_dir.mkdir(parents=True, exist_ok=True)
    history_path = config.output_dir / "history.jsonl"
    last_path, best_path = (config.checkpoint_dir / f"{name}.safetensors" for name in ("last", "best"))

    # --- data: every image is decoded once, and kept on disk for the next run -----------------------------------------------
    channel = dataset.read_channel(config.channel)
    labels = channel.labels
    version = dataset.preprocessing_version(reduced=config.reduced)
    decoded = dataset.load_images(
        channel.samples,
        size_px=config.size_px,
        workers=config.workers,
        progress=config.progress,
        version=version,
        cache_dir=config.cache_dir,
        cache_gb=config.cache_gb,
    )
    problems = [*channel.problems, *decoded.problems]
    if decoded.note:
        print(decoded.note)
    for problem in problems[:20]:
        print(f"left out: {problem}")
    targets = dataset.to_targets(decoded.samples, labels)  # (N, labels), NaN unknown
    taught = dataset.to_targets(decoded.samples, labels, uncertain=config.uncertain)
    usable = dataset.has_one_label(taught) if config.mode == "single-label" else ~np.isnan(taught).all(axis=1)
    rows = {split: rows_of(decoded, split) for split in ("train", "validation", "test")}
    train_rows, validation_rows = (rows[split][usable[rows[split]]] for split in ("train", "validation"))
    print(
        f"images: {', '.join(f'{len(rows[split])} {split}' for split in rows)}; left out: {len(problems)}; "
        f"usable for training: {len(train_rows)}; labels: {len(labels)}; {device}, {precision}"
    )
    if len(train_rows) < 2:
        raise DatasetError(
            f"{config.channel}: expected at least 2 training images with a label, got {len(train_rows)} "
            f"of {len(rows['train'])}; {len(problems)} were left out. Label more images, or look at the messages above."
        )
    images = decoded.images  # (N, 1, S, S) float16, on disk: what a step needs is taken from it
    wanted = torch.from_numpy(taught)
    mean, std = network.mean_and_std(images, train_rows)
    seconds = {"images": time.perf_counter() - started}

    # --- network, loss, optimizer -------------------------------------------------------------------------------------------
    model = network.build(labels, dropout=config.dropout, seed=config.seed)
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    optimizer = torch.optim.AdamW(network.parameter_groups(model, config.weight_decay), lr=config.learning_rate, fused=True)
    # The average of the last hundred or so steps answers better than any one of them, and sooner.
    average = copy.deepcopy(model)
    augment = augmentation.Augmentation(config.rotation_degrees, config.translation, config.scale, config.contrast)
    loss_of = network.cross_entropy if config.mode == "single-label" else network.masked_bce
    pos_weight = torch.from_numpy(network.positive_weights(taught[train_rows], config.pos_weight_cap)).to(device)
    # As many steps as whole batches fit, the images dealt out evenly: no image is dropped and no batch is nearly empty.
    steps = max(1, round(len(train_rows) / config.batch_size))

    def evaluate(which: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """Return logits and probabilities, each (len(which), labels)."""
        logits = network.logits_of(
            average, images, rows=which, mean=mean, std=std, batch_size=2 * config.batch_size, precision=precision
        )
        return logits.reshape(-1, len(labels)), network.probabilities(logits, config.mode).numpy().reshape(-1, len(labels))

    # --- where the run stands -----------------------------------------------------------------------------------------------
    settings = {name: value for name, value in to_json(config).items() if name not in FREE_ON_RESUME}
    fingerprint = {**settings, "labels": list(labels), "manifests": dict(channel.sha256), "images": len(decoded.samples)}
    state: dict[str, Any] = {"epoch": 0, "step": 0, "loss_sum": 0.0, "history": [], "best": {}, "fingerprint": fingerprint}
    if config.resume and last_path.is_file():
        state = checkpoint.load(last_path, {"network": model, "average": average}, optimizer)
        different = sorted(key for key in fingerprint if state["fingerprint"].get(key) != fingerprint[key])
        if different:
            raise LearningError(
                f"{last_path}: expected a checkpoint of this run, but {', '.join(different)} differ. "
                "Use the same settings and data, another --checkpoint_dir, or --resume false."
            )
        print(f"resumed: epoch {state['epoch'] + 1}, step {state['step'] + 1} of {steps}")
    history_path.write_text("".join(json.dumps(line) + "\n" for line in state["history"]), encoding="utf-8")

    # --- loop ---------------------------------------------------------------------------------------------------------------
    stopped_by: list[int] = []
    before = {number: signal.signal(number, lambda n, _: stopped_by.append(n)) for number in (signal.SIGTERM, signal.SIGINT)}
    if config.stop_with_stdin:
        threading.Thread(target=stop_when_stdin_closes, daemon=True).start()
    trained_from = time.perf_counter()
    while state["epoch"] < config.epochs and not is_spent(state["history"], config.patience):
        epoch, epoch_from, first_step, rate = state["epoch"], time.perf_counter(), state["step"], 0.0
        # The order and the changes depend on seed, epoch and step alone, so a resumed run needs no memory of earlier draws.
        order = torch.randperm(len(train_rows), generator=seeded(config.seed, epoch)).numpy()
        batches = np.array_split(train_rows[order], steps)
        loss_sum = torch.tensor(state["loss_sum"], dtype=torch.float64, device=device)
        model.train()
        for step in range(first_step, steps):
            threads.begin()
            rate = learning_rate(config, epoch * steps + step, config.epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            generator = seeded(config.seed, epoch, step)
            torch.manual_seed(generator.initial_seed())  # dropout draws from the global state
            index = torch.from_numpy(batches[step])
            taken = torch.from_numpy(cache.take(images, batches[step])).to(device)
            batch = network.normalize(augment(taken, generator), mean, std)  # (B, 1, S, S)
            with network.autocast(device, precision):
                logits = model(batch.contiguous(memory_format=torch.channels_last))  # (B, labels)
            loss = loss_of(logits.float(), wanted[index].to(device), pos_weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
            optimizer.step()
            network.update_average(average, model, decay=config.average, step=epoch * steps + step)
            loss_sum += loss.detach().double() * len(index)
            # Looking at a number on a GPU waits for it, so there it is looked at now and then.
            if (device.type == "cpu" or step % 50 == 49 or step == steps - 1) and not math.isfinite(loss_sum.item()):
                raise LearningError(
                    f"epoch {epoch + 1}, step {step + 1}: expected a finite training loss, got {loss.item()}. "
                    "Lower --learning_rate or --gradient_clip, or use --precision float32. The last good checkpoint is kept."
                )
            threads.end(len(index))
            if stopped_by:
                state.update(step=step + 1, loss_sum=loss_sum.item())
                break
        if stopped_by:
            checkpoint.save(last_path, {"network": model, "average": average}, optimizer, state=state)
            break

        logits, scores = evaluate(validation_rows)
        validation_loss = math.nan
        if len(validation_rows):
            validation_loss = loss_of(logits, wanted[torch.from_numpy(validation_rows)], pos_weight.cpu()).item()
        auroc, each = evaluation.macro_auroc(targets[validation_rows], scores)
        # Without a validation AUROC the loss decides, and without validation images the newest epoch is the best.
        score = next((value for value in (auroc, -validation_loss) if math.isfinite(value)), float(epoch))
        is_best = not state["best"] or score > state["best"]["score"]
        line = {
            "epoch": epoch + 1,
            "epochs": config.epochs,
            "train_loss": finite(loss_sum.item() / len(train_rows)),
            "validation_loss": finite(validation_loss),
            "validation_auroc": finite(auroc),
            "auroc": dict(zip(labels, map(finite, each), strict=True)),
            "learning_rate": rate,
            "seconds": round(time.perf_counter() - epoch_from, 3),
            "images_per_second": round(sum(map(len, batches[first_step:])) / (time.perf_counter() - epoch_from), 1),
            "is_best": is_best,
        }
        state.update(epoch=epoch + 1, step=0, loss_sum=0.0, history=[*state["history"], line])
        if is_best:
            state["best"] = {"epoch": epoch + 1, "validation_auroc": line["validation_auroc"], "score": score}
            checkpoint.save(best_path, {"average": average}, state={"epoch": epoch + 1, "fingerprint": fingerprint})
        checkpoint.save(last_path, {"network": model, "average": average}, optimizer, state=state)
        with history_path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print(
            f"epoch={epoch + 1} train_loss={shown(line['train_loss'])}; validation_loss={shown(line['validation_loss'])}; "
            f"validation_auroc={shown(line['validation_auroc'])}; seconds={line['seconds']:.1f};",
            flush=True,
        )
    seconds["training"] = time.perf_counter() - trained_from
    for number, handler in before.items():
        signal.signal(number, handler)

    # --- save: the best epoch's network, judged on images it has never seen -------------------------------------------------
    if stopped_by and not state["best"]:
        print(f"stopped by signal {stopped_by[0]} in the first epoch: {last_path}; go on with --resume true", flush=True)
        return 128 + stopped_by[0]
    checkpoint.load(best_path, {"average": average})
    best = state["best"]
    metrics = {"best_epoch": best["epoch"], "validation_auroc": best["validation_auroc"]}
    calibrated, thresholds = assessment.settle(
        targets[validation_rows],
        evaluate(validation_rows)[0].numpy(),
        labels,
        mode=config.mode,
        method=config.calibration,
        rule=rule,
    )
    report: dict[str, Any] = {}
    split = next((name for name in ("test", "validation") if len(rows[name])), "")
    if split and not stopped_by:
        logits, _ = evaluate(rows[split])
        samples = [decoded.samples[row] for row in rows[split]]
        report = assessment.assess(
            channel,
            samples,
            logits.numpy(),
            split=split,
            mode=config.mode,
            calibration=calibrated,
            thresholds=thresholds,
            resamples=config.resamples,
            seed=config.seed,
        )
        metrics[split] = assessment.headline(report)
    made_by = bundle.provenance(manifests=channel.sha256, parameters=to_json(config), commit=config.commit)
    trained = bundle.Bundle(
        network=average,
        labels=labels,
        mode=config.mode,
        size_px=config.size_px,
        preprocessing_version=version,
        input_mean=mean,
        input_std=std,
        thresholds=thresholds,
        calibration=calibrated,
        network_arguments={"dropout": config.dropout},
        metrics=metrics,
        provenance=made_by,
    )
    bundle.save(trained, config.model_dir)
    if stopped_by:
        print(f"stopped by signal {stopped_by[0]}; bundle of epoch {best['epoch']} saved; go on with --resume true", flush=True)
        return 128 + stopped_by[0]
    if report:
        scores = calibrated.probabilities(logits.numpy(), labels, config.mode)
        predictions = inference.write_predictions(config.output_dir / "predictions.jsonl", trained, samples, scores)
        seconds["total"] = time.perf_counter() - started
        report.update(
            best_epoch=best["epoch"],
            epochs=len(state["history"]),
            left_out=len(problems),
            problems=problems[:100],
            seconds={name: round(value, 3) for name, value in seconds.items()},
            predictions=predictions.name,
            provenance=made_by,
        )
        text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
        bundle.write_atomically(config.output_dir / "evaluation.json", text.encode("utf-8") + b"\n")
        card = model_card.to_markdown(bundle.read_description(config.model_dir), report)
        bundle.write_atomically(config.model_dir / model_card.NAME, card.encode("utf-8"))
        low, high = report["macro_auroc_interval"] or (None, None)
        print(
            f"{split}_auroc={shown(report['macro_auroc'])}; {split}_auroc_low={shown(low)}; {split}_auroc_high={shown(high)}; "
            f"measured against {report['measured_against']}, best epoch {best['epoch']}"
        )
    print(f"bundle: {config.model_dir}", flush=True)
    return 0


def stop_when_stdin_closes() -> None:
    """Wait for the end of standard input, then stop this process in order, as SageMaker would."""
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def rows_of(decoded: LoadedImages, split: str) -> np.ndarray:
    """Return the positions of a split's images."""
    import numpy as np

    return np.array([row for row, sample in enumerate(decoded.samples) if sample.split == split], dtype=np.int64)


def seeded(*numbers: int) -> torch.Generator:
    """Return a random generator that depends on these numbers alone."""
    import numpy as np
    import torch

    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed & 0x7FFF_FFFF_FFFF_FFFF)


def learning_rate(config: Config, step: int, steps: int) -> float:
    """Return the rate of a step: up to the peak over the warm-up, then down to nearly nothing along a cosine."""
    if config.schedule == "constant":
        return config.learning_rate
    warm = max(1, round(config.warmup * steps))
    if step < warm:
        return config.learning_rate * (0.04 + 0.96 * step / warm)
    return config.learning_rate * (0.001 + 0.999 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2)


def is_spent(history: Sequence[Mapping[str, Any]], patience: int) -> bool:
    """Say whether the last `patience` epochs were all no better than the best before them."""
    return 0 < patience < len(history) and not any(line["is_best"] for line in history[-patience:])


def finite(value: float) -> float | None:
    """Return a number as JSON has it: rounded, null when it is not finite."""
    return round(value, 6) if math.isfinite(value) else None


def shown(value: float | None) -> str:
    """Return a number as the metric regexes read it."""
    return "nan" if value is None else f"{value:.4f}"


def to_json(config: Config) -> dict[str, Any]:
    """Return the settings as JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


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
