import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LinkQueue } from '../../../src/trace/replay/linkQueue.ts'
import { constantLink, createLink } from '../../../src/trace/link.ts'
import type { LinkSeries } from '../../../src/trace/types.ts'

const bin = fc.record({
  seconds: fc.double({ min: 0.01, max: 2, noNaN: true }),
  rate: fc.oneof(
    { weight: 1, arbitrary: fc.constant(0) },
    { weight: 3, arbitrary: fc.integer({ min: 1e3, max: 1e8 }) },
  ),
  rtt: fc.double({ min: 0, max: 0.5, noNaN: true }),
})
const pushes = fc.array(
  fc.record({
    gap: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1, noNaN: true })),
    bytes: fc.integer({ min: 0, max: 200_000 }),
  }),
  { minLength: 1, maxLength: 30 },
)

function seriesOf(bins: readonly { seconds: number; rate: number; rtt: number }[]): LinkSeries {
  const timeSeconds = new Float64Array(bins.length + 1)
  bins.forEach(({ seconds }, i) => (timeSeconds[i + 1] = timeSeconds[i] + seconds))
  return {
    timeSeconds,
    upBitsPerSecond: Float64Array.from(bins, ({ rate }) => rate),
    downBitsPerSecond: new Float64Array(bins.length),
    rttSeconds: Float64Array.from(bins, ({ rtt }) => rtt),
    label: 'drawn',
  }
}

/** The integral bin by bin, over and over the recording: no sums, no search. */
function naiveSent(series: LinkSeries, start: number, bytes: number): number {
  const { timeSeconds, upBitsPerSecond } = series
  const period = timeSeconds[timeSeconds.length - 1]
  let left = 8 * bytes
  if (left === 0) return start
  for (let cycle = 0; ; cycle++) {
    for (let i = 0; i < upBitsPerSecond.length; i++) {
      const from = Math.max(start, cycle * period + timeSeconds[i])
      const span = cycle * period + timeSeconds[i + 1] - from
      if (span <= 0) continue
      if (upBitsPerSecond[i] * span >= left) return from + left / upBitsPerSecond[i]
      left -= upBitsPerSecond[i] * span
    }
  }
}

describe('LinkQueue', () => {
  it('is first come first served at the rate of the link, and half an RTT away', () => {
    fc.assert(
      fc.property(fc.array(bin, { minLength: 1, maxLength: 8 }), pushes, (bins, chunks) => {
        const series = seriesOf([...bins, { seconds: 1, rate: 2e6, rtt: 0.05 }])
        const link = createLink(series)
        const queue = new LinkQueue(link, 'up')
        let now = 0
        let free = 0
        let lastDue = 0
        for (const { gap, bytes } of chunks) {
          now += gap
          const { startSeconds, sentSeconds, dueSeconds } = queue.push(bytes, now)
          expect(startSeconds).toBe(Math.max(now, free))
          expect(sentSeconds).toBeCloseTo(naiveSent(series, startSeconds, bytes), 7)
          expect(dueSeconds).toBe(Math.max(lastDue, sentSeconds + link.rttSeconds(sentSeconds) / 2))
          free = sentSeconds
          lastDue = dueSeconds
        }
      }),
    )
  })

  it('carries a message cut into chunks no later and no earlier than in one piece', () => {
    fc.assert(
      fc.property(
        fc.array(bin, { minLength: 1, maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 50_000 }), { minLength: 1, maxLength: 20 }),
        fc.double({ min: 0, max: 5, noNaN: true }),
        (bins, cuts, start) => {
          const link = createLink(seriesOf([...bins, { seconds: 1, rate: 2e6, rtt: 0.05 }]))
          const whole = new LinkQueue(link, 'up').push(
            cuts.reduce((sum, bytes) => sum + bytes, 0),
            start,
          )
          const queue = new LinkQueue(link, 'up')
          const last = cuts.map((bytes) => queue.push(bytes, start)).at(-1)!
          expect(last.sentSeconds).toBeCloseTo(whole.sentSeconds, 7)
        },
      ),
    )
  })

  it('holds everything behind a direction that never carries anything', () => {
    for (const link of [
      constantLink(0, 1e6, 0.02),
      createLink(seriesOf([{ seconds: 1, rate: 0, rtt: 0 }])),
    ]) {
      const queue = new LinkQueue(link, 'up')
      expect(queue.push(1, 5)).toEqual({ startSeconds: 5, sentSeconds: Infinity, dueSeconds: Infinity })
      expect(queue.push(0, 6).dueSeconds).toBe(Infinity)
      expect(queue.bitsPerSecond(6)).toBe(0)
    }
  })
})
