"""Audio Flamingo 3: a Whisper encoder pooled in pairs, two linear layers, Qwen2. vLLM loads LoRA beside it."""

from adapters.audio_lm.tuning.classes.audio_class import AudioClass
from adapters.audio_lm.tuning.wording import TemplateWords

AUDIO_FLAMINGO_3 = AudioClass(
    model_type="audioflamingo3",
    title="Audio Flamingo 3",
    network="AudioFlamingo3ForConditionalGeneration",
    width=lambda config: int(config.audio_config.hidden_size),
    rows_per_second=25.0,
    window_rows=750,
    words=TemplateWords,
    lora_served=True,
    projector_tensors={
        "linear_1.weight": ("multi_modal_projector.linear_1.weight",),
        "linear_1.bias": ("multi_modal_projector.linear_1.bias",),
        "linear_2.weight": ("multi_modal_projector.linear_2.weight",),
        "linear_2.bias": ("multi_modal_projector.linear_2.bias",),
    },
)
