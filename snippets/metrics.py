"""The state of all connections and rooms, for Prometheus.

Litestar's own plugin serves what is registered:

```python
REGISTRY.register(ConnectionMetrics(manager, rooms))
app = Litestar([chat, PrometheusController])  # GET /metrics
```

Needs: litestar, prometheus-client, and `connections.py` and `rooms.py`.
"""

from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .connections import ConnectionManager
from .rooms import Rooms


class ConnectionMetrics(Collector):
    """Counts when it is asked, so that it costs nothing in between.

    Args:
        manager: Whose connections are counted.
        rooms: Whose rooms are counted, if there are any.
    """

    def __init__(
        self, manager: ConnectionManager, rooms: Rooms | None = None
    ) -> None:
        self._manager = manager
        self._rooms = rooms

    def collect(self) -> Iterator[Metric]:
        """Count.

        Yields:
            The metrics. All begin with `websocket_`; sizes are in bytes.
        """
        stats = self._manager.stats()
        gauges = [
            ("connections", "Open connections", stats.connections),
            ("users", "Users who have a connection", stats.users),
            ("queued_messages", "Messages in outboxes", stats.queued),
            ("queued_bytes", "Bytes in outboxes", stats.queued_bytes),
        ]
        if self._rooms is not None:
            members = self._rooms.memberships
            gauges += [
                ("rooms", "Rooms that have members", len(self._rooms)),
                ("memberships", "Members of all rooms together", members),
            ]
        for name, words, value in gauges:
            yield GaugeMetricFamily(f"websocket_{name}", words, value)
        yield CounterMetricFamily(
            "websocket_dropped_messages",
            "Messages that were dropped or overwritten",
            stats.dropped,
        )
        evictions = CounterMetricFamily(
            "websocket_evictions",
            "Connections closed by the manager",
            labels=["reason"],
        )
        for reason, count in stats.evictions.items():
            evictions.add_metric([reason], count)
        yield evictions
