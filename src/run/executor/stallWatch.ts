import type { TimeSource } from '../../core/timers.ts'
import { ExecutionError } from './errors.ts'

/**
 * How long a request that runs may bring no token before a link or an engine counts as hanging, in seconds; null: no
 * limit. This detects failures. When a request must be done is its Deadline (src/core/deadline.ts), which whoever owns
 * the request watches, and which reaches the executor as the signal's reason.
 */
export interface StallLimits {
  /** From the first pass to the first token. */
  readonly firstTokenSeconds: number | null
  /** From each token to the next. */
  readonly tokenSeconds: number | null
}

/** Detects a running request that brings no token: calls `onStalled` with the error (E_STALLED) that ends it. */
export class StallWatch {
  private readonly limits: Partial<StallLimits>
  private readonly time: TimeSource
  private readonly onStalled: (error: ExecutionError) => void
  private stopTimer: () => void = () => {}
  private tokens = 0

  constructor(limits: Partial<StallLimits>, time: TimeSource, onStalled: (error: ExecutionError) => void) {
    this.limits = limits
    this.time = time
    this.onStalled = onStalled
  }

  /** Its first pass begins. */
  dispatched(): void {
    this.await('first', this.limits.firstTokenSeconds)
  }

  /** A token came that is not the last. */
  token(): void {
    this.tokens++
    this.await('next', this.limits.tokenSeconds)
  }

  /** Nothing more will come. */
  stop(): void {
    this.stopTimer()
  }

  private await(which: 'first' | 'next', seconds: number | null | undefined): void {
    this.stopTimer()
    if (seconds === null || seconds === undefined) return
    const { clock, timers } = this.time
    const since = clock.nowSeconds()
    this.stopTimer = timers.after(seconds, () => {
      const passed = (clock.nowSeconds() - since).toFixed(3)
      const text =
        `stalled: no ${which} token within ${seconds} s: ` +
        `${passed} s have passed, ${this.tokens} tokens were delivered`
      this.onStalled(new ExecutionError('E_STALLED', text))
    })
  }
}
