"""The promises of speed, each as a comparison that runs: ``python -m bench NAME``.

``frame`` says how a comparison is made, ``benches`` has one module for each, ``contenders`` and ``native``
hold the programs that are timed, ``aims.toml`` the numbers that are promised. docs/benchmarks.md is the
method.
"""
