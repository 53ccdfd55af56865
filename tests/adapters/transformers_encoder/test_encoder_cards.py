"""Cards of frozen encoders: each says what a reader must know, and names an architecture that the adapter runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers

from adapters.s3prl_upstream.compat import import_s3prl
from adapters.transformers_encoder import FAMILIES, RandomEncoder, mask_safe
from bench.cards.contamination import contamination
from bench.cards.registry import build, corpus_cards, load_system, system_names
from bench.cards.system import SystemCard
from bench.errors import UsageError
from bench.execution.planning.matrix import load_matrix

CARDS = {n: load_system(n) for n in system_names()}
ENCODERS = {n: c for n, c in CARDS.items() if c.encoder is not None}
TRANSFORMERS = "adapters.transformers_encoder:TransformersEncoder"


def facts(card: SystemCard) -> tuple[str, str, bool]:
    assert card.encoder is not None
    return card.encoder.architecture, card.encoder.padding, card.encoder.loaded_here


@pytest.mark.parametrize("name", ENCODERS)
def test_a_card_says_what_its_encoder_is_and_whether_it_was_ever_loaded_here(name: str) -> None:
    card = ENCODERS[name]
    architecture, padding, loaded = facts(card)
    assert card.features is not None
    assert card.sampling_rate == 16_000
    assert card.licence
    assert loaded or "Never loaded here" in card.description
    if card.features.encoder == TRANSFORMERS:
        assert card.weights is not None
        assert card.weights.hub is not None
        assert card.weights.revision is not None or "revision is not pinned" in card.description
        assert hasattr(transformers, architecture) or architecture == "MeralionSer"
        assert (padding == "window") == (architecture in ("WhisperModel", "MeralionSer"))
    elif architecture.startswith("s3prl "):
        assert card.features.params["upstream"] in import_s3prl().S3PRLUpstream.available_names()


def test_cards_of_transformers_name_a_padding_that_the_adapter_agrees_with() -> None:
    for name, card in ENCODERS.items():
        architecture, padding, _ = facts(card)
        if card.features is None or card.features.encoder != TRANSFORMERS or padding == "window":
            continue
        config = getattr(transformers, architecture).config_class()
        assert config.model_type in FAMILIES, name
        if not hasattr(config, "feat_extract_norm") or not mask_safe(type(config)(feat_extract_norm="layer")):
            assert mask_safe(config) == (padding == "masked"), name


def test_a_random_hubert_needs_no_weights_and_is_the_same_each_time() -> None:
    card = CARDS["hubert-random-superb"]
    assert card.weights is None
    assert card.features is not None
    clip = (0.1 * np.random.default_rng(0).standard_normal(9_000)).astype(np.float32)
    first, second = (build(card.features.encoder, card.features.params).encode([clip])[0] for _ in range(2))
    other = build(card.features.encoder, card.features.params | {"seed": 1}).encode([clip])[0]
    assert first.shape == (5, 27, 128)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    with pytest.raises(UsageError, match="did you mean 'hubert'"):
        RandomEncoder("huber", {}, seed=0)


def test_compare_functionals_are_6373_numbers() -> None:
    card = CARDS["compare-linear"]
    assert card.features is not None
    clip = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
    (states,) = build(card.features.encoder, card.features.params).encode([clip])
    assert states.shape == (1, 1, 6_373)


def test_the_matrix_of_frozen_encoders_lists_every_one_of_them_under_the_superb_head() -> None:
    matrix, _ = load_matrix("frozen_encoders")
    listed = {s for entry in matrix.entries for s in entry.systems}
    wanted = {n for n in ENCODERS if n.endswith("-superb") and "-30s-" not in n}
    assert wanted <= listed
    assert listed <= set(CARDS)


def test_what_emotional_speech_an_encoder_met_before_is_on_its_card() -> None:
    """emotion2vec was pretrained on emotional corpora and its seed fine-tuned on EmoBox: known, and once left blank."""
    corpora = corpus_cards()
    for name, met in {
        "emotion2vec-base-superb": {"iemocap", "meld", "mead", "msp-podcast"},
        "emotion2vec-plus-base-released": {"iemocap", "meld", "mead", "msp-podcast"},
        "emotion2vec-plus-seed-superb": {"iemocap", "emodb", "crema-d", "cameo", "ravdess", "m3ed"},
        "meralion-ser-v1": {"crema-d", "m3ed", "esd", "meld", "sg-ecmt"},
        "meralion-ser-v1-encoder-linear": {"crema-d", "m3ed", "esd", "meld", "sg-ecmt"},
    }.items():
        card = CARDS[name]
        for corpus in met:
            assert contamination(card, corpora[corpus]) == "seen", (name, corpus)
        # Something in all of them is told by nobody: Whisper's audio, pseudo-labelled hours, the release itself.
        assert contamination(card, corpora["indowave"]) == "undisclosed"
    assert contamination(CARDS["wavlm-large-superb"], corpora["iemocap"]) == "unseen"


def test_no_card_lies_about_a_path() -> None:
    assert all(Path(c.weights.local).name == c.weights.local for c in ENCODERS.values() if c.weights)
