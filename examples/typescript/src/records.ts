// The records that Tickconnect reads. A decimal is a string, which keeps every
// digit: a number of JavaScript has 17 of them, and JSON.stringify writes small
// ones with an exponent.

export type Decimal = string

/** RFC 3339, down to the microsecond. Date has milliseconds only. */
export type Time = string

export interface Trade {
  exchangeId: string
  symbol: string
  tradeId?: string
  time: Time
  price: Decimal
  size: Decimal
  /** The taker's. */
  side?: 'buy' | 'sell'
  source?: string
}

export interface Price {
  coinId: string
  symbol: string
  exchangeId: string
  usdPrice: Decimal
  marketCap?: Decimal
  volume24h?: Decimal
  time: Time
  source: string
  attribution: string
}

export function trades(exchange: string): Trade[] {
  return [
    {
      exchangeId: exchange,
      symbol: 'BTC-USD',
      tradeId: '1001',
      time: '2026-01-02T03:04:05.123456Z',
      price: '65000.123456789012345678',
      size: '0.00000001',
      side: 'buy',
      source: 'example'
    },
    {
      exchangeId: exchange,
      symbol: 'PEPE-USD',
      tradeId: '1002',
      time: '2026-01-02T03:04:06.123456Z',
      price: '0.000000012345678901',
      size: '987654321098765432.10',
      side: 'sell',
      source: 'example'
    },
    {
      exchangeId: exchange,
      symbol: 'BTC-USD',
      tradeId: '1003',
      time: '2026-01-02T03:04:07.123456Z',
      price: '65000.10',
      size: '12.5000',
      source: 'example'
    }
  ]
}

export function prices(exchange: string): Price[] {
  const time = '2026-01-02T03:04:05Z'
  return [
    {
      coinId: 'bitcoin',
      symbol: 'BTC',
      exchangeId: exchange,
      usdPrice: '65000.123456789012345678',
      marketCap: '1280000000000.000000000000000001',
      time,
      source: 'example',
      attribution: ''
    },
    {
      coinId: 'ethereum',
      symbol: 'ETH',
      exchangeId: exchange,
      usdPrice: '3500.10',
      time,
      source: 'example',
      attribution: ''
    }
  ]
}
