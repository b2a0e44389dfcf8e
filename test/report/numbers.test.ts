import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  formatBitsPerSecond,
  formatBytes,
  formatInterval,
  formatJoules,
  formatNumber,
  formatSeconds,
  formatShare,
  formatWatts,
} from '../../src/report/numbers.ts'

describe('numbers', () => {
  it.each([
    [formatSeconds(1.234), '1.23 s'],
    [formatSeconds(0.0267), '26.7 ms'],
    [formatSeconds(0.9996), '1.00 s'],
    [formatSeconds(4.2e-6), '4.20 us'],
    [formatSeconds(90), '90.0 s'],
    [formatSeconds(180), '3.00 min'],
    [formatSeconds(0), '0 s'],
    [formatBytes(956), '956 B'],
    [formatBytes(268e6), '268 MB'],
    [formatBytes(0), '0 B'],
    [formatBitsPerSecond(12.5e6), '12.5 Mbit/s'],
    [formatBitsPerSecond(0), '0 bit/s'],
    [formatJoules(0.0123), '12.3 mJ'],
    [formatWatts(25), '25.0 W'],
    [formatShare(0.123), '12.3 %'],
    [formatShare(0), '0 %'],
    [formatNumber(1234567), '1,234,567'],
    [formatNumber(1234), '1234'],
    [formatNumber(18.943), '18.9'],
    [formatNumber(-0.0005), '-0.000500'],
    [formatNumber(3e-9), '3.00e-9'],
    [formatNumber(Infinity), 'unbounded'],
    [formatInterval(4.7123, 4.6, 4.84), '4.71 ± 0.12'],
    [formatInterval(4.7123, null, null), '4.71'],
  ])('%s', (found, expected) => {
    expect(found).toBe(expected)
  })

  it.each([
    formatNumber,
    formatSeconds,
    formatBytes,
    formatBitsPerSecond,
    formatJoules,
    formatWatts,
    formatShare,
  ])('what was not measured is never 0: %o', (format) => {
    for (const missing of [null, undefined, Number.NaN]) expect(format(missing)).toBe('not measured')
  })

  it('three digits are right to half a unit of the third', () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-3, max: 900, noNaN: true }), (value) => {
        const shown = Number(formatNumber(value))
        expect(Math.abs(shown - value)).toBeLessThanOrEqual(0.0051 * value)
      }),
    )
  })

  it('seconds shown can be read back', () => {
    const units: Record<string, number> = { s: 1, ms: 1e-3, us: 1e-6, ns: 1e-9, min: 60, h: 3600 }
    fc.assert(
      fc.property(fc.double({ min: -8, max: 5, noNaN: true }), (exponent) => {
        const value = 10 ** exponent
        const [number, unit] = formatSeconds(value).split(' ')
        expect(Number(number.replaceAll(',', '')) * units[unit]).toBeCloseTo(value, -Math.floor(exponent) + 1)
      }),
    )
  })
})
