"""Under torchrun: worker 0 calls a training twice, the others follow; prints what each saw."""

import sys
from functools import partial

from pyasr.dist.options import DistOptions
from pyasr.run.crew import Crew


def job(name, workers):
    total = workers.total([workers.rank + 1.0])[0]
    print(f"{name}: worker {workers.rank} of {workers.size}, sum {total}", flush=True)
    return name, total


if __name__ == "__main__":
    from tests_crew_job import job  # as an importable function, which workers can be sent

    given, bmuf = DistOptions(method=sys.argv[1]), DistOptions(method="bmuf")
    crew = Crew([given, bmuf])
    if crew.rank:
        crew.follow()
    else:
        told = [crew.train(partial(job, name), given) for name in ("first", "second")]
        assert told == [("first", 3.0), ("second", 3.0)]
        assert crew.train(partial(job, "third"), bmuf) == ("third", 3.0)
        crew.dismiss()
