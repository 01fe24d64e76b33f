import dataclasses
from types import ModuleType

import pytest
import torch


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_small_cases_are_right(
    benchmark_module: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert benchmark_module.main(["--check-only"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert all(line.startswith("right ") for line in lines)


def test_needs_a_gpu_to_time(
    benchmark_module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark_module.main([]) == 1
    printed = capsys.readouterr()
    assert "needs a CUDA GPU" in printed.err
    assert not printed.out


def test_wrong_values_are_not_timed(
    benchmark_module: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    (case, *_) = benchmark_module.cases("cpu", small=True)
    wrong = dataclasses.replace(case, fused=lambda *x: [y * 1.001 for y in case.reference(*x)])
    monkeypatch.setattr(benchmark_module, "cases", lambda *_: iter([wrong]))
    assert benchmark_module.main(["--check-only"]) == 1
    assert "WRONG mixed_sum" in capsys.readouterr().err
