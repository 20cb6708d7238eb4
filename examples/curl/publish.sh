#!/usr/bin/env bash
# Publishes trades and prices over HTTP and prints what became of each.
set -euo pipefail

url=${TICKCONNECT_URL:-http://127.0.0.1:8084}
exchange=${EXCHANGE:-example}
[ -n "${TICKCONNECT_TOKEN:-}" ] || { echo "set TICKCONNECT_TOKEN to a token that the connector knows" >&2; exit 2; }

# post KIND CONTENT-TYPE < BODY
#
# The key is one for each request, and the same in every try that curl makes of
# it: where an answer was lost, the next try gets the same answer and writes
# nothing again. The token goes through a file descriptor, since every user of
# the machine sees a command's arguments.
requests=0
rejected=0
post() {
	local answer
	requests=$((requests + 1))
	answer=$(curl --silent --show-error --fail-with-body --write-out '\n%{http_code}' \
		--retry 5 --retry-connrefused --max-time 60 \
		--header @<(printf 'Authorization: Bearer %s\n' "$TICKCONNECT_TOKEN") \
		--header "Content-Type: $2" \
		--header "Idempotency-Key: $exchange-$(date +%s)-$$-$requests" \
		--data-binary @- "$url/publish/$1") || { printf '%s\n' "$answer" >&2; exit 1; }
	printf '%s\n' "${answer%$'\n'*}"
	# 207: some were taken, and some are bad.
	[ "${answer##*$'\n'}" = 200 ] || rejected=1
}

# One record: an object.
post trade application/json <<JSON
{"exchangeId": "$exchange", "symbol": "BTC-USD", "tradeId": "1001", "time": "2026-01-02T03:04:05.123456Z",
 "price": "65000.123456789012345678", "size": "0.00000001", "side": "buy", "source": "example"}
JSON

# Several, each on a line of its own: NDJSON. A number's digits count as they are
# written, too.
post trade application/x-ndjson <<NDJSON
{"exchangeId": "$exchange", "symbol": "PEPE-USD", "tradeId": "1002", "time": "2026-01-02T03:04:06.123456Z", "price": 0.000000012345678901, "size": 987654321098765432.10, "side": "sell", "source": "example"}
{"exchangeId": "$exchange", "symbol": "BTC-USD", "tradeId": "1003", "time": "2026-01-02T03:04:07.123456Z", "price": "65000.10", "size": "12.5000", "source": "example"}
NDJSON

# Several: an array.
post price application/json <<JSON
[
  {"coinId": "bitcoin", "symbol": "BTC", "exchangeId": "$exchange", "usdPrice": "65000.123456789012345678",
   "marketCap": "1280000000000.000000000000000001", "time": "2026-01-02T03:04:05Z", "source": "example", "attribution": ""},
  {"coinId": "ethereum", "symbol": "ETH", "exchangeId": "$exchange", "usdPrice": "3500.10",
   "time": "2026-01-02T03:04:05Z", "source": "example", "attribution": ""}
]
JSON

exit "$rejected"
