"""Records to token ids: what is supervised, where it ends, what is cut and what is unknown."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen.records import Record
from data_gen.templates import TEMPLATES, get_template
from distill.encoding import Side, encode_side
from distill.errors import DistillError
from students.load_tokenizers import load_tokenizer
from students.tokenizers import ByteView
from tests import tiny

QA = get_template("qa")
CONVERSATION = Record("再说一句", output="好的。", history=[["小猫在哪里？", "小猫在家里。"], ["Who?", "The cat"]])
RECORDS = [
    Record("小猫在哪里？", output="小猫在家里看书。"),
    CONVERSATION,
    Record("计算", input="12+30", output="42", system="你是老师。"),
]


@pytest.fixture(scope="module", params=list(tiny.FAMILIES))
def view(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ByteView:
    folder = tmp_path_factory.mktemp("tokenizers") / request.param
    return ByteView(load_tokenizer(tiny.FAMILIES[request.param](folder)))


def row(side: Side, r: int) -> tuple[list[int], list[bool], list[int]]:
    """Ids, supervision and ends of a row."""
    at = side.row(r)
    return side.ids[at].tolist(), side.supervised[at].tolist(), side.ends[at].tolist()


def test_parts_of_a_conversation(view: ByteView) -> None:
    """Every answer is supervised with an EOS behind it, history's too; questions are not."""
    side = encode_side(view, QA, RECORDS, 512)
    for r, record in enumerate(RECORDS):
        ids, supervised, ends = [], [], []
        said = 0
        for n, (text, answer) in enumerate(QA.render(record)):
            part = view.encode(text, special=not answer) if n else view.encode_prompt(text)
            if answer:
                assert view.eos_id is not None
                ends += [said + e for e in view.ends(text, part).tolist()]
                part = [*part, view.eos_id]
                said += len(text.encode()) + 1
                ends.append(said)
            else:
                ends += [0] * len(part)
            ids += part
            supervised += [answer] * len(part)
        assert row(side, r) == (ids, supervised, ends)
    assert side.supervised_counts.tolist() == [sum(row(side, r)[1]) for r in range(3)]
    assert side.lengths.tolist() == [len(row(side, r)[0]) for r in range(3)]
    assert side.cut == 0


def test_what_reads_like_a_special_entry_is_text_in_an_answer(view: ByteView) -> None:
    """Web pages hold `<s>` and `</s>`: they end no answer, and are said byte for byte. Prompts keep them: templates say
    `<|im_end|>`, and a prompt is encoded as plain transformers encodes it."""
    special = view.tokenizer.all_special_tokens
    said = f"划掉{''.join(special)}了。"
    turns = Record("删", output=said, history=[[f"{special[0]}问", said]])
    ids, supervised, ends = row(encode_side(view, QA, [turns], 512), 0)
    answers = [i for i, s in zip(ids, supervised, strict=True) if s]
    assert sum(i == view.eos_id for i in answers) == 2
    assert ends[-1] == 2 * (len(said.encode()) + 1)
    kept = {view.eos_id, view.tokenizer.unk_token_id}  # without an entry for < or [ a tokenizer says [UNK]
    assert not set(answers) & (set(view.tokenizer.all_special_ids) - kept)
    assert view.tokenizer.convert_tokens_to_ids(special[0]) in ids[: supervised.index(True)]


def test_answers_end_at_the_same_bytes_on_every_side(view: ByteView) -> None:
    """EOS counts one: three answers of a conversation end where their bytes and EOS do."""
    ids, supervised, ends = row(encode_side(view, QA, [CONVERSATION], 512), 0)
    answers = [a for _, a in CONVERSATION.history] + [CONVERSATION.output]
    places = np.cumsum([len(str(a).encode()) + 1 for a in answers])
    found = [e for i, s, e in zip(ids, supervised, ends, strict=True) if s and i == view.eos_id]
    assert found == places.tolist()


def test_the_template_around_changes_no_answer(view: ByteView) -> None:
    """Supervised ids and ends are the same in every template."""
    sides = [encode_side(view, template, RECORDS, 4096) for template in TEMPLATES.values()]
    for side in sides[1:]:
        assert side.ids[side.supervised].tolist() == sides[0].ids[sides[0].supervised].tolist()
        assert side.ends[side.supervised].tolist() == sides[0].ends[sides[0].supervised].tolist()


