import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { InputError } from '../../src/core/errors.ts'
import { constantLink, createLink } from '../../src/trace/link.ts'
import { constantStep, stepAt, StepCursor } from '../../src/trace/step.ts'
import type { LinkSeries } from '../../src/trace/types.ts'

const rate = fc.oneof(
  { weight: 1, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.double({ min: 1e3, max: 1e9, noNaN: true }) },
)
const bin = fc.record({
  width: fc.oneof(fc.constant(0.5), fc.double({ min: 0.01, max: 5, noNaN: true })),
  up: rate,
  down: rate,
  rtt: fc.oneof(fc.constant(0.02), fc.double({ min: 0, max: 1, noNaN: true })),
})
const seriesOf = (bins: { width: number; up: number; down: number; rtt: number }[]): LinkSeries => {
  const edges = [0]
  for (const { width } of bins) edges.push(edges[edges.length - 1] + width)
  return {
    timeSeconds: Float64Array.from(edges),
    upBitsPerSecond: Float64Array.from(bins, (b) => b.up),
    downBitsPerSecond: Float64Array.from(bins, (b) => b.down),
    rttSeconds: Float64Array.from(bins, (b) => b.rtt),
    label: 'generated',
  }
}
const series = fc.array(bin, { minLength: 1, maxLength: 40 }).map(seriesOf)
const start = fc.double({ min: 0, max: 300, noNaN: true })

/** A second implementation: walk bin after bin from the start, cycle after cycle (Kahan's sum). */
function naiveBits(s: LinkSeries, rates: Float64Array, from: number, to: number): number {
  const n = rates.length
  const period = s.timeSeconds[n]
  let bits = 0
  let rest = 0
  for (let cycle = Math.floor(from / period); cycle * period < to; cycle++) {
    for (let i = 0; i < n; i++) {
      const a = Math.max(from, cycle * period + s.timeSeconds[i])
      const b = Math.min(to, cycle * period + s.timeSeconds[i + 1])
      const term = (b > a ? rates[i] * (b - a) : 0) - rest
      const sum = bits + term
      rest = sum - bits - term
      bits = sum
    }
  }
  return bits
}

