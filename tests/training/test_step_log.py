import pytest

from samtok_eval.training.step_log import append_line, lines_until, write_lines


def test_a_log_goes_on_from_a_step(tmp_path):
    log = tmp_path / "new" / "log.jsonl"
    assert lines_until(log, 9) == []
    write_lines(log, [{"step": 1, "loss": 0.1 + 0.2}])
    append_line(log, {"step": 2})
    append_line(log, {"step": 3})
    assert lines_until(log, 2) == [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2}]
    write_lines(log, lines_until(log, 2))
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.parametrize("end", ['{"step": 2, "lo', '{"step"', "[2]", '{"loss": 1}', "\0\0"])
def test_nothing_behind_a_broken_line_counts(tmp_path, end):
    log = tmp_path / "log.jsonl"
    log.write_text(f'{{"step": 1}}\n{end}\n{{"step": 2}}\n')
    assert lines_until(log, 9) == [{"step": 1}]
