"""ADARTS: attention chooses the channels (Xue and Qin, 2022), https://arxiv.org/abs/2208.00791

PC-DARTS whose operations read the quarter of the channels that channel attention scores highest;
the others go past them. The attention's exact form is published in no code; the one here, with a
hidden layer of a quarter of the channels, is `sdedge.space.bypass.AttendedChannels`.
"""

from dataclasses import replace

from sdedge.nas.strategies.pc_darts import PC_DARTS
from sdedge.space.bypass import AttendedChannels

ADARTS = replace(
    PC_DARTS,
    name="adarts",
    summary="as pc-darts, and channel attention chooses the quarter that operations read",
    paper="https://arxiv.org/abs/2208.00791",
    split=AttendedChannels,
)
