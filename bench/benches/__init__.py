"""The comparisons: one module for each, one object for each, found by name."""

from bench.benches.breaker import BreakerBench
from bench.benches.doris import DorisBench
from bench.benches.drain import DrainBench
from bench.benches.enqueue import EnqueueBench
from bench.benches.flow import FlowBench
from bench.benches.journal_kafka import JournalKafkaBench
from bench.benches.outage import OutageBench
from bench.benches.overhead import OverheadBench
from bench.benches.produce import ProduceBench
from bench.benches.query import QueryBench
from bench.frame import Bench

BENCHES: dict[str, Bench] = {
    bench.name: bench
    for bench in (
        EnqueueBench(),
        DrainBench(),
        QueryBench(),
        OutageBench(),
        OverheadBench(),
        ProduceBench(),
        JournalKafkaBench(),
        BreakerBench(),
        DorisBench(),
        FlowBench(),
    )
}
