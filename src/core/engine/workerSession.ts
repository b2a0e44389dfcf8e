import type { Tensor } from '../onnx/tensor.ts'
import { NameChecker } from './names.ts'
import type { RunNames } from './names.ts'
import { homesOf } from './resident.ts'
import type { RunHomes } from './resident.ts'
import type { Engine, Feeds, Fetched, Insert, RunOptions, Session } from './types.ts'
import { asEngineError, EngineError } from './types.ts'
import type { WorkerHome } from './workerHome.ts'
import { alone } from './workerHome.ts'
import type { WorkerLink } from './workerLink.ts'
import type { Loaded, Shapes } from './workerProtocol.ts'

/** The names and shapes last sent to the worker: a run that repeats them sends neither again. */
interface Sent {
  readonly names: RunNames
  readonly shapes: Shapes
}

/** A session in the worker thread. */
export class WorkerSession implements Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  private readonly engine: Engine
  private readonly link: WorkerLink
  private readonly session: number
  private readonly names: NameChecker
  /** What was last sent to the worker, by RunNames.slot. */
  private readonly sent: Sent[] = []
  private disposed = false

  constructor(engine: Engine, link: WorkerLink, { session, inputNames, outputNames }: Loaded) {
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
    const homes = homesOf<WorkerHome>(this.engine, names.residents, options)
    if (this.link.ended) throw new EngineError(this.link.reason)
    const sent = this.sent[names.slot] as Sent | undefined
    const renamed = sent?.names !== names
    const reshaped = renamed || !haveShapes(names.feeds, feeds, sent.shapes)
    const now = reshaped ? { names, shapes: shapesOf(names.feeds, feeds) } : sent
    const question = {
      session: this.session,
      slot: names.slot,
      names: renamed ? names : undefined,
      shapes: reshaped ? now.shapes : undefined,
      feeds: names.feeds.map((name) =>
        options.transferFeeds === true ? feeds[name].data : alone(feeds[name].data),
      ),
      numbers: numbersOf(homes, options.inserts),
    }
    const buffers =
      options.transferFeeds === true ? Object.values(feeds).map(({ data }) => data.buffer as ArrayBuffer) : []
    try {
      const answer = this.link.call('run', question, [...new Set(buffers)])
      this.sent[names.slot] = now
      return unflatten(names.fetches, await this.link.within(answer, options.timeoutSeconds))
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

function shapesOf(names: readonly string[], feeds: Feeds): Shapes {
  return names.flatMap((name) => [feeds[name].dtype, [...feeds[name].dims]])
}

function haveShapes(names: readonly string[], feeds: Feeds, shapes: Shapes): boolean {
  for (let i = 0; i < names.length; i++) {
    const { dtype, dims } = feeds[names[i]]
    const known = shapes[2 * i + 1]
    if (shapes[2 * i] !== dtype || known.length !== dims.length) return false
    for (let k = 0; k < dims.length; k++) if (known[k] !== dims[k]) return false
  }
  return true
}

/**
 * The residents' numbers, then each insert's resident and position, in one array: posting one array is faster than
 * posting many values.
 */
function numbersOf(
  { residents, targets }: RunHomes<WorkerHome>,
  inserts: readonly Insert[] = [],
): Int32Array {
  const numbers = new Int32Array(residents.length + 2 * targets.length)
  for (let i = 0; i < residents.length; i++) numbers[i] = residents[i].resident
  for (let i = 0, to = residents.length; i < targets.length; i++) {
    numbers[to++] = targets[i].resident
    numbers[to++] = inserts[i].at
  }
  return numbers
}

function unflatten(names: readonly string[], flat: readonly unknown[]): Fetched {
  const fetched: Fetched = {}
  for (let i = 0; i < names.length; i++) {
    const [dtype, dims, data] = [flat[3 * i], flat[3 * i + 1], flat[3 * i + 2]]
    fetched[names[i]] = { dtype, dims, data } as Tensor
  }
  return fetched
}
