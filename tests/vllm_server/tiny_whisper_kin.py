"""Tiny models with a Whisper encoder before a language model: Audio Flamingo 3 and MERaLiON-2."""

from __future__ import annotations

from pathlib import Path

from tests.vllm_server.tiny_files import (
    chat_template,
    encoder_sizes,
    text_sizes,
    write_json,
    write_tokenizer,
    write_whisper_front_end,
)

GELU = "gelu_pytorch_tanh"
SPEECH = "<SpeechHere>"
"""MERaLiON-2's placeholder for audio, which its owner's prompt names."""


def write_audio_flamingo_3(folder: Path) -> None:
    """Write an Audio Flamingo 3: Qwen2 behind a Whisper encoder whose frames are pooled in pairs."""
    ids = write_tokenizer(folder, ["<sound>"], chat_template("<sound>"))
    write_whisper_front_end(folder, "AudioFlamingo3Processor")
    # The real limit is 600 s, and a starting server tries as much.
    processor = {"processor_class": "AudioFlamingo3Processor", "audio_token": "<sound>", "max_audio_len": 60}
    write_json(folder, "processor_config.json", processor)
    encoder = encoder_sizes()
    audio = {
        "model_type": "audioflamingo3_encoder",
        "hidden_size": encoder["d_model"],
        "num_hidden_layers": encoder["encoder_layers"],
        "num_attention_heads": encoder["encoder_attention_heads"],
        "intermediate_size": encoder["encoder_ffn_dim"],
        "num_mel_bins": encoder["num_mel_bins"],
        "max_source_positions": encoder["max_source_positions"],
    }
    config = {
        "model_type": "audioflamingo3",
        "architectures": ["AudioFlamingo3ForConditionalGeneration"],
        "audio_config": audio,
        "text_config": text_sizes(ids, model_type="qwen2"),
        "audio_token_id": ids["<sound>"],
        "dtype": "bfloat16",
    }
    write_json(folder, "config.json", config)


def write_meralion_2(folder: Path) -> None:
    """Write a MERaLiON-2: Gemma 2 behind a Whisper encoder, 100 tokens for every 30 s."""
    # Its template knows text alone: the owner's prompt holds the placeholder.
    template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
    )
    ids = write_tokenizer(folder, [SPEECH], template)
    code = {"auto_map": {"AutoProcessor": "processing_tiny.MERaLiON2Processor"}}
    write_whisper_front_end(folder, "MERaLiON2Processor", **code)
    (folder / "processing_tiny.py").write_text(
        "from vllm_plugin_meralion2.transformers_utils.processing_meralion2 import MERaLiON2Processor as _Shipped\n\n\n"
        "class MERaLiON2Processor(_Shipped):\n    pass\n",
        encoding="utf-8",
    )
    (folder / "configuration_tiny.py").write_text(
        "from vllm_plugin_meralion2.transformers_utils.configuration_meralion2 import MERaLiON2Config as _Shipped\n\n\n"
        "class MERaLiON2Config(_Shipped):\n    pass\n",
        encoding="utf-8",
    )
    write_json(
        folder,
        "processor_config.json",
        {"processor_class": "MERaLiON2Processor", "speech_token_index": ids[SPEECH], **code},
    )
    text = text_sizes(
        ids, model_type="gemma2", head_dim=64, sliding_window=4096, hidden_act=GELU, hidden_activation=GELU
    )
    config = {
        "model_type": "meralion2",
        "architectures": ["MERaLiON2ForConditionalGeneration"],
        "auto_map": {"AutoConfig": "configuration_tiny.MERaLiON2Config"},
        "speech_config": encoder_sizes(),
        "text_config": text,
        "speech_token_index": ids[SPEECH],
        "torch_dtype": "bfloat16",
    }
    write_json(folder, "config.json", config)
