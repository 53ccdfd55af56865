"""Tiny released classifiers with random weights, one folder per architecture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "classifier_proj_size": 8,
}  # fmt: skip
CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
LAYER_NORM: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SQUEEZED: dict[str, Any] = {
    "conv_dim": (8,) * 7, "conv_stride": (5, 2, 2, 2, 2, 2, 2), "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "num_conv_pos_embeddings": 15, "num_conv_pos_embedding_groups": 2, "squeeze_factor": 2,
}  # fmt: skip
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2ForSequenceClassification", CONVOLUTIONS | {"use_weighted_layer_sum": True}),
    "xls-r": ("Wav2Vec2ForSequenceClassification", CONVOLUTIONS | LAYER_NORM),
    "hubert": ("HubertForSequenceClassification", CONVOLUTIONS),
    "wavlm": ("WavLMForSequenceClassification", CONVOLUTIONS | LAYER_NORM),
    "data2vec": ("Data2VecAudioForSequenceClassification", CONVOLUTIONS | {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7}),
    "unispeech-sat": ("UniSpeechSatForSequenceClassification", CONVOLUTIONS),
    "sew": ("SEWForSequenceClassification", SQUEEZED),
    "w2v-bert": ("Wav2Vec2BertForSequenceClassification", {"feature_projection_input_dim": 160, "conv_depthwise_kernel_size": 7}),
    "conformer": ("Wav2Vec2ConformerForSequenceClassification", CONVOLUTIONS | LAYER_NORM | {"conv_depthwise_kernel_size": 7}),
    "whisper": ("WhisperForAudioClassification", {
        "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_layers": 1,
        "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "max_source_positions": 100, "num_mel_bins": 80, "vocab_size": 100,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "classifier_proj_size": 8,
    }),
    "ast": ("ASTForAudioClassification", {"max_length": 64, "num_mel_bins": 32, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 32}),
}  # fmt: skip
EMOTIONS = ("ang", "neu", "happiness")


def write_folder(name: str, folder: Path, outputs: tuple[str, ...] = EMOTIONS, **config: Any) -> Path:
    """Save a random network of an architecture with its front end.

    Args:
        name: one of ``ARCHITECTURES``.
        folder: where.
        outputs: names of its outputs.
        config: further settings of its configuration.
    """
    cls, extra = ARCHITECTURES[name]
    model = getattr(transformers, cls)
    small = {} if name in ("whisper", "ast") else SMALL
    names = {"id2label": dict(enumerate(outputs)), "label2id": {n: i for i, n in enumerate(outputs)}}
    torch.manual_seed(3)
    network = model(model.config_class(**small | extra | names | config))
    with torch.no_grad():  # random heads answer nearly alike for every clip
        for parameter in network.classifier.parameters():
            parameter.mul_(1 if name == "ast" else 20)
    network.save_pretrained(folder)
    front_end(name).save_pretrained(folder)
    return folder


def front_end(name: str) -> Any:
    """The feature extractor that such a network was released with."""
    if name == "whisper":
        return transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=2)
    if name == "ast":
        return transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=64)
    if name == "w2v-bert":
        return transformers.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=2)
    return transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)


def write_two_layers(
    folder: Path, outputs: tuple[str, ...] = ("arousal", "dominance", "valence"), **config: Any
) -> Path:
    """Save a network under ``classifier.dense`` and ``classifier.out_proj``, as audEERING's was released.

    Args:
        folder: where.
        outputs: names of its outputs.
        config: further settings of its configuration.
    """
    from safetensors.torch import load_file, save_file

    names = {"id2label": dict(enumerate(outputs)), "label2id": {n: i for i, n in enumerate(outputs)}}
    settings = (
        SMALL
        | CONVOLUTIONS
        | LAYER_NORM
        | {"problem_type": "regression", "pooling_mode": "mean"}
        | names
        | config
    )
    torch.manual_seed(4)
    whole = transformers.Wav2Vec2ForSequenceClassification(transformers.Wav2Vec2Config(**settings))
    whole.save_pretrained(folder)
    tensors = {k: v for k, v in load_file(folder / "model.safetensors").items() if k.startswith("wav2vec2.")}
    shapes = {"dense.weight": (16, 16), "dense.bias": (16,), "out_proj.weight": (len(outputs), 16), "out_proj.bias": (len(outputs),)}  # fmt: skip
    tensors |= {f"classifier.{name}": torch.randn(shape) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    front_end("wav2vec2").save_pretrained(folder)
    return folder
