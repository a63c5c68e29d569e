"""What Prometheus reads of a server."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
IMAGES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The figures of one process; with several, `PROMETHEUS_MULTIPROC_DIR` gathers them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "iavit_requests", "Requests to /v1, by status", ["status"], registry=self.registry
        )
        self._seconds = Histogram(
            "iavit_request_seconds",
            "From a request's first byte to its answer",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._inside = Gauge(
            "iavit_requests_inside",
            "Requests that are being answered",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._batches = Histogram(
            "iavit_batch_images",
            "Pictures in a forward pass",
            buckets=IMAGES,
            registry=self.registry,
        )
        self._passes = Histogram(
            "iavit_batch_seconds",
            "A forward pass and what is asked beside it",
            buckets=SECONDS,
            registry=self.registry,
        )

    def answered(self, status: int, seconds: float) -> None:
        """A request has its answer."""
        self._requests.labels(status=str(status)).inc()
        self._seconds.observe(seconds)

    def inside(self, count: int) -> None:
        """So many requests are being answered."""
        self._inside.set(count)

    def passed(self, images: int, seconds: float) -> None:
        """A batch went through the model."""
        self._batches.observe(images)
        self._passes.observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' own format, of all processes."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
