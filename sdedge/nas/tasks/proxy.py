"""What the self-supervised proxies share: labels that an image gives itself, as a classification.

UnNAS (Liu et al., 2020, https://arxiv.org/abs/2003.12056) searches with such a proxy alone;
Table VII of Semantic-DARTS adds the joint form, where the image's class is asked for as well.
"""

from abc import abstractmethod

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from sdedge.nas.tasks.task import Task, TaskBatch, TaskLoss, TaskSetting, accuracy, harmonise
from sdedge.space.supernet import SupernetOutput


class ProxyTask(Task):
    """A proxy, alone or with the class; the supernet sees `views` views of each image.

    The class is read from the features of all views side by side, by a classifier of the task's
    own; of one view alone, the supernet's classifier reads it.
    """

    def __init__(self, setting: TaskSetting, *, classify: bool, views: int = 1) -> None:
        super().__init__()
        self.views = views
        self.classify = self.harmonised = classify
        self.reads_classes = classify and views == 1
        self.classifier = (
            nn.Linear(views * setting.feature_channels, setting.classes)
            if classify and views > 1
            else None
        )

    @abstractmethod
    def answer(self, features: Tensor) -> Tensor:
        """Scores (rows, answers) for features (V * N, C, h, w): a row an entry of the target."""

    def side_by_side(self, features: Tensor) -> Tensor:
        """Pooled features of all views of an image: (V * N, C, h, w) -> (N, V * C)."""
        return features.mean(dim=(2, 3)).reshape(-1, self.views * features.shape[1])

    def loss(self, output: SupernetOutput, batch: TaskBatch) -> TaskLoss:
        """Cross-entropy of the proxy, or that of the class harmonised with it."""
        answer, target = self.answer(output.features), batch.target.flatten()
        total = proxy = F.cross_entropy(answer, target)
        parts = {
            "proxy_cross_entropy": proxy.detach(),
            "proxy_accuracy": accuracy(answer, target),
        }
        if self.classify:
            logits = self._logits(output)
            cross_entropy = F.cross_entropy(logits, batch.labels)
            total = harmonise(cross_entropy, proxy)
            parts["cross_entropy"] = cross_entropy.detach()
            parts["accuracy"] = accuracy(logits, batch.labels)
        return TaskLoss(total, {"loss": total.detach(), **parts})

    def _logits(self, output: SupernetOutput) -> Tensor:
        if self.classifier is None:
            return output.logits
        return self.classifier(self.side_by_side(output.features))  # type: ignore[no-any-return]


class Normalisation(nn.Module):
    """Between normalised images (N, 3, H, W) and their RGB in 0..1."""

    mean: Tensor
    std: Tensor

    def __init__(self, setting: TaskSetting) -> None:
        super().__init__()
        for name, values in (("mean", setting.mean), ("std", setting.std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, rgb: Tensor) -> Tensor:
        """Normalise."""
        return (rgb - self.mean) / self.std

    def undo(self, images: Tensor) -> Tensor:
        """The RGB of normalised images; rounding leaves no value outside 0..1."""
        return (images * self.std + self.mean).clamp(0, 1)
