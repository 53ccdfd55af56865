"""What extraction costs beside the forward passes it is made of.

Made-up clips, so that neither data nor weights are needed: six lengths, sixteen clips each. The suite reads, batches, encodes, takes
means over frames, and writes the store; the bare loop pushes ready tensors of equal length through the same network. CPU
seconds of one thread, ratios within one repeat. On a CPU the suite hands clips to an encoder one at a time unless its card says
``batch``, so that stored features do not hang on their company; both ways are measured.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapters.transformers_encoder import TransformersEncoder
from bench.features.extraction import compute_features
from bench.features.store import FeatureStore
from bench.protocols import SAMPLE_RATE, Clips, Weights
from tests.perf_training import whisper

LENGTHS, EACH, REPEATS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5), 16, 3
BASE: dict[str, Any] = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
}
Row = tuple[str, tuple[float, ...], str, str]


def sounds() -> Clips:
    """Noise of six lengths."""
    rng = np.random.default_rng(0)
    waves = [
        (0.1 * rng.standard_normal(int(s * SAMPLE_RATE))).astype(np.float32)
        for s in LENGTHS
        for _ in range(EACH)
    ]
    names = tuple(f"{i:032x}" for i in range(len(waves)))
    return Clips(
        names,
        names,
        np.array([len(w) / SAMPLE_RATE for w in waves]),
        ("qaa",) * len(waves),
        waves.__getitem__,
    )


def hubert(folder: Path, norm: str) -> Weights:
    """A HuBERT with random weights; its first convolution has a group norm (base) or layer norms (large)."""
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    HubertModel(HubertConfig(**BASE, feat_extract_norm=norm)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=norm == "layer").save_pretrained(folder)
    return Weights(folder, "random")


def bare_hubert(weights: Weights, clips: Clips) -> Callable[[], None]:
    """Forward passes over ready batches of equal length, all hidden states kept until the next."""
    from transformers import HubertModel

    model = HubertModel.from_pretrained(weights.folder).eval()
    batches = [
        torch.from_numpy(np.stack([clips.read(i) for i in range(start, start + EACH)]))
        for start in range(0, len(clips), EACH)
    ]

    def loop() -> None:
        with torch.inference_mode():
            for batch in batches:
                model(batch, output_hidden_states=True)

    return loop


def bare_whisper(weights: Weights, clips: Clips) -> Callable[[], None]:
    """Whisper's convolutions and blocks over ready log-mel frames of equal number."""
    from transformers import WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    net = WhisperEncoder.from_pretrained(weights.folder).eval()
    extractor = WhisperFeatureExtractor()
    mels = [
        extractor(clips.read(i), sampling_rate=SAMPLE_RATE, padding="do_not_pad", return_tensors="pt")["input_features"][0]
        for i in range(len(clips))
    ]  # fmt: skip
    batches = [torch.stack(mels[start : start + EACH]) for start in range(0, len(mels), EACH)]

    def loop() -> None:
        with torch.inference_mode():
            for batch in batches:
                x = torch.nn.functional.gelu(net.conv1(batch))
                x = torch.nn.functional.gelu(net.conv2(x)).transpose(1, 2)
                x = x + net.embed_positions.weight[: x.shape[1]]
                for block in net.layers:
                    out = block(x, None)
                    x = out[0] if isinstance(out, tuple) else out
                net.layer_norm(x)

    return loop


def cpu_seconds(action: Callable[[], object]) -> float:
    """CPU seconds of an action."""
    started = time.process_time()
    action()
    return time.process_time() - started


class Counted:
    """An encoder that counts the clips it is given."""

    def __init__(self, encoder: TransformersEncoder) -> None:
        self._encoder, self.clips = encoder, 0

    def encode(self, waveforms: Any) -> Any:
        """Pass on, and count."""
        self.clips += len(waveforms)
        return self._encoder.encode(waveforms)


def extraction(encoder: Any, clips: Clips, folder: Path) -> None:
    """What a run does with a shard of clips."""
    arrays, failures = compute_features(encoder, clips, range(len(clips)), pooled=True)
    assert not failures
    FeatureStore(folder).write("perf", arrays)


def measure() -> list[Row]:
    """Bare seconds over the suite's, per kind of network and batch."""
    from bench.execution.worker import quiet_single_thread

    quiet_single_thread()
    torch.set_num_threads(1)
    clips, rows = sounds(), []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        networks = (
            ("Whisper tiny's shape, own frames", whisper(folder / "whisper"), bare_whisper),
            ("HuBERT of 6 layers, group norm", hubert(folder / "group", "group"), bare_hubert),
            ("HuBERT of 6 layers, layer norm", hubert(folder / "layer", "layer"), bare_hubert),
        )
        for name, weights, bare in networks:
            loop = bare(weights, clips)
            loop()
            for batch in (16, 1):
                shares, passes = [], []
                for repeat in range(REPEATS):
                    encoder = Counted(TransformersEncoder(weights, batch=batch))
                    taken = cpu_seconds(
                        lambda e=encoder, r=repeat, b=batch, n=name: extraction(
                            e, clips, folder / f"store-{n}-{b}-{r}"
                        )  # type: ignore[misc]
                    )
                    shares.append(100 * cpu_seconds(loop) / taken)
                    passes.append(encoder.clips / len(clips))
                assert set(passes) == {1.0}, passes
                target = "at least 90 %" if batch > 1 else "none"
                rows.append(
                    (f"extraction, {name}, batch {batch}: bare forward loop in batches of {EACH} / suite", tuple(shares), "%", target)
                )  # fmt: skip
    return rows


def main() -> None:
    """Measure and print."""
    for what, values, unit, target in measure():
        print(
            f"{what}: {sorted(values)[len(values) // 2]:.3g} {unit} ({min(values):.3g} – {max(values):.3g}; {target})"
        )


if __name__ == "__main__":
    main()
