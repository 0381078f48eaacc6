"""`distill chat`: talk to a model in the terminal, its answer appearing token by token.

A conversation is encoded as training encodes it: every part on its own, EOS after every answer. Piped questions, one a
line, give their answers on stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TextIO

from data_gen.records import Record
from distill.commands.arguments import Arguments
from distill.errors import DistillError
from distill.model_folders import model_folder, trained_template

HELP = "/reset forgets the conversation, /exit (or Ctrl-D) ends it, Ctrl-C breaks an answer off"


def main(argv: list[str]) -> int:
    """Load the model, then answer until the end of the input."""
    args = _parser().parse(argv)
    if args.max_tokens < 1 or args.temperature < 0:
        raise DistillError("--max-tokens must be at least 1 and --temperature at least 0")
    from distill.quiet import quiet_transformers
    from teachers.panda import PandaTeacher

    quiet_transformers()
    path = model_folder(args.model)
    speaker = PandaTeacher(path)
    name = args.template if args.template != "auto" else template_of(path, speaker.tokenizer)
    chat = Chat(
        speaker, name, system=args.system, max_tokens=args.max_tokens, temperature=args.temperature, seed=args.seed,
        remember=not args.no_history,
    )  # fmt: skip
    chat.speaker.model  # noqa: B018  read the weights before the first question
    if sys.stdin.isatty():
        print(f"{speaker.name}, template {chat.template.name if chat.template else name}. {HELP}", file=sys.stderr)
    return talk(chat, sys.stdin, sys.stdout)


def _parser() -> Arguments:
    parser = Arguments("chat", "Talk to a model. Piped questions, one a line, are answered on stdout.")
    parser.add_argument("model", help="a run, an exported or any Hugging Face folder, a hub id, or 'embedded'")
    template = "qa, alpaca, ...; 'tokenizer' for its own; auto (default): what the folder says"
    parser.add_argument("--template", default="auto", metavar="NAME", help=template)
    parser.add_argument("--system", default="", metavar="TEXT", help="what is said before the first question")
    parser.add_argument("--max-tokens", type=int, default=256, metavar="N", help="longest answer (default 256)")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 (default) is greedy")
    parser.add_argument("--seed", type=int, default=0, help="decides sampled answers (default 0)")
    parser.add_argument("--no-history", action="store_true", help="every question stands for itself")
    return parser


def template_of(path: str, tokenizer: Any) -> str:
    """The template a folder was trained with; when it does not say, the tokenizer's own, or qa."""
    return trained_template(path) or ("tokenizer" if tokenizer.chat_template else "qa")


