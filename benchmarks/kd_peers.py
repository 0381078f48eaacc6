"""Other projects' losses between a teacher and a student, by their own code where it is installed.

A peer is made from both models and the name of a divergence, and is then asked `peer(tokens)` for the loss of a batch,
from which the caller goes backward. It is None where the project is not installed or knows no such divergence.

    gkd         TRL, GKDTrainer.generalized_jsd_loss after a full pass of both models; written out below for those who
                have no TRL
    distillkit  arcee-ai's DistillKit (a checkout on PYTHONPATH), DistillationTrainer.compute_loss, online teacher
    textbrewer  GeneralDistiller.train_on_batch with a mask on the logits; cross-entropy to the teacher, which has
                forward KL's gradient
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from distill.batches import Tokens

Peer = Callable[[Tokens], Tensor]
BETAS = {"forward_kl": 0.0, "jsd": 0.5}
"""GKD's name for a divergence"""


def labels_of(tokens: Tokens) -> Tensor:
    """As trainers of transformers take them, (rows, length): -100 where nothing is supervised."""
    labels = torch.full_like(tokens.ids, -100).flatten()
    labels[tokens.positions + 1] = tokens.labels
    return labels.view_as(tokens.ids)


def gkd_loss(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """TRL 1.16's GKDTrainer.generalized_jsd_loss at temperature 1, written out."""
    student_log_probs = functional.log_softmax(student_logits / 1.0, dim=-1)
    teacher_log_probs = functional.log_softmax(teacher_logits / 1.0, dim=-1)
    if beta == 0:
        jsd = functional.kl_div(student_log_probs, teacher_log_probs, reduction="none", log_target=True)
    else:
        share = torch.tensor(beta, dtype=student_log_probs.dtype)
        mixture = torch.logsumexp(
            torch.stack([student_log_probs + torch.log1p(-share), teacher_log_probs + torch.log(share)]), dim=0
        )
        kl_teacher = functional.kl_div(mixture, teacher_log_probs, reduction="none", log_target=True)
        kl_student = functional.kl_div(mixture, student_log_probs, reduction="none", log_target=True)
        jsd = share * kl_teacher + (1 - share) * kl_student
    mask = labels != -100
    return jsd[mask].sum() / mask.sum()


def gkd(student: Any, teacher: Any, divergence: str) -> Peer:
    """As TRL's trainer goes about it: all logits of both models, the labels select afterwards."""
    try:
        from trl.experimental.gkd import GKDTrainer

        loss = GKDTrainer.generalized_jsd_loss
    except ImportError:
        loss = gkd_loss

    def step(tokens: Tokens) -> Tensor:
        ours = student(**tokens.inputs).logits
        with torch.no_grad():
            theirs = teacher(**tokens.inputs).logits
        return loss(ours[:, :-1], theirs[:, :-1], labels_of(tokens)[:, 1:], beta=BETAS[divergence])

    return step


def distillkit(student: Any, teacher: Any, divergence: str) -> Peer | None:
    """Its trainer's compute_loss, without the trainer around it."""
    try:
        from distillkit.configuration import DistillationRunConfig
        from distillkit.signals import OnlineSignalSource
        from distillkit.trainer import DistillationTrainer, create_loss_func
    except ImportError:
        return None
    loss = {"function": {"forward_kl": "kl"}.get(divergence, divergence), "weight": 1.0, "temperature": 1.0}
    config = DistillationRunConfig.model_validate({
        "project_name": "step", "model": "student", "output_path": "nowhere", "sequence_length": 256,
        "use_flash_attention": False, "teacher": {"kind": "hf", "path": "teacher"}, "training_args": {},
        "dataset": {"train_dataset": {"repo_id": "none", "split": "train"}},
        "loss_functions": [loss | {"missing_probability_handling": "zero"}],
    })  # fmt: skip
    entries = student.config.vocab_size
    trainer: Any = DistillationTrainer.__new__(DistillationTrainer)
    trainer.config, trainer.true_vocab_size, trainer.hidden_state_mapping = config, entries, None
    trainer.loss_functions, trainer.need_hidden_states = [create_loss_func(config.loss_functions[0])], False
    trainer.signal_source = OnlineSignalSource(teacher, vocab_size=entries)
    trainer.log = lambda found: None

    def step(tokens: Tokens) -> Tensor:
        return trainer.compute_loss(student, {**tokens.inputs, "labels": labels_of(tokens)})

    return step


def textbrewer(student: Any, teacher: Any, divergence: str) -> Peer | None:
    """Its distiller's train_on_batch; the shift by one and the mask are the user's to give, so they are given."""
    try:
        from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
    except ImportError:
        return None
    if divergence != "forward_kl":
        return None
    wanted: list[Tensor] = []

    def adaptor(batch: Any, out: Any) -> dict[str, Any]:
        return {"logits": out.logits[:, :-1], "logits_mask": wanted[-1]}

    training = TrainingConfig(device="cpu", output_dir=tempfile.gettempdir())
    distiller = GeneralDistiller(
        training, DistillationConfig(temperature=1, kd_loss_type="ce"), teacher, student, adaptor, adaptor
    )

    def step(tokens: Tokens) -> Tensor:
        wanted[:] = [labels_of(tokens)[:, 1:] != -100]
        return distiller.train_on_batch(dict(tokens.inputs), {})[0]

    return step


PEERS: dict[str, Callable[[Any, Any, str], Peer | None]] = {
    "gkd": gkd, "distillkit": distillkit, "textbrewer": textbrewer,
}  # fmt: skip


def versions() -> dict[str, str]:
    """What stands behind the names here."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name, package in (("gkd", "trl"), ("distillkit", "distillkit"), ("textbrewer", "textbrewer")):
        try:
            found[name] = f"{package} {version(package)}"
        except PackageNotFoundError:
            found[name] = "as TRL 1.16" if name == "gkd" else package
    return found
