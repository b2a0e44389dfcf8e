import type { RandomStream } from '../../core/random.ts'
import type { Backoff } from './recoveryTypes.ts'

/** Backoff between attempts to dial the cloud. */
export const DEFAULT_BACKOFF: Backoff = { baseSeconds: 0.1, factor: 2, capSeconds: 5, jitter: 0.5 }

/** The wait before attempt `attempt` (0 is the first), without jitter. */
export function nominalDelay({ baseSeconds, factor, capSeconds }: Backoff, attempt: number): number {
  return Math.min(capSeconds, baseSeconds * factor ** attempt)
}

/** Adds jitter, so that edges that lost the same cloud at the same time do not all come back at once. */
export function jittered(seconds: number, { jitter }: Backoff, random: RandomStream): number {
  return seconds * (1 - jitter * random.uniform())
}
