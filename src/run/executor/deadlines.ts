import type { Clock } from '../../core/clock.ts'
import type { Timers } from '../../core/timers.ts'
import { ExecutionError } from './errors.ts'
import type { Deadlines } from './recoveryTypes.ts'

type Phase = 'queue' | 'prefill' | 'token' | 'total'

const WORDS: Readonly<Record<Phase, string>> = {
  queue: 'waiting for its turn',
  prefill: 'its first token',
  token: 'the next token',
  total: 'the whole request',
}

/** Watches the deadlines of one request, from its creation on. */
export class DeadlineTimer {
  private readonly deadlines: Partial<Deadlines>
  private readonly clock: Clock
  private readonly timers: Timers
  private readonly onMissed: (error: ExecutionError) => void
  private readonly stopTotal: () => void
  private stopPhase: () => void = () => {}
  private tokens = 0

  constructor(
    deadlines: Partial<Deadlines>,
    { clock, timers }: { readonly clock: Clock; readonly timers: Timers },
    onMissed: (error: ExecutionError) => void,
  ) {
    this.deadlines = deadlines
    this.clock = clock
    this.timers = timers
    this.onMissed = onMissed
    this.stopTotal = this.watch('total', deadlines.totalSeconds)
    this.enter('queue', deadlines.queueSeconds)
  }

  dispatched(): void {
    this.enter('prefill', this.deadlines.prefillSeconds)
  }

  token(): void {
    this.tokens++
    this.enter('token', this.deadlines.tokenSeconds)
  }

  stop(): void {
    this.stopPhase()
    this.stopTotal()
  }

  private enter(phase: Phase, seconds: number | null | undefined): void {
    this.stopPhase()
    this.stopPhase = this.watch(phase, seconds)
  }

  private watch(phase: Phase, seconds: number | null | undefined): () => void {
    if (seconds === null || seconds === undefined) return () => {}
    const since = this.clock.nowSeconds()
    return this.timers.after(seconds, () => {
      const passed = this.clock.nowSeconds() - since
      const text = `${WORDS[phase]} took longer than ${seconds} s: ${passed.toFixed(3)} s have passed`
      this.onMissed(
        new ExecutionError(
          'E_DEADLINE',
          `deadline (${phase}): ${text}, ${this.tokens} tokens were delivered`,
        ),
      )
    })
  }
}
