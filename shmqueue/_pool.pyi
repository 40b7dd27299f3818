# For other extension modules alone: see _pool.pxd.
