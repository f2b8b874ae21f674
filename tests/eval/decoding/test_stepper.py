import torch

from tersely.eval.decoding.stepper import Stepper


def test_forks_and_pauses_do_not_change_what_a_row_sees(tiny_engine):
    """Rows are repeated, paused and dropped; each still gets the logits of its own sequence."""
    torch.manual_seed(0)
    sequences = [[5, 6, 7], [8, 9, 10, 11, 12]]
    stepper = Stepper(tiny_engine, sequences)
    stepper.select(torch.tensor([0, 0, 1]))
    rows = [list(sequences[0]), list(sequences[0]), list(sequences[1])]
    for live in ([True, True, True], [True, False, True], [False, True, True]):
        tokens = torch.randint(0, 200, (3,))
        stepper.step(tokens, live=torch.tensor(live))
        for row, token, on in zip(rows, tokens.tolist(), live, strict=True):
            row += [token] * on
    stepper.select(torch.tensor([2, 0]))
    for row, logits in zip((rows[2], rows[0]), stepper.logits, strict=True):
        alone = tiny_engine.model(torch.tensor([row])).logits[0, -1]
        assert torch.allclose(alone, logits, atol=1e-4)


def test_an_embedding_is_its_token(tiny_engine):
    one, other = Stepper(tiny_engine, [[5, 6]]), Stepper(tiny_engine, [[5, 6]])
    one.step(torch.tensor([7]))
    other.step(embeds=other.embedding[torch.tensor([7])])
    assert torch.equal(one.logits, other.logits)
