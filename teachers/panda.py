"""Any causal language model in Hugging Face's format as a teacher: Panda, Llama, Qwen, GPT2, or the embedded one.

It answers in text (`generate`) and gives signals (`signal`) for token ids of its own vocabulary. The weights are read
on first use, from safetensors only and without running anybody's code. A teacher is a plain object, no `nn.Module`, so
that it never slips into a student's checkpoint; pickling it sends its path, not its weights.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from teachers import generation
from teachers.base import Completion, DenseSignal, Request, TeacherError, vocabulary_id
from teachers.head import is_plain
from teachers.hidden import CatchLayers, layer_number
from teachers.loading import check_ids, check_source, device_here, device_named, first_line, read_tokenizer, torch_dtype
from teachers.text import TokenText

if TYPE_CHECKING:
    import torch

EMBEDDED = Path(__file__).parent / "embedded"
WINDOW = 4
"""So many batches of requests are taken in at a time, and answered in the order of their lengths"""


class PandaTeacher:
    """`PandaTeacher("path/to/panda-7b")`; `PandaTeacher()` is the teacher that ships with the package."""

    local = True

    def __init__(self, path: str = "embedded", device: str = "auto", dtype: str = "auto", batch_size: int = 16) -> None:
        """`device` auto: the accelerator if there is one, an Apple's aside. `dtype` auto: fp32 on a CPU, else bf16; or
        fp32, fp16, bf16.

        Raises TeacherError when there is no such folder, or it holds no safetensors. A device of another machine is
        refused where the weights are read: whoever moves the teacher `to` another one never asks for it.
        """
        if dtype not in {"auto", "fp32", "fp16", "bf16"}:
            raise TeacherError(f"unknown dtype {dtype!r} for a teacher; there are auto, fp32, fp16, bf16")
        if batch_size < 1:
            raise TeacherError(f"batch_size is {batch_size}; a teacher needs at least 1")
        self.name = "embedded" if path == "embedded" else Path(path).name
        self.path = str(EMBEDDED) if path == "embedded" else str(path)
        check_source(self.path)
        if device != "auto":
            device_named(device)
        self.device, self.dtype, self.batch_size = device, dtype, batch_size
        self._model: Any = None
        self._tokenizer: Any = None
        self._text: TokenText | None = None
        self._vocab_id, self._size = "", 0
        self._plain: bool | None = None

    @classmethod
    def of(cls, model: Any, tokenizer: Any, batch_size: int = 16) -> PandaTeacher:
        """A teacher around a model that is in memory already, say a student whose answers are wanted."""
        teacher = cls.__new__(cls)
        teacher.name, teacher.path, teacher.batch_size = "model", "", batch_size
        teacher.device, teacher.dtype = str(model.device), "auto"
        teacher._model, teacher._tokenizer = model, tokenizer
        teacher._text, teacher._vocab_id, teacher._size, teacher._plain = None, "", 0, None
        return teacher

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if self.path:  # read again where it arrives
            state["_model"] = state["_tokenizer"] = state["_text"] = None
        return state

    def __repr__(self) -> str:
        return f"PandaTeacher({self.path or self.name!r}, device={self.device!r}, dtype={self.dtype!r})"

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer; TeacherError when its files do not fit together."""
        if self._tokenizer is None:
            self._tokenizer = read_tokenizer(self.path)
        return self._tokenizer

    @property
    def text(self) -> TokenText:
        """Its tokenizer as generation needs it."""
        self._text = self._text or TokenText(self.tokenizer)
        return self._text

    @property
    def vocab_id(self) -> str:
        """Names the vocabulary that signals are written in."""
        self._vocab_id = self._vocab_id or vocabulary_id(self.tokenizer)
        return self._vocab_id

    @property
    def layers(self) -> int:
        """How many blocks the model has; its weights are not read for that."""
        return self._shape.num_hidden_layers

    @property
    def width(self) -> int:
        """Numbers a hidden state; the weights are not read for that."""
        return self._shape.hidden_size

    @property
    def context(self) -> int | None:
        """The longest text it reads, in tokens, where its config says one."""
        return getattr(self._shape, "max_position_embeddings", None)

    @property
    def _shape(self) -> Any:
        if self._model is not None:
            return self._model.config
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.path, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise TeacherError(f"cannot read the config of {self.path}: {first_line(error)}") from None

    @property
    def model(self) -> Any:
        """The model, in evaluation mode and without gradients; read on first use."""
        if self._model is None:
            self._model = self._load()
        return self._model

    def to(self, device: Any) -> PandaTeacher:
        """Move to a device, now if the weights are there, else when they are read."""
        self.device = str(device)
        if self._model is not None:
            dtype = self._torch_dtype() if self.path else None
            self._model = self._model.to(device=self.device, dtype=dtype)
        return self

    def _load(self) -> Any:
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM

        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                self.path, dtype=self._torch_dtype(), use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise TeacherError(f"cannot load a causal language model from {self.path}: {first_line(error)}") from None
        check_ids(self.path, model, self.tokenizer)
        return model.to(self._torch_device()).eval().requires_grad_(False)

    def _torch_device(self) -> str:
        self.device = device_here(self.device)
        return self.device

    def _torch_dtype(self) -> torch.dtype:
        return torch_dtype(self.dtype, self._torch_device())

    def encode(self, text: str) -> list[int]:
        """Ids of a prompt: its beginning-of-text entry, if the tokenizer itself puts one first, then the text.

        Training encodes prompt and answer apart, the answer without a dummy space in front; so what is generated
        simply goes on after these ids.
        """
        return self.text.encode(text)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Answer requests as they finish, `batch_size` at a time; each outcome is its own, whoever is beside it.

        Who has ended makes room for the next one, taken from a window of requests in the order of their lengths.
        `temperature` 0 is greedy. A sampled answer depends on the request's seed (without one, on its key).
        """
        refused: list[Completion] = []
        for job in generation.stream(self.model, self._jobs(iter(requests), refused), self.batch_size):
            while refused:
                yield refused.pop(0)
            yield self._completion(job)
        yield from refused

    def _jobs(self, requests: Iterator[Request], refused: list[Completion]) -> Iterator[generation.Job]:
        while window := list(islice(requests, WINDOW * self.batch_size)):
            jobs = []
            for request in window:
                job = self._job(request)
                if isinstance(job, Completion):
                    refused.append(job)
                else:
                    jobs.append(job)
            for job in sorted(jobs, key=lambda job: (len(job.ids), job.max_tokens)):
                job.about = (job.about, time.monotonic())
                yield job

    def _job(self, request: Request) -> generation.Job | Completion:
        prompt = request.prompt if request.prompt is not None else self._render(request.messages)
        ids = self.encode(prompt) or [min(self.ends, default=0)]
        context = self.context
        room = context - len(ids) if context else request.max_tokens
        if room < 1:
            error = f"the prompt has {len(ids)} tokens, more than fit into {self.name}'s context of {context}"
            return Completion(request.key, finish_reason="error", error=error, model=self.name)
        stops = self.text.stops(request.stop)
        return generation.Job(
            ids,
            max_tokens=min(request.max_tokens, room),
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed if request.seed is not None else zlib.crc32(request.key.encode()),
            ends=self.ends | stops.ids,
            stopped=stops.said if stops.any else None,
            about=request,
        )

    @property
    def ends(self) -> frozenset[int]:
        """Every token that ends an answer, by its model or its tokenizer."""
        told = (self.model.generation_config.eos_token_id, self.model.config.eos_token_id, self.tokenizer.eos_token_id)
        return frozenset(i for ids in told for i in (ids if isinstance(ids, list) else [ids]) if i is not None)

    def _render(self, messages: list[dict[str, str]]) -> str:
        if self.tokenizer.chat_template:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return "\n".join(message["content"] for message in messages) + "\n"

    def _completion(self, job: generation.Job) -> Completion:
        request, start = job.about
        text, cut = self.text.stops(request.stop).cut(self.text.decode(job.answer, after=job.ids))
        return Completion(
            request.key,
            text,
            finish_reason="stop" if cut else job.reason,
            model=self.name,
            usage={"prompt_tokens": len(job.ids), "completion_tokens": len(job.answer)},
            seconds=round(time.monotonic() - start, 3),
        )

    def signal(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        positions: torch.Tensor,
        layers: Sequence[int | str],
        layer_positions: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> DenseSignal:
        """Final hidden states, after the last norm, at flat `positions` of the (batch, length) input.

        Those of `layers` are given at `layer_positions`, by default the same; they are numbered as transformers numbers
        `hidden_states`: 0 the embeddings, k the output of block k, the last one after the norm; `value:k` and the like
        are parts of a block's attention (teachers.hidden). Padding may stand on either side. With `position_ids`
        several texts share a line, and the mask does not count. Rows of the output embedding beyond the tokenizer's
        entries, which some checkpoints have, are left out.
        """
        import torch

        model = self.model
        packed = position_ids is not None
        if position_ids is None:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        self._check_signal(int(position_ids.max()) + 1, layers)
        last = model.config.num_hidden_layers
        inner = [k for k in layers if k != last]
        there = positions if layer_positions is None else layer_positions
        with torch.no_grad(), generation.evaluating(model), CatchLayers(model, inner, there) as caught:
            final = model.base_model(
                input_ids=input_ids,
                attention_mask=None if packed else attention_mask,  # the positions keep texts apart
                position_ids=position_ids,
                use_cache=False,
            ).last_hidden_state.flatten(0, 1)
        hidden = final[positions]  # (tokens, width)
        output = model.get_output_embeddings()
        self._size = size = self._size or max(self.tokenizer.get_vocab().values()) + 1  # builds a dict of all
        bias = getattr(output, "bias", None)
        return DenseSignal(
            vocab_id=self.vocab_id,
            hidden=hidden,
            weight=output.weight.detach()[:size],  # (vocab, width)
            bias=None if bias is None else bias.detach()[:size],
            layers={k: final[there] if k == last else caught.states[k] for k in layers},
        )

    def _check_signal(self, length: int, layers: Sequence[int | str]) -> None:
        config = self.model.config
        context, depth = getattr(config, "max_position_embeddings", None), config.num_hidden_layers
        if context and length > context:
            raise TeacherError(
                f"{self.name} reads {context} tokens at most, a text has {length}; lower data.max_length or take a "
                "teacher with a longer context"
            )
        wrong = [k for k in layers if not 0 <= layer_number(k) <= depth]
        if wrong:
            raise TeacherError(f"{self.name} has no layer {wrong[0]}; it has 0 (embeddings) to {depth}")
        if self._plain is None:
            self._plain = is_plain(self.model)
        if not self._plain:
            raise TeacherError(
                f"{self.name} scales or caps its logits, as a {type(self.model).__name__} does, which signals cannot "
                "tell; take another teacher, or distil from its answers"
            )
