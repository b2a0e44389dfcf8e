import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { threadTimer } from '../../../src/trace/replay/preciseTimer.ts'
import { until } from './manual.ts'

describe('the timer', () => {
  it('rings once for each time that is set, never before it, and at once for one that has passed', async () => {
    const due = { seconds: 0 }
    const early: number[] = []
    let rings = 0
    const timer = await threadTimer(systemClock, () => {
      rings++
      if (systemClock.nowSeconds() < due.seconds) early.push(due.seconds - systemClock.nowSeconds())
    })
    for (const seconds of [-1, 0, 0.0001, 0.0005, 0.002, 0.01, 0.003, 0.02]) {
      const before = rings
      due.seconds = systemClock.nowSeconds() + seconds
      timer.set(due.seconds)
      expect(rings).toBe(before)
      await until(() => rings > before)
    }
    expect(early).toEqual([])
    expect(rings).toBe(8)
    await timer.close()
  })

  it('forgets a time that is replaced, and everything when it is closed', async () => {
    let rings = 0
    const timer = await threadTimer(systemClock, () => rings++)
    const last = systemClock.nowSeconds() + 0.03
    for (const seconds of [0.02, 0.001, Infinity, 0.01]) timer.set(systemClock.nowSeconds() + seconds)
    timer.set(last)
    await until(() => rings > 0)
    expect(systemClock.nowSeconds()).toBeGreaterThanOrEqual(last)
    timer.set(systemClock.nowSeconds() + 0.001)
    await timer.close()
    await timer.close()
    expect(rings).toBe(1)
  })
})
