"""The comparisons: one module for each, one object for each, found by name."""

from bench.benches.breaker import BreakerBench
from bench.benches.produce import ProduceBench
from bench.frame import Bench

BENCHES: dict[str, Bench] = {bench.name: bench for bench in (ProduceBench(), BreakerBench())}
