"""A path from outside is usable, or an error that names it; never another exception."""

import os
from pathlib import Path

import pytest

from sdedge.config import SearchConfig
from sdedge.data.catalog import load_dataset
from sdedge.deploy.targets.target import list_targets, load_target, save_target
from sdedge.errors import ConfigError, DataError, GenotypeError, SdedgeError, TargetError
from sdedge.genotype import load_genotype
from sdedge.paths import checked_path, home_folder
from sdedge.space.nasbench201.benchmark_table import read_benchmark_table

BAD = {
    "empty": ("", "it is empty"),
    "nul": ("a\0b", r"'a\x00b' cannot be a path: it holds a NUL character"),
    "surrogate": ("a\ud800b", "a character that cannot be in a file name"),
    "user": ("~no-such-user/x", "there is no such user"),
    "long name": ("n" * 300, "File name too long"),
    "long path": ("n/" * 5000, "File name too long"),
    "loop": ("loop/x", "symbolic links"),
    "file": ("file/x", "'file/x' cannot be opened: Not a directory"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    return tmp_path


@pytest.mark.parametrize(("path", "complaint"), BAD.values(), ids=BAD)
def test_no_path(path: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_path(path)
    assert complaint in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("path", ["file", "missing", "missing/below", "~", "café", ".", "/"])
def test_a_path(path: str) -> None:
    assert checked_path(path) == Path(path).expanduser()


def test_bytes_that_are_no_utf8_are_a_path() -> None:
    name = os.fsdecode(b"caf\xe9")
    Path(name).touch()
    assert checked_path(name).is_file()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may enter any folder")
def test_a_folder_without_permission(folder: Path) -> None:
    (folder / "locked").mkdir(mode=0)
    with pytest.raises(ConfigError, match="Permission denied"):
        checked_path("locked/x")


def test_a_refusal_of_the_system_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(DataError, match="'locked/x' cannot be opened: Permission denied"):
        checked_path("locked/x", error=DataError)


@pytest.mark.parametrize(("path", "_"), BAD.values(), ids=BAD)
def test_every_reader_of_names_and_paths_refuses_it(path: str, _: str, folder: Path) -> None:
    with pytest.raises(GenotypeError):
        load_genotype(path)
    with pytest.raises(DataError):
        load_dataset(path, folder)
    with pytest.raises(DataError):
        read_benchmark_table(path)
    with pytest.raises(TargetError):
        load_target(path)


@pytest.mark.parametrize("field", ["dataset", "data_root", "target", "benchmark_table"])
@pytest.mark.parametrize("value", ["", "a\0b", "a\ud800b", 3, ["a"], {"a": 1}, False])
def test_settings_that_are_paths_are_text_that_can_be_one(field: str, value: object) -> None:
    settings = {"space": "nas-bench-201"} if field == "benchmark_table" else {}
    with pytest.raises(ConfigError, match=f"{field} is"):
        SearchConfig.from_preset("quick", {**settings, field: value})


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOME is unset, and the system does not know the user."""
    pwd = pytest.importorskip("pwd")

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_shipped_targets_need_no_home() -> None:
    assert home_folder() is None
    target = load_target(list_targets()[0].name)
    with pytest.raises(TargetError, match="XDG_DATA_HOME"):
        save_target(target)
    with pytest.raises(SdedgeError, match="no home folder"):
        checked_path("~/x")


@pytest.mark.parametrize("home", ["/dev/null", "/nonexistent", "n" * 5000])
def test_shipped_targets_need_no_usable_home(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert list_targets()
