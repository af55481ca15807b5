"""Data sets of the Hugging Face Hub, streamed at one commit."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from hfpc.data.files import split_of
from hfpc.errors import ArgumentError, DataError


class HubDataset:
    """A data set of the Hub, pinned to the commit its revision means now.

    Args:
        name: Hub id, e.g. "stanfordnlp/imdb".
        revision: Branch, tag or commit; "" means `main`.
        config: Name of its configuration; "" means the default one.

    Attributes:
        revision: The commit SHA.
        licence: Licence its card states, or "unknown".

    Raises:
        ArgumentError: There is no such data set, revision or configuration, or the Hub cannot be reached.
    """

    def __init__(self, name: str, revision: str = "", config: str = "") -> None:
        import httpx
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RevisionNotFoundError

        self.name = name
        self.config = config
        try:
            info = HfApi().dataset_info(name, revision=revision or None)
        except RevisionNotFoundError as error:
            raise ArgumentError("revision", revision, f"the data set {name} has no such revision") from error
        except OfflineModeIsEnabled as error:
            fix = "there is no such file, and HF_HUB_OFFLINE keeps it from being looked up on the Hub"
            raise ArgumentError("source", name, fix) from error
        except HfHubHTTPError as error:
            fix = f"there is no such file, and the Hub has no such data set or HF_TOKEN may not read it ({error})"
            raise ArgumentError("source", name, fix) from error
        except (OSError, httpx.HTTPError) as error:
            fix = f"there is no such file, and the Hub cannot be reached ({error})"
            raise ArgumentError("source", name, fix) from error
        self.revision: str = info.sha or ""
        self.licence = _licence(info.card_data)

    def batches(self, rows: int) -> Iterator[tuple[str | None, pa.Table]]:
        """Split and table, at most `rows` rows at a time; class ids are their names."""
        splits = self._load()
        wanted = {name: split_of(name) for name in splits}
        single = set(wanted.values()) <= {"train", None} and len(wanted) == 1
        if not single and "train" not in wanted.values():
            raise DataError(f"the data set {self.name} has no split called train; it has {', '.join(splits)}")
        for name, split in wanted.items():
            if single or split:
                features = splits[name].features
                for table in splits[name].with_format("arrow").iter(batch_size=rows):
                    yield None if single else split, _named_classes(table, features or {})

    def _load(self) -> Any:
        import datasets

        try:
            return datasets.load_dataset(
                self.name, self.config or None, revision=self.revision, streaming=True, trust_remote_code=False
            )
        except ValueError as error:  # its message lists the configurations there are
            raise ArgumentError("extra", {"config": self.config}, str(error)) from error
        except (OSError, RuntimeError) as error:
            raise DataError(f"the data set {self.name} cannot be read: {error}") from error


def _licence(card: Any) -> str:
    licence = getattr(card, "license", None) or "unknown"
    return licence if isinstance(licence, str) else ", ".join(licence)


def _named_classes(table: pa.Table, features: Any) -> pa.Table:
    """Columns of class ids, also in lists, as class names; an id without a name is null."""
    for place, column in enumerate(table.column_names):
        feature = features.get(column)
        inner: Any = getattr(feature, "feature", None)
        if hasattr(feature, "names"):
            named = _names(table.column(place), feature.names)
        elif hasattr(inner, "names"):
            lists = table.column(place).combine_chunks()
            lists = lists.cast(pa.list_(lists.type.value_type))
            names = _names(lists.flatten(), inner.names)
            lengths = lists.value_lengths().fill_null(0).to_numpy().cumsum()
            offsets = pa.array([0, *lengths.tolist()], pa.int32())
            named = pa.ListArray.from_arrays(offsets, names, mask=lists.is_null())
        else:
            continue
        table = table.set_column(place, column, named)
    return table


def _names(ids: Any, names: list[str]) -> Any:
    import pyarrow.compute as pc

    known = pc.and_(pc.greater_equal(ids, 0), pc.less(ids, len(names)))
    return pc.take(pa.array(names, pa.string()), pc.if_else(known, ids, pa.scalar(None, ids.type)))
