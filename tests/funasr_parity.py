"""``make funasr``: emotion2vec on real FunASR, a small network of its architecture with random weights.

What the adapter gives is compared with FunASR's own forward pass on the same samples (nothing but FunASR's module, called by
hand); then ``serbench run`` takes the released classifier's card through a matrix, and the run's log is read. Released
weights are no part of it: no copy of them is here. Writes results/funasr.json (about a minute of one core).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from adapters.emotion2vec import MIN_SAMPLES, Emotion2vecClassifier, Emotion2vecEncoder
from bench.protocols import SAMPLE_RATE, Clips, Examples, FitContext, Weights
from bench.storage.atomic import write_json
from bench.storage.provenance import machine_facts

CLASSES = (
    "生气/angry",
    "厌恶/disgusted",
    "恐惧/fearful",
    "开心/happy",
    "中立/neutral",
    "其他/other",
    "难过/sad",
    "吃惊/surprised",
    "<unk>",
)
LABELS = ("angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised")
LENGTHS = (100, 7_000, 16_000, 48_123)
"""Samples per clip; the first is below the 25 ms that the convolutions need, and is padded."""
CARD, FOLDER = "emotion2vec-plus-seed-released", "emotion2vec_plus_seed"
MATRIX = f"{{name: parity, entries: [{{systems: [{CARD}], tasks: '*', protocol: zero-shot}}]}}"
PACKAGES = ("funasr", "omegaconf", "hydra-core", "s3prl", "torch", "transformers", "numpy")
FOREIGN_WORDS = ("trust_remote_code", "funasr version", "ckpt", "scope_map", "rtf_avg", "Loading pretrained")
"""What FunASR 1.4.16 logs or prints while it loads and answers."""

_AUDIO = {
    "type": "AUDIO", "prenet_depth": 1, "prenet_layerdrop": 0.0, "prenet_dropout": 0.1, "start_drop_path_rate": 0.0,
    "end_drop_path_rate": 0.0, "num_extra_tokens": 10, "init_extra_token_zero": False, "mask_noise_std": 0.01,
    "mask_prob_min": None, "mask_prob": 0.5, "inverse_mask": False, "mask_prob_adjust": 0.05, "keep_masked_pct": 0.0,
    "mask_length": 5, "add_masks": False, "remove_masks": False, "mask_dropout": 0.0, "encoder_zero_mask": True,
    "mask_channel_prob": 0.0, "mask_channel_length": 64, "ema_local_encoder": False, "local_grad_mult": 1.0,
    "use_alibi_encoder": True, "alibi_scale": 1.0, "learned_alibi": False, "alibi_max_pos": None,
    "learned_alibi_scale": True, "learned_alibi_scale_per_head": True, "learned_alibi_scale_per_layer": False,
    "num_alibi_heads": 2, "model_depth": 2, "decoder": None, "extractor_mode": "layer_norm",
    "feature_encoder_spec": "[(32, 10, 5)] + [(32, 3, 2)] * 4 + [(32, 2, 2)] * 2", "conv_pos_width": 15,
    "conv_pos_groups": 4, "conv_pos_depth": 2, "conv_pos_pre_ln": False,
}  # fmt: skip
_MODEL = {
    "depth": 2, "num_heads": 2, "embed_dim": 48, "mlp_ratio": 2.0, "norm_eps": 1e-5, "norm_affine": True,
    "start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0, "encoder_dropout": 0.1, "post_mlp_drop": 0.1,
    "attention_dropout": 0.1, "activation_dropout": 0.0, "dropout_input": 0.0, "layerdrop": 0.05,
    "layer_norm_first": False, "end_of_block_targets": False, "average_top_k_layers": 2, "clone_batch": 8,
    "loss_beta": 0.0, "loss_scale": None, "normalize": True, "modalities": {"audio": _AUDIO},
}  # fmt: skip


def write_model(folder: Path) -> Any:
    """Write a folder as the released ones are, with random weights; return FunASR's own module that holds them."""
    module: Any = importlib.import_module("funasr.models.emotion2vec.model")
    torch.manual_seed(0)
    model = module.Emotion2vec(model_conf=_MODEL, vocab_size=len(CLASSES)).eval()
    folder.mkdir(parents=True)
    config = {
        "model": "Emotion2vec",
        "model_conf": _MODEL,
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
        "scope_map": ["d2v_model.", "none"],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "tokens.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    torch.save({"model": model.state_dict()}, folder / "model.pt")
    return model


def by_hand(model: Any, wave: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """FunASR's forward pass: (frames, dims), and (classes,) scores of the mean over frames."""
    padded = np.pad(wave, (0, max(0, MIN_SAMPLES - len(wave))))
    with torch.no_grad():
        source = torch.from_numpy(padded)
        source = torch.nn.functional.layer_norm(source, source.shape)[None]
        frames = model.extract_features(source, padding_mask=None)["x"]
        scores = torch.softmax(model.proj(frames.mean(dim=1)), dim=-1)
    return frames[0].numpy(), scores[0].numpy()


def waves() -> list[NDArray[np.float32]]:
    """Noise under a slow swell, one clip per length."""
    noise = np.random.default_rng(0)
    return [(noise.normal(0, 0.1, n) * np.sin(np.linspace(0, np.pi, n))).astype(np.float32) for n in LENGTHS]


def clips_of(made: list[NDArray[np.float32]]) -> Clips:
    """Clips of these samples."""
    names = tuple(f"{i}.wav" for i in range(len(made)))
    seconds = np.array([len(w) / SAMPLE_RATE for w in made])
    return Clips(names, names, seconds, ("en",) * len(made), read=lambda i: made[i])


def compare(folder: Path, own: Any) -> dict[str, Any]:
    """Largest differences of frames and of shares, and the number of threads before and after."""
    torch.set_num_threads(1)
    weights, made = Weights(folder, "random"), waves()
    encoder = Emotion2vecEncoder(weights)
    system = Emotion2vecClassifier(weights, outside="masked")
    nothing = Examples(clips_of([]), labels=(), dimensions=np.zeros((0, 3)), speakers=())
    context = FitContext(labels=LABELS, dimensions=False, seed=0, workdir=folder.parent)
    system.fit(nothing, nothing, context)
    answers = system.predict(clips_of(made))
    if answers.probabilities is None or set(answers.statuses) != {"ok"}:
        raise SystemExit(f"expected an answer for every clip, found {answers.statuses}")
    frames, shares = [], []
    for wave, ours, given in zip(made, encoder.encode(made), answers.probabilities, strict=True):
        theirs, scores = by_hand(own, wave)
        if ours.shape != (1, *theirs.shape):
            raise SystemExit(f"expected frames {(1, *theirs.shape)}, found {ours.shape}")
        by_name = {name.split("/")[-1]: float(s) for name, s in zip(CLASSES, scores, strict=True)}
        expected = np.array([by_name[x] for x in LABELS])
        frames.append(float(np.abs(ours[0] - theirs).max()))
        shares.append(float(np.abs(given - expected / expected.sum()).max()))
    return {
        "clips": len(made),
        "samples": list(LENGTHS),
        "largest_frame_difference": max(frames),
        "largest_share_difference": max(shares),
        "threads_asked": 1,
        "threads_after": torch.get_num_threads(),
    }


def log_of_a_run(folder: Path) -> dict[str, Any]:
    """Take the released card through ``serbench run`` on the built-in corpus and read what the run's log holds."""
    (folder / "parity.yaml").write_text(MATRIX, encoding="utf-8")
    environment = os.environ | {"SERBENCH_WEIGHTS": str(folder), "SERBENCH_CACHE": str(folder / "cache")}
    environment.pop("SERBENCH_DATA", None)
    serbench = str(Path(sys.executable).with_name("serbench"))
    ran = subprocess.run(
        [serbench, "run", str(folder / "parity.yaml"), "--out", str(folder / "run")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ran.returncode:
        raise SystemExit(f"serbench run ended with {ran.returncode}: {(ran.stdout + ran.stderr)[-2000:]}")
    log = folder / "run" / "run.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return {
        "cells": len(list((folder / "run" / "tables").glob("*.parquet"))),
        "log_bytes": len(text.encode()),
        "words_of_funasr": sorted(w for w in FOREIGN_WORDS if w in text or w in ran.stdout + ran.stderr),
    }


def main() -> None:
    """Compare, run, write; exit with 1 where a figure is not as it should be."""
    parser = argparse.ArgumentParser(
        description="emotion2vec on real FunASR against FunASR's own forward pass"
    )
    parser.add_argument("--out", type=Path, default=Path("results/funasr.json"), help="where the figures go")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        figures = compare(folder / FOLDER, write_model(folder / FOLDER))
        figures["run"] = log_of_a_run(folder)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    write_json(
        out, {"weights": "random, seed 0", "packages": versions, "machine": machine_facts(["cpu"]), **figures}
    )
    print(
        f"{figures['clips']} clips: frames differ by {figures['largest_frame_difference']:g}, shares by "
        f"{figures['largest_share_difference']:g}; threads {figures['threads_after']} of {figures['threads_asked']}; "
        f"{figures['run']['cells']} cells, {figures['run']['log_bytes']} bytes of log; {out}"
    )
    wrong = figures["largest_frame_difference"] or figures["threads_after"] != figures["threads_asked"]
    if wrong or figures["largest_share_difference"] > 1e-7 or figures["run"]["words_of_funasr"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
