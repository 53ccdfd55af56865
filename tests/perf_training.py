"""What training costs beyond the arithmetic: the small model's step against a bare loop, its cached epochs against matmuls.

CPU seconds of one thread, so that what else runs on the machine weighs less; ratios are taken within one repeat. Random
weights of the shapes of ``meralion-ser-small`` (Whisper tiny.en inside) and random frames of as many clips as a fold of the
smallest corpus: no data and no weights needed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from adapters.meralion_ser import MeralionSer, MeralionSerConfig
from adapters.meralion_ser.augmentation import MixUp
from adapters.meralion_ser.batches import Batch, LabelledFrames, epoch_batches
from adapters.meralion_ser.checkpoints import Session
from adapters.meralion_ser.losses import HybridWeights, hybrid_loss
from adapters.meralion_ser.network import MeralionSerOutput
from adapters.meralion_ser.training import Recipe, Run, Stage, train

CLIPS, BATCH, LONGEST, DIMS, LAYER = 256, 16, 100, 384, 3
REPEATS = 3
Row = tuple[str, tuple[float, ...], str, str]
WHISPER = {"d_model": DIMS, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}


def network() -> MeralionSer:
    """The small model's network with random weights, LoRA in the block that gives the layer the head reads."""
    torch.manual_seed(0)
    model = MeralionSer(
        MeralionSerConfig(
            encoder="whisper", whisper=WHISPER, layer=LAYER, frames="own", channels=128, channels_per_group=16,
            standardise=True, init_scheme="few_clips", lora_rank=8, lora_alpha=16.0, lora_dropout=0.0,
            lora_layers=[LAYER], id2label=dict(enumerate(["neutral", "happy", "sad", "angry"])),
        )
    )  # fmt: skip
    model.whisper.requires_grad_(False)
    model.add_lora()
    return model


def clips() -> LabelledFrames:
    """Clips of 2 to 4 s, as frames of 20 ms."""
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(100, 200, (CLIPS,), generator=random).tolist()
    return LabelledFrames(
        tuple(f"{i}.wav" for i in range(CLIPS)),
        tuple(torch.randn(n, DIMS, generator=random) for n in lengths),
        torch.randint(0, 4, (CLIPS,), generator=random),
        torch.rand(CLIPS, 3, generator=random),
    )


def forward(layer: int) -> Callable[[nn.Module, Tensor, Tensor | None], MeralionSerOutput]:
    """How a stage asks the network: from the stored frames of ``layer`` on."""

    def ask(model: nn.Module, frames: Tensor, lengths: Tensor | None) -> MeralionSerOutput:
        answer: MeralionSerOutput = model(states=frames, states_layer=layer, lengths=lengths)
        return answer

    return ask


def suite(model: MeralionSer, material: LabelledFrames, layer: int, epochs: int) -> float:
    """CPU seconds of the suite's own training, checkpoints included."""
    groups = [([p for p in model.parameters() if p.requires_grad], 6e-4, 8e-5)]
    recipe = Recipe(epochs=epochs, batch=BATCH, dev="train", average=1)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            model=model,
            stages=[Stage(epochs, material, None, forward(layer), groups)],
            recipe=recipe,
            weights=HybridWeights(torch.ones(4)),
            classes=4,
            longest=LONGEST,
            device="cpu",
            folder=Path(folder),
            fingerprint="0" * 16,
            progress=lambda done, total: None,
        )
        started = time.process_time()
        train(run, Session(np.random.default_rng(0)))
        return time.process_time() - started


def drawn(material: LabelledFrames, epochs: int) -> list[Batch]:
    """The batches that the suite's training draws, with its MixUp, in its order."""
    rng, mixup = np.random.default_rng(0), MixUp(0.5, 0.3)
    return [
        mixup(batch, 4, rng)
        for _ in range(epochs)
        for batch in epoch_batches(material, BATCH, LONGEST, rng, "all")
    ]


def bare(model: MeralionSer, batches: list[Batch], layer: int) -> float:
    """CPU seconds of a plain PyTorch loop over batches that are ready: same network, loss and optimiser."""
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=6e-4, weight_decay=8e-5, fused=True
    )
    model.train()
    weights = HybridWeights(torch.ones(4))
    started = time.process_time()
    for batch in batches:
        answer = model(states=batch.frames, states_layer=layer, lengths=batch.lengths)
        loss = hybrid_loss(answer.logits, answer.dimensions, batch.targets, batch.masks, weights)
        optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        optimiser.step()
    return time.process_time() - started


def multiplications(model: MeralionSer, batches: list[Batch], layer: int) -> tuple[float, float]:
    """FLOPs of the batches' training, and the CPU seconds that its convolutions and products alone would take.

    Each module that multiplies is fed inputs of the very shapes it sees in training, forward and backward, by itself; as
    often as it is called.
    """
    from torch.utils.flop_counter import FlopCounterMode

    shapes: dict[tuple[nn.Module, tuple[int, ...], bool], int] = {}

    def seen(module: nn.Module, given: tuple[Tensor, ...], _out: object) -> None:
        key = (module, tuple(given[0].shape), given[0].requires_grad)
        shapes[key] = shapes.get(key, 0) + 1

    kinds = (nn.Linear, nn.Conv1d)
    hooks = [m.register_forward_hook(seen) for m in model.modules() if isinstance(m, kinds)]
    with FlopCounterMode(display=False) as counter:
        bare(model, batches, layer)
    for hook in hooks:
        hook.remove()
    seconds = 0.0
    for (module, shape, needs), calls in shapes.items():
        given = torch.randn(shape, requires_grad=needs)
        learns = needs or any(p.requires_grad for p in module.parameters())
        taken = []
        for _ in range(4):
            started = time.process_time()
            out = module(given)
            if learns:
                out.backward(torch.ones_like(out))
            taken.append(time.process_time() - started)
        seconds += calls * min(taken)
    return float(counter.get_total_flops()), seconds


def measure() -> list[Row]:
    """The figures."""
    material = clips()
    overhead, adapted, cached, rates = [], [], [], []
    for layer, ratios in ((LAYER, overhead), (LAYER - 1, adapted)):
        suite(network(), material, layer, 1)
        batches = drawn(material, 2)
        for _ in range(REPEATS):
            ours, theirs = suite(network(), material, layer, 2), bare(network(), batches, layer)
            ratios.append(100 * (ours / theirs - 1))
            if layer == LAYER:
                flops, bound = multiplications(network(), batches, layer)
                cached.append(100 * (ours / bound - 1))
                rates.append(flops / bound / 1e9)
    return [
        (
            "training the head on the cached prefix: overhead over a bare loop",
            tuple(overhead),
            "%",
            "under 10 %",
        ),
        ("training LoRA and head: overhead over a bare loop", tuple(adapted), "%", "under 10 %"),
        ("matmul rate of the head's own shapes, forward and backward", tuple(rates), "GFLOP/s", ""),
        ("cached-prefix epochs over the FLOP bound at that rate", tuple(cached), "%", "within 10 %"),
    ]


def main() -> None:
    """Measure and print."""
    from bench.cli.printing import print_table
    from bench.execution.jobs import quiet_single_thread

    quiet_single_thread()
    torch.set_num_threads(1)
    rows = [
        (
            what,
            f"{sorted(values)[len(values) // 2]:.3g} {unit}",
            f"{min(values):.3g} – {max(values):.3g}",
            target,
        )
        for what, values, unit, target in measure()
    ]
    print_table("", ("figure", "median", "spread", "target"), rows)


if __name__ == "__main__":
    main()
