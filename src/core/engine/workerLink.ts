import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { InputError } from '../errors.ts'
import type { InputProblem } from '../errors.ts'
import { EngineError } from './types.ts'
import { workerSource } from './workerSource.ts'

interface Pending {
  resolve: (value: unknown) => void
  reject: (error: Error) => void
}

/**
 * One worker and the questions it has not answered yet. A worker is never terminated inside native code:
 * onnxruntime-node would abort the whole process. It is asked to quit, and does so after its present run.
 */
export class WorkerLink {
  ended = false
  reason = 'the worker ended'
  /** Residents so far: their numbers. */
  residents = 0
  private readonly worker: Worker
  private readonly flags = new Int32Array(new SharedArrayBuffer(8))
  private readonly pending = new Map<number, Pending>()
  private readonly gone: Promise<void>
  private count = 0

  constructor() {
    // An evaluated source instead of a file: the same under vitest and inside any bundle.
    const runtimePath = createRequire(import.meta.url).resolve('onnxruntime-node')
    this.worker = new Worker(workerSource, {
      eval: true,
      workerData: { runtimePath, flags: this.flags },
      execArgv: [],
    })
    this.worker.unref()
    this.worker.on('message', (message: Answer) => this.settle(message))
    this.worker.on('error', (error) => this.fail(`the worker failed: ${error.message}`))
    this.gone = new Promise((resolve) => {
      this.worker.on('exit', () => {
        this.fail(this.reason)
        liveFlags.delete(this.flags)
        resolve()
      })
    })
    waitForLiveWorkersAtExit()
    liveFlags.add(this.flags)
  }

  /** Asks the worker; the process stays alive until it has answered. Throws what cannot be sent. */
  call(op: string, body: Record<string, unknown>, transfer: ArrayBuffer[] = []): Promise<unknown> {
    if (this.ended) return Promise.reject(new EngineError(this.reason))
    const id = this.count++
    this.worker.postMessage({ id, op, ...body }, transfer)
    this.worker.ref()
    return new Promise((resolve, reject) => this.pending.set(id, { resolve, reject }))
  }

  /** Gives up on the worker when `answer` takes longer than `seconds`. */
  async within(answer: Promise<unknown>, seconds: number | undefined): Promise<unknown> {
    if (seconds === undefined) return answer
    const reason = `a run took longer than ${seconds} s; its worker was given up on`
    const timer = setTimeout(() => void this.end(reason), seconds * 1000)
    try {
      return await answer
    } finally {
      clearTimeout(timer)
    }
  }

  /** Refuses all that is pending and lets the worker quit; resolves when it is gone. */
  end(reason: string): Promise<void> {
    if (!this.ended) {
      this.fail(reason)
      Atomics.store(this.flags, 1, 1)
      this.worker.ref()
      this.worker.postMessage({ op: 'quit' })
    }
    return this.gone
  }

  private settle({ id, value, error, problem }: Answer): void {
    const asked = this.pending.get(id)
    if (asked === undefined) return
    this.pending.delete(id)
    if (this.pending.size === 0 && !this.ended) this.worker.unref()
    if (error === undefined) asked.resolve(value)
    else asked.reject(problem === undefined ? new Error(error) : new InputError(problem))
  }

  private fail(reason: string): void {
    if (!this.ended) this.reason = reason
    this.ended = true
    for (const { reject } of this.pending.values()) reject(new EngineError(this.reason))
    this.pending.clear()
  }
}

interface Answer {
  id: number
  value?: unknown
  error?: string
  /** Where the caller is to blame. */
  problem?: InputProblem
}

/** How long `process.exit` waits for a run in progress. */
const exitPatienceMilliseconds = 30_000
const liveFlags = new Set<Int32Array>()
let waiting = false

/** Exit ends workers wherever they are; inside native code that would be an abort, so exit waits for them to come out. */
function waitForLiveWorkersAtExit(): void {
  if (waiting) return
  waiting = true
  process.on('exit', () => {
    for (const flags of liveFlags) Atomics.store(flags, 1, 1)
    for (const flags of liveFlags) Atomics.wait(flags, 0, 1, exitPatienceMilliseconds)
  })
}
