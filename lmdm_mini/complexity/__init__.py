"""What it costs: exact counts, predictions from them, and measurements on this machine."""

from lmdm_mini.complexity.counts import (
    block_flops,
    block_passes,
    bytes_read,
    flops,
    forwards,
    frame_forwards,
    network_evaluations,
    sequential_steps,
)
from lmdm_mini.complexity.timing import rtf, threads, time_to_first_audio, timed
