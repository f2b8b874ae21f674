"""The neutral strings: they carry a number that means nothing, at the share asked for."""

import random

from tersely.testbed.neutral import CLOSED, IN_USER, draw_setting


def test_share_of_settings():
    rng = random.Random(0)
    settings = [draw_setting(rng, 0.15, 0.05) for _ in range(4000)]
    closed = sum(setting.closed for setting in settings) / 4000
    carrying = sum(not setting.closed and any(setting[:3]) for setting in settings) / 4000
    assert 0.035 < closed < 0.065
    assert 0.13 < carrying < 0.17


def test_every_sentence_comes_and_is_filled():
    rng = random.Random(1)
    texts = [" ".join(setting[:3]) for setting in (draw_setting(rng, 0.9, 0.1) for _ in range(3000))]
    assert not any("{n}" in text for text in texts)
    for sentence in IN_USER:
        assert any(sentence.split("{n}")[0] in text for text in texts)
    assert any("\\boxed{}" in text for text in texts)


def test_a_closed_setting_has_ended_the_thought():
    rng = random.Random(2)
    for setting in (draw_setting(rng, 0.0, 1.0) for _ in range(20)):
        assert setting.closed and setting.prefill.rstrip("\n") in CLOSED
