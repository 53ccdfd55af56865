"""What the clip browser reads: every clip and answer, in the order of hardness, packed without loss."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.scoring.clip_answers import TaskAnswers
from bench.storage.scrubbing import PATH, Scrubber
from reports.pages.clip_browser import clip_browser, rows_script
from reports.sections.clip_rows import Packed, Sound, clip_rows, rated_rows
from reports.sections.rated_clips import rated_clips
from reports.sections.sound_pictures import SoundPictures
from tests.reports.judged import (
    CLASSES,
    crowd,
    judged,
    packed_values,
    rated_crowd,
    sure,
    system,
    task_of,
)


@pytest.mark.parametrize("top", [0, 63, 64, 4095, 4096, 10**6])
def test_numbers_are_packed_and_come_back(top: int) -> None:
    values = [*np.random.default_rng(top).integers(0, top + 1, 50).tolist(), top]
    packed = Packed.of(values)
    assert packed.numbers() == values
    assert len(packed.text) == packed.width * 51
    assert packed.width == max(1, -(-max(top, 1).bit_length() // 6))


def test_every_answer_stands_at_its_clip_with_how_sure_it_was() -> None:
    task = task_of(["happy", "sad", "bored", "happy"], speakers=("p/1", "p/2", "p/1", "p/2"))
    first, second = ["sad", "sad", "sad", "happy"], ["sad", "bored", "sad", None]
    by = [0.8, 0.9, 0.9, 0.6]
    made = judged(
        task,
        system(task, "a", first, sure(first, by)),
        system(task, "b", second, statuses=("ok", "ok", "ok", "refused")),
    )
    data = clip_rows(made, "within", "clean", None, 3).data
    names = ["audio/c0000.wav", "audio/c0003.wav", "audio/c0001.wav"]
    assert data["clips"] == names, "hardest first, without the clip whose label is outside the view"
    assert [data["words"][k] for k in packed_values(data, "truth")] == ["happy", "happy", "sad"]
    said = [[data["words"][k] for k in packed_values(s, "said")] for s in data["systems"]]
    assert said == [["sad", "happy", "sad"], ["sad", "(refused)", "bored (other)"]]
    assert packed_values(data["systems"][0], "sure") == [801, 601, 901]
    assert packed_values(data["systems"][0], "given") == [101, 601, 901]
    assert data["systems"][1]["sure"] is None
    assert [data["speakers"][k] for k in packed_values(data, "speaker")] == ["p/1", "p/2", "p/2"]
    assert packed_values(data, "seconds") == [10, 10, 10]
    assert (data["labels"], data["hard"], data["left_out"]) == (3, 1, 3)
    assert "sound" not in data


def test_files_are_found_by_name_and_where_they_are_called_otherwise_one_by_one() -> None:
    names = ["audio/a b.wav", "audio/gone.wav", "audio/\u202ehidden.wav"]
    task = task_of(["happy"] * 3, names)
    made = judged(task, system(task, "a", ["sad"] * 3, sure(["sad"] * 3, [0.9, 0.8, 0.7])))
    sound = Sound(
        lambda clip: None if "gone" in clip else "../data/x/" + clip.replace(" ", "%20"), "../data/x/", lambda row: row
    )  # fmt: skip
    rows = clip_rows(made, "within", "clean", sound, 0)
    text = rows_script(rows, Scrubber((("/data/x", PATH),)))
    found = json.loads(text.partition("=")[2].rstrip(";\n"))
    assert found["sound"]["folder"] == "../data/x/", (
        "a player keeps its address: without it there is nothing to play"
    )
    assert set(found["sound"]["others"]) == {"1", "2"}
    assert found["sound"]["others"]["1"] is None
    assert found["clips"][2] == "audio/⟨U+202E⟩hidden.wav"
    assert found["sound"]["pictures"] == [1, "ABC"]


def test_nothing_in_a_script_file_can_end_the_script_or_leave_the_machine() -> None:
    hostile = "</script><script>alert(1)</script>"
    task = task_of(["happy"], [f"/home/somebody/{hostile}.wav"], speakers=(hostile,), votes=({hostile: 2},))
    rows = clip_rows(
        judged(task, system(task, "evil<b>", [None], statuses=("failed",))), "within", "clean", None, 0
    )
    text = rows_script(rows, Scrubber())
    assert "<" not in text
    assert text.isascii()
    assert "/home/somebody" not in text


def test_pictures_are_numbered_once_and_only_where_everybody_may_have_the_corpus() -> None:
    class Heard:
        def __init__(self, pcm: str) -> None:
            self.pcm_hash = pcm

    task = task_of(["happy"] * 3, decoded=tuple(map(Heard, "aba")))
    pictures = SoundPictures()
    assert pictures.numbers(task) == [0, 1, 0]
    assert pictures.numbers(task_of(["happy"], decoded=(Heard("c"),))) == [2]
    closed = task_of(["happy"], card=task.card.model_copy(update={"access": "form"}))
    assert pictures.numbers(closed) is None
    assert pictures.numbers(task_of(["happy"], by_clip=True)) is None
    (file,) = pictures.files()
    assert [c.pcm_hash for c in file.clips] == ["a", "b", "c"]


def test_a_large_corpus_takes_about_a_megabyte() -> None:
    rows = clip_rows(crowd(1000, 20), "within", "clean", None, 0)
    size = len(rows_script(rows, Scrubber()))
    assert 7.442 * size < 1.2e6
    browser = clip_browser("crema-d.en", [rows, rows])
    assert [f for f, _ in browser.addresses] == ["clips-crema-d.en-0.js", "clips-crema-d.en-1.js"]
    assert not browser.players
    assert rows.systems[0] == "system-00"
    assert CLASSES[0] in rows.data["words"]


def test_clips_that_are_rated_come_with_every_answer_the_largest_mean_error_first() -> None:
    nothing, ratings = np.nan, np.array([[0.2, 0.5], [0.9, np.nan], [0.4, 0.1], [np.nan, 0.3]])
    task = task_of([None] * 4, dimensions=np.column_stack([ratings, np.full(4, nothing)]))
    first = np.array([[0.3, 0.5, 0.1], [0.3, 0.5, 0.1], [nothing] * 3, [0.3, 0.5, 0.1]])
    second = np.array([[0.8, nothing, 0.1], [0.9, nothing, 0.1], [nothing] * 3, [0.1, nothing, 0.1]])
    systems = [
        system(task, name, [None] * 4, classes=(), dimensions=d) for name, d in (("a", first), ("b", second))
    ]
    valence, arousal = rated_clips(TaskAnswers(task, Path("corpus"), tuple(systems)))
    data = rated_rows(valence, "within", "clean", None, 2).data
    names = ["audio/c0000.wav", "audio/c0001.wav", "audio/c0002.wav"]
    assert data["clips"] == names, (
        "without the clip that carries no valence; the one that nobody answered last"
    )
    assert packed_values(data, "truth") == [200, 900, 400]
    assert [packed_values(s, "said") for s in data["systems"]] == [[301, 301, 0], [801, 901, 0]]
    assert packed_values(data, "error") == [351, 301, 0], "mean of 0.1 and 0.6, of 0.6 and 0"
    assert (data["dimension"], data["left_out"]) == ("valence", 2)
    assert [s.record.system for s in arousal.systems] == ["a"], "the other never answers it"
    assert rated_rows(arousal, "within", "clean", None, 2).data["clips"] == [
        "audio/c0003.wav",
        "audio/c0000.wav",
        "audio/c0002.wav",
    ]


def test_a_setting_of_ratings_is_called_after_its_dimension() -> None:
    rows = [rated_rows(r, "within", "clean", None, 0) for r in rated_clips(rated_crowd(6, 3))]
    browser = clip_browser("tones.ms", rows)
    assert [words for _, words in browser.addresses] == ["within, clean, valence", "within, clean, arousal"]
    assert (browser.labelled, browser.rated) == (False, True)
    assert rows[0].systems == ("system-00", "system-01")
