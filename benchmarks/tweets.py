"""What the benchmarks share: the sample tweets, cleaned and tokenized, in a scratch folder."""

from pathlib import Path

from hfpc.data.load_dataset import LoadDatasetConfig, load_dataset
from hfpc.data.preprocess import PreprocessConfig, preprocess

BASE_MODEL = "sample:minilm"
LABELS = ["negative", "positive"]


def prepare(folder: Path, rows: int, test_share: float = 0.1) -> tuple[Path, Path]:
    """Folders of `rows` negative and positive tweets: as text, and tokenized."""
    dataset, tokenized = folder / "dataset", folder / "tokenized"
    if not (tokenized / "hfpc.json").exists():
        config = LoadDatasetConfig(source="sample:tweets", labels=LABELS, max_rows=rows, test_share=test_share)
        load_dataset(config, dataset)
        preprocess(PreprocessConfig(base_model=BASE_MODEL), dataset, tokenized)
    return dataset, tokenized
