import type { Clock } from '../base/clock.ts'
import type { Engine, Fetched, Insert, Resident } from '../engine/types.ts'
import type { Segment } from '../model/segmentTypes.ts'
import { segmentNames } from '../model/segmentTypes.ts'
import type { ModelSpec } from '../model/spec.ts'
import { tensor, type Tensor } from '../onnx/tensor.ts'
import { RequestCaches, type LayerCache } from './caches.ts'
import { segmentKey, type SegmentSessions } from './sessions.ts'

/** Values of one request that a segment starts from or gives; rows are tokens. */
export interface Values {
  ids?: readonly number[]
  x?: Float32Array // [rows, width]
  partial?: Float32Array // [rows, width]
  hidden?: Float32Array // [rows, ffnWidth]
  logits?: Float32Array // [vocabulary]
}

export interface Job {
  readonly segment: Segment
  readonly caches: RequestCaches
  readonly values: Values
  /** Tokens before these ones. */
  readonly position: number
  readonly rows: number
}

export interface JobResult {
  readonly values: Values
  readonly askedSeconds: number
  readonly startSeconds: number
  readonly endSeconds: number
  readonly batch: number
  /** Set where the session had to be loaded first. */
  readonly load: { readonly startSeconds: number; readonly endSeconds: number } | null
}

export interface RunnerOptions {
  readonly engine: Engine
  readonly sessions: SegmentSessions
  readonly model: ModelSpec
  readonly clock: Clock
  /** Sequences that decode in one run of a graph; 1 switches batching off. */
  readonly maxBatch: number
}

interface Waiting extends Job {
  readonly key: string
  readonly askedSeconds: number
  readonly resolve: (result: JobResult) => void
  readonly reject: (error: unknown) => void
}

/** Batch sizes that graphs are built for: what waits is taken in the largest that it fills. */
const BATCH_SIZES = [8, 4, 2] as const

/**
 * One side's compute: a queue, first come first served, one run at a time. Single tokens of several requests that
 * wait for the same segment run as one batch (continuous batching at the grain of a segment).
 */
export class SegmentRunner {
  private readonly options: RunnerOptions
  private readonly waiting: Waiting[] = []
  private running = false
  /** Caches of one masked position, for the first pass: [units] -> residents. */
  private readonly empty = new Map<number, Promise<Resident>>()

  constructor(options: RunnerOptions) {
    this.options = options
  }

  newCaches(): RequestCaches {
    return new RequestCaches(this.options.engine, this.options.model)
  }

