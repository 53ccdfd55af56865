"""Where weights are found, which of their files are taken and hashed, and what is said where there are none."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from bench.cards import weights
from bench.cards.system import WeightsSpec
from bench.cards.weights import find_weights, folder_hash
from bench.errors import CannotRun

CARD = WeightsSpec(local="wavlm-large", hub="microsoft/wavlm-large", revision="0123abc")


class Hub:
    """A hub with one repository, and the cache of those who asked it."""

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        self.folder, self.files = folder, files

    def snapshot_download(
        self, repository: str, *, allow_patterns: list[str], local_files_only: bool, **options: Any
    ) -> str:
        if local_files_only and not self.folder.is_dir():
            raise FileNotFoundError(repository)
        self.folder.mkdir(exist_ok=True)
        for name in self.files if not local_files_only else ():
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (self.folder / name).write_bytes(b"content of " + name.encode())
        return str(self.folder)

    def model_info(self, repository: str, **options: Any) -> Any:
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in self.files])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "snapshot", ("README.md", "config.json", "pytorch_model.bin", "tf_model.h5"))
    monkeypatch.delenv("SERBENCH_WEIGHTS", raising=False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    weights._from_hub.cache_clear()
    return made


def fetched(hub: Hub) -> set[str]:
    folder = find_weights(CARD).folder
    assert folder == hub.folder
    return {path.name for path in folder.iterdir()}


def test_a_model_that_was_released_as_a_bin_file_alone_is_fetched_as_that(hub: Hub) -> None:
    """WavLM and HuBERT are: refused, EmoBox's strongest encoders could not run from the hub."""
    assert fetched(hub) == {"config.json", "pytorch_model.bin"}


def test_where_there_are_safetensors_the_second_copy_is_left_where_it_is(hub: Hub) -> None:
    hub.files = (*hub.files, "model.safetensors")
    assert fetched(hub) == {"config.json", "model.safetensors"}


def test_a_cache_with_a_configuration_alone_is_completed(hub: Hub) -> None:
    hub.folder.mkdir()
    (hub.folder / "config.json").write_text("{}")
    assert "pytorch_model.bin" in fetched(hub)


def test_without_the_hub_the_command_names_the_pinned_revision(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: Any, **options: Any) -> Any:
        raise OSError("no network")

    monkeypatch.setattr(hub, "model_info", unreachable)
    with pytest.raises(CannotRun, match=r"hf download microsoft/wavlm-large --revision 0123abc$"):
        find_weights(CARD)


def test_a_bin_file_is_part_of_the_hash_only_where_it_is_what_would_be_read(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    alone = folder_hash(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"other weights")
    assert folder_hash(tmp_path) != alone
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    beside = folder_hash(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    assert folder_hash(tmp_path) == beside


def test_a_folder_without_weights_and_one_with_gits_placeholders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.pt").write_bytes(b"a pickle that no card vouches for")
    with pytest.raises(CannotRun, match=r"holds no weights .*'pickled: true'"):
        folder_hash(tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(CannotRun, match=r"model\.safetensors: is Git's placeholder.*git lfs pull"):
        folder_hash(tmp_path)


def in_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "site" / "shipped_voice"
    (package / "nets").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "voice.onnx").write_bytes(b"weights")
    (package / "nets" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return package


def test_a_file_or_a_folder_of_a_package_is_hashed_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = in_package(tmp_path, monkeypatch)
    file = WeightsSpec.model_validate({"package": "shipped_voice", "file": "voice.onnx"})
    folder = WeightsSpec.model_validate({"package": "shipped_voice", "file": "nets"})
    found, net = find_weights(file), find_weights(folder)
    assert (found.folder, found.file) == (package, package / "voice.onnx")
    assert (net.folder, net.file) == (package / "nets", None)
    assert find_weights(WeightsSpec(package="shipped_voice", local="nets")).content_hash == net.content_hash
    (package / "voice.onnx").write_bytes(b"other weights")
    assert find_weights(file).content_hash != found.content_hash
    (package / "voice.onnx").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CannotRun, match=r"voice\.onnx: is Git's placeholder"):
        find_weights(file)


def test_what_a_package_lacks_is_said_with_the_place_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = in_package(tmp_path, monkeypatch)
    with pytest.raises(
        CannotRun,
        match=rf"'gone\.pt' of the package 'shipped_voice' not found: it lies in {package} and holds no",
    ):
        find_weights(WeightsSpec.model_validate({"package": "shipped_voice", "file": "gone.pt"}))
    with pytest.raises(CannotRun, match="no package of that import name is installed here"):
        find_weights(WeightsSpec.model_validate({"package": "shipped-voice", "file": "voice.onnx"}))
    for outside in ("../other/voice.pt", "/etc/passwd"):
        with pytest.raises(ValueError, match="leaves its folder"):
            WeightsSpec.model_validate({"package": "shipped_voice", "file": outside})


def test_one_file_of_a_folder_of_weights_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "net.ckpt").write_bytes(b"weights")
    monkeypatch.setenv("SERBENCH_WEIGHTS", str(tmp_path))
    found = find_weights(WeightsSpec(local="net", file="net.ckpt"))
    assert found.file == tmp_path / "net" / "net.ckpt"
    with pytest.raises(CannotRun, match=r"weights 'net/other\.ckpt' not found"):
        find_weights(WeightsSpec(local="net", file="other.ckpt"))
