"""The live session without a page: the engine, its process, the microphone, recordings.

Nothing here imports widgets or pictures; `lmdm_mini.widgets` shows it in a notebook.
"""
