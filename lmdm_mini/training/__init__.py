"""The training loop that all trainings share, the precision that is fast here, and the Muon optimiser.

Nothing is imported from this package by `import lmdm_mini.training` alone: the loop needs Lightning, which
takes seconds to load.
"""
