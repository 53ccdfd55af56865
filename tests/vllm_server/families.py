"""``make vllm-families``: the server of every model class that a card names, tried with a tiny random model.

    python -m tests.vllm_server.families --python .venv-vllm/bin/python [--only CARD]... [--mode free]... [--request-seconds 600]

Nothing of the models' knowledge is tried, for there are no weights; whether vLLM's own code of the class, the card's arguments, its
template and the suite's client fit each other is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.execution.vllm_server import vllm_python
from tests.vllm_server.family_results import MODES, RESULT, FamilyOutcome, read, write_page
from tests.vllm_server.family_trial import Family, Trial, tried
from tests.vllm_server.tiny_omni import write_qwen2_5_omni, write_qwen3_omni
from tests.vllm_server.tiny_phi4 import write_phi_4
from tests.vllm_server.tiny_qwen2_audio import write_model
from tests.vllm_server.tiny_voxtral import write_voxtral
from tests.vllm_server.tiny_whisper_kin import write_audio_flamingo_3, write_meralion_2

FAMILIES = (
    Family("Qwen2-Audio", "qwen2-audio-7b-instruct", "Qwen2AudioForConditionalGeneration", write_model),
    Family("SeaLLMs-Audio", "seallms-audio-7b", "Qwen2AudioForConditionalGeneration", write_model),
    Family("Audio Flamingo 3", "audio-flamingo-3", "AudioFlamingo3ForConditionalGeneration", write_audio_flamingo_3),
    Family("Voxtral", "voxtral-mini-3b", "VoxtralForConditionalGeneration", write_voxtral),
    Family("MERaLiON-2", "meralion-2-10b", "MERaLiON2ForConditionalGeneration", write_meralion_2),
    Family("Qwen2.5-Omni", "qwen2.5-omni-7b", "Qwen2_5OmniThinkerForConditionalGeneration", write_qwen2_5_omni),
    Family(
        "Qwen3-Omni", "qwen3-omni-30b-a3b-instruct", "Qwen3OmniMoeThinkerForConditionalGeneration",
        write_qwen3_omni, arguments=("--tensor-parallel-size", "1"),
    ),
    Family(
        "Phi-4-multimodal", "phi-4-multimodal", "Phi4MMForCausalLM", write_phi_4,
        stand_in="the code of configuration and processor in its owner's repository was replaced by a small one with the same interface",
    ),
)  # fmt: skip


def main() -> int:
    """Try the families asked for, write down what came of each as soon as it is known, and say it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cards = [family.card for family in FAMILIES]
    parser.add_argument(
        "--python", type=Path, action="append", help="an interpreter with vLLM; may be given again"
    )
    parser.add_argument("--only", action="append", choices=cards, help="a card; may be given again")
    parser.add_argument("--out", type=Path, default=RESULT, help="the result's file")
    parser.add_argument(
        "--logs", type=Path, default=Path("runs/server_families"), help="folder for the servers' words"
    )
    parser.add_argument(
        "--mode",
        action="append",
        choices=MODES,
        help="ask in this mode alone; what is on record of the others stays",
    )
    waited = Trial()
    parser.add_argument(
        "--ready-minutes", type=float, default=waited.ready_minutes, help="wait for a server's start"
    )
    parser.add_argument(
        "--request-seconds", type=float, default=waited.request_seconds, help="wait for one reply"
    )
    given = parser.parse_args()
    trial = Trial(given.ready_minutes, given.request_seconds, tuple(given.mode or MODES))
    named = given.python or [Path(p) for p in [vllm_python()] if p]
    failed = 0
    for family in FAMILIES:
        if given.only and family.card not in given.only:
            continue
        found = tried(family, tuple(named), given.logs / f"{family.card}.log", trial)
        found = read(given.out).completed(found)
        results = read(given.out).with_outcome(found, cards)
        given.out.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if given.out == RESULT:
            write_page(results)
        failed += not found.works
        print(sentence(found), flush=True)
    return 1 if failed else 0


def sentence(found: FamilyOutcome) -> str:
    """Return one family's outcome on one line."""
    if found.cause:
        return f"{found.family}: did not start: {found.cause}"
    modes = ", ".join(
        f"{mode} {'works' if m.works else 'NO: ' + m.cause} ({m.seconds:.1f} s)"
        for mode, m in found.modes.items()
    )
    return f"{found.family}: {modes}; hears: {found.hears}; tokens by seconds: {found.audio_tokens}; {found.start_seconds} s to start, {found.memory_gib} GiB"


if __name__ == "__main__":
    sys.exit(main())