describe('a replayed link', () => {
  it('ends a transfer where the integral of the rate equals its bits, and no sooner', () => {
    fc.assert(
      fc.property(series, start, fc.double({ min: 1, max: 1e9, noNaN: true }), (s, from, bytes) => {
        for (const direction of ['up', 'down'] as const) {
          const rates = direction === 'up' ? s.upBitsPerSecond : s.downBitsPerSecond
          const end = createLink(s).sentSeconds(direction, from, bytes)
          const total = naiveBits(s, rates, 0, s.timeSeconds[rates.length])
          if (total === 0) {
            expect(end).toBe(Infinity)
            continue
          }
          expect(end).toBeGreaterThanOrEqual(from)
          if ((8 * bytes) / total > 200) continue // the naive walk would be long
          // Besides 1e-12 of the bits, an end near T seconds cannot be known better than some ulps of T.
          const ulps = 8 * Number.EPSILON * end * Math.max(...rates)
          const bits = naiveBits(s, rates, from, end)
          expect(Math.abs(bits - 8 * bytes)).toBeLessThanOrEqual(8e-12 * bytes + ulps)
          const earlier = end - 1e-9 * Math.max(1, end)
          if (earlier > from) expect(naiveBits(s, rates, from, earlier)).toBeLessThan(8 * bytes)
        }
      }),
      { numRuns: 400 },
    )
  })

  it('gives the same whatever was asked before', () => {
    const link = fc.record({ s: series, at: fc.array(start, { minLength: 2, maxLength: 20 }) })
    fc.assert(
      fc.property(link, ({ s, at }) => {
        const used = createLink(s)
        for (const t of at) {
          const fresh = createLink(s)
          expect(used.sentSeconds('up', t, 1e6)).toBe(fresh.sentSeconds('up', t, 1e6))
          expect(used.rttSeconds(t)).toBe(createLink(s).rttSeconds(t))
          expect(used.bitsPerSecond('down', t)).toBe(createLink(s).bitsPerSecond('down', t))
          expect(used.nextChangeSeconds(t)).toBe(fresh.nextChangeSeconds(t))
        }
      }),
    )
  })

  it('is additive: a transfer cut in two ends when the whole does', () => {
    fc.assert(
      fc.property(series, start, fc.double({ min: 1, max: 1e8, noNaN: true }), (s, from, bytes) => {
        const link = createLink(s)
        const whole = link.sentSeconds('up', from, bytes)
        fc.pre(whole < 1e6)
        const cut = link.sentSeconds('up', link.sentSeconds('up', from, 0.25 * bytes), 0.75 * bytes)
        // The end may stand at either side of an outage that begins within rounding of it.
        const slack = 1e-9 * Math.max(1, whole)
        const between = Math.abs(
          naiveBits(s, s.upBitsPerSecond, Math.min(cut, whole) + slack, Math.max(cut, whole)),
        )
        expect(between).toBeLessThanOrEqual(1e-9 * bytes)
      }),
    )
  })

  it('changes only where it says, and always gets further', () => {
    fc.assert(
      fc.property(series, start, (s, from) => {
        const link = createLink(s)
        let t = from
        for (let step = 0; step < 60; step++) {
          const next = link.nextChangeSeconds(t)
          if (next === Infinity) return
          expect(next).toBeGreaterThan(t)
          const now = [link.bitsPerSecond('up', t), link.bitsPerSecond('down', t), link.rttSeconds(t)]
          const late = t + 0.999 * (next - t)
          const middle = late < next ? late : t // between two neighbouring numbers there is nothing to ask
          expect([
            link.bitsPerSecond('up', middle),
            link.bitsPerSecond('down', middle),
            link.rttSeconds(middle),
          ]).toEqual(now)
          expect([
            link.bitsPerSecond('up', next),
            link.bitsPerSecond('down', next),
            link.rttSeconds(next),
          ]).not.toEqual(now)
          t = next
        }
      }),
    )
  })

  it('knows the best rate and RTT of an interval', () => {
    fc.assert(
      fc.property(series, start, fc.double({ min: 0, max: 100, noNaN: true }), (s, from, length) => {
        const link = createLink(s)
        const to = from + length
        let rates = 0
        let rtt = Infinity
        for (let t = from; t <= to;) {
          rates = Math.max(rates, link.bitsPerSecond('up', t))
          rtt = Math.min(rtt, link.rttSeconds(t))
          t = t === to ? Infinity : Math.min(link.nextChangeSeconds(t), to)
        }
        expect(link.bestBitsPerSecond('up', from, to)).toBe(rates)
        expect(link.bestRttSeconds(from, to)).toBe(rtt)
      }),
    )
  })

  it('is silent for ever if it carries nothing, and carries nothing at once', () => {
    const dead = createLink(
      seriesOf([
        { width: 1, up: 0, down: 1e6, rtt: 0.1 },
        { width: 1, up: 0, down: 0, rtt: 0.1 },
      ]),
    )
    expect(dead.sentSeconds('up', 3, 1)).toBe(Infinity)
    expect(dead.sentSeconds('up', 3, 0)).toBe(3)
    expect(dead.sentSeconds('down', 3, 1e6 / 8)).toBe(5)
    expect(dead.sentSeconds('down', 0, 1e6 / 8)).toBe(1)
  })

  it('equals a constant link when its bins are equal', () => {
    const same = createLink(seriesOf(Array(9).fill({ width: 0.5, up: 3e6, down: 8e6, rtt: 0.03 })))
    const constant = constantLink(3e6, 8e6, 0.03)
    expect(same.nextChangeSeconds(7.1)).toBe(Infinity)
    expect(same.sentSeconds('up', 7.1, 1e7)).toBeCloseTo(constant.sentSeconds('up', 7.1, 1e7), 10)
    expect(constant.sentSeconds('down', 2, 1e6)).toBe(3)
    expect(constantLink(0, 1, 0).sentSeconds('up', 2, 1)).toBe(Infinity)
  })

  it('refuses series that are none', () => {
    const good = seriesOf([
      { width: 1, up: 1, down: 1, rtt: 0 },
      { width: 1, up: 1, down: 1, rtt: 0 },
    ])
    const bad: Partial<LinkSeries>[] = [
      { timeSeconds: Float64Array.of(0, 1) },
      { timeSeconds: Float64Array.of(0, 1, 1) },
      { timeSeconds: Float64Array.of(1, 2, 3) },
      { upBitsPerSecond: Float64Array.of(1, -1) },
      { rttSeconds: Float64Array.of(1, NaN) },
      { downBitsPerSecond: Float64Array.of(1, Infinity) },
    ]
    for (const change of bad) expect(() => createLink({ ...good, ...change })).toThrow(InputError)
    expect(() => createLink(good).rttSeconds(NaN)).toThrow(RangeError)
    expect(() => createLink(good).sentSeconds('up', -1, 1)).toThrow(RangeError)
  })
})

describe('a step series', () => {
  it('holds each value from its time on; the cursor equals bisection', () => {
    const steps = fc.uniqueArray(fc.integer({ min: 0, max: 50 }), { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(steps, fc.array(fc.integer({ min: -5, max: 60 }), { maxLength: 20 }), (times, queries) => {
        const timeSeconds = Float64Array.from(times).sort()
        const s = { timeSeconds, value: Float64Array.from(timeSeconds, (t) => 10 * t) }
        const cursor = new StepCursor(s)
        for (const t of queries) {
          const before = [...timeSeconds].filter((time) => time <= t)
          expect(stepAt(s, t)).toBe(10 * (before.at(-1) ?? timeSeconds[0]))
          expect(cursor.at(t)).toBe(stepAt(s, t))
          const later = [...timeSeconds].slice(1).find((time) => time > t)
          expect(cursor.nextChangeSeconds(t)).toBe(later ?? Infinity)
        }
      }),
    )
    expect(stepAt(constantStep(4), 1e9)).toBe(4)
  })
})
