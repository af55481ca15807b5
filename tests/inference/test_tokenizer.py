"""A model folder's tokenizer without Transformers gives the ids that Transformers gives."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfpc.errors import ModelError
from hfpc.inference.tokenizer import FastTokenizer
from tests.conftest import BAD, GOOD, PLAIN, make_texts

STRANGE = [
    "",
    " ",
    "\n\t \r\n",
    "I LOVE this day!!!",
    "  two  blanks  and a trailing one ",
    "naïve café, \u201cquoted\u201d \u2026 \ufb01n",
    "これはひどい製品です。 هذا منتج رائع 消極的",
    "👩‍👩‍👧 ❤️ 🇫🇷 \u200d \ufeff \u202e backwards",
    "e\u0301 and \u00e9, \u212b and \u00c5",
    "nul \x00 bell \x07 escape \x1b delete \x7f",
    "[CLS] [SEP] [PAD] [MASK] <s> </s> <mask> <pad> <unk>",
    "https://example.org/a?b=c#d @user #tag a.b.c don't",
    "x" * 3000,
    "love " * 500,
    "1234567890 3.14 1,000 ½ ²",
]
WORDS = [
    ["ada", "lovelace", "was", "in", "paris"],
    ["don't", "naïve", "👩‍👩‍👧", "x" * 200],
    ["love"] * 300,
    [" ", "a b", "", "[SEP]", "</s>"],
]


def corpus() -> list[str]:
    return [row["text"] for row in make_texts(300)] + ["naïve café don't 1234567890", *GOOD, *BAD, *PLAIN]


def wordpiece(**options: Any) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import BertTokenizerFast

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
    return BertTokenizerFast(vocab=tokenizer.get_vocab(), **options)


def bpe() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import RobertaTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return RobertaTokenizerFast(vocab=model["vocab"], merges=merges, add_prefix_space=True)


def unigram() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import XLMRobertaTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(corpus(), trainer)
    pieces = json.loads(tokenizer.to_str())["model"]["vocab"]
    return XLMRobertaTokenizerFast(vocab=[tuple(piece) for piece in pieces])


MADE = {
    "wordpiece": wordpiece,
    "wordpiece cut on the left": lambda: wordpiece(truncation_side="left"),
    "bpe": bpe,
    "unigram": unigram,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Saved by the tokenizer as Transformers loads it, which is what `finetune` does."""
    from transformers import AutoTokenizer

    made = {}
    for kind, make in MADE.items():
        made[kind] = tmp_path_factory.mktemp("tokenizer")
        make().save_pretrained(made[kind])
        AutoTokenizer.from_pretrained(made[kind]).save_pretrained(made[kind])
    return made


@pytest.fixture(params=MADE)
def pair(request, folders) -> tuple[FastTokenizer, Any]:
    from transformers import AutoTokenizer

    folder = folders[request.param]
    return FastTokenizer(folder), AutoTokenizer.from_pretrained(folder)


def equal(ours: Any, theirs: Any) -> bool:
    return all(ours[name] == theirs[name] for name in theirs)


@pytest.mark.parametrize("max_length", [None, 3, 16, 64])
def test_texts(pair, max_length):
    ours, theirs = pair
    cut = {"truncation": max_length is not None, "max_length": max_length}
    expected = theirs(STRANGE, **cut)
    assert {"input_ids", "attention_mask"} <= set(expected)
    assert equal(ours(STRANGE, **cut), expected)
    if max_length:
        assert max(map(len, expected["input_ids"])) == max_length


@pytest.mark.parametrize("max_length", [None, 3, 16, 64])
def test_words(pair, max_length):
    ours, theirs = pair
    cut = {"truncation": max_length is not None, "max_length": max_length, "is_split_into_words": True}
    found, expected = ours(WORDS, **cut), theirs(WORDS, **cut)
    assert equal(found, expected)
    for row in range(len(WORDS)):
        assert found.word_ids(row) == expected.word_ids(row)


def test_texts_of_any_characters(pair):
    ours, theirs = pair

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.text(max_size=60), min_size=1, max_size=4), st.integers(3, 20))
    def same(texts, max_length):
        assert equal(
            ours(texts, truncation=True, max_length=max_length), theirs(texts, truncation=True, max_length=max_length)
        )

    same()


def test_rows_are_filled_up_with_the_same_token(pair):
    ours, theirs = pair
    assert ours.pad_token_id == theirs.pad_token_id


def test_a_limit_does_not_stay(folders):
    ours = FastTokenizer(folders["wordpiece"])
    assert len(ours(["love " * 100], truncation=True, max_length=8)["input_ids"][0]) == 8
    assert len(ours(["love " * 100], truncation=False, max_length=None)["input_ids"][0]) == 102


def test_threads_may_share_it(folders):
    ours = FastTokenizer(folders["bpe"])
    expected = ours(STRANGE, truncation=True, max_length=16)["input_ids"]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda _: ours(STRANGE, truncation=True, max_length=16)["input_ids"], range(50))
        assert all(ids == expected for ids in found)


def test_padding_and_cutting_of_the_file_are_not_used(folders, tmp_path):
    """Whoever saved the tokenizer may have left them switched on."""
    from tokenizers import Tokenizer

    ours = FastTokenizer(folders["wordpiece"])
    tokenizer = Tokenizer.from_file(str(folders["wordpiece"] / "tokenizer.json"))
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(5)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_bytes((folders["wordpiece"] / "tokenizer_config.json").read_bytes())
    texts = ["love", "i love this very great day so much"]
    for cut in ({"truncation": False, "max_length": None}, {"truncation": True, "max_length": 64}):
        assert FastTokenizer(tmp_path)(texts, **cut)["input_ids"] == ours(texts, **cut)["input_ids"]


def test_without_a_pad_token_the_end_fills_rows_up(folders, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((folders["bpe"] / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "</s>"}, "pad_token": null}')
    assert FastTokenizer(tmp_path).pad_token_id == 2


@pytest.mark.parametrize("broken", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_a_folder_without_a_tokenizer_that_loads_is_an_error(folders, tmp_path, broken, content):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folders["wordpiece"] / name).read_bytes())
    (tmp_path / broken).unlink()
    if content is not None:
        (tmp_path / broken).write_text(content)
    with pytest.raises(ModelError, match="no fast tokenizer that loads"):
        FastTokenizer(tmp_path)
