"""What train never has together, and not by chance, is ruled out; what it merely happens not to have is not."""

import math

import torch

from generators.nets.possible import EVERYTHING, Possible
from synthmill.codecs.table import Part


def parts(*sizes):
    return [Part(str(j), size, None, (0.0,) * size) for j, size in enumerate(sizes)]


def codes(*columns):
    return torch.stack([torch.as_tensor(column) for column in columns], 1)


def left(possible, told, known_codes, size, of_tokens=None):
    """Which tokens of `told` stay, given the codes that are not None."""
    given = torch.tensor([[0 if code is None else code for code in known_codes]])
    known = torch.tensor([[code is not None for code in known_codes]])
    tokens = torch.arange(size) if of_tokens is None else of_tokens
    logits = possible.restrict(torch.zeros(1, len(tokens)), told, given, known, tokens)
    return [i for i, logit in enumerate(logits[0].tolist()) if logit > -math.inf]


def graded(rows=400):
    grade = torch.randint(8, (rows,), generator=torch.Generator().manual_seed(0))
    return Possible.fit(parts(8, 4), codes(grade, grade // 2))


def test_a_function_holds_in_both_directions():
    possible = graded()
    assert left(possible, 1, [5, None], 4) == [2]
    assert left(possible, 0, [None, 2], 8) == [4, 5]
    assert left(possible, 1, [None, None], 4) == [0, 1, 2, 3]


def test_a_function_with_one_exception_is_none():
    grade = torch.randint(8, (400,), generator=torch.Generator().manual_seed(0))
    level = grade // 2
    level[7] = (level[7] + 1) % 4
    assert Possible.fit(parts(8, 4), codes(grade, level)).functions == {}


def test_a_column_that_never_repeats_is_no_teller():
    numbers = torch.arange(300)
    assert Possible.fit(parts(300, 3), codes(numbers, numbers % 3)).functions == {}


def test_cells_that_are_missing_together_stay_so():
    """Codes 0: a number, 1: missing; both columns have other labels beside."""
    random = torch.Generator().manual_seed(1)
    is_missing = torch.rand(500, generator=random) < 0.3
    a = torch.where(is_missing, 3, torch.randint(3, (500,), generator=random))
    b = torch.where(is_missing, 2, torch.randint(2, (500,), generator=random))
    possible = Possible.fit(parts(4, 3), codes(a, b))
    assert possible.functions == {}
    assert left(possible, 1, [3, None], 3) == [2]
    assert left(possible, 1, [0, None], 3) == [0, 1]
    assert left(possible, 0, [None, 2], 4) == [3]


def test_rare_pairs_that_train_happens_to_lack_stay_possible():
    random = torch.Generator().manual_seed(2)
    a, b = torch.randint(20, (200,), generator=random), torch.randint(20, (200,), generator=random)
    assert Possible.fit(parts(20, 20), codes(a, b)).tables == {}


def test_givens_that_contradict_train_rule_nothing_out():
    random = torch.Generator().manual_seed(3)
    grade = torch.randint(4, (400,), generator=random)
    possible = Possible.fit(parts(4, 4, 4), codes(grade, grade, grade))
    assert left(possible, 2, [1, 2, None], 4) == [0, 1, 2, 3]


def test_tokens_that_share_a_code_are_ruled_out_together():
    possible = graded()
    assert left(possible, 1, [5, None], 4, torch.tensor([0, 2, 2, 3, 1])) == [1, 2]


def test_what_is_saved_rules_out_the_same():
    possible = graded()
    loaded = Possible.from_tensors(parts(8, 4), possible.to_tensors())
    assert left(loaded, 0, [None, 2], 8) == [4, 5]
    assert EVERYTHING.to_tensors() == {}
