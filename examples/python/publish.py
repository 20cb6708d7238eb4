"""Publishes trades and prices for Tickconnect and prints where each lies."""

import argparse
import json
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from confluent_kafka import KafkaError, Message, Producer


def new_producer(brokers: str) -> Producer:
    return Producer(
        {
            "bootstrap.servers": brokers,
            "client.id": "example-python",
            # A retry of the client's own is written once, and keeps its place.
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 5,
            # As Java's and Go's clients choose it. The client's default (CRC32)
            # puts a symbol into another partition than they do, and two
            # partitions have no order between them.
            "partitioner": "murmur2_random",
        }
    )


def encode(record: dict[str, Any]) -> bytes:
    return json.dumps(record, default=encode_value, allow_nan=False).encode()


def encode_value(value: Any) -> str:
    if isinstance(value, Decimal):
        # A string keeps every digit; a float has 17 of them.
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in a record")


def trades(exchange: str) -> list[dict[str, Any]]:
    at = datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=timezone.utc)
    return [
        {
            "exchangeId": exchange,
            "symbol": "BTC-USD",
            "tradeId": "1001",
            "time": at,
            "price": Decimal("65000.123456789012345678"),
            "size": Decimal("0.00000001"),
            "side": "buy",
            "source": "example",
        },
        {
            "exchangeId": exchange,
            "symbol": "PEPE-USD",
            "tradeId": "1002",
            "time": at + timedelta(seconds=1),
            "price": Decimal("0.000000012345678901"),
            "size": Decimal("987654321098765432.10"),
            "side": "sell",
            "source": "example",
        },
        {
            "exchangeId": exchange,
            "symbol": "BTC-USD",
            "tradeId": "1003",
            "time": at + timedelta(seconds=2),
            "price": Decimal("65000.10"),
            "size": Decimal("12.5000"),
            "source": "example",
        },
    ]


def prices(exchange: str) -> list[dict[str, Any]]:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    return [
        {
            "coinId": "bitcoin",
            "symbol": "BTC",
            "exchangeId": exchange,
            "usdPrice": Decimal("65000.123456789012345678"),
            "marketCap": Decimal("1280000000000.000000000000000001"),
            "time": at,
            "source": "example",
            "attribution": "",
        },
        {
            "coinId": "ethereum",
            "symbol": "ETH",
            "exchangeId": exchange,
            "usdPrice": Decimal("3500.10"),
            "time": at,
            "source": "example",
            "attribution": "",
        },
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", default="localhost:9092", help="host:port, separated by commas")
    parser.add_argument("--exchange", default="example", help="the end of the topics' names")
    args = parser.parse_args()

    failed = 0

    def delivered(err: KafkaError | None, message: Message) -> None:
        nonlocal failed
        if err is not None:
            failed += 1
            print(f"not published to {message.topic()}: {err}", file=sys.stderr)
            return
        print(f"{message.topic()}/{message.partition()}@{message.offset()}")

    producer = new_producer(args.brokers)
    for topic, records in (
        (f"crypto-trades-{args.exchange}", trades(args.exchange)),
        (f"crypto-prices-{args.exchange}", prices(args.exchange)),
    ):
        for record in records:
            # The key is the symbol: what is of one symbol stays in order.
            producer.produce(topic, key=record["symbol"], value=encode(record), on_delivery=delivered)
            producer.poll(0)  # calls delivered for what has its answer
    # A process that ends before flush returns loses what is buffered.
    waiting = producer.flush(60)
    if waiting:
        print(f"{waiting} records still wait for the brokers", file=sys.stderr)
    return 1 if failed or waiting else 0


if __name__ == "__main__":
    sys.exit(main())
