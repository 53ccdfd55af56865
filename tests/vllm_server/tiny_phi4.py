"""A tiny Phi-4-multimodal with a speech LoRA.

Its owner's repository brings the code of configuration and processor. That code is not here: two files of our own take
its place, with the interface that vLLM's model code asks for. What runs of the real thing is vLLM's model, its audio encoder and its LoRA.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.vllm_server.tiny_files import CHAT, text_sizes, write_json, write_tokenizer

FIRST = 200_010 - len(CHAT)
"""vLLM's model code has the ids of its placeholders written in: 200010 for an image, 200011 for audio."""
PLACEHOLDERS = ("<|endoftext10|>", "<|endoftext11|>")
MELS = 80
RANK = 320
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Words alone: vLLM puts ``<|audio_1|>`` before them."""
CONFIGURATION = """\
from transformers import Phi3Config


class TinyPhi4Config(Phi3Config):
    model_type = "phi4mm"
"""
PROCESSING = '''\
import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin


class Frames:
    """80 log energies of 25 ms every 10 ms."""

    sampling_rate = 16000

    def __call__(self, wave):
        wave = np.asarray(wave, np.float32)
        starts = range(0, len(wave) - 400 + 1, 160)
        spectrum = np.abs(np.fft.rfft(np.stack([wave[i : i + 400] for i in starts]), 512))[:, :240]
        return np.log(spectrum.reshape(len(spectrum), 80, 3).mean(2) + 1e-6).astype(np.float32)


class Images:
    """Never asked for one; vLLM reads its size."""

    dynamic_hd = 1


class TinyPhi4Processor(ProcessorMixin):
    attributes = ["tokenizer"]
    tokenizer_class = "AutoTokenizer"

    def __init__(self, tokenizer, **kwargs):
        super().__init__(tokenizer)
        self.audio_processor, self.image_processor = Frames(), Images()

    def __call__(self, text, images=None, audios=None, return_tensors=None, **kwargs):
        found = dict(self.tokenizer(text, return_tensors=return_tensors))
        found["image_sizes"] = torch.zeros((0, 2), dtype=torch.long)
        if audios:
            frames = [torch.from_numpy(self.audio_processor(wave)) for wave, _ in audios]
            found["input_audio_embeds"] = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
        return BatchFeature(found)
'''


def write_phi_4(folder: Path) -> None:
    """Write a Phi-4-multimodal: a conformer before Phi-3's layers, and a LoRA of the card's rank in ``speech-lora``."""
    ids = write_tokenizer(folder, PLACEHOLDERS, TEMPLATE, first=FIRST)
    code = {"AutoProcessor": "processing_tiny.TinyPhi4Processor"}
    (folder / "configuration_tiny.py").write_text(CONFIGURATION, encoding="utf-8")
    (folder / "processing_tiny.py").write_text(PROCESSING, encoding="utf-8")
    write_json(folder, "processor_config.json", {"processor_class": "TinyPhi4Processor", "auto_map": code})
    write_json(folder, "preprocessor_config.json", {"processor_class": "TinyPhi4Processor", "auto_map": code})
    text = text_sizes(ids, partial_rotary_factor=1.0, tie_word_embeddings=True, sliding_window=None)
    config = {
        **text,
        "vocab_size": 200_064,
        "model_type": "phi4mm",
        "architectures": ["Phi4MMForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_tiny.TinyPhi4Config", **code},
        "img_processor": None,
        "audio_processor": {"name": "cascades", "config": _conformer()},
        "embd_layer": {
            "embedding_cls": "image_audio",
            "image_embd_layer": {"embedding_cls": "tune_image"},
            "audio_embd_layer": {
                "embedding_cls": "audio",
                "compression_rate": 8,
                "downsample_rate": 1,
                "projection_cls": "mlp",
                "use_conv_downsample": False,
                "use_qformer": False,
            },
        },
        "dtype": "bfloat16",
    }
    write_json(folder, "config.json", config)
    _write_lora(folder / "speech-lora")


def _conformer() -> dict[str, Any]:
    return {
        "activation": "swish",
        "attention_dim": 128,
        "attention_heads": 2,
        "attention_group_size": 1,
        "causal": True,
        "chunk_size": -1,
        "left_chunk": 18,
        "conv_activation": "swish",
        "conv_glu_type": "swish",
        "depthwise_seperable_out_channel": 128,
        "depthwise_multiplier": 1,
        "ext_pw_kernel_size": 1,
        "ext_pw_out_channel": 128,
        "input_layer": "nemo_conv",
        "input_size": MELS,
        "kernel_size": 3,
        "linear_units": 256,
        "num_blocks": 2,
        "nemo_conv_settings": {"conv_channels": 128},
        "relative_attention_bias_args": {"t5_bias_max_distance": 500, "type": "t5"},
        "time_reduction": 8,
        "encoder_embedding_config": {"input_size": MELS},
    }


def _write_lora(folder: Path) -> None:
    """Write random low-rank weights for attention and feed-forward layers."""
    import torch
    from safetensors.torch import save_file

    width, inner = 128, 256
    shapes = {
        "self_attn.qkv_proj": (width, 3 * width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_up_proj": (width, 2 * inner),
        "mlp.down_proj": (inner, width),
    }
    random = torch.Generator().manual_seed(0)
    weights = {}
    for layer in range(2):
        for name, (taken, given) in shapes.items():
            at = f"base_model.model.model.layers.{layer}.{name}"
            weights[f"{at}.lora_A.weight"] = torch.randn(RANK, taken, generator=random) / 16
            weights[f"{at}.lora_B.weight"] = torch.randn(given, RANK, generator=random) / 16
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({name.rpartition(".")[2] for name in shapes}),
        "base_model_name_or_path": "",
    }
    write_json(folder, "adapter_config.json", config)
    save_file(weights, str(folder / "adapter_model.safetensors"))
