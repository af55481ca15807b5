"""Tiny real models and small real data, made once a session.

Each folder is laid out here by hand and not by the stage that usually makes it, so that one
stage's tests do not fail for another's fault.
"""

import os

# One thread: tiny models are many times faster without a second one to wait for.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import random
from pathlib import Path

import pytest

from hfpc import golden
from hfpc.manifest import DatasetRecord, Manifest, ModelRecord, TokenizedRecord
from tests.language_models import save_language_model

pytest_plugins = [
    "tests.cloud.aws_fixtures",
    "tests.cloud.google_fixtures",
    "tests.cloud.kubeflow_fixtures",
    "tests.cloud.kubernetes_fixtures",
]

LABELS = ["negative", "positive"]
GOOD = "love great happy wonderful best nice amazing thanks".split()
BAD = "hate awful sad terrible worst broken angry never".split()
PLAIN = "the a my this is was day phone car food today really so very it to".split()
TAGS = ["O", "B-LOC", "B-PER", "I-PER"]


def make_texts(rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Short texts whose label shows in their words, with 5 % of labels wrong; all distinct."""
    rng = random.Random(seed)
    made: dict[str, str] = {}
    while len(made) < rows:
        label = rng.choice(LABELS)
        words = rng.choices(PLAIN, k=rng.randint(2, 12)) + rng.choices(GOOD if label == "positive" else BAD, k=2)
        rng.shuffle(words)
        made[" ".join(words)] = label if rng.random() > 0.05 else rng.choice(LABELS)
    return [{"text": text, "label": label} for text, label in made.items()]


def make_tagged(rows: int, seed: int = 0) -> list[dict[str, list[str]]]:
    """Sentences with persons (two words) and places, tagged in IOB2."""
    rng = random.Random(seed)
    made = []
    for _ in range(rows):
        tokens, tags = [], []
        for _ in range(rng.randint(3, 9)):
            kind = rng.random()
            if kind < 0.15:
                tokens += [rng.choice(["paris", "rome", "oslo"])]
                tags += ["B-LOC"]
            elif kind < 0.3:
                tokens += [rng.choice(["ada", "alan", "grace"]), rng.choice(["lovelace", "turing", "hopper"])]
                tags += ["B-PER", "I-PER"]
            else:
                tokens += [rng.choice(PLAIN)]
                tags += ["O"]
        made.append({"tokens": tokens, "tags": tags})
    return made


def save_base_model(folder: Path) -> Path:
    """A BERT of two layers with 32 hidden units and a word-level vocabulary, as `base_model`."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = GOOD + BAD + PLAIN + "paris rome oslo ada alan grace lovelace turing hopper".split()
    letters = [f"{prefix}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789.,!?'#@" for prefix in ("", "##")]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(special + letters + words))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def dataset_record(label_names: list[str], columns: dict[str, str], rows: dict[str, int]) -> DatasetRecord:
    return DatasetRecord(
        source="tests",
        revision="",
        licence="Apache-2.0",
        columns=columns,
        label_names=label_names,
        rows=rows,
        label_counts={},
        repairs={},
        fingerprint="0" * 64,
    )


