"""The promises of survival, each as something that breaks things: ``python -m tests.crash NAME --rounds N``.

A *victim* process does what is promised to survive, and is killed with SIGKILL, or its server is, at moments
drawn from a seed. A *witness* process, which is never killed, hears from the victim about every call; at the
end what the witness heard is compared with what the destination holds. ``witness`` fixes what may be
concluded from what was heard, ``account`` compares, ``frame`` runs, ``scenarios`` and ``victims`` hold what
is broken.
"""
