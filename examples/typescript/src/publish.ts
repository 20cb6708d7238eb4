// Publishes trades and prices for Tickconnect and prints where they lie.

import { parseArgs } from 'node:util'
import {
  CompressionAlgorithms,
  ProduceAcks,
  Producer,
  compatibilityPartitioner,
  stringSerializers
} from '@platformatic/kafka'
import { prices, trades } from './records.ts'

const { values: options } = parseArgs({
  options: {
    brokers: { type: 'string', default: 'localhost:9092' },
    exchange: { type: 'string', default: 'example' }
  }
})

const producer = new Producer({
  clientId: 'example-typescript',
  bootstrapBrokers: options.brokers.split(','),
  serializers: stringSerializers,
  // A retry of the client's own is written once, and keeps its place.
  idempotent: true,
  acks: ProduceAcks.ALL,
  compression: CompressionAlgorithms.LZ4,
  // As Java's and Go's clients choose it. The client's default takes murmur2 as
  // an unsigned number, which puts half of the symbols into another partition
  // than they do, and two partitions have no order between them.
  partitioner: compatibilityPartitioner
})

try {
  const { offsets } = await producer.send({
    // The key is the symbol: what is of one symbol stays in order.
    messages: [
      ...trades(options.exchange).map(trade => ({
        topic: `crypto-trades-${options.exchange}`,
        key: trade.symbol,
        value: JSON.stringify(trade)
      })),
      ...prices(options.exchange).map(price => ({
        topic: `crypto-prices-${options.exchange}`,
        key: price.symbol,
        value: JSON.stringify(price)
      }))
    ]
  })
  // One line for each partition: the first offset of what went there.
  for (const { topic, partition, offset } of offsets ?? []) {
    console.log(`${topic}/${partition}@${offset}`)
  }
} finally {
  await producer.close()
}