def save_dataset(folder: Path, splits: dict[str, list[dict]], task: str, label_names: list[str]) -> Path:
    """A data set folder as `load_dataset` lays it out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split, rows in splits.items():
        (folder / split).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), folder / split / "part-00000.parquet")
    roles = {role: role for role in next(iter(splits.values()))[0]}
    counts = {split: len(rows) for split, rows in splits.items()}
    Manifest(kind="dataset", task=task, dataset=dataset_record(label_names, roles, counts)).write(folder)
    return folder


@pytest.fixture(scope="session")
def base_model(tmp_path_factory) -> Path:
    return save_base_model(tmp_path_factory.mktemp("base_model"))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    rows = make_texts(400)
    splits = {"train": rows[:280], "validation": rows[280:330], "test": rows[330:]}
    return save_dataset(tmp_path_factory.mktemp("dataset"), splits, "text-classification", LABELS)


@pytest.fixture(scope="session")
def tagged_dataset(tmp_path_factory) -> Path:
    rows = make_tagged(300)
    splits = {"train": rows[:200], "validation": rows[200:240], "test": rows[240:]}
    return save_dataset(tmp_path_factory.mktemp("tagged"), splits, "token-classification", TAGS)


def save_model(folder: Path, base_model: Path, dataset: Path, seed: int = 0) -> Path:
    """A model folder as `finetune` lays it out; its head is random, its answers arbitrary but fixed."""
    import torch

    from hfpc import manifest, storage, tasks
    from hfpc.base_model import find
    from hfpc.inference.predictor import Predictor

    data = manifest.read(dataset, "dataset")
    task, names = tasks.get(data.task), data.dataset.label_names
    base = find(str(base_model))
    torch.manual_seed(seed)
    model = base.load(task.auto_model(), num_labels=len(names), id2label=dict(enumerate(names)))
    model.save_pretrained(folder)
    base.tokenizer().save_pretrained(folder)
    (folder / "README.md").write_text("# A tiny model\n")
    record = ModelRecord(
        base_model=str(base_model),
        revision="",
        max_length=64,
        parameters={},
        metrics={},
        fingerprint=storage.fingerprint(list(folder.iterdir()), folder),
    )
    Manifest(kind="model", task=data.task, dataset=data.dataset, model=record).write(folder)
    inputs = ["i love this day", "my phone is terrible", "ada lovelace was in paris"]
    golden.write(folder, inputs, Predictor(folder).respond(inputs))
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory, base_model, dataset) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), base_model, dataset)


@pytest.fixture(scope="session")
def tagging_model(tmp_path_factory, base_model, tagged_dataset) -> Path:
    return save_model(tmp_path_factory.mktemp("tagging_model"), base_model, tagged_dataset)


def save_tokenized(folder: Path, dataset: Path, base_model: Path, max_length: int = 32) -> Path:
    """A tokenized folder as `preprocess` lays it out."""
    import datasets
    import pyarrow.parquet as pq

    from hfpc import manifest, tasks
    from hfpc.base_model import find

    data = manifest.read(dataset, "dataset")
    task, tokenizer = tasks.get(data.task), find(str(base_model)).tokenizer()
    for split in data.dataset.rows:
        rows = pq.read_table(dataset / split).to_pydict()
        encoded = task.encode(rows, tokenizer, max_length)
        columns = {name: encoded[name] for name in tokenizer.model_input_names if name in encoded}
        columns["labels"] = task.encode_labels(rows, encoded, data.dataset.label_names)
        columns["length"] = [len(ids) for ids in encoded["input_ids"]]
        datasets.Dataset.from_dict(columns).save_to_disk(folder / split)
    validation = pq.read_table(dataset / "validation").slice(0, 8).to_pylist()
    golden.write_inputs(folder, [task.request(row) for row in validation])
    record = TokenizedRecord(
        base_model=str(base_model),
        revision="",
        trust_remote_code=False,
        max_length=max_length,
        lengths={"p50": 8, "p95": 12, "p99": 14, "max": 16},
        truncated_share=0.0,
    )
    Manifest(kind="tokenized", task=data.task, dataset=data.dataset, tokenized=record).write(folder)
    return folder


@pytest.fixture(scope="session")
def tokenized(tmp_path_factory, dataset, base_model) -> Path:
    return save_tokenized(tmp_path_factory.mktemp("tokenized"), dataset, base_model)


@pytest.fixture(scope="session")
def tagged_tokenized(tmp_path_factory, tagged_dataset, base_model) -> Path:
    return save_tokenized(tmp_path_factory.mktemp("tagged_tokenized"), tagged_dataset, base_model)


@pytest.fixture(scope="session")
def language_model(tmp_path_factory) -> Path:
    """A Llama that knows `SENTENCES` and `CHATS`."""
    return save_language_model(tmp_path_factory.mktemp("language_model"))


@pytest.fixture(scope="session")
def endless_model(tmp_path_factory) -> Path:
    """A Llama that never ends a text by itself."""
    return save_language_model(tmp_path_factory.mktemp("endless_model"), "endless")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A `$HFPC_HOME` of the test's own."""
    monkeypatch.setenv("HFPC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
