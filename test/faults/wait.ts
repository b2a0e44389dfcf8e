import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import type { World } from './world.ts'

/** What was freed late is looked for so long. */
const SETTLE_SECONDS = 5

/** Null where it takes longer. */
export async function within<T>(seconds: number, promise: Promise<T>): Promise<T | null> {
  const over = new AbortController()
  const late = sleep(1000 * seconds, null, { signal: over.signal }).catch(() => null)
  try {
    return await Promise.race([promise, late])
  } finally {
    over.abort()
  }
}

/** What is held once all that ends late had its time. */
export async function leaksOf(world: Pick<World, 'held'>): Promise<string[]> {
  const end = systemClock.nowSeconds() + SETTLE_SECONDS
  while (world.held().length > 0 && systemClock.nowSeconds() < end) await sleep(5)
  return world.held()
}
