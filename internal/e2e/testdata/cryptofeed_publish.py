"""Writes records with cryptofeed's own Kafka backend, and prints what it sent.

The backend's classes are cryptofeed's; only the market data is made here, since
no exchange is reached from a test. Usage: cryptofeed_publish.py BROKERS
EXCHANGE EXCHANGE: what the first one has is sent as text, and again for the second
one as floats.
"""

import asyncio
import sys
from decimal import Decimal

from cryptofeed.backends import kafka
from cryptofeed.types import Candle, Funding, Liquidation, OpenInterest, OrderBook, Ticker, Trade

brokers, exchanges = sys.argv[1], sys.argv[2:]
symbol = "BTC-USDT-PERP"
begin = 1700000000.123456


def market(exchange):
    """Gives pairs of a backend's class and a value for it."""
    for i in range(50):
        at = begin + i
        price, size = Decimal("65000.10") + i, Decimal("0.00000123") * (i + 1)
        side = "buy" if i % 2 else "sell"
        yield kafka.TradeKafka, Trade(exchange, symbol, side, size, price, at, id=str(i))
        yield kafka.TickerKafka, Ticker(exchange, symbol, price, price + 1, at)
        yield kafka.FundingKafka, Funding(exchange, symbol, price, Decimal("0.0001"), at + 3600, at)
        yield kafka.OpenInterestKafka, OpenInterest(exchange, symbol, size, at)
        yield kafka.LiquidationsKafka, Liquidation(exchange, symbol, side, size, price, str(i), "filled", at)
        yield kafka.CandlesKafka, Candle(
            exchange, symbol, begin + 60 * i, begin + 60 * i + 59.9, "1m", i, price, price, price, price, size, True, at
        )
        book = OrderBook(exchange, symbol, bids={price: size}, asks={price + 1: size})
        book.timestamp = at
        if i % 10:
            book.delta = {"bid": [(price, size)], "ask": []}
        yield kafka.BookKafka, book


async def main():
    backends, sent = {}, {}
    loop = asyncio.get_running_loop()
    for exchange, numeric_type in zip(exchanges, (str, float)):
        for backend, value in market(exchange):
            key = (backend, numeric_type)
            if key not in backends:
                backends[key] = backend(bootstrap_servers=brokers, numeric_type=numeric_type)
                backends[key].start(loop)
            await backends[key](value, value.timestamp + 0.5)
            sent[backend.default_key] = sent.get(backend.default_key, 0) + 1
    for backend in backends.values():
        await backend.queue.join()  # what was taken is acknowledged
        await backend.stop()
        await backend.worker
    print(*(f"{name}={count}" for name, count in sorted(sent.items())))


asyncio.run(main())
