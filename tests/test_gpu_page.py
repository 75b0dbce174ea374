"""What `make gpu` does, at the small size that it takes without a GPU."""

from __future__ import annotations

import pytest

from benchmarks import gpu


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def test_the_page_has_smoke_equality_and_speed(tmp_path, no_gpu):
    path = gpu.main(["--out", str(tmp_path), "--questions", "4"])
    assert path == tmp_path / "cpu_small_models.md"
    page = path.read_text()
    for line in (
        "# CPU, small models",
        "with the bundled checkpoint: gIoU ",
        "| equal texts, of 4 | 100.0% |",
        "| IoU of masks from the same codes, mean and least | 1.00000, 1.00000 |",
        "| times as fast as one by one, nothing shared | ",
        "| least that the device allows (arithmetic) | ",
    ):
        assert line in page


def test_an_interpreter_that_lacks_a_package_is_told_which(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "find_spec", lambda name: None if name == "sam2" else name)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "lacks sam2; install samtok-eval[model] there" in capsys.readouterr().err
