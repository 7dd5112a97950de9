"""Lines for logs: not too many, none twice, and always the last."""

from synthmill.console import PlainReporter, duration, size, table


def test_a_task_says_little_and_always_its_last_word(capsys):
    reporter = PlainReporter()
    for done in range(101):
        reporter.progress("generate", done, 100, "fast")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "generate: 0 of 100, fast"
    assert lines[-1] == "generate: 100 of 100, fast"
    assert len(lines) < 50


def test_tasks_do_not_silence_each_other(capsys):
    reporter = PlainReporter()
    reporter.progress("fit", 1, 10)
    reporter.progress("score", 1, 10)
    assert capsys.readouterr().err.splitlines() == ["fit: 1 of 10", "score: 1 of 10"]


def test_the_same_line_is_said_once(capsys):
    reporter = PlainReporter()
    reporter.progress("fit", 10, 10)
    reporter.progress("fit", 10, 10)
    assert capsys.readouterr().err.splitlines() == ["fit: 10 of 10"]


def test_durations_and_sizes_are_said_as_a_person_says_them():
    assert [duration(s) for s in (0.4, 59.4, 65, 7300)] == ["0 s", "59 s", "1 min 5 s", "2 h 1 min"]
    assert [size(b) for b in (12, 1234, 1_680_000, 5e12)] == ["12 B", "1.23 kB", "1.68 MB", "5 TB"]


def test_a_table_lines_up_words_left_and_numbers_right():
    assert table(("name", "n"), [("a", "1"), ("long name", "12")]) == [
        "name        n",
        "---------  --",
        "a           1",
        "long name  12",
    ]
