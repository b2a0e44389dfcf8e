import type { Clock } from '../../core/clock.ts'
import type { Engine, Fetched, Resident } from '../../core/engine/types.ts'
import { finiteProblem } from './finite.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { subgraphTensorNames } from '../../model/graphs/subgraphTypes.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { tensor, type Tensor } from '../../core/onnx/tensor.ts'
import { RequestKvCache, type BoundKvCache } from './kvCache.ts'
import { subgraphKey, type OpenedSession, type SessionCache } from './sessionCache.ts'

/** Values of one request at the start or end of a subgraph; rows are tokens. */
export interface Activations {
  ids?: readonly number[]
  x?: Float32Array // [rows, width]
  partial?: Float32Array // [rows, width]
  hidden?: Float32Array // [rows, ffnWidth]
  logits?: Float32Array // [vocabulary]
}

/** One run of a subgraph for one request. */
interface SubgraphRun {
  readonly subgraph: Subgraph
  readonly caches: RequestKvCache
  readonly values: Activations
  /** Number of tokens before these. */
  readonly position: number
  readonly rows: number
}

/** Result of a run. */
export interface SubgraphRunResult {
  readonly values: Activations
  readonly askedSeconds: number
  readonly startSeconds: number
  readonly endSeconds: number
  readonly batch: number
  /** Set if the session had to be loaded first. */
  readonly load: { readonly startSeconds: number; readonly endSeconds: number } | null
}

/** Options of a subgraph runner. */
interface RunnerOptions {
  readonly engine: Engine
  readonly sessions: SessionCache
  readonly model: ModelSpec
  readonly clock: Clock
  /** Sequences that decode in one run of a graph; 1 disables batching. */
  readonly maxBatch: number
}

interface QueuedRun extends SubgraphRun {
  readonly key: string
  readonly askedSeconds: number
  readonly resolve: (result: SubgraphRunResult) => void
  readonly reject: (error: unknown) => void
}

/** Batch sizes for which graphs are built; waiting runs form the largest batch that they fill. */
const BATCH_SIZES = [8, 4, 2] as const

/**
 * One side's compute: a first-come, first-served queue with one run at a time. Single tokens of several requests that
 * wait for the same subgraph run as one batch (continuous batching by subgraph).
 */
export class SubgraphRunner {
  private readonly options: RunnerOptions
  private readonly waiting: QueuedRun[] = []
  private running = false
  /** Caches with one masked position for the first pass: [units] -> residents. */
  private readonly empty = new Map<number, Promise<Resident>>()

  constructor(options: RunnerOptions) {
    this.options = options
  }

  /** Runs that wait for the current one. */
  get waitingRuns(): number {
    return this.waiting.length
  }

  /** Caches of a request whose prompt and longest answer are `reservedTokens` together. */
  newCaches(reservedTokens: number): RequestKvCache {
    return new RequestKvCache(this.options.engine, this.options.model, reservedTokens)
  }

  /** Loads subgraphs that will be needed; a failure to load is reported when the subgraph is run. */
  prepare(subgraphs: readonly Subgraph[]): void {
    for (const subgraph of subgraphs) {
      this.options.sessions.open(subgraph, 1).then(
        (opened) => opened.release(),
        () => {},
      )
    }
  }

  run(job: SubgraphRun): Promise<SubgraphRunResult> {
    return new Promise((resolve, reject) => {
      const askedSeconds = this.options.clock.nowSeconds()
      this.waiting.push({ ...job, key: subgraphKey(job.subgraph), askedSeconds, resolve, reject })
      if (!this.running) void this.pump()
    })
  }

  private async pump(): Promise<void> {
    this.running = true
    while (this.waiting.length > 0) {
      const jobs = this.take()
      try {
        await this.runTogether(jobs)
      } catch (error) {
        for (const { reject } of jobs) reject(error)
      }
    }
    this.running = false
  }

  /** The oldest run, with as many equal ones as make a full batch. */
  private take(): QueuedRun[] {
    const [first] = this.waiting
    const alike =
      first.rows === 1 ? this.waiting.filter((job) => job.key === first.key && job.rows === 1) : []
    const size = BATCH_SIZES.find((batch) => batch <= this.options.maxBatch && batch <= alike.length) ?? 1
    const jobs = size === 1 ? [first] : alike.slice(0, size)
    for (const job of jobs) this.waiting.splice(this.waiting.indexOf(job), 1)
    return jobs
  }

