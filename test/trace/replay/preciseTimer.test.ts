import { describe, expect, it } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { threadTimer } from '../../../src/trace/replay/preciseTimer.ts'
import { until } from './manual.ts'

describe('the alarm', () => {
  it('rings once for each time that is set, never before it, and at once for one that has passed', async () => {
    const due = { seconds: 0 }
    const early: number[] = []
    let rings = 0
    const alarm = await threadTimer(systemClock, () => {
      rings++
      if (systemClock.nowSeconds() < due.seconds) early.push(due.seconds - systemClock.nowSeconds())
    })
    for (const seconds of [-1, 0, 0.0001, 0.0005, 0.002, 0.01, 0.003, 0.02]) {
      const before = rings
      due.seconds = systemClock.nowSeconds() + seconds
      alarm.set(due.seconds)
      expect(rings).toBe(before)
      await until(() => rings > before)
    }
    expect(early).toEqual([])
    expect(rings).toBe(8)
    await alarm.close()
  })

  it('forgets a time that is replaced, and everything when it is closed', async () => {
    let rings = 0
    const alarm = await threadTimer(systemClock, () => rings++)
    const last = systemClock.nowSeconds() + 0.03
    for (const seconds of [0.02, 0.001, Infinity, 0.01]) alarm.set(systemClock.nowSeconds() + seconds)
    alarm.set(last)
    await until(() => rings > 0)
    expect(systemClock.nowSeconds()).toBeGreaterThanOrEqual(last)
    alarm.set(systemClock.nowSeconds() + 0.001)
    await alarm.close()
    await alarm.close()
    expect(rings).toBe(1)
  })
})
