import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { checkNames, loadProblem, ortOptions } from './convert.ts'
import type {
  Engine,
  EngineInfo,
  Feeds,
  Fetched,
  Resident,
  RunOptions,
  Session,
  SessionOptions,
} from './types.ts'
import { EngineError } from './types.ts'
import { workerSource } from './workerSource.ts'
import { InputError } from '../base/errors.ts'

interface Loaded {
  session: number
  inputNames: string[]
  outputNames: string[]
}

interface Pending {
  resolve: (value: unknown) => void
  reject: (error: Error) => void
}

/**
 * onnxruntime-node in a worker thread, so that a run does not block the event loop. ONNX Runtime cannot
 * cancel: a run that takes too long is given up on with its worker, which quits once the run is over, and
 * the next `create` starts a fresh one.
 */
export class WorkerEngine implements Engine {
  readonly info: EngineInfo
  private link: WorkerLink

  private constructor(link: WorkerLink, version: string) {
    this.link = link
    this.info = { kind: 'worker', name: 'onnxruntime-node', version }
  }

  static async start(): Promise<WorkerEngine> {
    const link = new WorkerLink()
    try {
      return new WorkerEngine(link, (await link.call('version', {})) as string)
    } catch (error) {
      await link.end('the worker could not load onnxruntime-node')
      throw new InputError(
        {
          where: 'engine worker',
          expected: 'onnxruntime-node with a binary for this platform',
          found: (error as Error).message,
          remedy: "use the 'wasm' engine",
        },
        { cause: error },
      )
    }
  }

  async create(model: Uint8Array | string, options: SessionOptions = {}): Promise<Session> {
    const settings = ortOptions(options, 'cpu')
    if (this.link.ended) this.link = new WorkerLink()
    const { link } = this
    try {
      return new WorkerSession(link, (await link.call('create', { model, settings })) as Loaded)
    } catch (error) {
      throw link.ended ? error : loadProblem(model, error)
    }
  }

  allocate(): Promise<Resident> {
    return Promise.reject(new EngineError('residents come with the next commit'))
  }

  async close(): Promise<void> {
    await this.link.end('the engine was closed')
  }
}

class WorkerSession implements Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  private readonly link: WorkerLink
  private readonly session: number
  private disposed = false

  constructor(link: WorkerLink, { session, inputNames, outputNames }: Loaded) {
    this.link = link
    this.session = session
    this.inputNames = inputNames
    this.outputNames = outputNames
  }

  async run(feeds: Feeds, options: RunOptions = {}): Promise<Fetched> {
    if (this.disposed) throw new EngineError('the session has been disposed of')
    const fetches = options.fetches ?? this.outputNames
    checkNames(this, feeds, fetches)
    const { session } = this
    const buffers =
      options.transferFeeds === true ? Object.values(feeds).map(({ data }) => data.buffer as ArrayBuffer) : []
    const answer = this.link.call('run', { session, feeds, fetches }, [...new Set(buffers)])
    try {
      return (await this.link.within(answer, options.timeoutSeconds)) as Fetched
    } catch (error) {
      if (error instanceof EngineError) throw error
      throw new EngineError(`ONNX Runtime refused to run: ${(error as Error).message}`, { cause: error })
    }
  }

  async dispose(): Promise<void> {
    if (this.disposed) return
    this.disposed = true
    if (!this.link.ended) await this.link.call('dispose', { session: this.session })
  }
}

/**
 * One worker and the questions it has not answered yet. A worker is never terminated inside native code:
 * onnxruntime-node would abort the whole process. It is asked to quit, and does so after its present run.
 */
class WorkerLink {
  ended = false
  private reason = 'the worker ended'
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

  /** Asks the worker; the process stays alive until it has answered. */
  call(op: string, body: Record<string, unknown>, transfer: ArrayBuffer[] = []): Promise<unknown> {
    if (this.ended) return Promise.reject(new EngineError(this.reason))
    const id = this.count++
    return new Promise((resolve, reject) => {
      this.worker.postMessage({ id, op, ...body }, transfer)
      this.pending.set(id, { resolve, reject })
      this.worker.ref()
    })
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

  private settle({ id, value, error }: Answer): void {
    const asked = this.pending.get(id)
    if (asked === undefined) return
    this.pending.delete(id)
    if (this.pending.size === 0 && !this.ended) this.worker.unref()
    if (error === undefined) asked.resolve(value)
    else asked.reject(new Error(error))
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
