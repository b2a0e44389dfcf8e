import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { probeLink } from '../../../src/serve/edge/probe.ts'

/** A link in virtual time: constant rates, clocks apart. */
function linkOf(rates: { up: number; down: number; rtt: number; offset: number }) {
  let nowSeconds = 0
  let bytesCarried = 0
  const ping = (warmBytes = 0) => {
    const up = rates.rtt / 2 + (8 * warmBytes) / rates.up
    const down = rates.rtt / 2 + (8 * warmBytes) / rates.down
    nowSeconds += up + down
    bytesCarried += warmBytes
    // The peer's clock is read when the ping is there, and taken for the middle of the round trip.
    return Promise.resolve({ rttSeconds: up + down, clockOffsetSeconds: rates.offset + (up - down) / 2 })
  }
  return { ping, clock: { nowSeconds: () => nowSeconds }, carried: () => bytesCarried }
}

describe('a link that is probed', () => {
  it('is what it is, whatever the clocks say', async () => {
    const mbps = fc.double({ min: 0.05, max: 2_000, noNaN: true })
    const link = fc.record({
      up: mbps.map((rate) => rate * 1e6),
      down: mbps.map((rate) => rate * 1e6),
      rtt: fc.double({ min: 1e-5, max: 1, noNaN: true }),
      offset: fc.double({ min: -1e5, max: 1e5, noNaN: true }),
    })
    await fc.assert(
      fc.asyncProperty(link, async (rates) => {
        const { ping, clock } = linkOf(rates)
        const found = await probeLink({ ping }, clock)
        expect(found.rttSeconds).toBeCloseTo(rates.rtt, 9)
        expect(found.upBitsPerSecond / rates.up).toBeCloseTo(1, 3)
        expect(found.downBitsPerSecond / rates.down).toBeCloseTo(1, 3)
      }),
    )
  })

  it('is spared where it is slow: one probe after the first', async () => {
    const slow = linkOf({ up: 1e5, down: 1e6, rtt: 0.1, offset: 0 })
    await probeLink(slow, slow.clock)
    const fast = linkOf({ up: 1e8, down: 1e8, rtt: 0.1, offset: 0 })
    await probeLink(fast, fast.clock)
    expect(slow.carried()).toBe(fast.carried() / 2)
  })
})
