"""Texts against Python's own calls, and files of the user's as Python runs scripts."""

import os
import sys

import pytest

from invjax import UserError, named


def recorded(*args, **kwargs):
    """A factory that tells what it is called with."""
    return args, kwargs


@pytest.mark.parametrize(
    "options", ["", "()", "(8)", "(-1.5, colour='red')", "(x=[1, (2.0, None)], y={'a:b(c)': True})", "(1e-3,\n a='é')"]
)
@pytest.mark.parametrize(
    "name", ["l1", "sobolev_adam", "my_file.py:make", "package.module:make", "/a (b)/c + d.py:e", r"C:\x.py:make"]
)
def test_a_text_is_taken_apart_as_python_does(name, options):
    expected = eval(f"recorded{options or '()'}")
    assert named.parse(f" {name}{options} ") == (name, *expected, bool(options))


@pytest.mark.parametrize(
    "text",
    ["", "l1(", "l1)", "l1()()", "a b", "(3)", "x.py:", ":", "f.py:a.b", "jitter(8) + scale(1, 2)", "\0", "l1\nl1"]
    + [f"l1({options})" for options in ("a", "a=b", "1 +", "*[1]", "**{'a': 1}", "a=1, a=2", "open('x')", "{[1]: 2}")]
    + ["l1(" + "[" * 5000 + "]" * 5000 + ")"],
)
def test_what_is_no_text_is_told_in_a_line(text):
    with pytest.raises(UserError) as told:
        named.parse(text)
    assert "\n" not in str(told.value) and len(str(told.value)) < 1300


def test_no_text_is_run():
    with pytest.raises(UserError):
        named.parse("l1(__import__('os').abort())")


def test_texts_are_joined_by_plus():
    assert named.split("jitter(8) + a.py:b + c++/d.py:e(x=1e+5)+crop") == [
        "jitter(8)",
        "a.py:b",
        "c++/d.py:e(x=1e+5)",
        "crop",
    ]


def test_make_calls_a_factory_by_its_signature():
    table = {"pair": lambda first, second=2, *, third=3: [first, second, third], "any": recorded}
    assert named.make("thing", "pair(5)", table) == [5, 2, 3]
    assert named.make("thing", "pair(third=1, second=7)", table, 9) == [9, 7, 1]
    assert named.make("thing", "any(1, a=2)", table, 0) == ((0, 1), {"a": 2})
    for wrong in ("pear(1)", "pair", "pair(5, fourth=1)", "pair(5, 6, 7)", "pair(5, first=1)"):
        with pytest.raises(UserError) as told:
            named.make("thing", wrong, table)
        assert wrong.split("(")[0] in str(told.value)


@pytest.fixture
def write(tmp_path):
    """Writes a file; its path is a name for `load`."""

    def write(text, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def test_a_thing_of_the_users_or_its_factory(write):
    path = write("def make(power=2):\n    return lambda x: x**power\nnumber = 7\ndef fails():\n    return 1 / 0\n")
    assert named.make("thing", f"{path}:make(power=3)", {})(2) == 8
    assert named.make("thing", f"{path}:make", {})(5) == 25
    assert named.make("thing", f"{path}:make", {}, itself=callable) is named.load(f"{path}:make")
    assert named.make("thing", f"{path}:make(3)", {}) is named.make("thing", f"{path}:make(3)", {})  # one compilation
    for wrong in ("number", "number()", "fails()", "make(base=1)", "nothing"):
        with pytest.raises(UserError) as told:
            named.make("thing", f"{path}:{wrong}", {})
        assert "\n" not in str(told.value)
    with pytest.raises(UserError) as told:
        named.make("thing", f"{path}:fails()", {})
    assert isinstance(told.value.__cause__, ZeroDivisionError)


def test_a_file_that_was_changed_is_read_again(write):
    path = write("number = 1")
    first = named.load(f"{path}:number")
    assert write("number = 22") == path
    assert (first, named.load(f"{path}:number")) == (1, 22)
    os.utime(path, (1, 1))
    assert named.load(f"{path}:number") == 22


def test_a_file_is_run_once(write, monkeypatch, tmp_path):
    path = write("made = object()")
    monkeypatch.chdir(tmp_path)
    assert named.load(f"{path}:made") is named.load("mine.py:made")


def test_a_file_imports_what_lies_beside_it(write):
    write("number = 5", "beside_of_the_tests.py")
    write("number = 6", "late_of_the_tests.py")
    path = write(
        "import beside_of_the_tests as beside\n"
        "def make():\n"
        "    import late_of_the_tests as late\n"
        "    def later():\n"
        "        import beside_of_the_tests, late_of_the_tests\n"
        "        return beside_of_the_tests.number * late.number\n"
        "    return later\n"
    )
    before = list(sys.path)
    later = named.make("thing", f"{path}:make", {})
    assert sys.path == before and later() == 30


@pytest.mark.parametrize("text", ["import no_such_of_the_tests", "from no_such_of_the_tests import x"])
def test_what_is_not_installed_is_told_from_a_file_that_is_not_there(write, text):
    for name in (f"{write(text)}:make", f"{write('import no_such_of_the_tests', 'inside.py')}:make"):
        with pytest.raises(UserError) as told:
            named.load(name)
        assert "imports 'no_such_of_the_tests'" in str(told.value)
    with pytest.raises(UserError) as told:
        named.load("no_such_of_the_tests.deep:make")
    assert "imports" not in str(told.value)


def test_a_file_that_ends_the_program_does_not(write):
    with pytest.raises(UserError):
        named.load(f"{write('import sys; sys.exit(3)')}:make")


def test_the_file_of_a_name(write, monkeypatch, tmp_path):
    path = write("")
    monkeypatch.chdir(tmp_path)
    assert str(named.file_of("mine.py:make(power=3)")) == path
    assert named.file_of("fourier(decay=1.5)") is None
    assert named.file_of("invjax.named:parse").name == "named.py"
    assert named.file_of("sys:path") is None
    for wrong in ("no_such.py:make", "no_such_of_the_tests:make", "a b"):
        with pytest.raises(UserError):
            named.file_of(wrong)


def test_what_stands_in_brackets_is_no_joint():
    assert named.split("own.py:f('a + b') + jitter(8)+rotation(5)") == ["own.py:f('a + b')", "jitter(8)", "rotation(5)"]
