"""The queue at its main job: the standard library's sources, tokenised by separate programs.

`corpus` reads the files, `counting` is the work, `worker` the program that does it, `carriers` the
two kinds of queue under one face, `parent` the course of events, `live` and `report` what is
shown of it. ``python -m shmqueue demo`` runs it.
"""
