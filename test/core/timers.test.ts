import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemTimers } from '../../src/core/timers.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test.each([0, 1, 2_000_000, 2 ** 31 / 1000, 1e7])('a timer of %d s runs once, after that time', (seconds) => {
  const run = vi.fn()
  systemTimers.after(seconds, run)
  if (seconds > 0) vi.advanceTimersByTime(1000 * seconds - 1)
  expect(run).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1)
  expect(run).toHaveBeenCalledOnce()
  expect(vi.getTimerCount()).toBe(0)
})

test('one of an infinity never runs, and is cancelled like any other', () => {
  const run = vi.fn()
  const cancel = systemTimers.after(Infinity, run)
  vi.advanceTimersByTime(1e11)
  expect(run).not.toHaveBeenCalled()
  cancel()
  expect(vi.getTimerCount()).toBe(0)
})
