import type { OrtModule, OrtSession, OrtTensor } from './convert.ts'
import { fromOrt, loadProblem, ortOptions, toOrt } from './convert.ts'
import type { Source } from './external.ts'
import { NameChecker } from './names.ts'
import type { RunNames } from './names.ts'
import { checkDims, HeldResident, homesOf } from './resident.ts'
import type { ResidentDims, RunHomes } from './resident.ts'
import { ResidentMemory, Sequence } from './residentMemory.ts'
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
import { asEngineError, EngineError } from './types.ts'
import { InputError } from '../errors.ts'

/** Prepares a model for one runtime: nativeSource or wasmSource. */
type ToSource = (model: Uint8Array | string, options: SessionOptions) => Source

/** Runs graphs with an onnxruntime package loaded in this thread. */
export class InProcessEngine implements Engine {
  readonly info: EngineInfo
  private readonly ort: OrtModule
  private readonly provider: 'cpu' | 'wasm'
  private readonly toSource: ToSource
  private readonly open = new Set<InProcessSession>()
  private sequence = new Sequence()

  constructor(ort: OrtModule, info: EngineInfo, provider: 'cpu' | 'wasm', toSource: ToSource) {
    this.ort = ort
    this.info = info
    this.provider = provider
    this.toSource = toSource
  }

  async create(model: Uint8Array | string, options: SessionOptions = {}): Promise<Session> {
    const settings = ortOptions(options, this.provider)
    const source = this.toSource(model, options)
    let inner: OrtSession
    try {
      inner = await this.ort.InferenceSession.create(source.model, { ...settings, ...source.extra })
    } catch (error) {
      throw loadProblem(model, error)
    }
    const surroundings = { engine: this, ort: this.ort, sequence: this.sequence }
    const session = new InProcessSession(surroundings, inner, () => this.open.delete(session))
    this.open.add(session)
    return session
  }

  // Async, so that a refusal is a rejection here as on the worker.
  // eslint-disable-next-line @typescript-eslint/require-await
  async allocate([rows, capacity, columns]: ResidentDims): Promise<Resident> {
    const dims: ResidentDims = [rows, capacity, columns]
    checkDims('engine.allocate', dims)
    try {
      return new HeldResident(this, dims, new ResidentMemory(this.ort, this.sequence, dims))
    } catch (error) {
      throw asEngineError(error, `no memory for float32 [${dims.join(', ')}]`)
    }
  }

  async close(): Promise<void> {
    this.sequence.ended = 'the engine was closed'
    this.sequence = new Sequence()
    for (const session of [...this.open]) await session.dispose()
  }
}

interface Surroundings {
  readonly engine: InProcessEngine
  readonly ort: OrtModule
  readonly sequence: Sequence
}

class InProcessSession implements Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  private readonly names: NameChecker
  private readonly surroundings: Surroundings
  private readonly onDispose: () => void
  private inner: OrtSession | null

  constructor(surroundings: Surroundings, inner: OrtSession, onDispose: () => void) {
    this.surroundings = surroundings
    this.inner = inner
    this.onDispose = onDispose
    this.inputNames = [...inner.inputNames]
    this.outputNames = [...inner.outputNames]
    this.names = new NameChecker(this.inputNames, this.outputNames)
  }

  async run(feeds: Feeds, options: RunOptions = {}): Promise<Fetched> {
    if (this.inner === null) throw new EngineError('the session has been disposed of')
    if (options.timeoutSeconds !== undefined) {
      throw new InputError({
        where: 'run options: timeoutSeconds',
        expected: 'none on this engine',
        found: String(options.timeoutSeconds),
        remedy: "use the 'worker' engine",
      })
    }
    const names = this.names.check(feeds, options)
    const { engine, sequence } = this.surroundings
    const homes = homesOf<ResidentMemory>(engine, names.residents, options)
    if (names.residents.length + names.inserts.length === 0) return this.compute(feeds, names, homes, [])
    const positions = options.inserts?.map(({ at }) => at) ?? []
    return sequence.next(() => this.compute(feeds, names, homes, positions))
  }

  private async compute(
    feeds: Feeds,
    names: RunNames,
    { residents, targets }: RunHomes<ResidentMemory>,
    positions: readonly number[],
  ): Promise<Fetched> {
    if (this.inner === null) throw new EngineError('the session has been disposed of')
    const given = toOrt(this.surroundings.ort, names.feeds, feeds)
    names.residents.forEach((name, i) => (given[name] = residents[i].tensor))
    let results: Record<string, OrtTensor>
    try {
      results = await this.inner.run(given, names.outputs)
    } catch (error) {
      throw asEngineError(error, 'ONNX Runtime refused to run')
    }
    const lengths = names.inserts.map((name, i) => targets[i].checkInsert(name, results[name], positions[i]))
    names.inserts.forEach((name, i) => {
      targets[i].insert(results[name].data as Float32Array, lengths[i], positions[i])
    })
    const fetched: Fetched = {}
    for (const name of names.fetches) fetched[name] = fromOrt(results[name])
    return fetched
  }

  async dispose(): Promise<void> {
    const { inner } = this
    if (inner === null) return
    this.inner = null
    this.onDispose()
    await inner.release()
  }
}
