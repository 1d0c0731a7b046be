from pathlib import Path

import pytest

from mythjobs.cli.files import definition_file
from mythjobs.errors import DefinitionError


@pytest.mark.parametrize(
    "text, sentence",
    [
        ('name = "x"\nargv = ["a"\n', "f.toml: invalid TOML: Unclosed array at its end"),
        ("name = x\n", "f.toml line 1: invalid TOML: Invalid value (column 8)"),
        ('name = "x"\nargv = ["a"]\nsummry = ""\n', "f.toml line 3: summry: unknown key"),
        ('name = "x"\nargv = []\n', "f.toml line 2: argv: is empty"),
        ('name = "x"\nargv = "ls"\n', "f.toml line 2: argv: must be a list"),
        ('argv = ["a"]\n', "f.toml: name: is missing"),
        ('name = "x"\nargv = ["a"]\n[limits]\nwall = "long"\n', "f.toml line 4: limits.wall: "),
        ('name = "x"\nargv = ["a"]\n[retries]\nfailures = 2\n', "f.toml line 3: retries: "),
        (
            'name = "x"\nshell = """\necho {p}\n"""\n[[parameters]]\nname = "p"\n',
            "f.toml line 2: shell: line 1 has {p}; shell text is not a template",
        ),
        (
            'name = "x"\nargv = ["a"]\n[[parameters]]\nname = "p"\ntype = "txt"\n',
            "f.toml line 5: parameters.p.type: must be one of",
        ),
    ],
)
def test_an_error_names_file_line_and_key(text: str, sentence: str) -> None:
    with pytest.raises(DefinitionError) as error:
        definition_file.parse_definition(text, "f.toml")
    assert error.value.sentence.startswith(sentence)
    assert error.value.exit_code == 2


def test_an_unreadable_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'name = "x"\nsummary = "caf\xe9"\n')
    for path, sentence in (
        (tmp_path / "none.toml", "cannot read {}: No such file or directory"),
        (tmp_path, "{} is a directory; name the .toml file in it"),
        (Path("/dev/zero"), "cannot read {}: has more than 4MiB, the largest size read"),
        (tmp_path / "latin.toml", "{} line 2: must be UTF-8 text; save the file as UTF-8"),
    ):
        with pytest.raises(DefinitionError) as error:
            definition_file.read_text(str(path))
        assert error.value.sentence == sentence.format(path)