class Chat:
    """A conversation with one model."""

    def __init__(
        self,
        speaker: Any,
        template: str = "qa",
        *,
        system: str = "",
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        remember: bool = True,
    ) -> None:
        """`template` is a name of data_gen.templates, or "tokenizer" for the tokenizer's own chat template."""
        from data_gen.templates import get_template

        self.speaker, self.system, self.remember = speaker, system, remember
        self.template = None if template == "tokenizer" else get_template(template)
        if self.template is None and not speaker.tokenizer.chat_template:
            raise DistillError(f"{speaker.name} has no chat template of its own; give --template qa or another")
        self.max_tokens, self.temperature, self.seed = max_tokens, temperature, seed
        self.history: list[list[str]] = []

    def answer(self, question: str, show: Callable[[str], None]) -> str:
        """The whole answer, `show`n piece by piece; the history grows by it, even when it was broken off."""
        from teachers import generation

        ids, room = self._fitting(question)
        stops = self.speaker.text.stops(self.template.stop if self.template else ())
        stream = Stream(self.speaker.text, ids, stops, self.template.stop if self.template else (), show)
        job = generation.Job(
            ids, room, self.temperature, seed=self.seed + len(self.history),
            ends=self.speaker.ends | stops.ids, stopped=stops.said if stops.any else None, heard=stream.hear,
        )  # fmt: skip
        try:
            generation.run(self.speaker.model, [job])
        finally:
            text = stream.finish(job.answer)
            if self.remember:
                self.history.append([question, text])
        return text

    def _fitting(self, question: str) -> tuple[list[int], int]:
        """The conversation's ids and how long an answer may be; a short context forgets the oldest turns."""
        context = getattr(self.speaker.model.config, "max_position_embeddings", None) or 1 << 30
        while True:
            ids = self._encode(question)
            room = context - len(ids)
            if room >= min(self.max_tokens, context // 2) or (room > 0 and not self.history):
                return ids, min(room, self.max_tokens)
            if not self.history:
                raise DistillError(f"the question has {len(ids)} tokens, more than fit into a context of {context}")
            self.history.pop(0)

    def _encode(self, question: str) -> list[int]:
        if self.template is None:
            messages = [{"role": "system", "content": self.system}] if self.system else []
            for asked, said in self.history:
                messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
            messages.append({"role": "user", "content": question})
            return self.speaker.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        from students.tokenizers import ByteView

        view = ByteView(self.speaker.tokenizer)
        record = Record(question, output="", system=self.system, history=self.history)
        first, *rest = self.template.render(record)[:-1]
        ids = view.encode_prompt(first[0])
        for text, answered in rest:
            ids += view.encode(text, special=not answered)
            if answered and view.eos_id is not None:
                ids.append(view.eos_id)
        return ids or [min(self.speaker.ends, default=0)]


class Stream:
    """Shows an answer as it grows: never half a character, never the beginning of a stop string."""

    def __init__(
        self, text: Any, prompt: list[int], stops: Any, stop: tuple[str, ...], show: Callable[[str], None]
    ) -> None:
        self.text, self.prompt, self.stops, self.stop, self.show = text, prompt, stops, stop, show
        self.shown = ""

    def hear(self, ids: list[int]) -> None:
        """Show what is certain of the answer so far."""
        whole, cut = self.stops.cut(self.text.decode(ids, after=self.prompt))
        if not cut:
            whole = whole[: len(whole) - self._held_back(whole)]
        if len(whole) > len(self.shown) and whole.startswith(self.shown):
            self.show(whole[len(self.shown) :])
            self.shown = whole

    def finish(self, ids: list[int]) -> str:
        """Show the rest; returns the answer."""
        whole, _ = self.stops.cut(self.text.decode(ids, after=self.prompt))
        if whole.startswith(self.shown):
            self.show(whole[len(self.shown) :])
        self.shown = whole
        return whole

    def _held_back(self, whole: str) -> int:
        broken = len(whole) - len(whole.rstrip("\ufffd"))
        return max([broken, *(n for s in self.stop for n in range(1, len(s)) if whole.endswith(s[:n]))])


def _text(line: str) -> str:
    """A question; DistillError when its bytes were no UTF-8, which have come in as halves of surrogate pairs."""
    if any("\ud800" <= letter <= "\udfff" for letter in line):
        way = "iconv -f GBK -t UTF-8 questions.txt | distill chat ..."
        raise DistillError(f"a question is no UTF-8; for text in GBK: {way}")
    return line.strip()


def talk(chat: Chat, lines: TextIO, out: TextIO) -> int:
    """Questions from `lines`, answers to `out`, until /exit, the end of the input, or Ctrl-C between answers."""
    alone = lines.isatty()

    def show(piece: str) -> None:
        out.write(piece)
        out.flush()

    while True:
        if alone:
            show("> ")
        try:
            line = lines.readline()
        except KeyboardInterrupt:
            line = ""
        question = _text(line)
        if not line or question in {"/exit", "/quit"}:
            if alone:
                show("\n")
            return 0
        if question == "/reset":
            chat.history.clear()
        elif question == "/help":
            print(HELP, file=sys.stderr)
        elif question.startswith("/") and alone:
            print(f"unknown command {question.split()[0]}; {HELP}", file=sys.stderr)
        elif question:
            try:
                chat.answer(question, show)
            except KeyboardInterrupt:
                if not alone:
                    raise
            except DistillError as error:
                print(f"distill: {error}", file=sys.stderr)
            show("\n")
