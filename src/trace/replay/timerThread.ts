import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../core/clock.ts'

/** What a timer shares with its thread. */
export interface TimerThreadData {
  /** Grows after every change of `dueSeconds`; the thread sleeps on it. */
  readonly version: Int32Array
  /** When to wake, on the thread's clock, in element 0. Infinity: never. -1: end the thread. */
  readonly dueSeconds: Float64Array
}

/** `time` is answered with the thread's clock in seconds; after `watch` the thread posts the version whenever it is due. */
export type TimerThreadQuestion = 'time' | 'watch'

const port = parentPort
const { version, dueSeconds } = workerData as TimerThreadData

function watch(post: (version: number) => void): void {
  let rung = 0
  for (;;) {
    const current = Atomics.load(version, 0)
    const at = dueSeconds[0]
    if (at === -1) return
    if (current === rung || at === Infinity) {
      Atomics.wait(version, 0, current)
      continue
    }
    const leftSeconds = at - systemClock.nowSeconds()
    if (leftSeconds > 0 && Atomics.wait(version, 0, current, 1000 * leftSeconds) !== 'timed-out') continue
    rung = current
    post(current)
  }
}

port?.on('message', (question: TimerThreadQuestion) => {
  if (question === 'time') {
    port.postMessage(systemClock.nowSeconds())
    return
  }
  watch((current) => port.postMessage(current))
  port.close()
})
