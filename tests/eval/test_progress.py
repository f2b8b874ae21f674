import io

from tersely.eval.progress import Progress


def test_plain_lines_say_how_far_how_fast_and_when():
    stream = io.StringIO()
    progress = Progress("run: sums", 100, 20, stream=stream, every_s=0.0)
    progress.add([10] * 40)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "run: sums: 20 of 100 samples already exist"
    assert lines[1].startswith("run: sums: 60/100 samples, 60 %, ")
    assert progress.line(8.0) == "run: sums: 60/100 samples, 60 %, 50 tokens/s, 0:00:08 so far, ETA 0:00:08"


def test_few_lines_and_always_a_last_one():
    stream = io.StringIO()
    progress = Progress("sums", 50, stream=stream, every_s=3600)
    for _ in range(50):
        progress.add([1])
    assert len(stream.getvalue().splitlines()) == 1 and "50/50" in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal():
    stream = Terminal()
    progress = Progress("sums", 4, stream=stream)
    progress.add([3, 4, 5, 6])
    progress.close()
    assert "4/4" in stream.getvalue() and "tokens/s" in stream.getvalue()
