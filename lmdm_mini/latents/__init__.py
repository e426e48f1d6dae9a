"""Music as latents: encoding a corpus, the packed sets in ``data/latents``, and random windows of them for
training."""

from lmdm_mini.checkpoints import LATENTS
from lmdm_mini.latents.encode import encode_corpus, read_latents
from lmdm_mini.latents.packed import ENDING, LatentPiece, find_latents, read_packed
from lmdm_mini.latents.windows import LatentSet, validation_set
