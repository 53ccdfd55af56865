"""What all tiny models are made of: a byte tokenizer, a Whisper front end, and sizes that are toys.

Files are written as text, not by `save_pretrained`: they must be read by the transformers of each server's environment, which is
another release than the suite's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MOST_TOKENS = 16_384
LAYERS: Mapping[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": MOST_TOKENS,
}
"""A language model of toy size. Head size 64 is the smallest that vLLM's CPU attention takes."""
CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Padding, and the two marks of a turn."""


def write_json(folder: Path, name: str, content: Any) -> None:
    """Write one JSON file of a model's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def chat_template(audio: str) -> str:
    """Return a chat template that puts audio and text in the order in which they are sent.

    Args:
        audio: what stands for a clip.
    """
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for part in message['content'] %}"
        "{% if part['type'] in ['audio', 'audio_url', 'input_audio'] %}" + audio + "\n"
        "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def write_tokenizer(
    folder: Path,
    special: Sequence[str],
    template: str,
    *,
    first: int = 256,
    named: Mapping[str, str] | None = None,
) -> dict[str, int]:
    """Write a tokenizer of one token per byte and return the ids of its special tokens.

    Args:
        folder: of the model.
        special: further tokens, beside those of a turn, which come first.
        template: the chat template.
        first: id of the first special token, where a model's code expects it; 256 follows the bytes.
        named: special tokens that the model's processor asks for by attribute.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {f"<unused {i}>": i for i in range(len(vocabulary), first)}
    tokens = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens.decoder = decoders.ByteLevel()
    tokens.add_special_tokens([*CHAT, *special])
    tokens.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": MOST_TOKENS,
        "chat_template": template,
        "extra_special_tokens": dict(named or {}),
    }
    write_json(folder, "tokenizer_config.json", config)
    ids = {token: int(tokens.token_to_id(token)) for token in (*CHAT, *special)}
    generation = {"eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"]}
    write_json(folder, "generation_config.json", generation)
    return ids


def text_sizes(ids: Mapping[str, int], **more: Any) -> dict[str, Any]:
    """Return the configuration of the language model for a tokenizer's ids."""
    ends = {
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    return {**LAYERS, "vocab_size": max(ids.values()) + 1, **ends, **more}


def encoder_sizes(**more: Any) -> dict[str, Any]:
    """Return the configuration of a Whisper-style audio encoder."""
    sizes = {"d_model": 128, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 256}
    return {**sizes, "num_mel_bins": 128, "max_source_positions": 1500, **more}


def write_whisper_front_end(folder: Path, processor: str, **more: Any) -> None:
    """Write ``preprocessor_config.json``: log-mel frames of 30 s, as Whisper takes them.

    Args:
        folder: of the model.
        processor: class of the model's processor.
        more: what else stands in that file.
    """
    frames = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 128,
        "sampling_rate": 16_000,
        "hop_length": 160,
        "n_fft": 400,
        "chunk_length": 30,
        "n_samples": 480_000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "dither": 0.0,
        "return_attention_mask": True,
    }
    write_json(folder, "preprocessor_config.json", {**frames, "processor_class": processor, **more})


SPREAD = 0.3
PLUGIN = f'''\
"""Random weights that say something: vLLM's own dummies lie within 0.001, and every clip gets the same answer from them."""


def register():
    import inspect

    from vllm.model_executor.model_loader import weight_utils

    for name in ("initialize_single_dummy_weight", "initialize_dummy_weights"):
        made = getattr(weight_utils, name, None)
        if made is not None:
            inspect.unwrap(made).__defaults__ = (-{SPREAD}, {SPREAD}, 1234)
'''


def write_weights_plugin(folder: Path) -> dict[str, str]:
    """Write a vLLM plugin that widens ``--load-format dummy``, and return the variables that make a server find it.

    Args:
        folder: of its own; it goes onto the server's module path.
    """
    described = folder / "toy_weights-1.dist-info"
    described.mkdir(parents=True, exist_ok=True)
    (folder / "toy_weights.py").write_text(PLUGIN, encoding="utf-8")
    (described / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1\n", encoding="utf-8"
    )
    entry = "[vllm.general_plugins]\ntoy_weights = toy_weights:register\n"
    (described / "entry_points.txt").write_text(entry, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}
