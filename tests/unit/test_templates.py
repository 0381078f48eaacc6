"""A template of the user's own: a YAML file with its fields, and what is said of one that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_gen.records import DataError, Record
from data_gen.strategies import State
from data_gen.strategies.magpie import Magpie
from data_gen.templates import TEMPLATES, get_template


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    path = write(
        tmp_path / "vicuna.yaml",
        'user: "USER: {q} ASSISTANT:"\nsystem: "{s} "\nturn_end: "</s>"\nstop: ["USER:"]\n',
    )
    template = get_template(path)
    record = Record("再见", output="回见", system="你好", history=[["一", "二"]])
    assert template.render(record) == [
        ("你好 USER: 一 ASSISTANT:", False), ("二", True), ("</s>USER: 再见 ASSISTANT:", False), ("回见", True),
    ]  # fmt: skip
    (request, *_) = [request for request, _ in zip(Magpie(path).requests(State(local=True)), "ab", strict=False)]
    assert request.prompt == "USER: "
    assert request.stop == ["ASSISTANT:", "USER:"]
    settings = Magpie(path).settings
    write(tmp_path / "vicuna.yaml", 'user: "USER: {q}\\nASSISTANT:"\n')
    assert Magpie(path).settings != settings, "another content is another recipe"


def test_a_file_can_say_what_a_shipped_one_says(tmp_path: Path) -> None:
    path = write(tmp_path / "qa.yml", 'user: "问：{q}\\n答："\nsystem: "{s}\\n"\nturn_end: "\\n"\nstop: ["\\n问："]\n')
    assert get_template(path) == TEMPLATES["qa"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('system: "{s}"\n', "field 'user' is missing"),
        ('user: ""\n', "field 'user' is missing"),
        ('user: "问：\\n答："\n', "field 'user' must say once where {q} stands"),
        ('user: "{q}{q}"\n', "field 'user' must say once where {q} stands"),
        ('user: "{q}"\nuser_with_input: "{q}"\n', "must say once where {i} stands"),
        ('user: "{q}{i}"\n', "{i}, the input, stands in field 'user_with_input'"),
        ('user: "{q}"\nsytem: "{s}"\n', "no field 'sytem' (did you mean 'system'?)"),
        ("user: 3\n", "field 'user' must be a text, not 3"),
        ('user: "{q}"\nstop: "问"\n', "field 'stop' must be a list of texts"),
        ("- user\n", "must hold the fields of a template"),
        ("user: [\n", "is not valid YAML, line 2: expected the node content, but found '<stream end>'"),
    ],
)
def test_templates_that_are_none(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DataError) as caught:
        get_template(write(tmp_path / "t.yaml", text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "t.yaml" in str(caught.value)


def test_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'chatml'"):
        get_template("chatlm")
    with pytest.raises(DataError, match=r"no template file .*nowhere\.yaml"):
        get_template(str(tmp_path / "nowhere.yaml"))


def test_what_a_folder_keeps_of_a_template(tmp_path: Path) -> None:
    """A name for one that ships, the whole of one's own: its file may lie elsewhere by the time it is needed."""
    assert all(t.told == name and get_template(t.told) == t for name, t in TEMPLATES.items())
    said = 'user: "USER: {q}\\u2028回答："\nuser_with_input: "{q}（{i}）"\nstop: ["USER:"]\n'
    template = get_template(write(tmp_path / "我的.yaml", said))
    (tmp_path / "我的.yaml").unlink()
    assert get_template(template.told) == template
    assert template.name == "我的"
    assert get_template(write(tmp_path / "qa.yaml", said)).told != "qa", "another one of a shipped one's name"
    with pytest.raises(DataError, match=r"what the folder says of its template is damaged.* name one with --template"):
        get_template(template.told[:-9])
