import { randomStream } from '../../src/core/random.ts'
import type { LogRecord } from '../../src/core/journal/types.ts'
import { encodeLine } from '../../src/core/journal/line.ts'
import { HEADER } from '../core/journal/support.ts'

/** A simulated day as a device would write it down, and what was put in. */
export interface ServedDay {
  readonly seconds: number
  readonly records: readonly LogRecord[]
  /** Bins of 1 s. */
  readonly link: {
    readonly timeSeconds: Float64Array
    readonly uplinkBitsPerSecond: Float64Array
    readonly downlinkBitsPerSecond: Float64Array
    readonly rttSeconds: Float64Array
  }
  /** Arrival (s), prompt and output tokens of those that were answered. */
  readonly requests: readonly (readonly [number, number, number])[]
  readonly unanswered: number
}

/** Rates walk from second to second, transfers fill parts of them, the link goes down now and then for whole seconds. */
export function servedDay(seconds: number, seed: number): ServedDay {
  const random = randomStream(seed, 'served day')
  const timed: { at: number; record: LogRecord }[] = []
  const put = (record: Exclude<LogRecord, { kind: 'header' }>) => timed.push({ at: record.atSeconds, record })
  const rates = [new Float64Array(seconds), new Float64Array(seconds)]
  const rttSeconds = new Float64Array(seconds)
  let left = 0
  let [up, down, rtt] = [8e6, 30e6, 0.04]
  for (let t = 0; t < seconds; t++) {
    if (left === 0 && t > 0 && t < seconds - 100 && random.uniform() < 1 / 600) {
      left = 1 + random.integer(40)
      put(eventOf(t, 'link-down'))
      put(eventOf(t + left, 'link-up'))
    }
    up = Math.min(2e7, Math.max(1e6, up * Math.exp(0.1 * random.normal())))
    down = Math.min(1e8, Math.max(5e6, down * Math.exp(0.1 * random.normal())))
    rtt = 0.02 + random.exponential(0.02)
    rttSeconds[t] = t === 0 || left === 0 ? rtt : rttSeconds[t - 1]
    if (left > 0) {
      left--
      continue
    }
    put({ kind: 'heartbeat', atSeconds: t + 0.5, rttSeconds: rtt })
    for (const [lane, rate] of [up, down].entries()) {
      rates[lane][t] = rate
      const busy = 0.1 + 0.4 * random.uniform()
      put({
        kind: 'transfer',
        atSeconds: t + 0.2 + busy,
        direction: lane === 0 ? 'up' : 'down',
        bytes: Math.round((rate * busy) / 8),
        seconds: Math.round((rate * busy) / 8) / (rate / 8),
      })
    }
  }
  const { requests, unanswered } = putRequests(seconds, random, put)
  timed.sort((a, b) => a.at - b.at)
  return {
    seconds,
    records: [HEADER, ...timed.map(({ record }) => record)],
    link: {
      timeSeconds: Float64Array.from({ length: seconds + 1 }, (_, i) => i),
      uplinkBitsPerSecond: rates[0],
      downlinkBitsPerSecond: rates[1],
      rttSeconds,
    },
    requests,
    unanswered,
  }
}

function putRequests(
  seconds: number,
  random: ReturnType<typeof randomStream>,
  put: (record: Exclude<LogRecord, { kind: 'header' }>) => void,
) {
  const requests: [number, number, number][] = []
  let unanswered = 0
  for (
    let at = random.exponential(30), request = 1;
    at < seconds - 30;
    at += random.exponential(30), request++
  ) {
    const [promptTokens, outputTokens] = [1 + random.integer(60), 1 + random.integer(30)]
    put({ kind: 'arrival', atSeconds: at, request, promptTokens, maxNewTokens: 32 })
    put(decisionOf(at + 0.001, request))
    const end = request % 10 === 0 ? 'error' : 'stop'
    put({
      kind: 'outcome',
      atSeconds: at + 10,
      request,
      end,
      detail: '',
      outputTokens,
      queueSeconds: 0.1,
      ttftSeconds: 0.5,
      tpotSeconds: outputTokens === 1 ? null : 0.1,
      endToEndSeconds: 10,
      upBytes: 1000,
      downBytes: 100,
      edgeSeconds: null,
    })
    if (end === 'error') unanswered++
    else requests.push([at, promptTokens, outputTokens])
  }
  return { requests, unanswered }
}

function decisionOf(atSeconds: number, request: number): Extract<LogRecord, { kind: 'decision' }> {
  return {
    kind: 'decision',
    atSeconds,
    request,
    reason: 'dispatch',
    propensity: 1,
    fromToken: 0,
    rebuild: 'start',
    source: request % 4 === 0 ? 'shield' : 'policy',
    observation: Array.from({ length: 43 }, (_, i) => i / 7),
    plan: request % 2 === 0 ? { embed: 'edge' } : null,
    decideSeconds: 1e-4 * (1 + (request % 5)),
  }
}

function eventOf(atSeconds: number, name: string): Extract<LogRecord, { kind: 'event' }> {
  return { kind: 'event', atSeconds, name, request: null, detail: '' }
}

export function textOf(records: readonly LogRecord[]): string {
  return records.map(encodeLine).join('')
}
