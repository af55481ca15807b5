"""Every format, compression and layout gives the same rows; damage is repaired and counted."""

import bz2
import codecs
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hfpc.data.sources import read
from hfpc.errors import ArgumentError, DataError

ROWS = [{"text": f'line {i}, "quoted"\nand a second line é', "label": "ab"[i % 2], "note": str(i)} for i in range(50)]


def csv_bytes(rows=ROWS, delimiter=","):
    def quoted(value):
        return '"' + value.replace('"', '""') + '"'

    lines = [delimiter.join(rows[0])] + [delimiter.join(map(quoted, row.values())) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def jsonl_bytes(rows=ROWS):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def rows_of(source, **arguments):
    found = read(str(source), roles=["text", "label"], **arguments)
    tables = [table for _, table in found.batches()]
    return [row for table in tables for row in table.to_pylist()], dict(+found.repairs)


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("ending", "compress"),
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)],
)
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", csv_bytes()), ("a.tsv", csv_bytes(delimiter="\t")), ("a.jsonl", jsonl_bytes())],
)
@pytest.mark.parametrize("block_bytes", [400, 1 << 20])
def test_reads_every_text_format_and_compression(tmp_path, name, content, ending, compress, block_bytes):
    (tmp_path / f"{name}{ending}").write_bytes(compress(content))
    assert rows_of(tmp_path / f"{name}{ending}", block_bytes=block_bytes) == (ROWS, {})


@pytest.mark.parametrize("codec", ["snappy", "zstd", "none"])
def test_reads_parquet(tmp_path, codec):
    table = pa.Table.from_pylist(ROWS)
    table = table.set_column(1, "label", table["label"].dictionary_encode())
    pq.write_table(table, tmp_path / "a.parquet", compression=codec, row_group_size=7)
    assert rows_of(tmp_path / "a.parquet", block_bytes=200) == (ROWS, {})


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
@pytest.mark.parametrize(("name", "content"), [("a.csv", csv_bytes()), ("a.jsonl", jsonl_bytes())])
def test_a_byte_order_mark_tells_the_encoding(tmp_path, name, content, mark, encoding):
    (tmp_path / name).write_bytes(mark + content.decode().encode(encoding))
    assert rows_of(tmp_path / name, block_bytes=500) == (ROWS, {})


def test_another_encoding_is_read_as_told(tmp_path):
    (tmp_path / "a.csv").write_bytes("text,label\ncafé,a\nnaïve,b\n".encode("latin-1"))
    rows, repairs = rows_of(tmp_path / "a.csv", extra={"encoding": "latin-1"})
    assert [row["text"] for row in rows] == ["café", "naïve"]
    assert not repairs
    rows, repairs = rows_of(tmp_path / "a.csv")
    assert [row["text"] for row in rows] == ["caf\ufffd", "na\ufffdve"]
    assert repairs == {"rows with undecodable bytes repaired": 2}