  private async runTogether(jobs: readonly QueuedRun[]): Promise<void> {
    const { clock, sessions } = this.options
    const batch = jobs.length
    const opened = await sessions.open(jobs[0].subgraph, batch)
    const startSeconds = clock.nowSeconds()
    const out = await this.runOpened(opened, jobs).finally(() => opened.release())
    const endSeconds = clock.nowSeconds()
    const { load } = opened
    for (const [b, job] of jobs.entries()) {
      const values = valuesOf(out, job, b, batch)
      const problem = finiteProblem(job.subgraph, job.values, values, job.position)
      if (problem !== null) job.reject(problem)
      else job.resolve({ values, askedSeconds: job.askedSeconds, startSeconds, endSeconds, batch, load })
    }
  }

  private async runOpened(opened: OpenedSession, jobs: readonly QueuedRun[]): Promise<Fetched> {
    const { session, takesPositions, fetches } = opened
    const feeds = this.valuesFed(jobs, takesPositions)
    const caches = await this.cachesFed(jobs, feeds)
    return session.run(feeds, { fetches, ...caches })
  }

  private valuesFed(jobs: readonly QueuedRun[], takesPositions: boolean): Record<string, Tensor> {
    const { model } = this.options
    const rows = jobs.reduce((sum, job) => sum + job.rows, 0)
    const join = (name: 'x' | 'partial' | 'hidden', width: number): Tensor =>
      tensor('float32', [rows, width], joined(jobs.map((job) => required(job, name))))
    const feeds: Record<string, Tensor> = {}
    const { input } = jobs[0].subgraph
    if (input === 'ids') feeds.ids = integers(jobs.flatMap((job) => required(job, 'ids')))
    else feeds.x = join('x', model.width)
    if (input === 'x+partial') feeds.partial = join('partial', model.width)
    if (input === 'x+hidden') feeds.hidden = join('hidden', model.ffnWidth)
    if (takesPositions)
      feeds.positions = integers(jobs.flatMap(({ position, rows: n }) => range(position, n)))
    return feeds
  }

  /** Adds the caches of all sequences, and their masks, to the inputs. */
  private async cachesFed(
    jobs: readonly QueuedRun[],
    feeds: Record<string, Tensor>,
  ): Promise<Readonly<BoundKvCache>> {
    const batch = jobs.length
    const all: BoundKvCache = { residents: {}, inserts: [] }
    for (const [b, { subgraph, caches, position, rows }] of jobs.entries()) {
      const bound = await caches.bind(subgraph, position + rows, position, b, batch)
      if (bound.inserts.length === 0) continue
      const mask = position === 0 ? NOTHING_HELD : caches.mask(position)
      feeds[subgraphTensorNames.mask(b, batch)] = tensor('float32', [1, mask.length], mask)
      const residents = position === 0 ? await this.nothingHeld(bound.residents) : bound.residents
      if (batch === 1) return { residents, inserts: bound.inserts }
      Object.assign(all.residents, residents)
      all.inserts.push(...bound.inserts)
    }
    return all
  }

  /** For a first pass: one masked position instead of a whole padded cache. */
  private async nothingHeld(
    residents: Readonly<Record<string, Resident>>,
  ): Promise<Record<string, Resident>> {
    const out: Record<string, Resident> = {}
    for (const [name, { dims }] of Object.entries(residents)) {
      const [units, , headDim] = dims
      let made = this.empty.get(units)
      if (made === undefined) {
        made = this.options.engine.allocate([units, 1, headDim])
        this.empty.set(units, made)
      }
      out[name] = await made
    }
    return out
  }
}

const NOTHING_HELD = Float32Array.of(-Infinity)

function valuesOf(out: Fetched, job: SubgraphRun, b: number, batch: number): Activations {
  const rowsOf = (name: string): Float32Array | undefined => {
    if (!Object.hasOwn(out, name)) return undefined
    const data = out[name].data as Float32Array
    const size = data.length / batch
    return batch === 1 ? data : data.subarray(b * size, (b + 1) * size)
  }
  const last = job.subgraph.parts.at(-1)
  const isShare = last?.kind === 'attention' && !last.residual
  const values: Activations = {}
  const x = rowsOf('y')
  if (x !== undefined) values[isShare ? 'partial' : 'x'] = x
  const hidden = rowsOf('hidden')
  if (hidden !== undefined) values.hidden = hidden
  const logits = rowsOf('logits')
  if (logits !== undefined) values.logits = logits
  return values
}

function required<Name extends 'ids' | 'x' | 'partial' | 'hidden'>(
  job: SubgraphRun,
  name: Name,
): NonNullable<Activations[Name]> {
  const value = job.values[name]
  if (value === undefined)
    throw new RangeError(`subgraph ${subgraphKey(job.subgraph)}: expected ${name}, found nothing`)
  return value
}

function joined(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0]
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

function integers(values: readonly number[]): Tensor {
  const data = new BigInt64Array(values.length)
  for (let i = 0; i < data.length; i++) data[i] = BigInt(values[i])
  return tensor('int64', [data.length], data)
}

function range(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => from + i)
}
