"""How much resident memory a call adds."""

import os
import threading
from pathlib import Path


class PeakMemory:
    """Resident memory above that before, sampled; Linux only, elsewhere NaN."""

    megabytes = float("nan")

    def __enter__(self) -> "PeakMemory":
        self.before, self.highest, self.over = resident(), 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        """Until it is over, every 5 ms."""
        while not self.over.wait(0.005):
            self.highest = max(self.highest, resident())

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self.megabytes = max(self.highest, resident()) - self.before


def resident() -> float:
    """Resident memory of this process, MB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
