"""Voxtral: a Whisper encoder that hears whole windows of 30 s, whose frames are joined by fours, two linear layers, a Llama.

vLLM loads it in Mistral's own format, whose names are others and which lies in the same repository (``consolidated*.safetensors``,
``params.json``, ``tekken.json``), and LoRA beside it.
"""

from adapters.audio_lm.tuning.classes.audio_class import AudioClass
from adapters.audio_lm.tuning.tekken import TekkenWords

VOXTRAL = AudioClass(
    model_type="voxtral",
    title="Voxtral",
    network="VoxtralForConditionalGeneration",
    # transformers joins as many frames as make up this width (four of the published sizes).
    width=lambda config: int(config.audio_config.intermediate_size),
    rows_per_second=12.5,
    window_rows=375,
    whole_windows=True,
    words=TekkenWords,
    lora_served=True,
    projector_tensors={
        "linear_1.weight": ("multi_modal_projector.linear_1.weight", "audio_language_projection.0.weight"),
        "linear_2.weight": ("multi_modal_projector.linear_2.weight", "audio_language_projection.2.weight"),
    },
    served_files="consolidated*.safetensors",
)
