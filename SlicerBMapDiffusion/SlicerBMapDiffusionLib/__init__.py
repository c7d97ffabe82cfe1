"""The work behind the module's panel; nothing here imports torch, which draws in a process of its own.

``geometry``, ``jobs``, ``models`` and ``setup`` need no Slicer (but the shelf of models, which asks its settings).
``scene`` reads and writes MRML. ``planning`` makes a plan of the user's ``parameters``, ``logic`` runs it, ``widget``
and its ``panel`` show it.
"""
