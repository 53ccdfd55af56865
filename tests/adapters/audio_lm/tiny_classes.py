"""A tiny random model of each class that is served with LoRA: in transformers' format and in the one that vLLM loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.vllm_server.tiny_voxtral import CONTROL, write_voxtral
from tests.vllm_server.tiny_whisper_kin import write_audio_flamingo_3

HEADS = 2
TEXT = {  # Mistral's names of a language model's tensors
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}
EARS = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.out_proj": "attention.wo",
    "fc1": "feed_forward.w1",
    "fc2": "feed_forward.w2",
    "self_attn_layer_norm": "attention_norm",
    "final_layer_norm": "ffn_norm",
}


def write_weights(folder: Path, model_type: str) -> Path:
    """Write a whole tiny model of a class, random and in float32."""
    return {"voxtral": _voxtral, "audioflamingo3": _audio_flamingo_3}[model_type](folder)


def _audio_flamingo_3(folder: Path) -> Path:
    from transformers import AudioFlamingo3ForConditionalGeneration, AutoConfig

    write_audio_flamingo_3(folder)
    config = AutoConfig.from_pretrained(folder)
    config.dtype = torch.float32
    _random(AudioFlamingo3ForConditionalGeneration, config).save_pretrained(folder)
    return folder


def _voxtral(folder: Path) -> Path:
    from transformers import VoxtralConfig, VoxtralForConditionalGeneration, WhisperFeatureExtractor

    write_voxtral(folder)
    WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    config = VoxtralConfig(
        audio_config={"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": HEADS},
        text_config={
            "model_type": "llama", "vocab_size": 320, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
            "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": 64, "max_position_embeddings": 16_384,
            "rms_norm_eps": 1e-5, "rope_theta": 100_000_000.0, "bos_token_id": 1, "eos_token_id": 2,
        },
        audio_token_id=CONTROL.index("[AUDIO]"),
        architectures=["VoxtralForConditionalGeneration"],
        dtype=torch.float32,
    )  # fmt: skip
    model = _random(VoxtralForConditionalGeneration, config)
    # Mistral's format does not hold them: a server computes them.
    with torch.no_grad():
        model.model.audio_tower.embed_positions.weight.copy_(_sinusoids(1500, 128))
    model.save_pretrained(folder)
    save_file(_in_mistrals_format(model.state_dict()), folder / "consolidated.safetensors", {"format": "pt"})
    return folder


def _random(made: Any, config: Any) -> Any:
    """Weights that say something: at 0.02, attention over so few layers moves next to nothing."""
    config.text_config.initializer_range = 0.1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = made(config).eval()
        with torch.no_grad():
            model.lm_head.weight.normal_(std=0.2)
            for p in model.model.multi_modal_projector.parameters():
                p.normal_(std=p.shape[-1] ** -0.5)
    return model


def _sinusoids(length: int, width: int) -> Tensor:
    """Whisper's positions: sines, then cosines, of falling frequencies."""
    frequencies = np.exp(-np.log(10_000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(length)[:, None] * frequencies[None]
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], axis=1)).float()


def _in_mistrals_format(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named = {
        "model.language_model.embed_tokens.weight": "mm_whisper_embeddings.tok_embeddings.weight",
        "model.language_model.norm.weight": "norm.weight",
        "lm_head.weight": "output.weight",
        "model.multi_modal_projector.linear_1.weight": "mm_whisper_embeddings.audio_language_projection.0.weight",
        "model.multi_modal_projector.linear_2.weight": "mm_whisper_embeddings.audio_language_projection.2.weight",
    }
    found = {}
    for name, tensor in tensors.items():
        if name.endswith("embed_positions.weight"):
            continue
        kept = tensor
        if name.startswith("model.language_model.layers.") and name.split(".")[-2] in ("q_proj", "k_proj"):
            # Mistral turns neighbouring values in its rotary embedding, Llama in transformers the two halves of a head.
            kept = tensor.view(HEADS, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)
        found[named.get(name) or _mistrals_name(name)] = kept.clone().contiguous()
    return found


def _mistrals_name(name: str) -> str:
    text, ears = "model.language_model.layers.", "model.audio_tower.layers."
    encoder = "mm_whisper_embeddings.whisper_encoder."
    if name.startswith((text, ears)):
        number, _, rest = name.removeprefix(text).removeprefix(ears).partition(".")
        part, _, kind = rest.rpartition(".")
        known, before = (
            (TEXT, "layers.") if name.startswith(text) else (EARS, encoder + "transformer.layers.")
        )
        return f"{before}{number}.{known[part]}.{kind}"
    rest = name.removeprefix("model.audio_tower.")
    for own, theirs in (
        ("conv1", "conv_layers.0"),
        ("conv2", "conv_layers.1"),
        ("layer_norm", "transformer.norm"),
    ):
        if rest.startswith(own + "."):
            return encoder + theirs + rest.removeprefix(own)
    raise AssertionError(name)
