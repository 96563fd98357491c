"""Tables: numbers against NumPy, and text that Markdown and LaTeX read as it was meant."""

import csv
import re

import numpy as np
import pytest

from invjax.analysis import tables

from .figures.common import make_run, values, write_rows

LAYERS = (("caffenet", "relu2"), ("caffenet", "conv1"))  # not in the network's order


def written(workdir):
    tables.write(workdir)
    return [(workdir / "tables" / f"errors.{suffix}").read_text() for suffix in ("csv", "md", "tex")]


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def expected(numbers, scale, decimals):
    return f"{scale * np.mean(numbers):.{decimals}f} ± {scale * np.std(numbers, ddof=1):.{decimals}f}"


def test_numbers_are_those_of_numpy(tmp_path):
    rows = make_run(tmp_path, images=("a", "b", "c"), features=LAYERS, lambdas=(0.5, 5.0), restarts=2)
    table, markdown, latex = written(tmp_path)
    records = list(csv.DictReader(table.splitlines()))
    assert [(record["layer"], record["lambda_tv"]) for record in records] == [
        *(("conv1", "0.5"), ("conv1", "5"), ("relu2", "0.5"), ("relu2", "5"))
    ]
    for record in records:
        chosen = {"layer": record["layer"], "lambda_tv": float(record["lambda_tv"])}
        assert record["n"] == "6"
        for name in ("normalized_error", "relative_error", "psnr", "ssim"):
            numbers = values(rows, name, **chosen)
            np.testing.assert_allclose(float(record[f"{name}_mean"]), np.mean(numbers), rtol=1e-6)
            np.testing.assert_allclose(float(record[f"{name}_std"]), np.std(numbers, ddof=1), rtol=1e-6)
    caption, _, header, _, *lines = markdown.splitlines()
    assert caption.startswith("Normalized error of caffenet in %, mean ± standard deviation, n = 6, 3 pictures.")
    assert cells(header) == ["layer", "λ_TV 0.5", "λ_TV 5"]
    for line, layer in zip(lines, ("conv1", "relu2"), strict=True):
        numbers = [values(rows, "normalized_error", layer=layer, lambda_tv=weight) for weight in (0.5, 5.0)]
        texts = [expected(column, 100, 1) for column in numbers]
        best = int(np.argmin([np.mean(column) for column in numbers]))
        texts[best] = f"**{texts[best]}**"
        assert cells(line) == [layer, *texts]
        in_latex = [re.sub(r"\*\*(.*)\*\*", r"\\mathbf{\1}", text).replace("±", r"\pm") for text in texts]
        assert f"{layer} & ${in_latex[0]}$ & ${in_latex[1]}$ \\\\" in latex


def test_representations_of_one_picture_have_a_line_each_and_three_digits(tmp_path):
    rows = make_run(tmp_path, images=("a",), features=(("hog", ""), ("dsift", "")), restarts=3)
    for row in rows:
        row["relative_error"] /= 50
    write_rows(tmp_path, rows)
    caption, _, header, _, *lines = written(tmp_path)[1].splitlines()
    assert caption == "Relative error, mean ± standard deviation, n = 3, 1 picture."
    assert cells(header) == ["representation", "relative error"]
    for line, name in zip(lines, ("hog", "dsift"), strict=True):
        numbers = values(rows, "relative_error", representation=name)
        decimals = 2 - int(np.floor(np.log10(np.mean(numbers))))
        assert cells(line) == [name, expected(numbers, 1, decimals)]


def test_columns_are_what_varies_on_a_line(tmp_path):
    make_run(tmp_path, features=(("hog", ""), ("hogb", "")), variants=("beta=1", "beta=2"), lambdas=(0.5, 5.0))
    header = cells(written(tmp_path)[1].splitlines()[2])
    names = [f"beta={beta}, λ_TV {weight}" for beta in (1, 2) for weight in ("0.5", "5")]
    assert header == ["representation", *names]


def test_a_weight_that_goes_with_the_layer_is_no_column(tmp_path):
    rows = make_run(tmp_path, features=LAYERS)
    for row in rows:
        row["lambda_tv"] = 5.0 if row["layer"] == "relu2" else 0.5
    write_rows(tmp_path, rows)
    assert cells(written(tmp_path)[1].splitlines()[2]) == ["layer", "normalized error, %"]


def test_what_is_missing_or_failed(tmp_path):
    rows = make_run(tmp_path, features=LAYERS, lambdas=(0.5, 5.0), restarts=2)
    rows = [row for row in rows if (row["layer"], row["lambda_tv"]) != ("conv1", 5.0)]
    rows[0] |= {"status": "diverged", "relative_error": "inf", "normalized_error": "nan", "psnr": "inf"}
    write_rows(tmp_path, rows)
    table, markdown, latex = written(tmp_path)
    assert "n = 3 to 4" in markdown and "1 reconstruction diverged" in markdown
    assert cells(markdown.splitlines()[4])[2] == "–" and "**" not in markdown.splitlines()[4]
    assert "inf" not in table and " & -- " in latex


def parsed(latex):
    """What LaTeX would read: environments closed, braces paired, cells of each row of the table."""
    latex = re.sub(r"(?<!\\)%.*", "", latex)
    open_environments = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", latex):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert not open_environments
    plain = re.sub(r"\\textbackslash\{\}|\\textasciitilde\{\}|\\textasciicircum\{\}|\\[&%$#_{}]", "", latex)
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    prose = re.sub(r"\$[^$]*\$", "", plain)
    assert not set("_^#~%") & set(prose)
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", plain)[1])
    rows = [row for row in plain.split(r"\midrule")[1].split(r"\bottomrule")[0].split(r"\\") if row.strip()]
    assert all(row.count("&") == columns - 1 for row in rows)
    return rows


@pytest.mark.parametrize("name", ["relu2", r"50% & more_$x$ #1 {a} ~b^c \d", "a|b*c<d`e", "±", ""])
def test_any_name_is_printed_as_it_is(tmp_path, name):
    make_run(tmp_path, features=((name or "hog", ""), ("hog", name)), variants=("", name or "a=1"))
    _, markdown, latex = written(tmp_path)
    assert len(parsed(latex)) == len(markdown.splitlines()) - 4
    unescaped = [re.sub(r"\\([\\|*<`])", r"\1", line) for line in markdown.splitlines()]
    assert all(name in line for line in unescaped[4:6]) and name in unescaped[2]


def test_the_same_results_give_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        make_run(tmp_path / name, features=LAYERS, lambdas=(0.5, 5.0))
    assert written(tmp_path / "first") == written(tmp_path / "second")
