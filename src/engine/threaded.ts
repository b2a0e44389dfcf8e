import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'
import { loadProblem, ortOptions } from './convert.ts'
import { NameChecker } from './names.ts'
import type { RunNames } from './names.ts'
import { checkDims, HeldResident, homesOf } from './resident.ts'
import type { ResidentDims, ResidentHome } from './resident.ts'
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
import { EdgewiseError, InputError } from '../base/errors.ts'
import type { InputProblem } from '../base/errors.ts'
import type { Tensor, TensorData } from '../onnx/tensor.ts'

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
      return new WorkerSession(this, link, (await link.call('create', { model, settings })) as Loaded)
    } catch (error) {
      throw link.ended ? error : loadProblem(model, error)
    }
  }

  async allocate([rows, capacity, columns]: ResidentDims): Promise<Resident> {
    const dims: ResidentDims = [rows, capacity, columns]
    checkDims('engine.allocate', dims)
    if (this.link.ended) this.link = new WorkerLink()
    const home = new WorkerHome(this.link)
    await home.ask('allocate', { rows, capacity, columns })
    return new HeldResident(this, dims, home)
  }

  async close(): Promise<void> {
    await this.link.end('the engine was closed')
  }
}

/** A resident in the worker: here is only its number. */
class WorkerHome implements ResidentHome {
  readonly link: WorkerLink
  readonly resident: number
  private failed: string | undefined = undefined

  constructor(link: WorkerLink) {
    this.link = link
    this.resident = link.count++
  }

  get lost(): string | undefined {
    return this.link.ended ? this.link.reason : this.failed
  }

  async enlarge(capacity: number): Promise<void> {
    try {
      await this.ask('grow', { capacity })
    } catch (error) {
      this.failed = (error as Error).message
      throw error
    }
  }

  async take(from: number, to: number): Promise<Float32Array> {
    return (await this.ask('read', { from, to })) as Float32Array
  }

  async put(at: number, n: number, data: Float32Array): Promise<void> {
    await this.ask('write', { at, n, data: alone(data) })
  }

  async free(): Promise<void> {
    await this.ask('free', {})
  }

  async ask(op: string, body: Record<string, unknown>): Promise<unknown> {
    try {
      return await this.link.call(op, { resident: this.resident, ...body })
    } catch (error) {
      throw asEngineError(error, `the worker refused to ${op} a resident`)
    }
  }
}

function asEngineError(error: unknown, what: string): Error {
  if (error instanceof EdgewiseError) return error
  return new EngineError(`${what}: ${(error as Error).message}`, { cause: error })
}

class WorkerSession implements Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  private readonly engine: WorkerEngine
  private readonly link: WorkerLink
  private readonly session: number
  private readonly names: NameChecker
  /** By slot, the names that the worker knows. */
  private readonly told: RunNames[] = []
  private disposed = false

  constructor(engine: WorkerEngine, link: WorkerLink, { session, inputNames, outputNames }: Loaded) {
    this.engine = engine
    this.link = link
    this.session = session
    this.inputNames = inputNames
    this.outputNames = outputNames
    this.names = new NameChecker(inputNames, outputNames)
  }

  async run(feeds: Feeds, options: RunOptions = {}): Promise<Fetched> {
    if (this.disposed) throw new EngineError('the session has been disposed of')
    const names = this.names.check(feeds, options)
    const { residents, targets } = homesOf<WorkerHome>(this.engine, names.residents, options)
    if (this.link.ended) throw new EngineError(this.link.reason)
    const question = {
      session: this.session,
      slot: names.slot,
      names: this.told[names.slot] === names ? undefined : names,
      feeds: flatten(names.feeds, feeds, options.transferFeeds === true),
      held: residents.map(({ resident }) => resident),
      inserts: names.inserts.flatMap((_, i) => [targets[i].resident, options.inserts?.[i].at]),
    }
    const buffers =
      options.transferFeeds === true ? Object.values(feeds).map(({ data }) => data.buffer as ArrayBuffer) : []
    try {
      const answer = this.link.call('run', question, [...new Set(buffers)])
      this.told[names.slot] = names
      return unflatten(names.fetches, (await this.link.within(answer, options.timeoutSeconds)) as unknown[])
    } catch (error) {
      throw asEngineError(error, 'ONNX Runtime refused to run')
    }
  }

  async dispose(): Promise<void> {
    if (this.disposed) return
    this.disposed = true
    if (!this.link.ended) await this.link.call('dispose', { session: this.session })
  }
}

/** Type, dims and data of each: an array crosses a thread faster than objects do. */
function flatten(names: readonly string[], feeds: Feeds, transferred: boolean): unknown[] {
  const flat: unknown[] = []
  for (const name of names) {
    const { dtype, dims, data } = feeds[name]
    flat.push(dtype, dims, transferred ? data : alone(data))
  }
  return flat
}

function unflatten(names: readonly string[], flat: readonly unknown[]): Fetched {
  const fetched: Fetched = {}
  for (let i = 0; i < names.length; i++) {
    const [dtype, dims, data] = [flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]]
    fetched[names[i]] = { dtype, dims, data } as Tensor
  }
  return fetched
}

/** A message carries the whole buffer of a view: of a part, a copy goes. */
function alone<T extends TensorData>(data: T): T {
  return data.byteLength < data.buffer.byteLength ? (data.slice() as T) : data
}

/**
 * One worker and the questions it has not answered yet. A worker is never terminated inside native code:
 * onnxruntime-node would abort the whole process. It is asked to quit, and does so after its present run.
 */
class WorkerLink {
  ended = false
  reason = 'the worker ended'
  /** Numbers of questions and residents. */
  count = 0
  private readonly worker: Worker
  private readonly flags = new Int32Array(new SharedArrayBuffer(8))
  private readonly pending = new Map<number, Pending>()
  private readonly gone: Promise<void>

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
