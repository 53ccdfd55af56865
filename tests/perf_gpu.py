"""Extraction and training on a GPU: clips and steps a second, share of the peak (MFU), and what the roofline allows.

    python -m tests.perf_gpu [--device cuda] [--out FILE.json]

Random weights of real sizes, made on the spot: nothing is fetched. Extraction: Whisper-medium and WavLM-large sizes in bf16,
Whisper on the clip's own frames and on 30-s windows. Training: the MERaLiON-SER configuration on Whisper-medium, batch 32 of
30-s windows, head and LoRA, against the bare step of the same network. No GPU was at hand when this was written: no
figure of it is published. ``--tiny`` shrinks everything, to see it run (``--device cpu --tiny``).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from adapters.transformers_encoder import TransformersEncoder
from bench.cli.printing import console, print_table
from bench.protocols import SAMPLE_RATE, Weights
from bench.storage.atomic import write_json
from bench.storage.provenance import machine_facts

MEDIUM = {"d_model": 1024, "encoder_layers": 24, "encoder_attention_heads": 16, "encoder_ffn_dim": 4096}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
TINY_WHISPER = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
TINY_WAVLM = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
CLIP_SECONDS, REPEATS = 4.0, 5


@dataclass(frozen=True)
class Row:
    """One measured speed. ``tflops`` are useful operations a second; ``share`` of the device's measured peak."""

    what: str
    per_second: float
    low: float
    high: float
    unit: str
    tflops: float
    share: float


def whisper(folder: Path, shape: dict[str, int]) -> Weights:
    """Whisper's encoder with random weights."""
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(0)
    WhisperEncoder(WhisperConfig(**shape)).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return Weights(folder, "random")


def wavlm(folder: Path, shape: dict[str, int]) -> Weights:
    """WavLM of the large kind (layer norms, padding under a mask) with random weights."""
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMModel

    torch.manual_seed(0)
    WavLMModel(WavLMConfig(**shape, feat_extract_norm="layer", do_stable_layer_norm=True)).save_pretrained(
        folder
    )
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    return Weights(folder, "random")


def peak(device: str, dtype: torch.dtype, size: int) -> float:
    """Operations a second of the largest matrix product, the roof that shares are taken of."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = timed(lambda: a @ b, device)
    return 2.0 * size**3 / min(seconds)


def timed(action: Callable[[], object], device: str, repeats: int = REPEATS) -> list[float]:
    """Seconds of each of several repeats, after one to warm up, the device waited for."""
    taken = []
    for _ in range(repeats + 1):
        _wait(device)
        started = time.perf_counter()
        action()
        _wait(device)
        taken.append(time.perf_counter() - started)
    return taken[1:]


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def operations(action: Callable[[], object]) -> int:
    """Floating-point operations of an action, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        action()
    return int(counter.get_total_flops())