  run(job: Job): Promise<JobResult> {
    return new Promise((resolve, reject) => {
      const askedSeconds = this.options.clock.nowSeconds()
      this.waiting.push({ ...job, key: segmentKey(job.segment), askedSeconds, resolve, reject })
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

  /** The oldest job, and as many like it as make a full batch. */
  private take(): Waiting[] {
    const [first] = this.waiting
    const alike =
      first.rows === 1 ? this.waiting.filter((job) => job.key === first.key && job.rows === 1) : []
    const size = BATCH_SIZES.find((batch) => batch <= this.options.maxBatch && batch <= alike.length) ?? 1
    const jobs = size === 1 ? [first] : alike.slice(0, size)
    for (const job of jobs) this.waiting.splice(this.waiting.indexOf(job), 1)
    return jobs
  }

  private async runTogether(jobs: readonly Waiting[]): Promise<void> {
    const { clock, sessions } = this.options
    const batch = jobs.length
    const { session, load } = await sessions.open(jobs[0].segment, batch)
    const startSeconds = clock.nowSeconds()
    const feeds: Record<string, Tensor> = {}
    const residents: Record<string, Resident> = {}
    const inserts: Insert[] = []
    const wanted = new Set(session.inputNames)
    this.feedValues(jobs, wanted, feeds)
    for (const [b, job] of jobs.entries()) await this.feedCaches(job, b, batch, feeds, residents, inserts)
    const kept = new Set(inserts.map(({ output }) => output))
    const fetches = session.outputNames.filter((name) => !kept.has(name))
    const out = await session.run(feeds, { fetches, residents, inserts })
    const endSeconds = clock.nowSeconds()
    for (const [b, job] of jobs.entries()) {
      const values = valuesOf(out, job, b, batch)
      job.resolve({ values, askedSeconds: job.askedSeconds, startSeconds, endSeconds, batch, load })
    }
  }

  private feedValues(
    jobs: readonly Waiting[],
    wanted: ReadonlySet<string>,
    feeds: Record<string, Tensor>,
  ): void {
    const { model } = this.options
    const rows = jobs.reduce((sum, job) => sum + job.rows, 0)
    const join = (name: 'x' | 'partial' | 'hidden', width: number): Tensor =>
      tensor('float32', [rows, width], joined(jobs.map((job) => required(job, name))))
    const { input } = jobs[0].segment
    if (input === 'ids') feeds.ids = integers(jobs.flatMap((job) => required(job, 'ids')))
    else feeds.x = join('x', model.width)
    if (input === 'x+partial') feeds.partial = join('partial', model.width)
    if (input === 'x+hidden') feeds.hidden = join('hidden', model.ffnWidth)
    if (wanted.has('positions'))
      feeds.positions = integers(jobs.flatMap(({ position, rows: n }) => range(position, n)))
  }

  private async feedCaches(
    job: Waiting,
    b: number,
    batch: number,
    feeds: Record<string, Tensor>,
    residents: Record<string, Resident>,
    inserts: Insert[],
  ): Promise<void> {
    const { segment, caches, position, rows } = job
    const held = await caches.reserve(segment, position + rows)
    if (held.length === 0) return
    const mask = position === 0 ? NOTHING_HELD : caches.mask(position)
    feeds[segmentNames.mask(b, batch)] = tensor('float32', [1, mask.length], mask)
    for (const cache of held) {
      const from = position === 0 ? await this.emptyCache(cache) : cache
      residents[segmentNames.keys(cache.layer, b, batch)] = from.keys
      residents[segmentNames.values(cache.layer, b, batch)] = from.values
      const into = (output: string, resident: Resident): Insert => ({ output, into: resident, at: position })
      inserts.push(into(segmentNames.newKeys(cache.layer, b, batch), cache.keys))
      inserts.push(into(segmentNames.newValues(cache.layer, b, batch), cache.values))
    }
  }

  /** A first pass sees nothing: one masked position instead of a whole padded cache. */
  private async emptyCache(cache: LayerCache): Promise<{ keys: Resident; values: Resident }> {
    const [units, , headDim] = cache.keys.dims
    let made = this.empty.get(units)
    if (made === undefined) {
      made = this.options.engine.allocate([units, 1, headDim])
      this.empty.set(units, made)
    }
    const resident = await made
    return { keys: resident, values: resident }
  }
}

const NOTHING_HELD = Float32Array.of(-Infinity)

function valuesOf(out: Fetched, job: Job, b: number, batch: number): Values {
  const rowsOf = (name: string): Float32Array | undefined => {
    if (!Object.hasOwn(out, name)) return undefined
    const data = out[name].data as Float32Array
    const size = data.length / batch
    return batch === 1 ? data : data.subarray(b * size, (b + 1) * size)
  }
  const last = job.segment.parts.at(-1)
  const isShare = last?.kind === 'attention' && !last.residual
  const values: Values = {}
  const x = rowsOf('y')
  if (x !== undefined) values[isShare ? 'partial' : 'x'] = x
  const hidden = rowsOf('hidden')
  if (hidden !== undefined) values.hidden = hidden
  const logits = rowsOf('logits')
  if (logits !== undefined) values.logits = logits
  return values
}

function required<Name extends 'ids' | 'x' | 'partial' | 'hidden'>(
  job: Job,
  name: Name,
): NonNullable<Values[Name]> {
  const value = job.values[name]
  if (value === undefined)
    throw new RangeError(`segment ${segmentKey(job.segment)}: expected ${name}, found nothing`)
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
  return tensor(
    'int64',
    [values.length],
    BigInt64Array.from(values, (value) => BigInt(value)),
  )
}

function range(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => from + i)
}
