"""The tutorial runs from its first cell to its last, shows what it says, and is kept with its pictures."""

import copy
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "docs" / "tutorial.ipynb"

# what a reader sees in pictures and tables, as numbers; run behind the last cell
FACTS = """
import json

def likeness(picture, original):
    return float(np.corrcoef(picture.ravel(), original.ravel())[0, 1])

print(json.dumps({
    "errors": {name: float(one.relative_error.max()) for name, one in found.items()},
    "statuses": sorted({str(status) for one in found.values() for status in one.status}),
    "same_restarts": bool((many.images[:4] == out.images).all()),
    "dsift": likeness(found["dsift"].images[0], photo),
    "layers": [likeness(one.images[0], colours) for one in by_layer.values()],
    "brighter": likeness(by_weight[5.0].images[0], photo),
    "errors_by_cell": list(results.groupby("variant", sort=False).relative_error.mean()),
    "likeness_by_cell": list(results.groupby("variant", sort=False).ssim.mean()),
    "report": (workdir / "report.html").is_file(),
}))
"""


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(cell):
    return sum(any(kind.startswith("image/") for kind in output.get("data", {})) for output in cell.outputs)


@pytest.fixture(scope="module")
def kept():
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(kept, tmp_path_factory):
    """The notebook, executed in an empty folder with a last cell that prints the facts."""
    folder = tmp_path_factory.mktemp("tutorial")
    notebook = copy.deepcopy(kept)
    notebook.cells.append(nbformat.v4.new_code_cell(FACTS))
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(variable, str(folder / variable))  # neither reads what the user has set up nor leaves a trace
        client = NotebookClient(notebook, timeout=600, kernel_name="python3")
        return client.execute(cwd=str(folder))


@pytest.mark.slow
def test_it_runs_and_shows_what_it_is_kept_with(kept, executed):
    *cells, _ = code(executed)  # an error in a cell has been raised by now
    assert [cell.source for cell in cells] == [cell.source for cell in code(kept)]
    assert [pictures(cell) for cell in cells] == [pictures(cell) for cell in code(kept)]
    assert sum(map(pictures, cells)) == 11


@pytest.mark.slow
def test_what_it_says_is_so(executed):
    facts = json.loads(code(executed)[-1].outputs[-1].text)
    assert facts["statuses"] == ["ok"]
    assert facts["errors"]["hog"] < 0.03 and facts["errors"]["hogb"] < 0.01 and facts["errors"]["dsift"] < 0.005
    assert facts["same_restarts"]
    assert facts["dsift"] > 0.8 and facts["brighter"] > 0.7
    assert facts["layers"] == sorted(facts["layers"], reverse=True)  # layer after layer the picture is lost
    assert facts["layers"][0] > 0.8 > 0.5 > facts["layers"][-1]
    assert facts["errors_by_cell"] == sorted(facts["errors_by_cell"], reverse=True)
    assert facts["likeness_by_cell"] == sorted(facts["likeness_by_cell"], reverse=True)
    assert facts["report"]


def test_it_is_kept_fit_to_be_looked_at(kept):
    nbformat.validate(kept)
    assert NOTEBOOK.stat().st_size < 1.5e6
    assert [cell.execution_count for cell in code(kept)] == list(range(1, len(code(kept)) + 1))  # all, in order, once
    assert kept.metadata.kernelspec.name == "python3"
    assert not any("execution" in cell.metadata for cell in kept.cells)


def test_it_tells_nothing_of_the_machine_it_was_run_on(kept):
    texts = [
        json.dumps({kind: text for kind, text in output.get("data", output).items() if not kind.startswith("image/")})
        for cell in code(kept)
        for output in cell.outputs
    ]
    assert not [text for text in texts if re.search(r"(?<![\w.])/(home|root|tmp|Users|var|work)/|[A-Z]:\\\\", text)]


def test_what_it_links_to_is_there(kept):
    links = [link for cell in kept.cells for link in re.findall(r"\]\(([^):#]+)\)", cell.source)]
    assert len(links) >= 6
    assert all((NOTEBOOK.parent / link).exists() for link in links)