def row(
    what: str, unit: str, count: int, action: Callable[[], object], device: str, roof: float, tiny: bool
) -> Row:
    """Measure an action that handles ``count`` units; a tiny one twice, since its figures tell nothing."""
    work = operations(action)
    seconds = sorted(timed(action, device, 2 if tiny else REPEATS))
    middle = seconds[len(seconds) // 2]
    return Row(
        what,
        count / middle,
        count / seconds[-1],
        count / seconds[0],
        unit,
        work / middle / 1e12,
        work / middle / roof,
    )


def extraction_rows(folder: Path, device: str, tiny: bool, roof: float) -> list[Row]:
    """Clips a second through the suite's encoder, hidden states of all layers back on the host included."""
    clips = 4 if tiny else 128
    rng = np.random.default_rng(0)
    waves = [
        (0.1 * rng.standard_normal(int(CLIP_SECONDS * SAMPLE_RATE))).astype(np.float32) for _ in range(clips)
    ]
    own = whisper(folder / "whisper", TINY_WHISPER if tiny else MEDIUM)
    other = wavlm(folder / "wavlm", TINY_WAVLM if tiny else LARGE)
    dtype = "float32" if tiny else "bfloat16"
    made: list[tuple[str, Weights, Literal["own", "30s"]]] = [
        ("Whisper-medium size, own frames", own, "own"),
        ("Whisper-medium size, 30-s windows", own, "30s"),
        ("WavLM-large size", other, "own"),
    ]
    rows = []
    for name, weights, mode in made:
        encoder = TransformersEncoder(weights, input=mode, batch=32, dtype=dtype, device=device)
        rows.append(
            row(
                f"extraction, {name}, {dtype}",
                "clips/s",
                clips,
                lambda e=encoder: e.encode(waves),
                device,
                roof,
                tiny,
            )  # type: ignore[misc]
        )
    return rows


def training_rows(folder: Path, device: str, tiny: bool, roof: float) -> list[Row]:
    """Steps a second of the paper's configuration: the suite's step, and forward, loss, backward, optimiser alone."""
    from accelerate import Accelerator

    from adapters.meralion_ser.training import loop
    from adapters.meralion_ser.training.batches import TrainingBatch
    from adapters.meralion_ser.training.losses import HybridMasks, HybridTargets, hybrid_loss

    run = _paper_run(folder, device, tiny)
    stage = run.stages[-1]
    size = 2 if tiny else run.recipe.batch
    torch.manual_seed(0)
    batch = TrainingBatch(
        tuple(range(size)),
        torch.randn(size, stage.longest, 80),
        None,
        HybridTargets(torch.arange(size) % run.classes, torch.rand(size, 3)),
        HybridMasks(torch.ones(size, dtype=torch.bool), torch.ones(size, 3, dtype=torch.bool)),
    )
    optimiser = torch.optim.AdamW([p for group, _, _ in stage.parameters for p in group], lr=1e-5, fused=True)
    accelerator = loop.accelerator_for(run) if not tiny else Accelerator(cpu=device == "cpu")
    network, prepared = accelerator.prepare(run.model, optimiser)
    run.model.train()
    ready = batch.to(device)
    half = torch.autocast(device.split(":")[0], dtype=torch.bfloat16, enabled=run.recipe.precision == "bf16")

    def suite() -> None:
        loop._step(run, stage, batch, accelerator, network, prepared, None)

    def bare() -> None:
        with half:
            answer = stage.forward(run.model, ready.frames, None)
        loss = hybrid_loss(
            answer.logits.float(), answer.dimensions.float(), ready.targets, ready.masks, run.weights
        )
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        optimiser.step()

    what = f"training, Whisper-medium size, 30-s windows, batch {size}, {run.recipe.precision}"
    return [
        row(f"{what}: the suite's step", "steps/s", 1, suite, device, roof, tiny),
        row(f"{what}: a bare step", "steps/s", 1, bare, device, roof, tiny),
    ]


def _paper_run(folder: Path, device: str, tiny: bool) -> Any:
    """The paper's stages, on sixteen clips that nobody ever heard."""
    from tests.perf_training import caught_run

    weights = whisper(folder / "paper", TINY_WHISPER if tiny else MEDIUM)
    small: dict[str, Any] = {"channels": 32} if tiny else {"precision": "bf16"}
    return caught_run(folder, weights, card="meralion-ser-paper-single", clips=16, device=device, **small)


def main() -> int:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--tiny", action="store_true", help="small shapes, to see it run")
    asked = parser.parse_args()
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        console().print(
            "no CUDA device is visible: these figures need one (--device cpu --tiny only shows that it runs)"
        )
        return 2
    dtype = torch.float32 if asked.tiny else torch.bfloat16
    roof = peak(asked.device, dtype, 256 if asked.tiny else 8192)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = [
            *extraction_rows(folder, asked.device, asked.tiny, roof),
            *training_rows(folder, asked.device, asked.tiny, roof),
        ]
    facts = machine_facts([asked.device])
    name = torch.cuda.get_device_name() if asked.device.startswith("cuda") else facts["processor"]
    print_table(
        f"{name}: {roof / 1e12:.3g} TFLOP/s in the largest {dtype} product",
        ("figure", "median", "spread", "TFLOP/s", "MFU"),
        [
            (
                r.what,
                f"{r.per_second:.3g} {r.unit}",
                f"{r.low:.3g} – {r.high:.3g}",
                f"{r.tflops:.3g}",
                f"{100 * r.share:.0f} %",
            )
            for r in rows
        ],
    )
    if asked.out is not None:
        write_json(
            asked.out,
            {"device": name, "roof_tflops": roof / 1e12, "machine": facts, "rows": [asdict(r) for r in rows]},
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
