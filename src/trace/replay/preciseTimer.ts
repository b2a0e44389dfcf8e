import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Clock } from '../../core/clock.ts'
import type { TimerThreadData, TimerThreadQuestion } from './timerThread.ts'
import timerThread from './timerThread.ts?thread'

/** A timer with one due time, on the clock that it was created with. */
export interface PreciseTimer {
  /** Replaces the due time; Infinity: never. Fires soon if the time has passed. */
  set(dueSeconds: number): void
  close(): Promise<void>
}

/** Creates a timer that calls `ring`, but never from within `set`. */
export type PreciseTimerFactory = (clock: Clock, ring: () => void) => Promise<PreciseTimer>

/** Round trips to the timer thread to learn the offset between the two clocks; the fastest one is used. */
const CLOCK_QUESTIONS = 20
const FIRST_LEAD_SECONDS = 300e-6
const LEAST_LEAD_SECONDS = 50e-6
const MOST_LEAD_SECONDS = 1500e-6
/** The lead time follows this quantile of the observed delays, in steps of LEAD_STEP_SECONDS. */
const LEAD_QUANTILE = 0.9
const LEAD_STEP_SECONDS = 20e-6

/**
 * A timer with a precision of about 0.1 ms. Node's timers have whole milliseconds, and a busy loop would occupy a core.
 * So a thread sleeps on a futex and posts a message shortly before the due time, and only the rest is waited for in
 * turns of the event loop. How early it must post (thread and event loop take time to wake) is learned from the
 * observed delays. `clock` must run at the speed of the machine's clock.
 */
export const threadTimer: PreciseTimerFactory = async (clock, ring) => {
  const version = new Int32Array(new SharedArrayBuffer(4))
  const due = new Float64Array(new SharedArrayBuffer(8)).fill(Infinity)
  const workerData: TimerThreadData = { version, dueSeconds: due }
  const worker = new Worker(timerThread, { eval: true, workerData, execArgv: [] })
  const offsetSeconds = await learnOffset(worker, clock)
  ask(worker, 'watch')
  return new ThreadTimer({ clock, ring, worker, version, due, offsetSeconds })
}

function ask(worker: Worker, question: TimerThreadQuestion): void {
  worker.postMessage(question)
}

/** The worker's clock minus ours, seconds. */
async function learnOffset(worker: Worker, clock: Clock): Promise<number> {
  let fastest = Infinity
  let offset = 0
  for (let i = 0; i < CLOCK_QUESTIONS; i++) {
    const asked = clock.nowSeconds()
    ask(worker, 'time')
    const [threadSeconds] = (await once(worker, 'message')) as [number]
    const answered = clock.nowSeconds()
    if (answered - asked >= fastest) continue
    fastest = answered - asked
    offset = threadSeconds - (asked + answered) / 2
  }
  return offset
}

interface Parts {
  readonly clock: Clock
  readonly ring: () => void
  readonly worker: Worker
  readonly version: Int32Array
  readonly due: Float64Array
  readonly offsetSeconds: number
}

class ThreadTimer implements PreciseTimer {
  private readonly parts: Parts
  private dueSeconds = Infinity
  private version = 0
  /** When the thread was last asked to post. */
  private postSeconds = 0
  private leadSeconds = FIRST_LEAD_SECONDS
  private closed = false

  constructor(parts: Parts) {
    this.parts = parts
    parts.worker.on('message', (version: number) => this.onMessage(version))
  }

  set(dueSeconds: number): void {
    if (dueSeconds === this.dueSeconds || this.closed) return
    this.dueSeconds = dueSeconds
    this.version = (this.version + 1) | 0
    this.postSeconds = dueSeconds - this.leadSeconds
    if (this.postSeconds > this.parts.clock.nowSeconds()) this.ask(this.postSeconds)
    else this.poll(this.version)
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    this.version = (this.version + 1) | 0
    const gone = once(this.parts.worker, 'exit')
    this.post(-1)
    await gone
  }

  private ask(seconds: number): void {
    this.post(seconds + this.parts.offsetSeconds)
  }

  private post(threadSeconds: number): void {
    const { due, version } = this.parts
    due[0] = threadSeconds
    Atomics.store(version, 0, this.version)
    Atomics.notify(version, 0)
  }

  private onMessage(version: number): void {
    if (version !== this.version || this.closed) return
    const late = this.parts.clock.nowSeconds() - this.postSeconds
    const step = late > this.leadSeconds ? LEAD_QUANTILE : LEAD_QUANTILE - 1
    const lead = this.leadSeconds + step * LEAD_STEP_SECONDS
    this.leadSeconds = Math.min(Math.max(lead, LEAST_LEAD_SECONDS), MOST_LEAD_SECONDS)
    this.check(version)
  }

  private poll(version: number): void {
    setImmediate(() => this.check(version))
  }

  private check(version: number): void {
    if (version !== this.version || this.closed) return
    if (this.parts.clock.nowSeconds() < this.dueSeconds) {
      this.poll(version)
      return
    }
    this.dueSeconds = Infinity
    this.parts.ring()
  }
}
