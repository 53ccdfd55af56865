"""A tiny Voxtral in Mistral's own format: ``params.json`` and a ``tekken.json`` of one token per byte."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from tests.vllm_server.tiny_files import MOST_TOKENS, write_json

CONTROL = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]", "[AUDIO]",
    "[BEGIN_AUDIO]", "[TRANSCRIBE]",
)  # fmt: skip
"""Marks that mistral_common looks up by name."""
SPECIAL = 64
"""Ids kept for them."""
RATE, HOP, WINDOW, MELS = 16_000, 160, 400, 128


def write_voxtral(folder: Path) -> None:
    """Write a Voxtral: a Whisper encoder whose frames are joined by fours, before a Mistral."""
    special = [{"rank": i, "token_str": token, "is_control": True} for i, token in enumerate(CONTROL)]
    vocabulary = [
        {"rank": i, "token_bytes": base64.b64encode(bytes([i])).decode(), "token_str": None}
        for i in range(256)
    ]
    config = {
        "pattern": "[\\s\\S]",
        "num_vocab_tokens": 256,
        "default_vocab_size": 256 + SPECIAL,
        "default_num_special_tokens": SPECIAL,
        "version": "v7",
    }
    encoding = {"num_mel_bins": MELS, "hop_length": HOP, "window_size": WINDOW}
    audio: dict[str, Any] = {"sampling_rate": RATE, "frame_rate": 12.5, "chunk_length_s": 30.0}
    tekken = {
        "config": config,
        "vocab": vocabulary,
        "special_tokens": special,
        "version": 1,
        "type": "Tekken",
        "audio": {**audio, "audio_encoding_config": encoding},
    }
    write_json(folder, "tekken.json", tekken)
    encoder = {
        "dim": 128,
        "n_layers": 2,
        "head_dim": 64,
        "hidden_dim": 512,  # as in the published sizes, the width of four frames
        "n_heads": 2,
        "vocab_size": 51_866,
        "max_source_positions": 1500,
        "audio_encoding_args": {"sampling_rate": RATE, **encoding},
    }
    params = {
        "dim": 128,
        "n_layers": 2,
        "head_dim": 64,
        "hidden_dim": 256,
        "n_heads": 2,
        "n_kv_heads": 2,
        "rope_theta": 100_000_000.0,
        "norm_eps": 1e-05,
        "vocab_size": 256 + SPECIAL,
        "max_position_embeddings": MOST_TOKENS,
        "multimodal": {
            "whisper_model_args": {"encoder_args": encoder, "downsample_args": {"downsample_factor": 4}}
        },
    }
    write_json(folder, "params.json", params)
