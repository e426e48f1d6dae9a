"""Threads say what ended them."""

from lmdm_mini.live.threads import sentence_of, start_thread


def test_what_ends_a_thread_is_reported(capsys):
    told = []
    start_thread(lambda x: 1 / x, 0, name="division", report=told.append).join(20)
    assert told == ["the thread 'division' was ended by ZeroDivisionError: division by zero"]
    assert "Traceback" in capsys.readouterr().err


def test_a_thread_that_ends_well_says_nothing():
    told, done = [], []
    start_thread(done.append, 3, name="fine", report=told.append).join(20)
    assert done == [3] and not told


def test_sentences_name_the_type_where_that_helps():
    assert sentence_of(ValueError("steps is 0.")) == "steps is 0."
    assert sentence_of(KeyError("x")) == "KeyError: 'x'" and sentence_of(ValueError()) == "ValueError: "
