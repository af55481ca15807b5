import pytest

from hfpc.serving.contracts.columns import columns

RANKING = [{"label": "a", "score": 0.9}, {"label": "b", "score": 0.1}]
ENTITIES = [{"entity_group": "PER", "score": 0.9, "word": "ada", "start": 0, "end": 3}]


@pytest.mark.parametrize(
    ("responses", "expected"),
    [
        ([RANKING, RANKING[1:]], {"label": ["a", "b"], "score": [0.9, 0.1]}),
        ([{"generated_text": "a"}], {"generated_text": ["a"]}),
        ([ENTITIES, []], {"response": ['[{"entity_group":"PER","score":0.9,"word":"ada","start":0,"end":3}]', "[]"]}),
        ([RANKING, []], {"response": ['[{"label":"a","score":0.9},{"label":"b","score":0.1}]', "[]"]}),
        ([{"a": "b"}, {"c": "d"}], {"response": ['{"a":"b"}', '{"c":"d"}']}),
        ([{"text": "é", "tokens": [1]}], {"response": ['{"text":"é","tokens":[1]}']}),
        ([[0.5, 1.0], [2.0]], {"response": ["[0.5,1.0]", "[2.0]"]}),
        ([{}], {"response": ["{}"]}),
        (["a"], {"response": ['"a"']}),
    ],
)
def test_responses_are_cut_down_only_where_nothing_but_lower_ranks_is_lost(responses, expected):
    assert columns(responses) == expected
