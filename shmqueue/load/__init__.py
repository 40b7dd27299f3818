"""A load on one stream: writers and readers that are programs of their own, and an account of it.

`plan` says what is run, `options` how it is asked for, `payload` what travels and how it is
checked, `histogram` keeps latencies, `worker` is the program that writes or reads, `crew` starts
and ends those, `course` is what is known of each, `account` adds it up, `live`, `tables` and `plot`
show it, `show` is the order of all that. ``python -m shmqueue load`` runs it.
"""
