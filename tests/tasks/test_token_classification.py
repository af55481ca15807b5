import numpy as np
import pyarrow as pa
import pytest

from hfpc import tasks
from hfpc.errors import ArgumentError, DataError
from hfpc.inference.predictor import Predictor
from hfpc.tasks.token_classification import entities
from tests.conftest import TAGS

TASK = tasks.get("token-classification")
UNSEEN = np.full(4, np.nan, np.float32)


def logits_for(*tags: str) -> np.ndarray:
    """Logits that are sure of these tags."""
    return np.array([np.eye(4)[TAGS.index(tag)] * 10 for tag in tags], np.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER B-PER I-PER", [("PER", 0, 1), ("PER", 1, 3)]),
        ("I-PER I-PER", [("PER", 0, 2)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("B-PER O I-PER", [("PER", 0, 1), ("PER", 2, 3)]),
        ("NOUN NOUN VERB", [("NOUN", 0, 2), ("VERB", 2, 3)]),
        ("B-geo-pol I-geo-pol", [("geo-pol", 0, 2)]),
    ],
)
def test_entities_as_conll_counts_them(tags, expected):
    assert entities(tags.split()) == expected


def test_score_by_hand():
    truth = [["B-PER", "I-PER", "O"], ["B-LOC", "O"], ["O"]]
    given = [logits_for("B-PER", "I-PER", "B-LOC"), logits_for("B-PER", "O"), logits_for("O")]
    scores = TASK.score({"tags": truth}, given, TAGS)
    found = TASK.metrics(scores.sums.sum(axis=0))
    # Expected: PER in row 0, LOC in row 1. Given: PER and LOC in row 0, PER in row 1. One is right.
    assert found["entity_precision"] == pytest.approx(1 / 3)
    assert found["entity_recall"] == pytest.approx(1 / 2)
    assert found["entity_f1"] == pytest.approx(2 / 5)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert scores.row_scores.tolist() == [pytest.approx(2 / 3), 0.5, 1.0]
    assert scores.units.rows.tolist() == [0, 0, 0, 1, 1, 2]
    assert scores.units.truth.tolist() == [2, 3, 0, 1, 0, 0]


def test_an_entity_counts_only_with_its_whole_span():
    scores = TASK.score({"tags": [["B-PER", "I-PER"]]}, [logits_for("B-PER", "O")], TAGS)
    assert TASK.metrics(scores.sums[0])["entity_f1"] == 0


def test_step_metrics_leave_out_what_has_no_label():
    logits = np.stack([np.vstack([logits_for("B-LOC", "B-PER", "I-PER"), np.full((1, 4), -100)])])
    found = TASK.step_metrics(logits, np.array([[-100, 2, 3, -100]]), TAGS)
    assert found["entity_f1"] == 1 and found["accuracy"] == 1


def test_words_the_model_does_not_see_count_as_outside():
    prediction = np.vstack([logits_for("B-LOC"), UNSEEN])
    scores = TASK.score({"tags": [["B-LOC", "O"]]}, [prediction], TAGS)
    assert scores.row_scores.tolist() == [1.0]
    assert scores.units.seen.tolist() == [True, False]
    assert scores.units.only_seen().truth.tolist() == [1]
    names = ["B-LOC", "B-PER", "I-PER", "O"]  # The order of another model.
    columns = TASK.output_columns([np.vstack([np.array([9, 0, 0, 0], np.float32), UNSEEN])], names)
    assert columns["prediction"].to_pylist() == [["B-LOC", "O"]]
    assert columns["score"].to_pylist()[0][1] == 1.0


def test_output_columns_keep_rows_apart():
    columns = TASK.output_columns([logits_for("O", "B-LOC"), logits_for(), logits_for("B-PER")], TAGS)
    assert columns["prediction"].to_pylist() == [["O", "B-LOC"], [], ["B-PER"]]
    assert [len(scores) for scores in columns["score"].to_pylist()] == [2, 0, 1]


def test_encode_finds_each_words_first_token_and_labels_only_it(tagging_model):
    tokenizer = Predictor(tagging_model).backend.tokenizer
    rows = {"tokens": [["ada", "xyz", "paris"]], "tags": [["B-PER", "I-PER", "B-LOC"]]}
    encoded = TASK.encode(rows, tokenizer, None)
    pieces = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    assert pieces == ["[CLS]", "ada", "x", "##y", "##z", "paris", "[SEP]"]
    assert encoded["word_starts"] == [[1, 2, 5]]
    assert TASK.encode_labels(rows, encoded, TAGS) == [[-100, 2, 3, -100, -100, 1, -100]]
    cut = TASK.encode(rows, tokenizer, 4)
    assert cut["word_starts"] == [[1, 2, -1]]
    assert TASK.encode_labels(rows, cut, TAGS) == [[-100, 2, 3, -100]]


def test_decode_takes_first_tokens_and_marks_what_was_cut():
    logits = np.arange(20, dtype=np.float32).reshape(5, 4)
    decoded = TASK.decode(logits, {"word_starts": [1, 3, -1]})
    assert decoded[:2].tolist() == logits[[1, 3]].tolist()
    assert np.isnan(decoded[2]).all()
    assert TASK.decode(logits, {"word_starts": []}).shape == (0, 4)


def test_clean_drops_rows_that_cannot_be_used():
    table = pa.table(
        {
            "tokens": pa.chunked_array([[["a", "b"], None, [], ["c"]], [["d", None], ["e"], ["f"]]]),
            "tags": pa.chunked_array([[["O", "O"], ["O"], [], ["O", "O"]], [["O", "O"], [None], ["O"]]]),
        }
    )
    cleaned, dropped = TASK.clean(table)
    assert cleaned["tokens"].to_pylist() == [["a", "b"], ["f"]]
    assert dropped == {
        "rows without words removed": 2,
        "rows with a missing word removed": 1,
        "rows with more or fewer tags than words removed": 1,
        "rows with a missing tag removed": 1,
    }


def test_a_column_that_holds_no_lists_is_an_error():
    with pytest.raises(DataError, match="column for 'tokens' holds string: a list of strings is needed"):
        TASK.clean(pa.table({"tokens": ["a b"]}))


def test_label_names_put_outside_first():
    assert TASK.label_names(["B-X", "O", "B-A", "B-X"]) == ["O", "B-A", "B-X"]


def test_stratum_and_label_counts():
    table = pa.table({"tags": [["O", "B-X", "O"], ["O"]]})
    assert TASK.stratum(table).to_pylist() == ["B-X|O", "O"]
    assert TASK.label_counts(table) == {"O": 3, "B-X": 1}


def test_show_marks_the_word():
    assert TASK.show({"tokens": ["to", "paris"]}, 1) == "to [paris]"


ROW = {role: values[0] for role, values in TASK.parse(["Ada Lovelace, in Paris"]).items()}
PREDICTION = logits_for("B-PER", "I-PER", "O", "O", "B-LOC")


def test_respond_joins_words_of_an_entity():
    response = TASK.respond(ROW, PREDICTION, TAGS, {})
    assert [(entity["entity_group"], entity["word"]) for entity in response] == [
        ("PER", "Ada Lovelace"),
        ("LOC", "Paris"),
    ]
    assert [ROW["text"][entity["start"] : entity["end"]] for entity in response] == ["Ada Lovelace", "Paris"]
    assert TASK.answer(response) == [["PER", 0, 12], ["LOC", 17, 22]]


def test_respond_without_aggregation_and_with_labels_ignored():
    response = TASK.respond(ROW, PREDICTION, TAGS, {"aggregation_strategy": "none", "ignore_labels": ["O", "I-PER"]})
    assert [(entity["entity"], entity["word"]) for entity in response] == [("B-PER", "Ada"), ("B-LOC", "Paris")]
    everything = TASK.respond(ROW, PREDICTION, TAGS, {"aggregation_strategy": "none", "ignore_labels": []})
    assert len(everything) == 5


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"aggregation_strategy": "max"}, "aggregation_strategy='max': choose one of none, simple, first"),
        ({"ignore_labels": "O"}, "ignore_labels='O': give a list of label names"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused(parameters, message):
    with pytest.raises(ArgumentError, match=message):
        TASK.respond(ROW, PREDICTION, TAGS, parameters)


def test_a_text_without_words_is_refused():
    with pytest.raises(ArgumentError, match="at least one word"):
        TASK.parse(["  "])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("strategy", ["none", "first"])
def test_answers_are_those_of_the_transformers_pipeline(tmp_path, base_model, tagged_dataset, seed, strategy):
    from transformers import pipeline

    from tests.conftest import save_model

    folder = save_model(tmp_path / "model", base_model, tagged_dataset, seed)
    texts = ["ada lovelace was so happy, paris today", "alan turing hate oslo: the phone", "rome"]
    if strategy == "first":  # Without aggregation the pipeline answers for pieces of words, and not for words.
        texts.append("grace was born in marseille, xyz")
    ours = Predictor(folder).respond(texts, {"aggregation_strategy": strategy})
    theirs = pipeline("token-classification", model=str(folder), aggregation_strategy=strategy, device="cpu")(texts)
    key = "entity" if strategy == "none" else "entity_group"
    assert any(ours)
    for our, their in zip(ours, theirs, strict=True):
        assert [(e[key], e["start"], e["end"]) for e in our] == [(e[key], e["start"], e["end"]) for e in their]
        assert [e["score"] for e in our] == pytest.approx([float(e["score"]) for e in their], abs=1e-5)
