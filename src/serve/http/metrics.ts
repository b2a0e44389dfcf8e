import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { RequestRecord } from './options.ts'

/** For whoever starts a server and does not know Prometheus. */
export { Registry }

const LONG_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]
const TOKEN_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

/** What Prometheus is told. Labels come from closed lists: nothing that a client sends becomes one. */
export class ApiMetrics {
  readonly inFlight: Gauge
  readonly streams: Gauge
  private readonly requests: Counter<'route' | 'code'>
  private readonly seconds: Histogram<'route'>
  private readonly ttft: Histogram
  private readonly tpot: Histogram
  private readonly tokens: Counter<'kind'>

  constructor(registry: Registry) {
    const registers = [registry]
    this.inFlight = new Gauge({
      name: 'edgewise_requests_in_flight',
      help: 'Completions under way.',
      registers,
    })
    this.streams = new Gauge({
      name: 'edgewise_streams_open',
      help: 'Completions under way that are streamed.',
      registers,
    })
    this.requests = new Counter({
      name: 'edgewise_http_requests_total',
      help: 'Requests that ended, by route and by status; 499: the client left.',
      labelNames: ['route', 'code'],
      registers,
    })
    this.seconds = new Histogram({
      name: 'edgewise_request_seconds',
      help: "From a request's arrival to its end.",
      labelNames: ['route'],
      buckets: LONG_BUCKETS,
      registers,
    })
    this.ttft = new Histogram({
      name: 'edgewise_ttft_seconds',
      help: "From a completion's arrival to its first token.",
      buckets: LONG_BUCKETS,
      registers,
    })
    this.tpot = new Histogram({
      name: 'edgewise_tpot_seconds',
      help: 'Mean from token to token after the first, of one completion.',
      buckets: TOKEN_BUCKETS,
      registers,
    })
    this.tokens = new Counter({
      name: 'edgewise_tokens_total',
      help: 'Tokens of completions that were begun.',
      labelNames: ['kind'],
      registers,
    })
  }

  record(record: RequestRecord): void {
    const { route, status, seconds, ttftSeconds, tpotSeconds, promptTokens, completionTokens } = record
    this.requests.inc({ route, code: String(status) })
    this.seconds.observe({ route }, seconds)
    if (ttftSeconds !== null) this.ttft.observe(ttftSeconds)
    if (tpotSeconds !== null) this.tpot.observe(tpotSeconds)
    if (promptTokens !== null) this.tokens.inc({ kind: 'prompt' }, promptTokens)
    if (completionTokens !== null) this.tokens.inc({ kind: 'completion' }, completionTokens)
  }
}
