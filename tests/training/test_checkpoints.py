import multiprocessing
import shutil
import time
from pathlib import Path

import pytest

from hfpc.training.checkpoints import Checkpoints, locked


def write(checkpoints: Checkpoints, step: int, best: int | None = None) -> None:
    checkpoints.path(step).mkdir()
    (checkpoints.path(step) / "weights").write_text(f"weights {step}")
    checkpoints.complete(step, best)


def claimed(local: Path, copy: Path) -> Checkpoints:
    checkpoints = Checkpoints(local, str(copy))
    checkpoints.claim()
    return checkpoints


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "README.txt")


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return claimed(tmp_path / "local", tmp_path / "copy")


def test_there_may_be_none(checkpoints):
    assert checkpoints.restore() is None


def test_the_newest_complete_one_is_restored(checkpoints, tmp_path):
    write(checkpoints, 9)
    write(checkpoints, 10)
    unfinished = tmp_path / "local" / "checkpoint-11"
    unfinished.mkdir()
    (unfinished / "weights").write_text("wei")
    assert checkpoints.restore() == tmp_path / "local" / "checkpoint-10"
    assert not unfinished.exists()


@pytest.mark.parametrize("content", ["", '{"best": null, "fi', '{"best": null, "files": {"weights": 3}}', "[]", "{}"])
def test_a_marker_that_is_cut_short_or_wrong_counts_for_nothing(checkpoints, tmp_path, content):
    write(checkpoints, 1)
    shutil.rmtree(tmp_path / "copy")
    write(checkpoints, 2)
    for place in ("local", "copy"):
        (tmp_path / place / "checkpoint-2.json").write_text(content)
    assert checkpoints.restore() == tmp_path / "local" / "checkpoint-1"


def test_a_damaged_checkpoint_is_passed_over(checkpoints, tmp_path):
    write(checkpoints, 1)
    write(checkpoints, 2)
    for place in ("local", "copy"):
        (tmp_path / place / "checkpoint-2" / "weights").write_text("")
    assert checkpoints.restore() == tmp_path / "local" / "checkpoint-1"


def test_two_and_the_best_are_kept_here_and_there(checkpoints, tmp_path):
    for step, best in ((1, 1), (2, 2), (3, 2), (4, 2), (5, 2)):
        write(checkpoints, step, best)
    kept = [f"checkpoint-{step}{end}" for step in (2, 4, 5) for end in ("", ".json")]
    assert names(tmp_path / "local") == names(tmp_path / "copy") == kept


def test_another_machine_gets_the_newest_and_the_best(checkpoints, tmp_path):
    for step, best in ((1, 1), (2, 1), (3, 1)):
        write(checkpoints, step, best)
    other = Checkpoints(tmp_path / "other", str(tmp_path / "copy"))
    assert other.restore() == tmp_path / "other" / "checkpoint-3"
    assert (tmp_path / "other" / "checkpoint-3" / "weights").read_text() == "weights 3"
    assert names(tmp_path / "other") == ["checkpoint-1", "checkpoint-1.json", "checkpoint-3", "checkpoint-3.json"]


def test_a_copy_whose_best_is_missing_cannot_be_resumed_from(checkpoints, tmp_path):
    write(checkpoints, 1, 1)
    write(checkpoints, 2, 1)
    (tmp_path / "copy" / "checkpoint-1.json").unlink()
    assert Checkpoints(tmp_path / "other", str(tmp_path / "copy")).restore() is None


def test_the_copy_wins_where_it_is_newer(checkpoints, tmp_path):
    write(checkpoints, 1)
    elsewhere = claimed(tmp_path / "elsewhere", tmp_path / "copy")
    elsewhere.restore()
    write(elsewhere, 2)
    assert checkpoints.restore() == tmp_path / "local" / "checkpoint-2"


def test_a_copy_that_fails_is_told_and_made_later(checkpoints, tmp_path, caplog):
    write(checkpoints, 1)
    shutil.rmtree(tmp_path / "copy")
    (tmp_path / "copy").write_text("no folder")
    write(checkpoints, 2)
    assert "the checkpoint could not be copied to" in caplog.text
    (tmp_path / "copy").unlink()
    write(checkpoints, 3)
    kept = [f"checkpoint-{step}{end}" for step in (2, 3) for end in ("", ".json")]
    assert names(tmp_path / "copy") == names(tmp_path / "local") == kept


def test_all_are_removed(checkpoints, tmp_path):
    write(checkpoints, 1)
    checkpoints.remove()
    assert not (tmp_path / "local").exists()
    assert not (tmp_path / "copy").exists()


def hold(folder: Path, order, seconds: float) -> None:
    with locked(folder):
        order.put("in")
        time.sleep(seconds)
        order.put("out")


def test_equal_trainings_wait_for_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    order = context.SimpleQueue()
    processes = [context.Process(target=hold, args=(tmp_path / "key", order, 0.1)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [order.get() for _ in range(6)] == ["in", "out"] * 3
    assert list(tmp_path.iterdir()) == []


def test_a_killed_training_leaves_no_lock(tmp_path):
    context = multiprocessing.get_context("fork")
    order = context.SimpleQueue()
    process = context.Process(target=hold, args=(tmp_path / "key", order, 60))
    process.start()
    assert order.get() == "in"
    process.kill()
    process.join()
    with locked(tmp_path / "key"):
        pass
