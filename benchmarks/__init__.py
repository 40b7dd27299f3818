"""Benchmarks of shmqueue against other queues between processes.

``python -m benchmarks.run`` measures, ``python -m benchmarks.report`` turns the measurements into
tables and a plot. README.md says what each scenario measures and how to read the numbers.

- ``payloads``   the items that are sent
- ``scenarios``  the cases and the loops that are timed
- ``targets``    the floors that shmqueue is held to
- ``peers``      one adapter for each queue, all with the same interface
- ``case``       runs one case in a fresh process
- ``run``        rounds, calibration, watchdog, results as JSON
- ``stats``      medians and ratios from that JSON
- ``report``     Markdown tables;  ``plot``  the picture
"""
