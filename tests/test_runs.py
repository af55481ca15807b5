import json

import pytest

from hfpc import runs
from hfpc.errors import DataError
from hfpc.runs import Run


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"tasks": []}', '{"tasks": [{}]}', "more"])
def test_a_damaged_run_hides_no_other(home, caplog, damage):
    whole, damaged = (Run(id=name, pipeline="p", state="succeeded", started=1.0) for name in ("whole", "damaged"))
    runs.write(whole)
    runs.write(damaged)
    file = damaged.folder / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "colour": "blue"}) if damage == "more" else damage)
    assert runs.all_runs() == [whole]
    assert f"{file} cannot be read" in caplog.text
    with pytest.raises(DataError, match="cannot be read"):
        runs.read("damaged")
