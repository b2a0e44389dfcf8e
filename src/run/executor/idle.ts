import type { Clock } from '../../core/clock.ts'
import type { Timers } from '../../core/timers.ts'
import { ExecutionError } from './errors.ts'
import type { ReceiveBuffer } from './receiveBuffer.ts'

/** Ends requests whose edge is silent: each wait for a message has a limit. */
export class IdleTimeout {
  private readonly seconds: number
  private readonly clock: Clock
  private readonly timers: Timers

  constructor(seconds: number, { clock, timers }: { readonly clock: Clock; readonly timers: Timers }) {
    this.seconds = seconds
    this.clock = clock
    this.timers = timers
  }

  /** Resolves to `message`; after the limit the request fails with E_IDLE. */
  async over<T>(receiveBuffer: ReceiveBuffer, message: Promise<T>): Promise<T> {
    // A message that has arrived already needs no timer.
    if (!receiveBuffer.isAwaited) return message
    const since = this.clock.nowSeconds()
    const stop = this.timers.after(
      this.seconds,
      () => {
        const passed = (this.clock.nowSeconds() - since).toFixed(1)
        receiveBuffer.fail(new ExecutionError('E_IDLE', `nothing came from the edge for ${passed} s`))
      },
      true,
    )
    try {
      return await message
    } finally {
      stop()
    }
  }
}
