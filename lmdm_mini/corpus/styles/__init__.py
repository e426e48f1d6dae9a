"""The arrangers: each turns a score, or nothing but a seed, into a piece for four stems.

`theory.py` knows harmony, `patterns.py` rhythm and form; an arranger uses both and nothing else.
"""
