import type { Clock } from '../../core/clock.ts'
import { median } from '../../core/quantile.ts'
import type { Connection } from '../../run/wire/types.ts'

/** A link as pings see it. */
export interface LinkProbe {
  readonly rttSeconds: number
  readonly upBitsPerSecond: number
  readonly downBitsPerSecond: number
}

const PINGS = 7
const PROBES = 3
const PROBE_BYTES = 64 * 1024
/** No further probe once they took so long: a slow link has better things to carry. */
const PROBE_SECONDS = 1.5
/** Differences below are noise of clock and event loop. */
const LEAST_SECONDS = 10e-6

/**
 * Measures round trip and both rates with pings alone. A pong brings the moment at which the peer had its ping, so a
 * large ping's way up and the pong's way down are timed apart: each takes bytes / rate longer than that of an empty
 * one. The clocks' offset and half the RTT come from the quickest empty ping (as in NTP's clock filter, RFC 5905,
 * section 10). The first large ping opens TCP's windows and is not counted. Medians of what is left.
 */
export async function probeLink(
  connection: Pick<Connection, 'ping'>,
  clock: Pick<Clock, 'nowSeconds'>,
): Promise<LinkProbe> {
  let quickest = await connection.ping()
  for (let i = 1; i < PINGS; i++) {
    const next = await connection.ping()
    if (next.rttSeconds < quickest.rttSeconds) quickest = next
  }
  await connection.ping(PROBE_BYTES)
  const began = clock.nowSeconds()
  const up: number[] = []
  const down: number[] = []
  while (up.length < PROBES && (up.length === 0 || clock.nowSeconds() - began < PROBE_SECONDS)) {
    const { rttSeconds, clockOffsetSeconds } = await connection.ping(PROBE_BYTES)
    const late = clockOffsetSeconds - quickest.clockOffsetSeconds
    const oneWay = (rttSeconds - quickest.rttSeconds) / 2
    up.push(oneWay + late)
    down.push(oneWay - late)
  }
  return {
    rttSeconds: quickest.rttSeconds,
    upBitsPerSecond: (8 * PROBE_BYTES) / Math.max(LEAST_SECONDS, median(up)),
    downBitsPerSecond: (8 * PROBE_BYTES) / Math.max(LEAST_SECONDS, median(down)),
  }
}