@pytest.mark.parametrize("spare", [-3, -1, 0, 5])
def test_long_rows_lose_the_end_of_their_answer(view: ByteView, spare: int) -> None:
    """The beginning stays as it was; the cut is counted."""
    whole = encode_side(view, QA, RECORDS[:1], 512)
    length = int(whole.lengths[0])
    side = encode_side(view, QA, RECORDS[:1], length + spare)
    for kept, full in zip(row(side, 0), row(whole, 0), strict=True):
        assert kept == full[: length + spare]  # type: ignore[index]
    assert side.cut == (spare < 0)
    assert (side.ids[-1] == view.eos_id) == (spare >= 0)


def test_a_prompt_that_fills_the_row_leaves_nothing_to_learn(view: ByteView) -> None:
    """The caller drops such rows."""
    prompt = len(view.encode_prompt(QA.render(RECORDS[0])[0][0]))
    assert encode_side(view, QA, RECORDS[:1], prompt).supervised_counts.tolist() == [0]
    assert encode_side(view, QA, RECORDS[:1], prompt + 1).supervised_counts.tolist() == [1]


def test_characters_that_were_kept(view: ByteView) -> None:
    """Whole answers count whole, cut ones up to the last token that is there; an EOS counts none."""
    side = encode_side(view, QA, RECORDS, 512)
    assert side.characters.tolist() == [8, len("小猫在家里。The cat好的。"), 2]
    for spare in range(1, 6):
        short = encode_side(view, QA, RECORDS[:1], int(side.lengths[0]) - spare)
        kept = "小猫在家里看书。".encode()[: max(row(short, 0)[2])].decode(errors="ignore")
        assert len(kept) <= short.characters[0] <= len(kept) + 1  # a character cut in its middle may count


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_question_share_is_spread_evenly(view: ByteView, share: float) -> None:
    """That share of rows, no two closer than need be, learns its question; the first token never."""
    side = encode_side(view, QA, [Record(f"第{n}句", output="好") for n in range(40)], 512, question_share=share)
    asked = [bool(side.supervised[side.start[r] + 1]) for r in range(40)]
    assert sum(asked) == round(40 * share)
    for start in range(0, 40, 20):
        assert abs(sum(asked[start : start + 20]) - 20 * share) <= 1
    assert not side.supervised[side.start[:-1]].any()
    full = [r for r in range(40) if asked[r]]
    assert all(side.supervised[side.row(r)][1:].all() for r in full)


def test_nothing_predicts_the_first_token(view: ByteView) -> None:
    """Not even in pre-training, or where the prompt is empty."""
    from dataclasses import replace

    bare = replace(QA, user="{q}")
    side = encode_side(view, bare, [Record("", output="好的。")], 512, question_share=1.0)
    assert not side.supervised[0]
    assert side.supervised[1:].all()


def test_unknown_is_counted_in_answers_only(view: ByteView) -> None:
    """Only a WordPiece tokenizer has no way to write a character."""
    side = encode_side(view, QA, [Record("鬱", output="小鬱猫龘"), Record("好", output="小猫")], 512)
    assert side.unknown == (2 if view.family == "wordpiece" else 0)


def test_no_end_no_training(view: ByteView) -> None:
    """A sentence."""
    other = ByteView(view.tokenizer)
    other.eos_id = None
    with pytest.raises(DistillError, match="no eos_token"):
        encode_side(other, QA, RECORDS, 512)


def test_empty_answers_are_an_eos(view: ByteView) -> None:
    """A row with nothing to say says so."""
    ids, supervised, ends = row(encode_side(view, QA, [Record("嗯", output="")], 512), 0)
    assert (ids[-1], supervised[-1], ends[-1], sum(supervised)) == (view.eos_id, True, 1, 1)


def test_places_in_prompts(view: ByteView) -> None:
    """A prompt's token ends where the text in front of it and its own characters do; none at the prompt's end."""
    side = encode_side(view, QA, RECORDS, 512)
    for r, record in enumerate(RECORDS):
        segments = QA.render(record)
        whole = "".join(text for text, _ in segments)
        starts = np.cumsum([0, *(len(text) for text, _ in segments)])
        ends = side.prompt_ends[side.row(r)]
        assert not ends[side.supervised[side.row(r)]].any()
        named = ends[ends > 0]
        assert (np.diff(named) > 0).all()
        assert not set(named.tolist()) & set(starts.tolist())
        # What stands before a place is what the ids up to it say.
        ids = side.ids[side.row(r)]
        for at in np.flatnonzero(ends):
            if view.tokenizer.unk_token_id in ids[: at + 1] and view.family == "wordpiece":
                break
            said = view.tokenizer.decode(ids[: at + 1], skip_special_tokens=True)
            expected = whole[: ends[at]]
            if view.family == "wordpiece":
                said, expected = ("".join(text.split()) for text in (said, expected))
            assert said.strip().endswith(expected.strip()[-2:])
        assert len(named) > 3
