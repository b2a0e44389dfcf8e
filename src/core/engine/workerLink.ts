import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { InputError } from '../errors.ts'
import { EngineError } from './types.ts'
import workerProgram from './worker.ts?thread'
import type { Answer, OperationName, Operations, WorkerData } from './workerProtocol.ts'

interface Pending {
  resolve: (value: unknown) => void
  reject: (error: Error) => void
}

/**
 * One worker thread and the calls that it has not answered yet.
 * A worker is never terminated inside native code, because onnxruntime-node would then abort the whole process. It is
 * asked to exit, and does so after its current run.
 */
export class WorkerLink {
  ended = false
  reason = 'the worker ended'
  /** Number of residents allocated so far; gives each its number. */
  residents = 0
  private readonly worker: Worker
  private readonly flags = new Int32Array(new SharedArrayBuffer(8))
  private readonly pending = new Map<number, Pending>()
  private readonly gone: Promise<void>
  private count = 0

  constructor() {
    const runtimePath = createRequire(import.meta.url).resolve('onnxruntime-node')
    const workerData: WorkerData = { runtimePath, flags: this.flags }
    this.worker = new Worker(workerProgram, { eval: true, workerData, execArgv: [] })
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

  /**
   * Sends a request to the worker and keeps the process alive until the answer. Throws if the body cannot be posted.
   */
  call<K extends OperationName>(
    op: K,
    body: Operations[K]['asked'],
    transfer: ArrayBuffer[] = [],
  ): Promise<Operations[K]['answered']> {
    if (this.ended) return Promise.reject(new EngineError(this.reason))
    const id = this.count++
    this.worker.postMessage({ id, op, body }, transfer)
    this.worker.ref()
    return new Promise((resolve, reject) => {
      const settled = (value: unknown): void => resolve(value as Operations[K]['answered'])
      this.pending.set(id, { resolve: settled, reject })
    })
  }

  /** Waits for `answer`, and abandons the worker after `seconds`. */
  async within<T>(answer: Promise<T>, seconds: number | undefined): Promise<T> {
    if (seconds === undefined) return answer
    const reason = `a run took longer than ${seconds} s; its worker was given up on`
    const timer = setTimeout(() => void this.end(reason), seconds * 1000)
    try {
      return await answer
    } finally {
      clearTimeout(timer)
    }
  }

  /** Rejects all pending calls and lets the worker exit; resolves when it has exited. */
  end(reason: string): Promise<void> {
    if (!this.ended) {
      this.fail(reason)
      Atomics.store(this.flags, 1, 1)
      this.worker.ref()
      this.worker.postMessage('quit')
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

/** How long `process.exit` waits for runs in progress, in milliseconds. */
const exitPatienceMilliseconds = 30_000
const liveFlags = new Set<Int32Array>()
let waiting = false

/**
 * `process.exit` terminates workers, which aborts the process if one is inside native code. So exit waits until no
 * worker is.
 */
function waitForLiveWorkersAtExit(): void {
  if (waiting) return
  waiting = true
  process.on('exit', () => {
    for (const flags of liveFlags) Atomics.store(flags, 1, 1)
    for (const flags of liveFlags) Atomics.wait(flags, 0, 1, exitPatienceMilliseconds)
  })
}
