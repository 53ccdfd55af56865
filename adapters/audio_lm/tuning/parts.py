"""A small Qwen2-Audio put together from parts: a Whisper encoder, a linear projector that is to be trained, a Llama in GGUF.

A Llama block is a Qwen2 block whose q, k and v have no bias: with biases of zero the weights map exactly. transformers does not
tie ``lm_head`` of this class, so a copy of the embedding is stored and ``tie_word_embeddings`` is off.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from adapters.audio_lm.tuning.tower import load_into, tower_sizes, tower_tensors
from bench.errors import CannotRun
from bench.protocols import Weights
from bench.storage.hashing import hash_json
from bench.storage.run_folder import cache_folder

AUDIO_TOKENS = ("<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] in ['audio', 'audio_url', 'input_audio'] %}<|audio_bos|><|AUDIO|><|audio_eos|>\n"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% if not (loop.last and continue_final_message is defined and continue_final_message) %}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, audio and text in the order in which the client sends them."""
FORMAT = 1
"""Of what is written: part of the key under which it is kept."""
PROJECTOR_SEED = 0
VLLM_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 192, 256)
"""Head sizes that vLLM's CPU attention takes."""


def assembled(tower: Weights, language_model: Weights) -> Path:
    """Return the folder of the model made of these parts: made once, and kept in the cache under their content.

    Args:
        tower: folder of a Whisper encoder.
        language_model: folder with one GGUF file of a Llama.

    Raises:
        CannotRun: a part is not what it must be, or the package gguf is missing.
    """
    key = hash_json([FORMAT, CHAT_TEMPLATE, tower.content_hash, language_model.content_hash])[:16]
    folder = cache_folder() / "audio_lm" / "models" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            scratch = folder.with_suffix(".part")
            shutil.rmtree(scratch, ignore_errors=True)
            write_model(scratch, tower.folder, language_model.folder)
            scratch.rename(folder)
    return folder


def write_model(folder: Path, tower: Path, language_model: Path) -> None:
    """Write the model: safetensors in float32, configuration, tokenizer, front end and chat template.

    Args:
        folder: is made.
        tower: folder of a Whisper encoder.
        language_model: folder with one GGUF file of a Llama.

    Raises:
        CannotRun: a part is not what it must be, or the package gguf is missing.
    """
    from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor, WhisperFeatureExtractor

    llama, tokenizer = _read_llama(language_model)
    tokenizer.add_special_tokens({"additional_special_tokens": list(AUDIO_TOKENS)})
    tokenizer.chat_template = CHAT_TEMPLATE
    config = _config(tower, llama.config, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(PROJECTOR_SEED)
        model = Qwen2AudioForConditionalGeneration(config).eval()
    core = model.model
    load_into(core.audio_tower, tower_tensors(tower), f"{tower}: its audio tower")
    embedding = _with_new_rows(llama.get_input_embeddings().weight.detach(), len(tokenizer))
    _load_llama(core.language_model, llama, embedding)
    with torch.no_grad():
        model.lm_head.weight.copy_(embedding)
        _match_scale(core.multi_modal_projector.linear, embedding)
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor.from_pretrained(tower)
    Qwen2AudioProcessor(extractor, tokenizer, chat_template=CHAT_TEMPLATE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    extractor.save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        shutil.copymode(folder / "config.json", path)  # safetensors keeps what it writes from everybody else


def _read_llama(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if importlib.util.find_spec("gguf") is None:
        raise CannotRun(
            "reading a language model in GGUF needs the package gguf: pip install '.[audio-lm-tuning]'"
        )
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        raise CannotRun(f"{folder}: holds {len(files)} GGUF files; expected one, of a Llama")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=files[0].name)
        llama = AutoModelForCausalLM.from_pretrained(folder, gguf_file=files[0].name, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CannotRun(f"{files[0]}: cannot be read as a language model ({error})") from None
    if llama.config.model_type != "llama" or llama.config.attention_bias or llama.config.mlp_bias:
        raise CannotRun(
            f"{files[0]}: holds a {llama.config.model_type!r} model; a Llama without biases is what maps onto Qwen2 exactly"
        )
    return llama, tokenizer


def _config(tower: Path, llama: Any, tokenizer: Any) -> Any:
    from transformers import Qwen2AudioConfig

    audio = tower_sizes(tower)
    heads = {
        "audio tower": audio["d_model"] // audio["encoder_attention_heads"],
        "language model": llama.head_dim,
    }
    for what, size in heads.items():
        if size not in VLLM_HEAD_SIZES:
            raise CannotRun(
                f"the {what} has heads of {size} values, which vLLM does not serve: {VLLM_HEAD_SIZES}"
            )
    end, pad = tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.convert_tokens_to_ids("<|endoftext|>")
    text = {
        "model_type": "qwen2",
        "vocab_size": len(tokenizer),
        "hidden_size": llama.hidden_size,
        "intermediate_size": llama.intermediate_size,
        "num_hidden_layers": llama.num_hidden_layers,
        "num_attention_heads": llama.num_attention_heads,
        "num_key_value_heads": llama.num_key_value_heads,
        "max_position_embeddings": llama.max_position_embeddings,
        "rms_norm_eps": llama.rms_norm_eps,
        "rope_parameters": dict(llama.rope_parameters),
        "hidden_act": llama.hidden_act,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": end,
        "pad_token_id": pad,
    }
    return Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **audio},
        text_config=text,
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        architectures=["Qwen2AudioForConditionalGeneration"],
        tie_word_embeddings=False,
        dtype="float32",
        eos_token_id=end,
        pad_token_id=pad,
    )


def _with_new_rows(embedding: Tensor, rows: int) -> Tensor:
    """The embedding with a row per added token: the mean of all others, as nothing is known of them."""
    new = embedding.mean(dim=0, keepdim=True).expand(rows - len(embedding), -1)
    return torch.cat([embedding, new])


def _load_llama(language_model: Any, llama: Any, embedding: Tensor) -> None:
    tensors = dict(llama.model.state_dict()) | {"embed_tokens.weight": embedding}
    for name, own in language_model.state_dict().items():
        if name.endswith(("q_proj.bias", "k_proj.bias", "v_proj.bias")):
            tensors[name] = torch.zeros_like(own)
    load_into(language_model, tensors, "the language model")


def _match_scale(linear: Any, embedding: Tensor) -> None:
    """Let the projector of standardised input give rows of the size that the words' embeddings have."""
    size = float(embedding.square().mean().sqrt())
    torch.nn.init.normal_(linear.weight, std=size / linear.in_features**0.5)
    torch.nn.init.zeros_(linear.bias)
