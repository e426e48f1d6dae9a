"""The commands of the shell, one thin file each: `add_arguments(parser)` says what it takes, and `run(args)`
does it.

No file here imports torch or anything slow before its command runs, so every ``--help`` comes at once. The
table of commands is in ``__main__.py``.
"""
