"""The networks that published latencies are of, as operators, from their papers' tables.

ResNet-8, MobileNetV1 0.25 and DS-CNN are those of MLPerf Tiny (Banbury et al., 2021). `mcunet`
stands for the networks of MCUNet (Lin et al., 2020), whose tables are not published as text: it is
MobileNetV2 0.35, to which they are alike, with its work scaled to theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sdedge.deploy.ir.graph import BYTES, Graph, Kind, Operator, Precision, Value


@dataclass
class Layers:
    """A network in the making: `c` channels of `h` x `w` pixels so far."""

    precision: Precision
    c: int
    h: int
    w: int
    operators: list[Operator] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)

    @property
    def elements(self) -> int:
        return self.c * self.h * self.w

    def conv(
        self,
        c_out: int,
        kernel: int | tuple[int, int] = 3,
        stride: int = 1,
        *,
        depthwise: bool = False,
        valid: bool = False,
    ) -> "Layers":
        """A convolution with its activation; padded to the size of its input, unless `valid`."""
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        read = self._value()
        weights = c_out * kh * kw * (1 if depthwise else self.c)
        kind: Kind = "depthwise" if depthwise else "pointwise" if kh == kw == 1 else "dense"
        if valid:
            self.h, self.w = self.h - kh + 1, self.w - kw + 1
        self.c, self.h, self.w = c_out, -(-self.h // stride), -(-self.w // stride)
        return self._add(kind, [read], weights * self.h * self.w, weights, c_out)

    def depthwise(self, kernel: int = 3, stride: int = 1) -> "Layers":
        """A depthwise convolution."""
        return self.conv(self.c, kernel, stride, depthwise=True)

    def linear(self, c_out: int) -> "Layers":
        """A linear layer on everything there is."""
        read = self._value()
        weights = self.c * self.h * self.w * c_out
        self.c, self.h, self.w = c_out, 1, 1
        return self._add("linear", [read], weights, weights, c_out)

    def pool(self, stride: int, *, valid: bool = False) -> "Layers":
        """Any pooling; a stride as large as the map is global."""
        read = self._value()
        short = 1 if valid else 0  # what is left of an odd size does not count
        self.h, self.w = (-(-(size - short) // stride) for size in (self.h, self.w))
        return self._add("pooling", [read])

    def add(self) -> "Layers":
        """The sum with a tensor of the same shape."""
        return self._add("elementwise", [self._value()] * 2)

    def relu(self) -> "Layers":
        """One that stands alone."""
        return self._add("elementwise", [self._value()])

    def concat(self, other: "Layers") -> "Layers":
        """The channels of both."""
        read = [self._value(), other._value()]
        self.c += other.c
        return self._add("movement", read)

    def branch(self) -> "Layers":
        """Another path from here; its operators run before what comes next here."""
        return replace(self)

    def graph(self) -> Graph:
        """The network so far."""
        weights = {
            o.name: (o.weight_bytes - o.bias_bytes) // BYTES[self.precision] for o in self.operators
        }
        return Graph(
            operators=tuple(self.operators),
            values=self.values,
            inputs=self.operators[0].inputs,
            outputs=self.operators[-1].outputs,
            parameters=sum(weights.values()) + sum(o.bias_bytes // 4 for o in self.operators),
            weight_bytes=sum(o.weight_bytes for o in self.operators),
            file_size_bytes=0,
            classes=self.c,
        )

    def _value(self) -> Value:
        shape = (1, self.c, self.h, self.w)
        value = Value(name="x".join(map(str, shape)), shape=shape, precision=self.precision)
        self.values[value.name] = value
        return value

    def _add(
        self, kind: Kind, read: list[Value], macs: int = 0, weights: int = 0, biases: int = 0
    ) -> "Layers":
        written = self._value()
        self.operators.append(
            Operator(
                name=f"{kind}{len(self.operators)}",
                op_type=kind,
                kind=kind,
                precision=self.precision,
                inputs=tuple(value.name for value in read),
                outputs=(written.name,),
                macs=macs,
                weight_bytes=weights * BYTES[self.precision] + biases * 4,
                input_bytes=sum(value.size_bytes for value in read),
                output_bytes=written.size_bytes,
                bias_bytes=biases * 4,
            )
        )
        return self


def mobilenet_v1(
    precision: Precision,
    *,
    width: float = 1.0,
    size: int = 224,
    colours: int = 3,
    classes: int = 1000,
) -> Graph:
    """Howard et al., 2017, table 1."""
    net = Layers(precision, colours, size, size).conv(int(32 * width), 3, 2)
    plan = (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *((512, 1),) * 5,
        (1024, 2),
        (1024, 1),
    )
    for channels, stride in plan:
        net.depthwise(3, stride).conv(int(channels * width), 1)
    return net.pool(net.h).linear(classes).graph()


def mobilenet_v2(
    precision: Precision, *, width: float = 1.0, size: int = 224, head: int = 1280
) -> Graph:
    """Sandler et al., 2018, table 2; widths rounded to multiples of 8."""

    def scaled(channels: int) -> int:
        rounded = max(8, int(channels * width + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * channels * width else rounded

    net = Layers(precision, 3, size, size).conv(scaled(32), 3, 2)
    plan = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for expansion, channels, repeats, first_stride in plan:
        for index in range(repeats):
            stride, c_in = (first_stride if index == 0 else 1), net.c
            if expansion > 1:
                net.conv(c_in * expansion, 1)
            net.depthwise(3, stride).conv(scaled(channels), 1)
            if stride == 1 and c_in == net.c:
                net.add()
    return net.conv(head, 1).pool(net.h).linear(1000).graph()


def mobilenet_v2_small(precision: Precision) -> Graph:
    """The baseline of MCUNet: width 0.35, 144 x 144 pixels, a narrower head."""
    return mobilenet_v2(precision, width=0.35, size=144, head=448)


def resnet18(precision: Precision) -> Graph:
    """He et al., 2016, table 1."""
    net = Layers(precision, 3, 224, 224).conv(64, 7, 2).pool(2)
    for channels, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            shortcut = net.branch()
            net.conv(channels, 3, stride).conv(channels, 3)
            if stride > 1:
                shortcut.conv(channels, 1, stride)
            net.add()
    return net.pool(net.h).linear(1000).graph()


def resnet50(precision: Precision) -> Graph:
    """He et al., 2016, table 1; the stride is that of the 3x3 convolution."""
    net = Layers(precision, 3, 224, 224).conv(64, 7, 2).pool(2)
    for channels, blocks, first_stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for index in range(blocks):
            stride = first_stride if index == 0 else 1
            shortcut = net.branch()
            net.conv(channels, 1).conv(channels, 3, stride).conv(4 * channels, 1)
            if index == 0:
                shortcut.conv(4 * channels, 1, stride)
            net.add()
    return net.pool(net.h).linear(1000).graph()


def squeezenet(precision: Precision) -> Graph:
    """Iandola et al., 2016, version 1.1."""
    net = Layers(precision, 3, 227, 227).conv(64, 3, 2, valid=True).pool(2, valid=True)
    fires = (16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)
    for index, (squeeze, expand) in enumerate(fires):
        net.conv(squeeze, 1)
        wide = net.branch().conv(expand, 3)
        net.conv(expand, 1).concat(wide)
        if index in (1, 3):
            net.pool(2)
    return net.conv(1000, 1).pool(net.h).graph()


def resnet8(precision: Precision) -> Graph:
    """MLPerf Tiny, image classification: 32 x 32 pixels, three stacks of one block."""
    net = Layers(precision, 3, 32, 32).conv(16, 3)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        shortcut = net.branch()
        net.conv(channels, 3, stride).conv(channels, 3)
        if stride > 1:
            shortcut.conv(channels, 1, stride)
        net.add()
    return net.pool(net.h).linear(10).graph()


def visual_wake_words(precision: Precision, *, colours: int = 3) -> Graph:
    """MLPerf Tiny, visual wake words: MobileNetV1 0.25 on 96 x 96 pixels."""
    return mobilenet_v1(precision, width=0.25, size=96, colours=colours, classes=2)


def person_detection(precision: Precision) -> Graph:
    """The example of TensorFlow Lite Micro: the same network on grey images."""
    return visual_wake_words(precision, colours=1)


def keyword_spotting(precision: Precision) -> Graph:
    """MLPerf Tiny, keyword spotting: DS-CNN on 49 x 10 features."""
    net = Layers(precision, 1, 49, 10).conv(64, (10, 4), 2)
    for _ in range(4):
        net.depthwise().conv(64, 1)
    return net.pool(max(net.h, net.w)).linear(12).graph()


def nasbench201_arch0(precision: Precision) -> Graph:
    """NAS-Bench-201 (Dong and Yang, 2020), architecture 0: C = 16, N = 5, 32 x 32 pixels.

    Its cell: |avg_pool~0|+|conv_1x1~0|skip~1|+|conv_1x1~0|skip~1|skip~2|.
    """
    net = Layers(precision, 3, 32, 32).conv(16, 3)
    for stage in range(3):
        if stage:
            c = 2 * net.c
            shortcut = net.branch()
            net.relu().conv(c, 3, 2).relu().conv(c, 3)
            shortcut.pool(2).conv(c, 1)
            net.add()
        for _ in range(5):
            net.pool(1)
            for additions in (1, 2):
                net.relu().conv(net.c, 1)
                for _ in range(additions):
                    net.add()
    return net.relu().pool(net.h).linear(10).graph()


def _mcunet(mmacs: float) -> Callable[[Precision], Graph]:
    def scaled(precision: Precision) -> Graph:
        base = mobilenet_v2_small(precision)
        factor = mmacs * 1e6 / base.macs
        # More pixels: maps and work grow, weights do not.
        operators = tuple(
            replace(
                operator,
                macs=round(operator.macs * factor),
                input_bytes=round(operator.input_bytes * factor),
                output_bytes=round(operator.output_bytes * factor),
            )
            for operator in base.operators
        )
        values = {
            name: replace(value, shape=(*value.shape[:3], round(value.shape[3] * factor)))
            for name, value in base.values.items()
        }
        return replace(base, operators=operators, values=values)

    return scaled


NETWORKS: dict[str, Callable[[Precision], Graph]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v2_small": mobilenet_v2_small,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "squeezenet_1.1": squeezenet,
    "resnet8": resnet8,
    "visual_wake_words": visual_wake_words,
    "person_detection": person_detection,
    "keyword_spotting": keyword_spotting,
    "nasbench201_arch0": nasbench201_arch0,
    "mcunet_in0": _mcunet(6.4),
    "mcunet_in1": _mcunet(12.8),
    "mcunet_in2": _mcunet(67.3),
    "mcunet_in3": _mcunet(81.8),
    "mcunet_in4": _mcunet(125.9),
    "mcunet_vww0": _mcunet(6.0),
    "mcunet_vww1": _mcunet(11.6),
    "mcunet_vww2": _mcunet(55.8),
}
# Millions of multiply-accumulates as published, which the tables above must come to within 2%.
PUBLISHED_MMACS = {
    "mobilenet_v1": 569,
    "mobilenet_v2": 300,
    "mobilenet_v2_small": 23.5,
    "resnet18": 1814,
    "resnet50": 4089,
    "squeezenet_1.1": 388,
    "resnet8": 12.5,
    "visual_wake_words": 7.49,
    "keyword_spotting": 2.66,
    "nasbench201_arch0": 15.6,
}