def test_bytes_that_another_encoding_lacks_are_counted(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\ncaf\xe9,a\nhole \x81,b\n")
    rows, repairs = rows_of(tmp_path / "a.csv", extra={"encoding": "cp1252"})
    assert [row["text"] for row in rows] == ["café", "hole \ufffd"]
    assert repairs == {"rows with undecodable bytes repaired": 1}


@pytest.mark.parametrize("block_bytes", [64, 1 << 20])
def test_damage_is_repaired_or_skipped_and_counted_whatever_the_block(tmp_path, block_bytes):
    (tmp_path / "a.csv").write_bytes(b'text,label\n"x\ny",a\ntoo few\nbad \xff and \xfe,b\none,two,many\nlast,a\n')
    rows, repairs = rows_of(tmp_path / "a.csv", block_bytes=block_bytes)
    assert [row["text"] for row in rows] == ["x\ny", "bad \ufffd and \ufffd", "last"]
    assert repairs == {"malformed rows skipped": 2, "rows with undecodable bytes repaired": 1}

    lines = [b'{"text": "x", "label": 1}', b"{broken", b'{"text": "\xff", "label": "b"}', b"[1]", b"", b'{"text": "z"}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    rows, repairs = rows_of(tmp_path / "a.jsonl", block_bytes=1 << 20)
    assert [row["text"] for row in rows] == ["x", "\ufffd", "z"]
    assert [row["label"] for row in rows] == ["1", "b", None]
    assert repairs == {"malformed rows skipped": 2, "rows with undecodable bytes repaired": 1}


def test_undecodable_bytes_in_parquet_are_repaired(tmp_path):
    raw = pa.array([b"fine", b"bad \xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": raw, "label": ["a", "b"]}), tmp_path / "a.parquet")
    rows, repairs = rows_of(tmp_path / "a.parquet")
    assert [row["text"] for row in rows] == ["fine", "bad \ufffd"]
    assert repairs == {"rows with undecodable bytes repaired": 1}


def test_dates_in_jsonl_stay_texts(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes([{"text": "2020-01-01", "label": "a"}]))
    assert rows_of(tmp_path / "a.jsonl")[0] == [{"text": "2020-01-01", "label": "a"}]


def splits_of(source, **arguments):
    return [
        (split, table["text"].to_pylist()) for split, table in read(str(source), roles=["text"], **arguments).batches()
    ]


def write_split(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"text,label\n{text},a\n")


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "valid.csv", "test.csv"),
        ("training/part-0.csv", "dev/part-0.csv", "testing/part-0.csv"),
        ("tweets_train.csv", "tweets_val.csv", "tweets_test.csv"),
        ("data/train-00000-of-00001.csv", "data/validation-00000-of-00001.csv", "data/test-00000-of-00001.csv"),
    ],
)
def test_names_tell_ready_splits(tmp_path, names):
    for name in names:
        write_split(tmp_path / name, name)
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "_SUCCESS").write_text("")
    expected = dict(zip(names, ("train", "validation", "test"), strict=True))
    assert {texts[0]: split for split, texts in splits_of(tmp_path)} == expected
    assert {texts[0]: split for split, texts in splits_of(f"{tmp_path}/**/*.csv")} == expected


def test_a_word_inside_another_is_no_split(tmp_path):
    write_split(tmp_path / "latest.csv", "x")
    write_split(tmp_path / "trainer.csv", "y")
    assert [split for split, _ in splits_of(tmp_path)] == [None, None]


def test_a_single_file_is_everything(tmp_path):
    write_split(tmp_path / "test.csv", "x")
    assert splits_of(tmp_path / "test.csv") == [(None, ["x"])]


def test_files_beside_a_test_file_are_train(tmp_path):
    write_split(tmp_path / "a.csv", "x")
    write_split(tmp_path / "test.csv", "y")
    assert splits_of(tmp_path) == [("train", ["x"]), ("test", ["y"])]


def test_unclear_splits_are_refused(tmp_path):
    write_split(tmp_path / "train.csv", "x")
    write_split(tmp_path / "test.csv", "x")
    write_split(tmp_path / "more.csv", "y")
    with pytest.raises(DataError, match=r"belong to no split: .*more\.csv"):
        splits_of(tmp_path)
    (tmp_path / "more.csv").unlink()
    (tmp_path / "train.csv").rename(tmp_path / "val.csv")
    with pytest.raises(DataError, match="for test, validation but none for train"):
        splits_of(tmp_path)


def test_several_formats_need_a_choice(tmp_path):
    write_split(tmp_path / "a.csv", "x")
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes([{"text": "y", "label": "a"}]))
    with pytest.raises(ArgumentError, match=r"several formats.*extra=\{\"format\": \"csv\"\}"):
        splits_of(tmp_path)
    assert splits_of(tmp_path, extra={"format": "jsonl"}) == [(None, ["y"])]


