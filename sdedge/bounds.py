"""The type and range of every setting that comes from outside, in one place for each. No torch.

A setting is checked by the same rule wherever it is read: from an option, `--set`, config.json, the
header of a weights file, or a comparison. The upper limits are far above what anyone uses, and
below what would exhaust a machine by a slip of the keyboard.
"""

from typing import Annotated, Literal

from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=200)]
PathText = Annotated[str, Meta(min_length=1, max_length=4096)]
Natural = Annotated[int, Meta(ge=0, le=2**53)]  # exact as a float, too
Amount = Annotated[float, Meta(ge=0, le=1e300)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Epochs = Annotated[int, Meta(ge=1, le=100_000)]
BatchSize = Annotated[int, Meta(ge=2, le=65_536)]  # batch norm takes two
Images = Annotated[int, Meta(ge=1, le=10**9)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Channels = Annotated[int, Meta(ge=2, le=1024)]
Cells = Annotated[int, Meta(ge=1, le=100)]
Classes = Annotated[int, Meta(ge=1, le=100_000)]
ClassNames = Annotated[tuple[str, ...], Meta(min_length=1, max_length=100_000)]
ImageSize = Annotated[int, Meta(ge=8, le=1024)]  # pixels
PatchSize = Annotated[int, Meta(ge=1, le=1024)]  # pixels
CutoutSize = Annotated[int, Meta(ge=0, le=1024)]  # pixels
Stem = Literal["cifar", "imagenet"]
Share = Annotated[float, Meta(ge=0, le=1)]
ShareBelow1 = Annotated[float, Meta(ge=0, lt=1)]
Betas = Annotated[  # of Adam
    tuple[ShareBelow1, ShareBelow1],
    Meta(description="two numbers, such as [0.5, 0.999], each at least 0 and below 1"),
]
OperationNames = Annotated[
    tuple[Name, ...], Meta(description='a list of names, such as ["sep_conv_3x3"]')
]
OpenShare = Annotated[float, Meta(gt=0, lt=1)]
_Mean = Annotated[float, Meta(ge=0, le=1)]
_Std = Annotated[float, Meta(gt=0, le=1)]
Mean = tuple[_Mean, _Mean, _Mean]  # of red, green and blue in [0, 1]
Std = tuple[_Std, _Std, _Std]
Pixel = Annotated[float, Meta(ge=-1000, le=1000)]  # normalised
Positive = Annotated[float, Meta(gt=0, le=1e30)]  # finite in 32 bits, too
NotNegative = Annotated[float, Meta(ge=0, le=1e30)]
Count = Annotated[int, Meta(gt=0, le=2**53)]
Quantity = Annotated[float, Meta(gt=0, le=1e300)]
Words = Annotated[str, Meta(pattern=r"\S", description="text that is not blank")]
Confidence = Annotated[float, Meta(ge=0.5, le=0.99)]
LatencyMs = Annotated[float, Meta(gt=0, le=1e9)]
Kilobytes = Annotated[float, Meta(gt=0, le=1e12)]
Parameters = Annotated[int, Meta(ge=1, le=10**12)]