def test_columns_are_named_by_role_and_others_pass(tmp_path):
    (tmp_path / "a.csv").write_text("id,tweet,text,class\n1,hello,old,x\n")
    columns = {"text": "tweet", "label": "class"}
    rows, _ = rows_of(tmp_path / "a.csv", columns=columns)
    assert rows == [{"id": "1", "text": "hello", "source_text": "old", "label": "x"}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": {"text": "tweet"}}, r"no column 'tweet' for 'text'; it has 'a', 'b'.*columns=\{\"text\": \"…\"\}"),
        ({"columns": {"text": "B"}}, r"no column 'B' for 'text'; it has 'a', 'b'.*columns=\{\"text\": \"b\"\}"),
        ({"columns": {"title": "a"}}, "unknown role 'title'; the task has text, label"),
        ({"columns": {"text": "a", "label": "a"}}, "two roles cannot have the same column"),
        ({"extra": {"sep": ";"}}, "unknown setting 'sep'; known ones are format, encoding, delimiter, config"),
        ({"extra": {"format": "xlsx"}}, "format must be one of csv, tsv, jsonl, parquet"),
        ({"extra": {"encoding": "klingon"}}, "give an encoding that Python knows"),
        ({"extra": {"delimiter": "ab"}}, "delimiter must be one character"),
        ({"revision": "main"}, "is not on the Hub"),
    ],
)
def test_wrong_arguments_name_the_fix(tmp_path, arguments, message):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ArgumentError, match=message):
        rows_of(tmp_path / "x.csv", **arguments)


def test_one_column_hints_at_the_delimiter(tmp_path):
    (tmp_path / "x.csv").write_text("text;label\n1;2\n")
    with pytest.raises(ArgumentError, match=r"extra=\{\"delimiter\": \";\"\}"):
        rows_of(tmp_path / "x.csv")
    assert rows_of(tmp_path / "x.csv", extra={"delimiter": ";"})[0] == [{"text": "1", "label": "2"}]


@pytest.mark.parametrize("source", ["/nowhere/x.csv", "nowhere/x.csv", "file:///nowhere", "/nowhere/*.csv"])
def test_nothing_there(source):
    with pytest.raises(ArgumentError, match="there is no data file here"):
        rows_of(source)


def test_a_name_without_a_format_is_refused(tmp_path):
    (tmp_path / "data.bin").write_text("text,label\nx,y\n")
    with pytest.raises(ArgumentError, match="tells no format"):
        rows_of(tmp_path / "data.bin")
    assert rows_of(tmp_path / "data.bin", extra={"format": "csv"})[0] == [{"text": "x", "label": "y"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "it is empty"),
        ("a.csv", b"text,text\n1,2\n", "two columns have the same name"),
        ("a.csv", b'text,label\n"never closed' + b"x" * 3000, "a quote is never closed"),
        ("a.jsonl", b'[{"text": "x"}]', "one JSON array"),
        ("a.parquet", b"text,label\n", "cannot be read as parquet"),
        ("a.csv.gz", b"text,label\n", "cannot be read as csv"),
    ],
)
def test_files_that_are_not_their_format(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        rows_of(tmp_path / name, block_bytes=1000)


def test_an_unknown_sample_lists_the_known_ones():
    with pytest.raises(ArgumentError, match="sample:tweets"):
        rows_of("sample:nothing")


def test_a_hub_id_offline_is_an_error_that_says_so():
    with pytest.raises(ArgumentError, match="HF_HUB_OFFLINE"):
        rows_of("somebody/something")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_row_of_two_megabytes_is_read(tmp_path, ending):
    text = "word " * 400_000
    rows = [{"text": text, "label": "a"}, {"text": "short", "label": "b"}]
    if ending == ".csv":
        (tmp_path / "a.csv").write_text(f'text,label\n"{text}",a\nshort,b\n')
    elif ending == ".jsonl":
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    source = read(str(tmp_path / f"a{ending}"), roles=["text", "label"])
    assert [row for _, table in source.batches() for row in table.to_pylist()] == rows


def test_a_row_larger_than_a_block_is_named_as_such(tmp_path):
    (tmp_path / "a.csv").write_text('text,label\n"' + "word " * 1000 + '",a\n')
    with pytest.raises(DataError, match="larger than the 1,000 bytes read at once"):
        rows_of(tmp_path / "a.csv", block_bytes=1000)
